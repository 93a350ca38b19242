//! What is on record?
//!
//! Reads the trail of a state directory, also while a gate writes to it.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::shown::{plain, print, tell};
use crate::trail::{self, Damage, Entries, Entry};

const POLL: Duration = Duration::from_millis(200);
/// So many calls are named when a prefix fits more than one.
const EXAMPLES: usize = 5;

/// Why an audit command did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuditFault {
    /// There is no trail, or it cannot be listed.
    #[error("no trail can be read in `{dir}`: {cause}; name the `state` directory of a gate")]
    NoTrail {
        /// Where it was looked for.
        dir: String,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The trail is not what was written.
    #[error("{0}; the entries before it are intact")]
    Damaged(#[from] Damage),
    /// No call of that id.
    #[error("no call on record has an id that begins with `{0}`")]
    NoCall(String),
    /// More than one call.
    #[error("more than one call has an id that begins with `{id}`: {}", examples.join(", "))]
    Ambiguous {
        /// What was asked for.
        id: String,
        /// Some that fit.
        examples: Vec<String>,
    },
    /// The output is closed or broken.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Prints the last `n` entries, one line each, and with `follow` each new one as it comes.
///
/// # Errors
/// If there is no trail, at the first damaged entry, or when the output closes.
pub(super) fn tail(
    state: &Path,
    follow: bool,
    n: usize,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), AuditFault> {
    let dir = state.join("trail");
    let (last, mut entries, damage) = last_entries(&dir, n)?;
    for entry in &last {
        print(entry, json, out)?;
    }
    out.flush()?;
    if let Some(damage) = damage {
        return Err(damage.into());
    }
    if !follow {
        return Ok(());
    }
    loop {
        for entry in entries.by_ref() {
            print(&entry?, json, out)?;
        }
        out.flush()?;
        std::thread::sleep(POLL);
    }
}

/// Prints what is on record of one call, by its id or the beginning of it.
///
/// # Errors
/// If no call, or more than one, has such an id, or the trail is damaged before it.
pub(super) fn show(
    state: &Path,
    id: &str,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), AuditFault> {
    let dir = state.join("trail");
    segments(&dir)?;
    let wanted = id.to_ascii_lowercase();
    let mut of_hold = HashSet::new();
    let mut found: Vec<(String, Vec<Entry>)> = Vec::new();
    for entry in trail::read(&dir) {
        let entry = entry?;
        let Some(call) =
            call_id(&entry, &wanted).or_else(|| hold_id(&entry, &wanted, &mut of_hold))
        else {
            continue;
        };
        if let Some((_, entries)) = found.iter_mut().find(|(known, _)| *known == call) {
            entries.push(entry);
        } else if found.len() < EXAMPLES {
            found.push((call, vec![entry]));
        } else {
            break;
        }
    }
    match found.as_slice() {
        [] => Err(AuditFault::NoCall(plain(id).into_owned())),
        [(_, entries)] => Ok(entries.iter().try_for_each(|entry| tell(entry, json, out))?),
        many => Err(AuditFault::Ambiguous {
            id: plain(id).into_owned(),
            examples: many.iter().map(|(call, _)| plain(call).into_owned()).collect(),
        }),
    }
}

/// The hold that an entry is about, if it is the wanted one: calls that waited for it, the call that
/// was sent, and what people said.
fn hold_id(entry: &Entry, wanted: &str, calls: &mut HashSet<String>) -> Option<String> {
    if !wanted.starts_with("hold-") {
        return None;
    }
    #[derive(serde::Deserialize)]
    struct About {
        id: Option<String>,
        hold: Option<String>,
    }
    let about: About = serde_json::from_slice(&entry.body).ok()?;
    let (id, hold) = (about.id?, about.hold);
    if hold.as_deref() == Some(wanted) {
        calls.insert(id);
    } else if !calls.contains(&id) {
        return None;
    }
    Some(wanted.to_owned())
}

fn segments(dir: &Path) -> Result<Vec<u32>, AuditFault> {
    let listed = trail::segments(dir).and_then(|numbers| {
        if numbers.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(numbers) }
    });
    let shown = || plain(&dir.to_string_lossy()).into_owned();
    listed.map_err(|cause| AuditFault::NoTrail { dir: shown(), cause })
}

// From the last segments only, as many as it takes: a trail may be long.
fn last_entries(
    dir: &Path,
    n: usize,
) -> Result<(VecDeque<Entry>, Entries, Option<Damage>), AuditFault> {
    let numbers = segments(dir)?;
    let mut from = numbers.iter().rev();
    loop {
        let Some(&number) = from.next() else { return Err(AuditFault::NoCall(String::new())) };
        let mut entries = trail::read_from(dir, number);
        let mut last = VecDeque::new();
        let mut damage = None;
        for entry in entries.by_ref() {
            match entry {
                Ok(entry) => last.push_back(entry),
                Err(found) => damage = Some(found),
            }
            if last.len() > n {
                last.pop_front();
            }
        }
        if last.len() >= n || from.len() == 0 {
            return Ok((last, entries, damage));
        }
    }
}

fn call_id(entry: &Entry, wanted: &str) -> Option<String> {
    let needle = format!("\"id\":\"{wanted}");
    let body = std::str::from_utf8(&entry.body).ok()?;
    if !body.contains(&needle) {
        return None;
    }
    let value: Value = serde_json::from_str(body).ok()?;
    let id = value.get("id")?.as_str()?;
    id.starts_with(wanted).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::shown::is_hidden;
    use super::*;
    use crate::trail::{Settings, Trail};

    fn intent(id: u8, tool: &str) -> String {
        let tool = serde_json::to_string(tool).unwrap();
        format!(
            r#"{{"kind":"intent","v":1,"id":"0{id}aa","at":"2026-11-20T21:35:00.000001Z","agent":"bot","server":"crm","tool":{tool},"tier":"low","effect":"deny","code":"denied","reasons":[{{"code":"late","message":"too late","policy":"permission"}}]}}"#
        )
    }

    fn outcome(id: u8) -> String {
        format!(
            r#"{{"kind":"outcome","v":1,"id":"0{id}aa","at":"2026-11-20T21:35:01.000001Z","outcome":"answered","code":"ok","duration_us":1500,"gate_us":20,"bytes":3}}"#
        )
    }

    fn state(bodies: &[String]) -> tempfile::TempDir {
        let state = tempfile::tempdir().unwrap();
        let settings = Settings { segment_bytes: 1000, ..Settings::default() };
        let trail = Trail::open(&state.path().join("trail"), settings).unwrap();
        for body in bodies {
            trail.append(body.as_bytes()).unwrap();
        }
        state
    }

    fn tailed(state: &Path, n: usize, json: bool) -> String {
        let mut out = Vec::new();
        tail(state, false, n, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn shown(state: &Path, id: &str) -> Result<String, String> {
        let mut out = Vec::new();
        show(state, id, false, &mut out).map_err(|fault| fault.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_last_entries_come_one_a_line_over_segment_borders() {
        let state = state(&(0..9).map(|id| intent(id, "read")).collect::<Vec<_>>());
        assert!(trail::segments(&state.path().join("trail")).unwrap().len() > 2);
        for (n, first) in [(1, Some(8)), (5, Some(4)), (9, Some(0)), (50, Some(0)), (0, None)] {
            let text = tailed(state.path(), n, false);
            assert_eq!(text.lines().count(), n.min(9));
            assert_eq!(
                text.lines()
                    .next()
                    .map(|line| line.contains(&format!("  0{}aa  ", first.unwrap()))),
                first.map(|_| true),
                "{text}"
            );
        }
        let line = tailed(state.path(), 1, false);
        assert!(line.starts_with("2026-11-20T21:35:00.000001Z  deny     low     08aa "), "{line}");
        assert!(line.contains("  crm/read  ") && line.ends_with("  denied\n"), "{line}");
    }

    #[test]
    fn whatever_steers_a_terminal_is_shown_as_an_escape() {
        let hostile = "a\u{1b}[2J\u{202e}b\u{9b}c\u{200b}\u{e0041}\r\nd\\";
        let state = state(&[intent(1, hostile)]);
        let all = [
            tailed(state.path(), 1, false),
            tailed(state.path(), 1, true),
            shown(state.path(), "01").unwrap(),
        ];
        for text in &all {
            assert!(!text.chars().any(|c| c != '\n' && is_hidden(c)), "{text:?}");
        }
        assert_eq!(all[0].lines().count(), 1);
        assert!(all[0].contains(r"a\u{1b}[2J\u{202e}b\u{9b}c\u{200b}\u{e0041}\u{d}\u{a}d\\"));
        let value: Value = serde_json::from_str(&all[1]).unwrap();
        assert_eq!(value["tool"], hostile, "JSON keeps its meaning");
    }

    #[test]
    fn a_call_is_shown_with_its_outcome_by_a_prefix_that_fits_one_call() {
        let state = state(&[intent(1, "read"), outcome(1), intent(2, "read")]);
        let text = shown(state.path(), "01AA").unwrap();
        assert!(text.starts_with("intent (entry 0, sha256:"), "{text}");
        assert!(text.contains("\noutcome (entry 1, sha256:"), "{text}");
        assert!(text.contains("\n  reasons\n    -\n      code         late\n"), "{text}");
        for (id, problem) in [
            ("0", "more than one call has an id that begins with `0`: 01aa, 02aa"),
            ("1aa", "no call on record has an id that begins with `1aa`"),
            ("\u{1b}", r"no call on record has an id that begins with `\u{1b}`"),
        ] {
            assert_eq!(shown(state.path(), id).unwrap_err(), problem);
        }
    }

    #[test]
    fn damage_is_told_after_what_is_intact() {
        let state = state(&[intent(1, "read"), intent(2, "read")]);
        let path = state.path().join("trail/000001.trail");
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        bytes[last] = b'!';
        std::fs::write(&path, bytes).unwrap();
        let mut out = Vec::new();
        let fault = tail(state.path(), true, 20, false, &mut out).unwrap_err();
        assert!(fault.to_string().starts_with("entry 1 of the trail, in `"), "{fault}");
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_directory_without_a_trail_is_told() {
        let state = tempfile::tempdir().unwrap();
        let fault = tail(state.path(), false, 20, false, &mut Vec::new()).unwrap_err();
        assert!(fault.to_string().starts_with("no trail can be read in `"), "{fault}");
        assert!(shown(state.path(), "01").unwrap_err().starts_with("no trail can be read in `"));
    }

    /// Takes so many lines, then closes.
    struct Closing(usize, Vec<u8>, std::sync::mpsc::Sender<()>);

    impl Write for Closing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1.iter().filter(|&&byte| byte == b'\n').count() >= self.0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.1.extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            let _ = self.2.send(());
            Ok(())
        }
    }

    #[test]
    fn following_prints_what_comes_later_until_the_output_closes() {
        let state = state(&[intent(1, "read")]);
        let (send, flushed) = std::sync::mpsc::channel();
        let path = state.path().to_owned();
        let reader = std::thread::spawn(move || {
            let mut out = Closing(3, Vec::new(), send);
            let fault = tail(&path, true, 20, false, &mut out).unwrap_err();
            assert!(matches!(fault, AuditFault::Output(_)), "{fault}");
            String::from_utf8(out.1).unwrap()
        });
        flushed.recv().unwrap();
        let trail = Trail::open(&state.path().join("trail"), Settings::default()).unwrap();
        for id in 2..6 {
            trail.append(intent(id, "read").as_bytes()).unwrap();
        }
        let text = reader.join().unwrap();
        assert!(text.contains("02aa") && text.contains("03aa"), "{text}");
    }
}
