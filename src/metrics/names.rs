//! Which closed sets of words are labels?

/// The binary that runs, as `countersign_build_info` tells it.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// The release, such as `0.1.0`.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
}

/// A part of the gate's own work, for `countersign_step_duration_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Who asks.
    Identify,
    /// What they sent.
    Parse,
    /// Whether it fits the tool's schema.
    Schema,
    /// What policy says.
    Policy,
    /// Making the intent durable.
    Record,
    /// The upstream's share: send, wait, read.
    Forward,
    /// Checking what came back.
    Answer,
}

impl Step {
    pub(super) const ALL: [Self; 7] = [
        Self::Identify,
        Self::Parse,
        Self::Schema,
        Self::Policy,
        Self::Record,
        Self::Forward,
        Self::Answer,
    ];

    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Parse => "parse",
            Self::Schema => "schema",
            Self::Policy => "policy",
            Self::Record => "record",
            Self::Forward => "forward",
            Self::Answer => "answer",
        }
    }
}

/// How close a call came to harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NearMiss {
    /// Policy denied a call of tier medium or high.
    Denied,
    /// Policy held a call of tier medium or high.
    Held,
    /// The call came within the configured headroom of a limit.
    Headroom,
    /// It would have been stopped, had the rule been enforced (warn and dry-run modes).
    Unenforced,
}

impl NearMiss {
    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Held => "held",
            Self::Headroom => "headroom",
            Self::Unenforced => "unenforced",
        }
    }
}

/// What went wrong between the gate and a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamError {
    /// No connection; nothing was sent.
    Connect,
    /// The connection ended before the answer did.
    Reset,
    /// An HTTP status that says the server failed.
    Status,
    /// An answer that is not the protocol's.
    Protocol,
    /// An answer over the size limit.
    TooLarge,
    /// A structured result that breaks the tool's output schema.
    Schema,
}

impl UpstreamError {
    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Status => "status",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Schema => "schema",
        }
    }
}

/// What became of a webhook, for one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notified {
    /// The target has it.
    Sent,
    /// It was tried, and the target would not have it.
    Failed,
    /// It was not tried: the target is too slow, or wants no more.
    Dropped,
}

impl Notified {
    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}
