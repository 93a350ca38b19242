//! Is this the definition that somebody accepted?
//!
//! `tools.lock` holds, for each server and tool, the digest of the accepted definition. YAML, so
//! JSON too; written with sorted names, so that a change reads well in review.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use serde_saphyr::Spanned;

use super::Problem;
use super::classify::{at, unreadable};
use crate::json::Digest;

/// How a definition compares with the accepted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// It is the accepted one.
    Match,
    /// Another one was accepted.
    Changed,
    /// None of that name was ever accepted.
    New,
}

impl Pin {
    /// The name in policy and record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Changed => "changed",
            Self::New => "new",
        }
    }
}

/// The accepted digests, by server and tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    servers: BTreeMap<String, BTreeMap<String, Digest>>,
}

impl Pins {
    /// Reads a lock file's text.
    ///
    /// # Errors
    /// Each entry that is no digest, by line; or why the text cannot be read.
    pub fn load(path: &str, text: &str) -> Result<Self, Vec<Problem>> {
        type Lock = BTreeMap<String, BTreeMap<String, Spanned<String>>>;
        // A lock of nothing but comments is a lock without entries.
        let lock: Option<Lock> =
            serde_saphyr::from_str(text).map_err(|error| vec![unreadable(path, &error)])?;
        let (mut pins, mut problems) = (Self::default(), Vec::new());
        for (server, tools) in lock.unwrap_or_default() {
            for (tool, digest) in tools {
                match parsed(&digest.value) {
                    Some(accepted) => pins.accept(&server, &tool, accepted),
                    None => {
                        let (line, column) = at(&digest.referenced);
                        let message = format!("`{tool}` needs `sha256:` and 64 hexadecimal digits");
                        problems.push(Problem { path: path.to_owned(), line, column, message });
                    }
                }
            }
        }
        if problems.is_empty() { Ok(pins) } else { Err(problems) }
    }

    /// How a definition compares with the accepted one.
    pub fn check(&self, server: &str, tool: &str, digest: &Digest) -> Pin {
        match self.servers.get(server).and_then(|tools| tools.get(tool)) {
            Some(accepted) if accepted == digest => Pin::Match,
            Some(_) => Pin::Changed,
            None => Pin::New,
        }
    }

    /// Accepts a definition.
    pub fn accept(&mut self, server: &str, tool: &str, digest: Digest) {
        self.servers.entry(server.to_owned()).or_default().insert(tool.to_owned(), digest);
    }

    /// Forgets a server's tools, before all that it offers now are accepted.
    pub fn forget(&mut self, server: &str) {
        self.servers.remove(server);
    }

    /// The lock file's text.
    pub fn text(&self) -> String {
        let mut text = String::from("# Accepted tool definitions; see `countersign pin --help`.\n");
        for (server, tools) in &self.servers {
            text.push_str(&format!(
                "{}:{}\n",
                quoted(server),
                if tools.is_empty() { " {}" } else { "" }
            ));
            for (tool, digest) in tools {
                text.push_str(&format!("  {}: {digest}\n", quoted(tool)));
            }
        }
        text
    }

    /// Writes the lock file, whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let beside = path.with_extension("lock.new");
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    }
}

fn quoted(name: &str) -> String {
    serde_json::Value::String(name.to_owned()).to_string()
}

fn parsed(text: &str) -> Option<Digest> {
    let hexadecimal = text.strip_prefix("sha256:")?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(hexadecimal, &mut bytes).ok()?;
    Some(Digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h01_a_changed_definition_does_not_match_its_pin() {
        let mut pins = Pins::default();
        pins.accept("crm", "get \"contact\": x", Digest([7; 32]));
        pins.accept("crm", "null", Digest([8; 32]));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tools.lock");
        pins.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let read = Pins::load("tools.lock", &text).unwrap();
        assert_eq!(read, pins);
        for (server, tool, digest, expected) in [
            ("crm", "get \"contact\": x", 7, Pin::Match),
            ("crm", "get \"contact\": x", 6, Pin::Changed),
            ("crm", "null", 8, Pin::Match),
            ("crm", "Null", 8, Pin::New),
            ("CRM", "null", 8, Pin::New),
        ] {
            assert_eq!(
                read.check(server, tool, &Digest([digest; 32])),
                expected,
                "{server}/{tool}"
            );
        }
    }

    #[test]
    fn a_lock_that_is_not_one_is_refused_by_line() {
        let good = format!("crm:\n  a: sha256:{}\n", "0a".repeat(32));
        for (text, line) in [
            (good.as_str(), None),
            ("", None),
            ("# nothing yet\n", None),
            ("crm:\n  a: sha256:00\n", Some(2)),
            ("crm:\n  a: sha256:zz\n  b: md5:00\n", Some(2)),
            ("crm: [a]\n", Some(1)),
        ] {
            let loaded = Pins::load("tools.lock", text);
            assert_eq!(loaded.err().map(|problems| problems[0].line), line, "{text}");
        }
    }
}
