use proptest::prelude::*;

use super::*;

const MAX: usize = 1 << 20;

/// All events, and what is left, when the stream comes in these chunks.
fn frame(chunks: &[&[u8]], max: usize) -> Result<(Vec<Event>, Bytes), TooLong> {
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
    Ok((events, rest))
}

fn whole(stream: impl AsRef<[u8]>) -> (Vec<Event>, Bytes) {
    frame(&[stream.as_ref()], MAX).expect("within the bound")
}

fn shown(bytes: &Option<Bytes>) -> Option<&str> {
    bytes.as_ref().map(|bytes| std::str::from_utf8(bytes).expect("test text"))
}

#[test]
fn an_event_says_what_whatwg_says_it_says() {
    for (raw, data, id, event) in [
        ("data: a\n\n", Some("a"), None, None),
        ("data:a\r\n\r\n", Some("a"), None, None),
        ("data: a\r\r", Some("a"), None, None),
        ("data:  a\n\n", Some(" a"), None, None),
        ("data: a\ndata: b\n\n", Some("a\nb"), None, None),
        ("data\n\n", Some(""), None, None),
        ("data:\n\n", Some(""), None, None),
        ("id: 7\ndata:\nretry: 100\n\n", Some(""), Some("7"), None), // a priming event
        ("data\ndata\n\n", Some("\n"), None, None),
        ("data: {\"a\": \"b: c\"}\n\n", Some("{\"a\": \"b: c\"}"), None, None),
        ("event: message\nid: 1\ndata: x\n\n", Some("x"), Some("1"), Some("message")),
        ("id: 1\nid: 2\nid\ndata: x\n\n", Some("x"), Some(""), None),
        ("id: 1\nid: a\0b\ndata: x\n\n", Some("x"), Some("1"), None),
        (": ping\n\n", None, None, None),
        (":data: x\n\n", None, None, None),
        ("retry: 3000\n\n", None, None, None),
        ("Data: x\n data: x\ndata : x\ndatax: x\n\n", None, None, None),
        ("\n", None, None, None),
        ("\r\n", None, None, None),
    ] {
        let (events, rest) = whole(raw);
        assert_eq!(events.len(), 1, "{raw:?}");
        assert_eq!(events[0].raw, raw, "{raw:?}");
        let says = (shown(&events[0].data), shown(&events[0].id), shown(&events[0].event));
        assert_eq!(says, (data, id, event), "{raw:?}");
        assert!(rest.is_empty(), "{raw:?}");
    }
}

#[test]
fn a_stream_is_cut_after_each_blank_line() {
    for (stream, raws, rest) in [
        ("", &[][..], ""),
        ("data: a\n", &[], "data: a\n"),
        ("data: a\n\ndata: b", &["data: a\n\n"], "data: b"),
        ("data: a\n\r\ndata: b\r\n\n", &["data: a\n\r\n", "data: b\r\n\n"], ""),
        ("data: a\r\n\r\n: c\r\n\r\n", &["data: a\r\n\r\n", ": c\r\n\r\n"], ""),
        ("data: a\r\rdata: b\r\r", &["data: a\r\r", "data: b\r\r"], ""),
        ("data: a\r\n\r", &["data: a\r\n\r"], ""), // the stream ended within a CRLF
        ("data: a\r\r\ndata: b\n\n", &["data: a\r\r", "\n", "data: b\n\n"], ""),
        ("\u{feff}data: a\n\n", &["\u{feff}", "data: a\n\n"], ""),
        ("data: a\n\n\n\n", &["data: a\n\n", "\n", "\n"], ""),
    ] {
        let (events, left) = whole(stream);
        let cut: Vec<&Bytes> = events.iter().map(|event| &event.raw).collect();
        assert_eq!(cut, raws, "{stream:?}");
        assert_eq!(left, rest, "{stream:?}");
    }
    // A mark counts at the start only.
    let (events, _) = whole("\n\u{feff}data: a\n\n");
    assert_eq!(events[1].data, None);
    let (events, _) = whole("\u{feff}data: a\n\n");
    assert_eq!(shown(&events[1].data), Some("a"));
}

#[test]
fn an_event_is_out_as_soon_as_its_last_byte_is_in() {
    for stream in ["data: a\n\n", "data: a\r\n\r\n", "data: a\r\r", ": c\r\r", "data: a\r\n\n"] {
        let mut framer = Framer::new(MAX);
        let (last, before) = stream.as_bytes().split_last().unwrap();
        for byte in before {
            framer.push(&[*byte]);
            assert_eq!(framer.next(), Ok(None), "{stream:?}");
        }
        framer.push(&[*last]);
        assert!(framer.next().unwrap().is_some(), "{stream:?}");
    }
}

#[test]
fn h04_an_event_over_the_bound_is_refused_however_it_comes() {
    let fits = format!("data: {}\n\n", "x".repeat(92));
    let long = format!("data: {}\n\n", "x".repeat(93));
    for (stream, passes) in [(&fits, true), (&long, false), (&"x".repeat(101), false)] {
        for size in [1, 7, 100, 101, 1_000] {
            let chunks: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            assert_eq!(frame(&chunks, 100).is_ok(), passes, "{size}");
        }
    }
    // Small events pass before it; after it nothing does.
    let mut framer = Framer::new(20);
    framer.push(b"data: a\n\ndata: 123456789012345\n\ndata: b\n\n");
    assert!(framer.next().unwrap().is_some());
    assert_eq!(framer.next(), Err(TooLong(20)));
    assert_eq!(framer.next(), Err(TooLong(20)));
    assert!(framer.finish().is_err());
}

#[test]
fn other_data_leaves_the_rest_of_an_event_as_it_was() {
    for (raw, data, becomes) in [
        ("data: a\n\n", "b", "data: b\n\n"),
        ("data: a\r\n\r\n", "b", "data: b\r\n\r\n"),
        ("data: a\r\r", "b", "data: b\n\n"),
        ("id: 1\rdata: a\ndata: b\n\n", "c", "id: 1\ndata: c\n\n"),
        (
            "event: message\ndata: a\nid: 9\ndata: b\nretry: 5\n: hi\nx: y\n\n",
            "{}",
            "event: message\ndata: {}\nid: 9\nretry: 5\n: hi\nx: y\n\n",
        ),
        ("id: 1\n\n", "a", "id: 1\ndata: a\n\n"),
        ("data: a\n\n", "b\nc", "data: b\ndata: c\n\n"),
        ("data: a\n\n", "b\r\n\r\nid: 1", "data: b\ndata: \ndata: id: 1\n\n"),
        ("data: a\n\n", "", "data: \n\n"),
    ] {
        let (events, _) = whole(raw);
        assert_eq!(events[0].with_data(data.as_bytes()).raw, becomes, "{raw:?}");
    }
}

#[test]
fn a_message_of_our_own_is_one_event() {
    let (events, rest) = whole(message(br#"{"jsonrpc":"2.0"}"#));
    assert_eq!(events.len(), 1);
    assert_eq!(shown(&events[0].data), Some(r#"{"jsonrpc":"2.0"}"#));
    assert_eq!(shown(&events[0].event), Some("message"));
    assert!(rest.is_empty());
}

/// Streams in which everything that matters is likely.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\r\r",
        "\r\n\r\n",
        "data",
        "data:",
        "data: ",
        "id: ",
        "id",
        "event:",
        "retry: 1",
        ":",
        ": ping",
        " ",
        "x",
        "{}",
        "\0",
        "\u{feff}",
        "é",
        "data: a\n\n",
    ]);
    let pieces = prop_oneof![
        9 => pieces.prop_map(|piece| piece.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(pieces, 0..30).prop_map(|pieces| pieces.concat())
}

/// An independent reading, by the letter of the standard, of a whole stream at once.
fn dispatched(stream: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let stream = stream.strip_prefix(MARK).unwrap_or(stream);
    // One character for each byte; CR before LF as the standard's grammar has it.
    let text: String = stream.iter().map(|byte| char::from(*byte)).collect();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut data, mut kind, mut events) = (String::new(), String::new(), Vec::new());
    let bytes = |text: &str| text.chars().map(|c| c as u32 as u8).collect::<Vec<u8>>();
    let Some((complete, _)) = text.rsplit_once('\n') else { return events };
    for line in complete.split('\n') {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (line, name) {
            ("", _) => {
                if let Some(data) = data.strip_suffix('\n') {
                    events.push((bytes(data), bytes(&kind)));
                }
                data.clear();
                kind.clear();
            }
            (_, "data") => data.push_str(&format!("{value}\n")),
            (_, "event") => kind = value.to_owned(),
            _ => {}
        }
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn chunks_make_no_difference_and_no_byte_is_lost(
        stream in streams(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (events, rest) = whole(&stream);
        let raws: Vec<u8> = events.iter().flat_map(|event| event.raw.iter().copied()).collect();
        prop_assert_eq!([raws, rest.to_vec()].concat(), stream.clone());

        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
        prop_assert_eq!(frame(&chunks, MAX), Ok((events.clone(), rest.clone())));

        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(frame(&bytes, MAX), Ok((events, rest)));
    }

    #[test]
    fn we_see_the_events_that_a_client_sees(stream in streams()) {
        let ours: Vec<(Vec<u8>, Vec<u8>)> = whole(&stream).0.into_iter()
            .filter_map(|event| {
                let kind = event.event.unwrap_or_default();
                event.data.map(|data| (data.to_vec(), kind.to_vec()))
            })
            .collect();
        prop_assert_eq!(ours, dispatched(&stream));
    }

    #[test]
    fn an_event_with_other_data_is_one_event_with_that_data(
        stream in streams(), data in "[ a:\n\u{e9}\u{2028}]{0,12}",
    ) {
        for event in whole(&stream).0.iter().filter(|event| event.data.is_some()) {
            let rebuilt = event.with_data(data.as_bytes());
            let (again, rest) = whole([b"\n", rebuilt.raw.as_ref()].concat());
            prop_assert!(rest.is_empty());
            prop_assert_eq!(again.len(), 2);
            prop_assert_eq!(shown(&again[1].data), Some(data.as_str()));
            prop_assert_eq!((&again[1].id, &again[1].event), (&event.id, &event.event));
            prop_assert_eq!(&again[1], &rebuilt);
        }
    }
}
