//! Where is the secret, and is it one?
//!
//! A config holds references, never secrets: `{env: NAME}` or `{file: path}`. What is referred to
//! is read once. Empty, short and well-known secrets are refused, because a gate that starts with
//! one looks guarded and is not.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::section::{Reading, Section};
use super::yaml::{Node, Value};

/// The shortest secret that guards the gate, in bytes: 128 bits if all of them are random.
pub const MIN_TOKEN_BYTES: usize = 16;
/// The longest secret that is read, in bytes.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;

pub(super) const SECRET: &[&str] = &["env", "file"];
pub(super) const TOKEN: &[&str] = &["env", "file", "sha256"];

/// A secret in memory. It has no `Display`, and its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// The secret itself, for the one place that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// SHA-256 of an agent's bearer token: all that the gate keeps of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub [u8; 32]);

impl TokenDigest {
    /// The digest of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

/// Reads a secret that we show to somebody else, who decides how long it has to be.
pub(super) fn secret(node: &Node, reading: &mut Reading<'_>) -> Option<Secret> {
    let section = open(node, SECRET, reading)?;
    let text = referred(&section, reading)?;
    if is_well_known(&text) {
        reading.fault(section.at, "the secret is a well-known default; make a random one");
        return None;
    }
    Some(Secret(text.into()))
}

/// Reads a secret that guards the gate, or its digest.
pub(super) fn token(node: &Node, reading: &mut Reading<'_>) -> Option<TokenDigest> {
    let section = open(node, TOKEN, reading)?;
    let digest = match section.find("sha256") {
        Some(node) => reading.take(node, sha256)?,
        None => {
            let text = referred(&section, reading)?;
            if let Err(message) = strong(&text) {
                reading.fault(section.at, message);
                return None;
            }
            TokenDigest::of(&text)
        }
    };
    if WELL_KNOWN.iter().any(|known| TokenDigest::of(known) == digest) {
        reading.fault(section.at, "the token is empty or a well-known default; make a random one");
        return None;
    }
    Some(digest)
}

fn open<'n>(
    node: &'n Node,
    keys: &'static [&'static str],
    reading: &mut Reading<'_>,
) -> Option<Section<'n>> {
    let forms: Vec<_> = keys.iter().map(|key| format!("`{{{key}: …}}`")).collect();
    let forms = forms.join(" or ");
    if !matches!(node.value, Value::Map(_)) {
        reading.fault(node.at, format!("a secret does not stand in a config; write {forms}"));
        return None;
    }
    let section = Section::open(node, keys, reading);
    if keys.iter().filter(|key| section.find(key).is_some()).count() != 1 {
        reading.fault(node.at, format!("a secret has one source; write {forms}"));
        return None;
    }
    Some(section)
}

fn sha256(node: &Node) -> Result<TokenDigest, String> {
    const HOW: &str = "expected 64 hexadecimal digits, as `sha256sum` prints them, in quotes";
    let Value::Text(text) = &node.value else { return Err(HOW.into()) };
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let mut digest = [0; 32];
    hex::decode_to_slice(digits, &mut digest).map_err(|_| HOW)?;
    Ok(TokenDigest(digest))
}

fn referred(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<String> {
    if !reading.with_secrets {
        let named = |key| Some((key, section.find(key)?));
        let (key, node) = named("env").or_else(|| named("file"))?;
        let name = reading.take(node, super::scalar::text)?;
        return Some(hex::encode(Sha256::digest(format!("{key}:{name}"))));
    }
    if let Some(node) = section.find("env") {
        return reading.take(node, from_environment);
    }
    let node = section.find("file")?;
    let path = reading.path_of(node)?;
    reading.take(node, |_| from_file(&path))
}

fn from_environment(node: &Node) -> Result<String, String> {
    let name = super::scalar::text(node)?;
    if name.contains('=') {
        return Err("expected the name of an environment variable".into());
    }
    match std::env::var(&name) {
        Ok(text) => usable(text),
        Err(std::env::VarError::NotPresent) => {
            Err(format!("environment variable `{name}` is not set"))
        }
        Err(std::env::VarError::NotUnicode(_)) => Err("the secret is not text".into()),
    }
}

fn from_file(path: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| format!("cannot read `{}`: {error}", path.display());
    // A pipe would block us, and a device never ends.
    if !std::fs::metadata(path).map_err(told)?.is_file() {
        return Err(format!("`{}` is not a regular file", path.display()));
    }
    let limit = u64::try_from(MAX_SECRET_BYTES).unwrap_or(u64::MAX);
    let mut text = String::new();
    File::open(path)
        .map_err(told)?
        .take(limit.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(told)?;
    usable(text)
}

// Editors and `echo` end a file with a line break that nobody means.
fn usable(mut text: String) -> Result<String, String> {
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.trim().is_empty() {
        return Err("the secret is empty".into());
    }
    if text.len() > MAX_SECRET_BYTES {
        return Err(format!("the secret is longer than {MAX_SECRET_BYTES} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("the secret has more than one line, or control characters".into());
    }
    Ok(text)
}

fn strong(token: &str) -> Result<(), &'static str> {
    if token.len() < MIN_TOKEN_BYTES {
        return Err("the token is shorter than 16 bytes; make one with `openssl rand -hex 32`");
    }
    // RFC 6750, section 2.1: nothing else can stand in a bearer header.
    if !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)) {
        return Err("the token has characters that a bearer token cannot have");
    }
    if is_well_known(token) {
        return Err(
            "the token is a well-known default; make a random one with `openssl rand -hex 32`",
        );
    }
    Ok(())
}

// What stands in tutorials, and is tried first. The digests of these are refused too.
const WELL_KNOWN: &[&str] = &[
    "",
    "admin",
    "changeme",
    "change-me",
    "default",
    "example",
    "letmein",
    "password",
    "secret",
    "test",
    "token",
    "0123456789abcdef",
    "1234567890123456",
    "changemechangeme",
    "passwordpassword",
    "supersecrettoken",
    "your-secret-token",
    "my-secret-token",
    "super-secret-token",
];

// Words that placeholders are made of. A secret that has next to nothing else is one of them.
const PLACEHOLDER_WORDS: &[&str] = &[
    "placeholder",
    "0123456789",
    "1234567890",
    "changethis",
    "changeme",
    "password",
    "replace",
    "default",
    "example",
    "letmein",
    "welcome",
    "abcdef",
    "secret",
    "change",
    "bearer",
    "agent",
    "admin",
    "token",
    "dummy",
    "super",
    "insert",
    "123456",
    "your",
    "test",
    "demo",
    "here",
    "this",
    "with",
    "todo",
    "12345",
    "1234",
    "key",
    "api",
    "123",
    "my",
    "me",
];

fn is_well_known(secret: &str) -> bool {
    let mut rest: String =
        secret.to_lowercase().chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let mut distinct: Vec<char> = rest.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    for word in PLACEHOLDER_WORDS {
        rest = rest.replace(word, "");
    }
    distinct.len() < 4 || rest.len() < 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d05_defaults_are_told_from_secrets() {
        for (secret, known) in [
            ("changemechangeme", true),
            ("change-me-change-me", true),
            ("your-secret-token-here", true),
            ("my_super_secret_token_123", true),
            ("aaaaaaaaaaaaaaaaaaaaaaaa", true),
            ("abababababababababab", true),
            ("Password1234567890", true),
            ("0123456789abcdef", true),
            ("Bearer secret-token", true),
            ("3f786850e387550fdab836ed7e6dc881de23001b", false),
            ("48151623421081514032", false),
            ("dGhpcyBpcyBub3QgYSBkZWZhdWx0", false),
            ("Bearer 8f14e45fceea167a", false),
        ] {
            assert_eq!(is_well_known(secret), known, "{secret}");
        }
    }

    #[test]
    fn d05_a_token_is_long_and_fits_a_header() {
        for (token, fits) in [
            ("k7Qw9ZpL2mXv4RtY", true),
            ("k7Qw9ZpL2mXv4Rt", false),
            ("k7Qw9ZpL2mXv4 tY", false),
            ("k7Qw9ZpL2mXv4Rté", false),
        ] {
            assert_eq!(strong(token).is_ok(), fits, "{token}");
        }
    }

    #[test]
    fn a_secret_is_one_line_and_bounded() {
        assert_eq!(usable("abc\r\n".into()).as_deref(), Ok("abc"));
        for text in ["", "\n", "  \n", "a\nb", "a\u{0}b"] {
            assert!(usable(text.into()).is_err(), "{text:?}");
        }
        assert!(usable("x".repeat(MAX_SECRET_BYTES)).is_ok());
        assert!(usable("x".repeat(MAX_SECRET_BYTES + 1)).is_err());
    }

    #[test]
    fn nothing_shows_a_secret() {
        assert_eq!(format!("{:?}", Secret("hunter2".into())), "Secret(…)");
        assert_eq!(format!("{:?}", TokenDigest::of("hunter2")), "TokenDigest(…)");
        assert!(from_file(Path::new("/dev/zero")).unwrap_err().contains("regular file"));
    }
}
