//! One call, start to finish: the steps in order.
//!
//! Whatever can reach a tool passes [`Gate::handle`].

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::call::{Agent, Claimed, Door, Effect, Tier};
use crate::config::{Mode, Sync};
use crate::hold::{Hold, HoldId};
use crate::json::{Digest, Value};
use crate::refusal::{Reason, Refusal};
use crate::telemetry::CallSpan;
use crate::tools::{Classifier, Definition, Pins};

mod decide;
pub mod desk;
mod edit;
pub mod forward;
mod held;
pub mod identify;
mod input;
pub mod policy;
pub mod record;
pub mod schema;
pub mod sessions;

pub use edit::{EditFault, Edited};
pub use held::{over, waits};

use decide::Decided;
use desk::Desk;
use forward::{Carrier, InFlight};
use policy::Policies;
use record::Record;
use sessions::Sessions;

/// Everything that decides, as one immutable value, swapped whole.
pub struct Snapshot {
    /// The rules.
    pub policies: Policies,
    /// Tiers, labels and titles.
    pub classifier: Classifier,
    /// Accepted definitions; none where the operator keeps no lock file.
    pub pins: Option<Pins>,
    /// `input.environment`.
    pub environment: Arc<str>,
    /// What a denial does.
    pub mode: Mode,
    /// Whether the intent is fsynced before the call is sent, by tier.
    pub sync: Sync,
    /// Over all of the above; in every record.
    pub digest: Digest,
}

/// A tool as its server offers it now.
#[derive(Clone)]
pub struct Offered {
    /// Its definition.
    pub definition: Arc<Definition>,
    /// Whether it differs from the one first seen since the gate started.
    pub changed: bool,
}

/// What the call is to.
pub enum Target {
    /// A tool by this definition.
    Tool(Offered),
    /// A tool that its server does not offer.
    UnknownTool,
    /// A method that is decided like a tool of the method's name.
    Method,
}

/// A call as a front end hands it over: parsed, identified, not decided.
pub struct Arrival {
    /// Names this call and its decision.
    pub id: uuid::Uuid,
    /// How it came in.
    pub door: Door,
    /// Who calls.
    pub agent: Arc<Agent>,
    /// The configured name of the server.
    pub server: Arc<str>,
    /// The method of the protocol.
    pub method: &'static str,
    /// The tool's name, or the method again.
    pub tool: Arc<str>,
    /// What it is to.
    pub target: Target,
    /// What it gets.
    pub arguments: Value,
    /// What the agent says of it.
    pub claimed: Claimed,
    /// The transport's session.
    pub session: Option<Arc<str>>,
    /// The id of the trace it belongs to.
    pub trace: Option<String>,
    /// Its span; the record says in it what became of the call.
    pub span: CallSpan,
    /// When it had been read.
    pub received_at: SystemTime,
    /// The hold that it comes for.
    pub hold: Option<HoldId>,
    /// Who waits, should it need signatures.
    pub waits: Waits,
}

/// Who waits for a call that needs signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// The client that made it.
    Client,
    /// The client, which goes on with a call that was signed and sent, and asked something back.
    GoesOn,
    /// Nobody any more: the gate makes it, and what comes of it is kept.
    Gate,
    /// It cannot wait, so it is refused.
    Never,
}

/// What is known of a message that is refused before it is a call.
#[derive(Default)]
pub struct Stray<'a> {
    /// Who sent it, where that is known.
    pub agent: Option<&'a str>,
    /// To which server, where that is configured.
    pub server: Option<&'a str>,
    /// With which method, where that is in the table.
    pub method: Option<&'static str>,
}

/// What stands between.
pub struct Gate {
    snapshot: ArcSwap<Snapshot>,
    sessions: Sessions,
    ledger: Arc<record::Ledger>,
    desk: Arc<Desk>,
}

/// What the gate did with a call.
#[allow(
    clippy::large_enum_variant,
    reason = "the large one is the usual one; a box would cost each call"
)]
pub enum Handled<C: Carrier> {
    /// It was sent.
    Sent(C::Answer, InFlight),
    /// It waits for people.
    Held(Box<Waiting<C>>),
    /// It was sent before: the hold, and the answer that is kept, an object with `result` or
    /// `error`.
    Kept(Box<Hold>, Bytes),
}

/// A call that waits for people, with all it takes to make it again.
pub struct Waiting<C> {
    /// Its hold.
    pub hold: Hold,
    /// The call again, for that hold.
    pub again: Arrival,
    /// What sends it, unused.
    pub carrier: C,
}

impl Gate {
    /// A gate that decides by `snapshot`, holds at `desk`, and writes to the desk's ledger.
    pub fn new(snapshot: Snapshot, desk: Arc<Desk>, sessions: usize) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            sessions: Sessions::new(sessions),
            ledger: Arc::clone(desk.ledger()),
            desk,
        }
    }

    /// Decides one call, puts the decision on record, and forwards it where allowed.
    pub async fn handle<C: Carrier>(
        &self,
        arrival: Arrival,
        carrier: C,
    ) -> Result<Handled<C>, Refusal> {
        let snapshot = self.snapshot.load_full();
        let record = Record::open(Arc::clone(&self.ledger), &snapshot, &arrival);
        let beside = || carrier.beside();
        match decide::decide(self, &snapshot, arrival, record, &beside).await? {
            Decided::Go(permit) => {
                let (answer, in_flight) = permit.forward(carrier).await?;
                Ok(Handled::Sent(answer, in_flight))
            }
            Decided::Wait(hold, again) => {
                Ok(Handled::Held(Box::new(Waiting { hold: *hold, again: *again, carrier })))
            }
            Decided::Kept(hold, answer) => Ok(Handled::Kept(hold, answer)),
        }
    }

    /// Puts on record what was refused before it was a call.
    pub fn stray(&self, stray: &Stray<'_>, refusal: &Refusal) -> uuid::Uuid {
        Record::stray(&self.ledger, &self.snapshot.load(), stray, refusal)
    }

    /// What decides now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Decides by this from now on; calls that have begun keep what they began with.
    pub fn replace(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Whether an agent may ever call a tool, and so may see it.
    pub async fn visible(&self, agent: &Agent, server: &str, tool: &Offered) -> bool {
        let snapshot = self.snapshot.load_full();
        let enforced = snapshot.mode == Mode::Enforce;
        let usable =
            tool.definition.schemas.is_ok() && decide::is_accepted(&snapshot, server, tool);
        usable && (!enforced || decide::visible(&snapshot, agent, server, tool).await)
    }

    /// Where held calls wait.
    pub const fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// The trail, for what is not a call.
    pub fn ledger(&self) -> &Arc<record::Ledger> {
        &self.ledger
    }
}

/// What would become of a call.
pub struct Rehearsal {
    /// What would be done.
    pub effect: Effect,
    /// How much harm it can do.
    pub tier: Tier,
    /// What the agent would be told.
    pub refusal: Option<Refusal>,
    /// What policy said for it.
    pub reasons: Vec<Reason>,
    /// What policy said beside it.
    pub warnings: Vec<Reason>,
    /// What rules on trial, or the mode, kept from being done.
    pub would: Vec<(Effect, Reason)>,
    /// Why policy could not decide.
    pub failure: Option<String>,
}

impl Rehearsal {
    /// As JSON.
    pub fn json(&self) -> Value {
        let would = self
            .would
            .iter()
            .map(|(effect, reason)| serde_json::json!({"effect": effect, "reason": reason}));
        serde_json::json!({
            "effect": self.effect,
            "tier": self.tier,
            "code": self.refusal.as_ref().map_or("allowed", Refusal::code),
            "message": self.refusal.as_ref().map(ToString::to_string),
            "reasons": self.reasons,
            "warnings": self.warnings,
            "would": would.collect::<Vec<_>>(),
            "failure": self.failure,
        })
    }
}

/// Says what would become of a call, and does nothing.
pub async fn rehearse(snapshot: &Snapshot, arrival: Arrival) -> Rehearsal {
    let past = Sessions::new(1);
    let bench = decide::Bench { snapshot, past: &past, signatures: &[], again: false };
    let judged = decide::judge(&bench, arrival).await;
    let refusal = judged.outcome.err();
    let verdict = judged.verdict.unwrap_or_else(policy::Verdict::empty);
    let mut would = verdict.dry;
    if let Some(excepted) = &judged.excepted {
        let (code, message) = (excepted.code().to_owned(), excepted.to_string());
        let policy = snapshot.mode.name().to_owned();
        would.push((excepted.effect(), Reason { code, message, policy }));
    }
    Rehearsal {
        effect: refusal.as_ref().map_or(Effect::Allow, Refusal::effect),
        tier: judged.tier,
        refusal,
        reasons: verdict.reasons,
        warnings: verdict.warnings,
        would,
        failure: verdict.failure,
    }
}
