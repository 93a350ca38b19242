//! What exactly did they send?
//!
//! One strict parse, after which nobody re-checks; and one canonical text, which is what hashes
//! and pins are made of.

mod canonical;
mod digest;
mod number;
mod parse;
mod string;

pub use canonical::{canonical, write_canonical};
pub use digest::{Digest, NotADigest, digest};
pub use parse::{DEPTH_CAP, Limits, parse};
pub use serde_json::{Map, Value};

/// Why a text is not the JSON that the gate reads, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Byte offset into the text.
    pub at: usize,
}

/// What can be wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// Not JSON (RFC 8259).
    #[error("invalid JSON")]
    Syntax,
    /// Not UTF-8, or a lone surrogate.
    #[error("text that is not Unicode")]
    Text,
    /// An object names a key twice.
    #[error("a key that stands twice in one object")]
    DuplicateKey,
    /// An object names a key that Rust's `serde_json` may read as something else than a key.
    #[error("a key reserved by `serde_json`")]
    ReservedKey,
    /// Deeper than the limit.
    #[error("nesting deeper than the limit")]
    Depth,
    /// Longer, or of more values, than the limit.
    #[error("more than the size limit")]
    Size,
    /// A number that would not come out of every parser as it went in.
    #[error("a number that would be rounded; send it as a string")]
    Number,
}

impl Fault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self.kind {
            FaultKind::Syntax => "invalid_json",
            FaultKind::Text => "invalid_text",
            FaultKind::DuplicateKey => "duplicate_key",
            FaultKind::ReservedKey => "reserved_key",
            FaultKind::Depth => "too_deep",
            FaultKind::Size => "too_large",
            FaultKind::Number => "number_would_round",
        }
    }

    /// The HTTP status.
    pub const fn status(&self) -> http::StatusCode {
        match self.kind {
            FaultKind::Size => http::StatusCode::PAYLOAD_TOO_LARGE,
            _ => http::StatusCode::BAD_REQUEST,
        }
    }

    /// The JSON-RPC code.
    pub const fn rpc_code(&self) -> i32 {
        match self.kind {
            FaultKind::Syntax | FaultKind::Text => -32700,
            _ => -32600,
        }
    }
}
