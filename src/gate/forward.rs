//! How does a call reach its tool?
//!
//! Only with a [`Permit`], which only `decide` makes, after the intent is on record. A front end
//! brings a [`Carrier`] that knows how to frame and send.

use std::future::Future;

use super::desk::Claim;
use super::record::Record;
use super::schema;
use bytes::Bytes;

use crate::call::Call;
use crate::hold::Hold;
use crate::json::{Map, Value};
use crate::refusal::Refusal;
use crate::telemetry::CallSpan;
use crate::tools::Definition;
use std::sync::Arc;

/// Proof that a call passed every check and is on record.
pub struct Permit {
    call: Call,
    definition: Option<Arc<Definition>>,
    record: Record,
    claim: Option<Box<Claim>>,
}

/// What a front end does to send a call. Taken by value: nothing is sent twice.
pub trait Carrier: Send + Sync {
    /// What comes back at once: an answer's head, or the head of a stream.
    type Answer: Send;

    /// Opens the span of sending it, as a child of the call's; none where nothing is sent.
    fn span(&self, _call: &CallSpan) -> CallSpan {
        CallSpan::default()
    }

    /// What the message carries beside the call, without what belongs to one exchange only. Asked
    /// for a call that is held, since it may be sent without its client.
    fn beside(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Sends it, and says upstream that it is within `span`. `Err` only where the call certainly did not take effect, or its effect is
    /// unknown; the refusal says which.
    fn carry(
        self,
        call: Call,
        span: &CallSpan,
    ) -> impl Future<Output = Result<Self::Answer, Refusal>> + Send;
}

impl Permit {
    pub(super) const fn new(
        call: Call,
        definition: Option<Arc<Definition>>,
        record: Record,
        claim: Option<Box<Claim>>,
    ) -> Self {
        Self { call, definition, record, claim }
    }

    /// Uses the permit up.
    pub(super) async fn forward<C: Carrier>(
        self,
        carrier: C,
    ) -> Result<(C::Answer, InFlight), Refusal> {
        let Self { call, definition, mut record, claim } = self;
        let span = carrier.span(record.span());
        record.sent(span.clone());
        match carrier.carry(call, &span).await {
            Ok(answer) => Ok((answer, InFlight { definition, record: Some(record), claim })),
            Err(refusal) => {
                record.failed(&refusal);
                if let Some(claim) = claim {
                    Box::pin(claim.failed(&refusal)).await;
                }
                Err(refusal)
            }
        }
    }
}

/// A call that was sent and whose outcome is not on record yet. Dropped, it is unknown.
pub struct InFlight {
    definition: Option<Arc<Definition>>,
    record: Option<Record>,
    claim: Option<Box<Claim>>,
}

/// What a result looks like from outside, read by the front end.
#[derive(Debug, Default)]
pub struct ResultShape {
    /// `isError`.
    pub is_error: bool,
    /// Whether this is the end, and not a task or a question back.
    pub is_final: bool,
    /// `structuredContent`.
    pub structured: Option<Value>,
    /// Its length in bytes.
    pub bytes: u64,
}

impl InFlight {
    /// The id of the call, which is also the id of its decision.
    pub fn id(&self) -> Option<uuid::Uuid> {
        self.record.as_ref().map(Record::id)
    }

    /// The hold whose signatures let it go.
    pub fn hold(&self) -> Option<&Hold> {
        self.claim.as_ref().map(|claim| claim.hold())
    }

    /// Checks the result and closes the record.
    pub fn complete(&mut self, server: &str, shape: &ResultShape) -> Result<(), Refusal> {
        let checked = match &self.definition {
            Some(definition) if shape.is_final => check(server, definition, shape),
            _ => Ok(()),
        };
        if let (Ok(()), Some(record)) = (&checked, &mut self.record) {
            record.answered(shape.is_error, shape.bytes);
            self.record = None;
        }
        checked
    }

    /// Keeps what came of a signed call: an object with `result` or `error`. When this returns, the
    /// agent may have it.
    pub async fn keep(&mut self, is_error: bool, answer: impl FnOnce() -> Bytes) {
        if let Some(claim) = self.claim.take() {
            Box::pin(claim.answered(is_error, answer())).await;
        }
    }

    /// The server asks back: the signed call goes on when the client has answered.
    pub fn pause(&mut self) {
        if let Some(claim) = self.claim.take() {
            claim.pause();
        }
    }

    /// Closes the record: the server answered with an error, a JSON-RPC one where it has a code.
    pub fn errored(&mut self, code: Option<i64>, bytes: u64) {
        if let Some(mut record) = self.record.take() {
            record.errored(code, bytes);
        }
    }

    /// Closes the record: the answer is not passed on.
    pub fn refused(&mut self, refusal: &Refusal) {
        if let Some(mut record) = self.record.take() {
            record.failed(refusal);
        }
        if let Some(claim) = self.claim.take() {
            claim.fail(refusal);
        }
    }

    /// Closes the record: the client went away, in a revision where that is a cancel.
    pub fn cancelled(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.cancelled();
        }
    }
}

/// Whether a final result fits its tool's output schema.
pub fn check(server: &str, definition: &Definition, shape: &ResultShape) -> Result<(), Refusal> {
    schema::result(definition.usable()?, shape.structured.as_ref(), shape.is_error)
        .map_err(|reason| Refusal::Answer { server: server.to_owned(), reason })
}
