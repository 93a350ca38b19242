//! How do we say no?
//!
//! Every refusal there is, each with a stable code, an HTTP status and a JSON-RPC code. The agent
//! reads the message: it says what was refused, by what, and what would work; never a value.

use http::StatusCode;

pub use crate::call::Reason;
pub use crate::hold::Ticket;

use crate::call::Effect;
use crate::hold::State;
use crate::json::Fault;

/// Every way of saying no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    // What was sent cannot be read, or not in one way only.
    /// The body is not strict JSON.
    #[error("{0}")]
    Json(#[from] Fault),
    /// An array where one message is due.
    #[error("batches are not accepted; send one JSON-RPC message for each request")]
    Batch,
    /// Not a JSON-RPC 2.0 message.
    #[error("not a JSON-RPC 2.0 message: {0}")]
    Envelope(&'static str),
    /// A request's parameters do not have the shape that its method asks for.
    #[error("the parameters of `{method}` are not valid: {reason}")]
    Parameters {
        /// The method.
        method: &'static str,
        /// What is wrong, by place and shape.
        reason: String,
    },
    /// A method outside the table.
    #[error("no method of that name is offered here")]
    UnknownMethod,
    /// A header says one thing and the body another.
    #[error("header `{header}` does not agree with the body; send in both what the body says")]
    HeaderMismatch {
        /// The header's name.
        header: String,
    },
    /// A protocol revision that is not spoken, or is below the configured minimum.
    #[error("protocol version is not supported here; supported: {}", supported.join(", "))]
    Version {
        /// What would work.
        supported: Vec<&'static str>,
        /// What was asked for, cut to a version's length.
        requested: String,
    },
    /// A path or method of HTTP that nothing listens to.
    #[error("nothing is offered at this path; tools are at /mcp/<server>")]
    NotFound,
    /// The HTTP method is not one that this path takes.
    #[error("this path takes {allowed} only")]
    MethodNotAllowed {
        /// The `Allow` header's value.
        allowed: &'static str,
    },
    /// The request did not arrive whole in time.
    #[error("the request did not arrive in time")]
    Slow,
    /// The client went away before the decision. Only the record hears it.
    #[error("the call was cancelled before it was decided")]
    Abandoned,
    /// A content type or encoding that the gate does not read.
    #[error("send `content-type: application/json` without a content encoding")]
    Media,
    /// The `Host` is not one of ours (DNS rebinding).
    #[error("this host name is not served here")]
    Host,
    /// The `Origin` is not allowed.
    #[error("requests from this origin are not allowed")]
    Origin,

    // Who asks.
    /// No credential, or one that is not valid.
    #[error("a valid credential is needed: {0}")]
    Unauthenticated(&'static str),
    /// Identity cannot be checked now.
    #[error("identity cannot be checked now; try again later")]
    IdentityUnavailable,
    /// The client did not declare what the method needs.
    #[error("this method needs the client capability `{0}`, which was not declared")]
    MissingCapability(&'static str),
    /// A task that does not exist, or is another agent's.
    #[error("no such task")]
    UnknownTask,
    /// A session or state that does not exist, or is another agent's.
    #[error("no such {0}; start a new one")]
    Unknown(&'static str),

    // What they ask for.
    /// No such tool, or none that this agent may see.
    #[error("no tool named so; list tools to see what is offered")]
    UnknownTool,
    /// The tool's definition cannot be used safely.
    #[error("tool `{tool}` cannot be used: {reason}; its owner has to mend the definition")]
    UnusableTool {
        /// The tool.
        tool: String,
        /// What is wrong with its definition.
        reason: String,
    },
    /// The tool's definition is not the one that somebody accepted.
    #[error("tool `{tool}` has changed since it was accepted; an operator has to accept it again")]
    ChangedTool {
        /// The tool.
        tool: String,
    },
    /// The arguments do not satisfy the tool's schema.
    #[error("the arguments do not fit the tool's schema: {}", problems.join("; "))]
    Arguments {
        /// One sentence for each problem, by JSON Pointer, without values.
        problems: Vec<String>,
    },
    /// Policy denies.
    #[error("{}", sentences(reasons))]
    Denied {
        /// Why, most telling first; never empty.
        reasons: Vec<Reason>,
    },
    /// Policy could not be evaluated, which is not consent.
    #[error(
        "the policy could not decide this call, so it is refused; its operator has the details"
    )]
    PolicyFailed,
    /// Policy asks for signatures.
    #[error("{}; this call needs a person's signature before it runs{}", sentences(reasons), ticket.as_ref().map(ToString::to_string).unwrap_or_default())]
    NeedsSignature {
        /// Why.
        reasons: Vec<Reason>,
        /// The hold that it waits in; none where it cannot wait.
        ticket: Option<Box<Ticket>>,
    },
    /// A reviewer said no, or answered in the tool's place.
    #[error("a reviewer {}: {message}", if *answered { "answers instead of letting it run" } else { "refused this call" })]
    Reviewed {
        /// The hold.
        ticket: Box<Ticket>,
        /// What the reviewer says.
        message: String,
        /// Whether it is an answer more than a no.
        answered: bool,
    },
    /// It was held, and that came to nothing.
    #[error("this call was held, and is {}: {message}; if it is still wanted, make it again", ticket.state.name())]
    HoldOver {
        /// The hold.
        ticket: Box<Ticket>,
        /// Why.
        message: String,
    },
    /// It cannot be held, so it cannot be signed.
    #[error("this call needs a person's signature, and cannot be held now; try again later")]
    HoldFailed,

    // What we can do now.
    /// Too much at once.
    #[error("too many {0} at once; try again shortly")]
    Overloaded(&'static str),
    /// The gate is shutting down.
    #[error("shutting down; try again shortly")]
    Draining,
    /// The intent could not be made durable.
    #[error("the call could not be put on record, so it was not sent")]
    RecordFailed,
    /// Our own fault.
    #[error("internal error; the operator has the details")]
    Internal,

    // What the tool did.
    /// Nothing was sent.
    #[error("server `{0}` cannot be reached; nothing was sent, so trying again is safe")]
    Unreachable(String),
    /// Sent, and then nothing certain.
    #[error(
        "server `{0}` did not answer properly after the call was sent; \
         whether it took effect is unknown: check before you repeat it"
    )]
    OutcomeUnknown(String),
    /// The answer breaks the protocol or the tool's own output schema.
    #[error("the answer of server `{server}` was not passed on: {reason}")]
    Answer {
        /// The server.
        server: String,
        /// What is wrong with it, without values.
        reason: String,
    },
}

fn sentences(reasons: &[Reason]) -> String {
    reasons.iter().map(|r| r.message.as_str()).collect::<Vec<_>>().join("; ")
}

impl Refusal {
    /// The stable code, for records, metrics and clients.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Json(fault) => fault.code(),
            Self::Batch => "batch",
            Self::Envelope(_) => "invalid_request",
            Self::Parameters { .. } => "invalid_params",
            Self::UnknownMethod => "unknown_method",
            Self::HeaderMismatch { .. } => "header_mismatch",
            Self::Version { .. } => "unsupported_version",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Slow => "request_timeout",
            Self::Abandoned => "cancelled",
            Self::Media => "unsupported_media_type",
            Self::Host => "host_not_allowed",
            Self::Origin => "origin_not_allowed",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::IdentityUnavailable => "identity_unavailable",
            Self::MissingCapability(_) => "missing_capability",
            Self::Unknown(_) | Self::UnknownTask => "unknown_handle",
            Self::UnknownTool => "unknown_tool",
            Self::UnusableTool { .. } => "unusable_tool",
            Self::ChangedTool { .. } => "changed_tool",
            Self::Arguments { .. } => "invalid_arguments",
            Self::Denied { .. } => "denied",
            Self::PolicyFailed => "policy_failed",
            Self::NeedsSignature { .. } => "needs_signature",
            Self::Reviewed { answered: true, .. } => "reviewer_answered",
            Self::Reviewed { .. } => "reviewer_denied",
            Self::HoldOver { ticket, .. } => match ticket.state {
                State::Expired => "hold_expired",
                State::Unknown => "outcome_unknown",
                State::Cancelled => "hold_cancelled",
                State::Failed => "hold_failed",
                _ => "hold_void",
            },
            Self::HoldFailed => "store_failed",
            Self::Overloaded(_) => "overloaded",
            Self::Draining => "draining",
            Self::RecordFailed => "record_failed",
            Self::Internal => "internal",
            Self::Unreachable(_) => "upstream_unreachable",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Answer { .. } => "invalid_answer",
        }
    }

    /// The HTTP status of an answer that carries nothing but this refusal.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Json(fault) => fault.status(),
            Self::Batch
            | Self::Envelope(_)
            | Self::HeaderMismatch { .. }
            | Self::Version { .. }
            | Self::MissingCapability(_)
            | Self::Parameters { .. } => StatusCode::BAD_REQUEST,
            Self::UnknownMethod | Self::NotFound | Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow | Self::Abandoned => StatusCode::REQUEST_TIMEOUT,
            Self::Media => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Host | Self::Origin => StatusCode::FORBIDDEN,
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::IdentityUnavailable
            | Self::Overloaded(_)
            | Self::Draining
            | Self::HoldFailed
            | Self::RecordFailed => StatusCode::SERVICE_UNAVAILABLE,
            Self::UnknownTool
            | Self::UnknownTask
            | Self::UnusableTool { .. }
            | Self::ChangedTool { .. }
            | Self::Arguments { .. }
            | Self::Denied { .. }
            | Self::PolicyFailed
            | Self::Reviewed { .. }
            | Self::HoldOver { .. }
            | Self::NeedsSignature { .. } => StatusCode::OK,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unreachable(_) | Self::OutcomeUnknown(_) | Self::Answer { .. } => {
                StatusCode::BAD_GATEWAY
            }
        }
    }

    /// The JSON-RPC error code, where a JSON-RPC error is due. Ours are outside -32768..-32000.
    pub const fn rpc_code(&self) -> i32 {
        match self {
            Self::Json(fault) => fault.rpc_code(),
            Self::Batch | Self::Envelope(_) => -32600,
            Self::UnknownMethod => -32601,
            Self::Parameters { .. }
            | Self::UnknownTool
            | Self::UnknownTask
            | Self::Arguments { .. } => -32602,
            Self::MissingCapability(_) => -32021,
            Self::HeaderMismatch { .. } => -32020,
            Self::Version { .. } => -32022,
            Self::Internal => -32603,
            Self::Denied { .. }
            | Self::PolicyFailed
            | Self::Reviewed { .. }
            | Self::HoldOver { .. }
            | Self::NeedsSignature { .. } => -31001,
            Self::UnusableTool { .. } | Self::ChangedTool { .. } => -31002,
            Self::Unauthenticated(_) | Self::IdentityUnavailable | Self::Host | Self::Origin => {
                -31003
            }
            Self::NotFound
            | Self::MethodNotAllowed { .. }
            | Self::Media
            | Self::Slow
            | Self::Abandoned
            | Self::Unknown(_) => -31004,
            Self::Overloaded(_) | Self::Draining | Self::RecordFailed | Self::HoldFailed => -31005,
            Self::Unreachable(_) | Self::OutcomeUnknown(_) | Self::Answer { .. } => -31006,
        }
    }

    /// Whether a model should see it as a failed tool call, rather than the client as an error.
    pub const fn is_about_the_tool(&self) -> bool {
        matches!(
            self,
            Self::UnknownTool
                | Self::UnusableTool { .. }
                | Self::ChangedTool { .. }
                | Self::Arguments { .. }
                | Self::Denied { .. }
                | Self::PolicyFailed
                | Self::NeedsSignature { .. }
                | Self::Reviewed { .. }
                | Self::HoldOver { .. }
                | Self::HoldFailed
                | Self::RecordFailed
                | Self::Unreachable(_)
                | Self::OutcomeUnknown(_)
                | Self::Answer { .. }
        )
    }

    /// What the agent can do about it, for its `_meta`.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Arguments { .. } | Self::Parameters { .. } => "correct_and_retry",
            Self::UnknownTool => "list_tools",
            Self::NeedsSignature { .. } => "ask_a_person",
            Self::Reviewed { .. } => "do_as_the_reviewer_says",
            Self::HoldOver { ticket, .. } if matches!(ticket.state, State::Unknown) => {
                "check_before_retry"
            }
            Self::HoldOver { .. } => "make_the_call_again",
            Self::Overloaded(_)
            | Self::Draining
            | Self::RecordFailed
            | Self::HoldFailed
            | Self::Unreachable(_)
            | Self::IdentityUnavailable => "retry_later",
            Self::OutcomeUnknown(_) => "check_before_retry",
            _ => "do_not_retry",
        }
    }

    /// What was decided where this is the answer.
    pub const fn effect(&self) -> Effect {
        match self {
            Self::NeedsSignature { .. } => Effect::Hold,
            _ => Effect::Deny,
        }
    }

    /// The hold that it is about.
    pub fn ticket(&self) -> Option<&Ticket> {
        match self {
            Self::NeedsSignature { ticket, .. } => ticket.as_deref(),
            Self::Reviewed { ticket, .. } | Self::HoldOver { ticket, .. } => Some(ticket),
            _ => None,
        }
    }

    /// The rule that refused, where policy did.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Denied { reasons } | Self::NeedsSignature { reasons, .. } => {
                reasons.first().map(|r| r.code.as_str())
            }
            _ => None,
        }
    }
}
