//! What becomes of a call that people must sign?
//!
//! It waits, or it finds the hold that it made before: to be sent with its signatures, to get what
//! came of it, or to hear why not. The decision is taken again on the policy of this moment, and
//! what is sent is what was signed, or nothing.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::decide::{Bench, HeldCall, Judged, judge};
use super::desk::{Claim, Desk, Draft, StepFault};
use super::policy::Verdict;
use super::record::Record;
use super::{Arrival, Gate, Offered, Snapshot, Target, Waits};
use crate::call::Call;
use crate::hold::{Ask, Context, Ending, Hold, HoldId, State, Step};
use crate::json::{Digest, Map, Value};
use crate::refusal::{Refusal, Ticket};
use crate::store::StoreFault;
use crate::telemetry::CallSpan;
use crate::time::At;
use crate::tools::Definition;

/// Where a call goes from here.
#[allow(
    clippy::large_enum_variant,
    reason = "the large one is the usual one; a box would cost each call"
)]
pub(super) enum Way {
    /// To its tool.
    Go { call: Call, definition: Option<Arc<Definition>>, claim: Option<Box<Claim>> },
    /// Nowhere yet.
    Wait(Box<Hold>, Box<Arrival>),
    /// It has been there, and this came of it.
    Kept(Box<Hold>, Bytes),
}

/// What a call that waits is told.
pub fn waits(hold: &Hold) -> Refusal {
    let reasons = hold.context.reasons.clone();
    Refusal::NeedsSignature { reasons, ticket: Some(Box::new(Ticket::of(hold))) }
}

/// Judges a call, and again with its signatures where it has any.
pub(super) async fn way(
    gate: &Gate,
    snapshot: &Snapshot,
    mut arrival: Arrival,
    record: &mut Record,
    beside: &(dyn Fn() -> Map<String, Value> + Sync),
) -> Result<Way, Refusal> {
    let (waits, known) = (arrival.waits != Waits::Never, arrival.hold);
    let mode = arrival.waits;
    let mut hold = match known {
        Some(id) => Some(Box::pin(gate.desk.hold(id)).await.map_err(|fault| failed(&fault))?),
        None => None,
    };
    if let Some(hold) = &hold {
        if hold.ask.agent.id != arrival.agent.id {
            return Err(Refusal::Unknown("hold"));
        }
        arrival.arguments.clone_from(&hold.ask.arguments);
    }
    let bench = Bench { snapshot, past: &gate.sessions, signatures: &[], again: known.is_some() };
    let signatures = hold.as_ref().map(|hold| hold.signatures.as_slice()).unwrap_or_default();
    let mut judged = judge(&Bench { signatures, ..bench }, arrival).await;
    if waits
        && known.is_none()
        && let Some(held) = &judged.held
    {
        let found = Box::pin(gate.desk.find(&held.call.agent.id, held.binding()));
        hold = found.await.map_err(|fault| failed(&fault.into()))?;
        if let Some(hold) = &hold
            && hold.state == State::Approved
        {
            let mut again = again(&held.call, held.offered.as_ref(), hold);
            again.id = held.call.id;
            let bench = Bench { signatures: &hold.signatures, again: true, ..bench };
            judged = Box::pin(judge(&bench, again)).await;
        }
    }
    record.judged(&judged);
    let Judged { outcome, held, verdict, .. } = judged;
    match (outcome, held) {
        (Ok((call, offered)), _) => {
            let go = Allowed { gate, snapshot, call, offered, mode };
            let open = if hold.is_none() { go.open_hold() } else { None };
            // Boxed, so that calls which nothing holds have no room for it.
            match (hold, open) {
                (None, None) => Ok(go.unsigned()),
                (hold, open) => Box::pin(go.with(hold, open)).await,
            }
        }
        (Err(_), Some(held)) if waits => {
            let verdict = verdict.unwrap_or_else(Verdict::empty);
            let sitting =
                Sitting { gate, snapshot, held, verdict, beside, known: known.is_some(), mode };
            Box::pin(sitting.needs_signatures(hold)).await
        }
        (Err(refusal), _) => {
            if let Some(hold) = hold {
                Box::pin(void(&gate.desk, &hold, refusal.code(), &refusal.to_string())).await;
            }
            Err(refusal)
        }
    }
}

/// A call that nothing stops any more.
struct Allowed<'a> {
    gate: &'a Gate,
    snapshot: &'a Snapshot,
    call: Call,
    offered: Option<Offered>,
    mode: Waits,
}

impl Allowed<'_> {
    /// With its signatures, or now even without.
    async fn with(self, hold: Option<Hold>, open: Option<HoldId>) -> Result<Way, Refusal> {
        let desk = &self.gate.desk;
        let Some(hold) = hold else {
            if let Some(id) = open
                && let Ok(hold) = desk.hold(id).await
            {
                void(desk, &hold, "allowed", LET_GO).await;
            }
            return Ok(self.unsigned());
        };
        match hold.state {
            State::Approved => self.signed(hold).await,
            State::Executing if self.mode == Waits::GoesOn => self.signed(hold).await,
            State::Pending => {
                void(desk, &hold, "allowed", LET_GO).await;
                Ok(self.unsigned())
            }
            _ => {
                let again = again(&self.call, self.offered.as_ref(), &hold);
                standing(desk, hold, again).await
            }
        }
    }

    /// The same call may wait, from when policy still held it.
    fn open_hold(&self) -> Option<HoldId> {
        let Self { gate, snapshot, call, .. } = self;
        if gate.desk.is_idle() {
            return None;
        }
        let class = snapshot.classifier.classify(&call.server, &call.tool);
        let definition = self.offered.as_ref().map(|offered| &offered.definition.digest);
        gate.desk.has_open(&call.agent.id, &binding(call, definition, &class.advisory))
    }

    fn unsigned(self) -> Way {
        let definition = self.offered.map(|offered| offered.definition);
        Way::Go { call: self.call, definition, claim: None }
    }

    fn claimed(self, claim: Claim) -> Way {
        let definition = self.offered.map(|offered| offered.definition);
        Way::Go { call: self.call, definition, claim: Some(Box::new(claim)) }
    }

    /// Sends what was signed, unless somebody else does.
    async fn signed(self, hold: Hold) -> Result<Way, Refusal> {
        let desk = &self.gate.desk;
        if self.call.hash != hold.ask.hash {
            let why = "what was signed is not what would be sent: the tool has changed since";
            void(desk, &hold, "changed", why).await;
            let hold = desk.hold(hold.id).await.map_err(|fault| failed(&fault))?;
            return Err(over(&hold));
        }
        let again = again(&self.call, self.offered.as_ref(), &hold);
        if self.mode == Waits::GoesOn {
            return match desk.go_on(hold) {
                Some(claim) => Ok(self.claimed(claim)),
                None => Err(Refusal::Unknown("request state")),
            };
        }
        match desk.claim(&hold, self.mode == Waits::Client).await {
            Ok(claim) => Ok(self.claimed(claim)),
            // Somebody was first, or it may not be sent at this hour.
            Err(StepFault::Barred(_)) => {
                let hold = desk.hold(hold.id).await.map_err(|fault| failed(&fault))?;
                standing(desk, hold, again).await
            }
            Err(fault) => Err(failed(&fault)),
        }
    }
}

const LET_GO: &str = "policy lets this call go without signatures now";

/// A call that policy holds, and all that its hold is made of.
struct Sitting<'a> {
    gate: &'a Gate,
    snapshot: &'a Snapshot,
    held: Box<HeldCall>,
    verdict: Verdict,
    beside: &'a (dyn Fn() -> Map<String, Value> + Sync),
    /// Whether it comes for a hold that it knows.
    known: bool,
    mode: Waits,
}

impl Sitting<'_> {
    async fn needs_signatures(self, hold: Option<Hold>) -> Result<Way, Refusal> {
        let desk = &self.gate.desk;
        match hold {
            Some(hold) if hold.state == State::Approved => self.signed(hold).await,
            Some(hold) if hold.state == State::Executing && self.mode == Waits::GoesOn => {
                self.signed(hold).await
            }
            Some(hold) if self.known || tells(desk, &hold, At::now()) => {
                let again = again(&self.held.call, self.held.offered.as_ref(), &hold);
                standing(desk, hold, again).await
            }
            before => {
                let after = before.map(|hold| hold.id);
                let hold =
                    desk.submit(self.draft(), after).await.map_err(|fault| failed(&fault))?;
                let again = again(&self.held.call, self.held.offered.as_ref(), &hold);
                standing(desk, hold, again).await
            }
        }
    }

    /// It has been signed: by all whom policy asks for now?
    async fn signed(self, hold: Hold) -> Result<Way, Refusal> {
        let desk = &self.gate.desk;
        let terms = self.verdict.hold.clone().unwrap_or_default();
        if hold.missing(&terms) == 0 {
            let HeldCall { call, offered, .. } = *self.held;
            let Self { gate, snapshot, mode, .. } = self;
            return Allowed { gate, snapshot, call, offered, mode }.signed(hold).await;
        }
        if self.mode == Waits::GoesOn {
            return Err(waits(&hold));
        }
        let more = Step::AskMore { terms, context: Box::new(self.context()) };
        let again = again(&self.held.call, self.held.offered.as_ref(), &hold);
        let hold = match desk.step(hold.id, more).await {
            Ok(hold) => hold,
            Err(StepFault::Barred(_)) => desk.hold(hold.id).await.map_err(|f| failed(&f))?,
            Err(fault) => return Err(failed(&fault)),
        };
        standing(desk, hold, again).await
    }

    fn draft(&self) -> Draft {
        Draft {
            binding: self.held.binding(),
            ask: self.ask(),
            context: self.context(),
            terms: self.verdict.hold.clone().unwrap_or_default(),
        }
    }

    fn ask(&self) -> Ask {
        let HeldCall { call, offered, .. } = &*self.held;
        Ask {
            door: call.door,
            agent: (*call.agent).clone(),
            server: call.server.to_string(),
            method: call.method.to_owned(),
            tool: call.tool.to_string(),
            arguments: call.arguments.clone(),
            hash: call.hash,
            definition: offered.as_ref().map(|offered| offered.definition.digest),
            claimed: call.claimed.clone(),
            meta: (self.beside)(),
            call: call.id,
        }
    }

    fn context(&self) -> Context {
        context(self.snapshot, &self.held, &self.verdict)
    }
}

/// What reviewers see beside a call.
pub(super) fn context(snapshot: &Snapshot, held: &HeldCall, verdict: &Verdict) -> Context {
    let charges = verdict.charges.iter();
    let mut session = held.session.clone();
    // A session id is a key to the server: people see its digest.
    if let Some(Value::String(id)) = session.get_mut("id")
        && !id.is_empty()
    {
        *id = Digest::of(id.as_bytes()).to_string();
    }
    Context {
        tier: verdict.tier.map_or(held.class.tier, |tier| tier.max(held.class.tier)),
        reversible: held.class.reversible,
        labels: held.class.labels.clone(),
        reasons: verdict.reasons.clone(),
        warnings: verdict.warnings.clone(),
        charges: charges.map(|c| (c.budget.clone(), c.amount.clone())).collect(),
        session,
        environment: snapshot.environment.to_string(),
        policy: snapshot.digest,
    }
}

/// Whether a hold that the same call finds still has something to say to it.
fn tells(desk: &Desk, hold: &Hold, now: At) -> bool {
    let settings = desk.settings();
    let ended = hold.ended_at().unwrap_or(now);
    match hold.state {
        State::Pending | State::Approved | State::Executing => true,
        State::Done | State::Failed => match hold.told_at {
            None => now < ended.plus(settings.keep_result),
            Some(told) => now < told.plus(settings.repeat),
        },
        State::Denied => now < ended.plus(settings.keep_denial),
        // Told once; then it is a new call.
        State::Expired | State::Void | State::Unknown => hold.told_at.is_none(),
        State::Cancelled => false,
    }
}

/// What a hold says to its call, as it stands.
async fn standing(desk: &Arc<Desk>, hold: Hold, again: Arrival) -> Result<Way, Refusal> {
    if hold.state.is_open() {
        return Ok(Way::Wait(Box::new(hold), Box::new(again)));
    }
    let kept = match hold.state {
        State::Done | State::Failed => {
            desk.result(hold.id).await.map_err(|fault| failed(&fault.into()))?
        }
        _ => None,
    };
    if hold.told_at.is_none() {
        // Should it not be kept, it is told once more.
        let _ = desk.step(hold.id, Step::Tell).await;
    }
    match kept {
        Some(answer) => Ok(Way::Kept(Box::new(hold), answer)),
        None => Err(over(&hold)),
    }
}

/// Why a hold came to nothing.
pub fn over(hold: &Hold) -> Refusal {
    let ticket = Box::new(Ticket::of(hold));
    let ending = hold.ending.as_ref();
    let message = ending.map(|ending| ending.message.clone()).unwrap_or_default();
    match hold.state {
        State::Denied => {
            let answered = ending.is_some_and(|ending| ending.code == Ending::ANSWERED);
            Refusal::Reviewed { ticket, message, answered }
        }
        _ => Refusal::HoldOver { ticket, message },
    }
}

async fn void(desk: &Desk, hold: &Hold, code: &str, message: &str) {
    let ending = Ending::of(code, message);
    if let Err(StepFault::Store(error)) = desk.step(hold.id, Step::Void { ending }).await {
        tracing::warn!(hold.id = %hold.id, %error, "a hold that is void cannot be marked so");
    }
}

fn failed(fault: &StepFault) -> Refusal {
    match fault {
        StepFault::Full => Refusal::Overloaded("held calls"),
        StepFault::Store(StoreFault::Broken(_)) => {
            tracing::error!(error = %fault, "calls cannot be held now");
            Refusal::HoldFailed
        }
        _ => {
            tracing::error!(error = %fault, "a hold cannot be used");
            Refusal::HoldFailed
        }
    }
}

impl HeldCall {
    fn binding(&self) -> Digest {
        let definition = self.offered.as_ref().map(|offered| &offered.definition.digest);
        binding(&self.call, definition, &self.class.advisory)
    }
}

/// By what the same call finds its hold: its hash, without what its tool declares advisory.
fn binding(call: &Call, definition: Option<&Digest>, advisory: &[String]) -> Digest {
    if advisory.is_empty() {
        return call.hash;
    }
    let mut bare = call.arguments.clone();
    for place in advisory {
        remove(&mut bare, place);
    }
    Call::hash_of(&call.agent.id, &call.server, &call.tool, definition, &bare)
}

fn remove(value: &mut Value, place: &str) {
    let Some((parent, last)) = place.rsplit_once('/') else { return };
    if let Some(Value::Object(members)) = value.pointer_mut(parent) {
        members.shift_remove(&last.replace("~1", "/").replace("~0", "~"));
    }
}

/// The call again, for its hold.
fn again(call: &Call, offered: Option<&Offered>, hold: &Hold) -> Arrival {
    let target = match offered {
        Some(offered) => Target::Tool(offered.clone()),
        None => Target::Method,
    };
    Arrival {
        id: uuid::Uuid::now_v7(),
        door: call.door,
        agent: Arc::clone(&call.agent),
        server: Arc::clone(&call.server),
        method: call.method,
        tool: Arc::clone(&call.tool),
        target,
        arguments: hold.ask.arguments.clone(),
        claimed: call.claimed.clone(),
        session: call.session.clone(),
        trace: None,
        span: CallSpan::default(),
        received_at: SystemTime::now(),
        hold: Some(hold.id),
        waits: Waits::Client,
    }
}
