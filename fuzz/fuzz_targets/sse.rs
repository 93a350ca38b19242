//! Do chunks make a difference, and is a byte lost?
#![no_main]

use countersign::front::mcp::sse::{Event, Framer, TooLong};
use libfuzzer_sys::fuzz_target;

fn frame<'a>(
    chunks: impl Iterator<Item = &'a [u8]>,
    max: usize,
) -> Result<(Vec<Event>, Vec<u8>), TooLong> {
    let mut framer = Framer::new(max);
    let mut events = Vec::new();
    for chunk in chunks {
        framer.push(chunk);
        while let Some(event) = framer.next()? {
            events.push(event);
        }
    }
    let (last, rest) = framer.finish()?;
    events.extend(last);
    Ok((events, rest.to_vec()))
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (size, max, stream) = (usize::from(input.0).max(1), usize::from(input.1), input.2);
    let whole = frame(std::iter::once(stream), max);
    assert_eq!(frame(stream.chunks(size), max), whole);
    let Ok((events, rest)) = whole else { return };
    let raws: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).chain(rest).collect();
    assert_eq!(raws, stream);
    for event in events.iter().filter(|event| event.data.is_some()) {
        let other = event.with_data(b"{\"a\":\n1}");
        assert_eq!(other.data.as_deref(), Some(&b"{\"a\":\n1}"[..]));
        assert_eq!((&other.id, &other.event), (&event.id, &event.event));
        let parts = [&b"\n"[..], &other.raw];
        let again = frame(parts.into_iter(), usize::MAX).expect("no bound");
        assert_eq!(again.0.get(1), Some(&other));
    }
});
