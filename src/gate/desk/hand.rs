//! Who makes the calls that nobody waits for?

use std::pin::Pin;

use crate::gate::Arrival;
use crate::hold::{Ask, HoldId};
use crate::json::Value;
use crate::refusal::Refusal;

/// What a [`Hand`] does, in time.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes calls that nobody waits for.
pub trait Hand: Send + Sync {
    /// A held call again, as it would come in now.
    fn arrival<'a>(&'a self, ask: &'a Ask) -> Soon<'a, Result<Arrival, Refusal>>;

    /// Makes a signed call, if it is still to be made; what comes of it is kept.
    fn make(&self, hold: HoldId) -> Soon<'_, ()>;

    /// Asks a tool of tier `low` for reviewers, through the gate, as the agent `countersign`.
    fn read<'a>(
        &'a self,
        server: &'a str,
        tool: &'a str,
        arguments: Value,
    ) -> Soon<'a, Result<Value, Refusal>>;
}
