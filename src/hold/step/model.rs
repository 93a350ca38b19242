//! In each order of what several do at once, what can become of a hold?

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use stateright::{Checker as _, Model, Property};

use super::tests::{at, held, person};
use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Who {
    /// Signs, the second time under another spelling.
    Ann,
    /// Signs, edits or denies.
    Bob,
    /// Asks for more, once.
    Policy,
    Clock,
    Client,
    Retry(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Move {
    Sign,
    Edit,
    Deny,
    AskMore,
    Expire,
    Cancel,
    Claim,
    Release,
    Done,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Somebody reads the store.
    Read(Who),
    /// They write what they make of what they have read.
    Write(Who, Move),
    /// Its time is over.
    Tick,
}

/// How far somebody is.
#[derive(Debug, Clone)]
struct Actor {
    tries: u8,
    read: Option<Arc<Hold>>,
    /// What they looked at first; the store may have gone on since.
    seen: Option<Digest>,
    sending: bool,
}

/// The store, everybody, and what has really happened.
#[derive(Debug, Clone)]
struct World {
    stored: Arc<Hold>,
    actors: BTreeMap<Who, Actor>,
    late: bool,
    /// Who said yes to what.
    yes: BTreeSet<(Who, Digest)>,
    sending: u8,
    finished: u8,
    ends: u8,
    released: bool,
    revived: bool,
    unsigned: bool,
}

/// All of a hold that decides what can become of it; of who signed it, the first letter.
fn essence(hold: &Hold) -> impl Hash + PartialEq + use<> {
    let mut signers = [0; 4];
    for (letter, signature) in signers.iter_mut().zip(&hold.signatures) {
        *letter = signature.reviewer.id.as_bytes()[0];
    }
    (hold.version, hold.state, hold.ask.hash, hold.terms.approvals, signers)
}

impl Actor {
    fn essence(&self) -> impl Hash + PartialEq + use<> {
        (self.tries, self.read.as_deref().map(essence), self.seen, self.sending)
    }
}

impl World {
    fn essence(&self) -> impl Hash + PartialEq + use<> {
        let happened = (self.late, self.sending, self.finished, self.ends, self.released);
        (essence(&self.stored), happened, self.revived, self.unsigned)
    }

    fn write(&mut self, next: Arc<Hold>, step: Move, by: Who) {
        self.revived |= !self.stored.state.is_open();
        self.ends += u8::from(self.stored.state.is_open() && !next.state.is_open());
        match step {
            Move::Sign | Move::Edit => {
                self.yes.insert((by, next.ask.hash));
            }
            Move::Claim => {
                self.sending += 1;
                let yes = self.yes.iter().filter(|(_, hash)| *hash == next.ask.hash);
                self.unsigned |= yes.count() < next.terms.approvals as usize;
            }
            Move::Release => {
                self.sending -= 1;
                self.released = true;
            }
            Move::Done | Move::Unknown => self.finished += 1,
            _ => {}
        }
        self.stored = next;
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.essence() == other.essence()
            && self.yes == other.yes
            && self
                .actors
                .values()
                .map(Actor::essence)
                .eq(other.actors.values().map(Actor::essence))
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.essence().hash(state);
        self.yes.hash(state);
        self.actors.values().for_each(|actor| actor.essence().hash(state));
    }
}

struct Desk {
    /// Who is there, and how often they look.
    actors: &'static [(Who, u8)],
    /// How many must sign.
    approvals: u32,
    /// Whether the store compares versions.
    compares: bool,
}

impl Model for Desk {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let actor = |(who, tries)| (who, Actor { tries, read: None, seen: None, sending: false });
        let mut stored = held();
        stored.terms.approvals = self.approvals;
        vec![World {
            stored: Arc::new(stored),
            actors: self.actors.iter().copied().map(actor).collect(),
            late: false,
            yes: BTreeSet::new(),
            sending: 0,
            finished: 0,
            ends: 0,
            released: false,
            revived: false,
            unsigned: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if !world.late {
            actions.push(Action::Tick);
        }
        for (who, actor) in &world.actors {
            if actor.read.is_none() {
                // Nobody expires what is not over, and what has ended is looked at no more.
                let waits = *who == Who::Clock && !world.late;
                if actor.tries > 0 && !waits && world.stored.state.is_open() {
                    actions.push(Action::Read(*who));
                }
                continue;
            }
            let moves: &[Move] = match who {
                Who::Ann => &[Move::Sign],
                Who::Bob => &[Move::Sign, Move::Edit, Move::Deny],
                Who::Policy => &[Move::AskMore],
                Who::Clock => &[Move::Expire],
                Who::Client => &[Move::Cancel],
                Who::Retry(_) if actor.sending => &[Move::Release, Move::Done, Move::Unknown],
                Who::Retry(_) => &[Move::Claim],
            };
            actions.extend(moves.iter().map(|step| Action::Write(*who, *step)));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        let (who, step) = match action {
            Action::Tick => {
                next.late = true;
                return Some(next);
            }
            Action::Read(who) => {
                let actor = next.actors.get_mut(&who)?;
                actor.read = Some(Arc::clone(&world.stored));
                actor.seen.get_or_insert(world.stored.ask.hash);
                actor.tries -= 1;
                return Some(next);
            }
            Action::Write(who, step) => (who, step),
        };
        let now = at(if world.late { 100 } else { 1 });
        let actor = next.actors.get_mut(&who)?;
        let read = actor.read.take()?;
        let name = match who {
            Who::Ann if actor.tries == 0 => Some("ANN"),
            Who::Ann => Some("ann"),
            Who::Bob => Some("bob"),
            _ => None,
        };
        let taken = read.after(self.step(&read, step, name, actor.seen?), now);
        if taken == Err(Barred::Changed) {
            actor.seen = None;
        }
        let Ok(mut taken) = taken else { return Some(next) };
        // What happened decides nothing; who reads it pays for it.
        taken.history.clear();
        let taken = Arc::new(taken);
        if self.compares && world.stored.version + 1 != taken.version {
            return Some(next);
        }
        // Whoever claimed it goes on with what they wrote.
        actor.sending = step == Move::Claim;
        actor.read = actor.sending.then(|| Arc::clone(&taken));
        next.write(taken, step, who);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("it ends once", |_, world: &World| world.ends <= 1),
            Property::always("what has ended stays so", |_, world: &World| !world.revived),
            Property::always(SENT_ONCE, |_, world: &World| world.sending <= 1),
            Property::always("it is finished once", |_, world: &World| world.finished <= 1),
            Property::always("it was signed", |_, world: &World| !world.unsigned),
            Property::sometimes("done", |_, world: &World| world.is(State::Done)),
            Property::sometimes("released and done", |_, world: &World| {
                world.released && world.is(State::Done)
            }),
            Property::sometimes("edited and done", |_, world: &World| {
                world.stored.edited.is_some() && world.is(State::Done)
            }),
            Property::sometimes("unknown", |_, world: &World| world.is(State::Unknown)),
            Property::sometimes("denied", |_, world: &World| world.is(State::Denied)),
            Property::sometimes("cancelled, if anybody would", |desk: &Self, world: &World| {
                desk.actors.iter().all(|(who, _)| *who != Who::Client) || world.is(State::Cancelled)
            }),
            Property::sometimes("expired", |_, world: &World| world.is(State::Expired)),
        ]
    }
}

const SENT_ONCE: &str = "one sends it at a time";

impl World {
    fn is(&self, state: State) -> bool {
        self.stored.state == state
    }
}

impl Desk {
    fn step(&self, read: &Hold, step: Move, name: Option<&str>, seen: Digest) -> Step {
        let reviewer = person(name.unwrap_or_default());
        let ending = Ending { by: None, code: "code".into(), message: "message".into() };
        let context = Box::new(read.context.clone());
        let mut terms = read.terms.clone();
        match step {
            Move::Sign => Step::Sign { reviewer, justification: None, seen },
            Move::Edit => {
                let mut ask = Box::new(read.ask.clone());
                ask.hash = Digest::of("edited");
                Step::Edit { reviewer, justification: None, seen, ask, context, terms }
            }
            Move::Deny => Step::Deny { reviewer, ending },
            Move::AskMore => {
                terms.approvals = 2;
                Step::AskMore { terms, context }
            }
            Move::Expire => Step::Expire,
            Move::Cancel => Step::Cancel,
            Move::Claim => Step::Claim,
            Move::Release => Step::Release { why: "refused".into() },
            Move::Done => Step::Finish { state: State::Done, ending: None, told: false },
            Move::Unknown => Step::Finish { state: State::Unknown, ending: None, told: false },
        }
    }
}

/// Two must sign: one of them once under each of two spellings, one changes it or says no.
const TWO_SIGN: &[(Who, u8)] = &[
    (Who::Ann, 2),
    (Who::Bob, 1),
    (Who::Clock, 1),
    (Who::Client, 1),
    (Who::Retry(1), 2),
    (Who::Retry(2), 1),
];
/// One must sign, and then a second one as well.
const MORE_IS_ASKED: &[(Who, u8)] = &[
    (Who::Ann, 1),
    (Who::Bob, 1),
    (Who::Policy, 1),
    (Who::Clock, 1),
    (Who::Retry(1), 1),
    (Who::Retry(2), 1),
];

#[test]
fn e05_in_each_order_a_hold_ends_once_and_is_sent_once_and_signed() {
    for (actors, approvals) in [(TWO_SIGN, 2), (MORE_IS_ASKED, 1)] {
        let checked = Desk { actors, approvals, compares: true }.checker().spawn_bfs().join();
        checked.assert_properties();
        println!("{} states", checked.unique_state_count());
    }
}

#[test]
fn without_the_comparison_it_is_sent_twice() {
    let desk = Desk { actors: TWO_SIGN, approvals: 2, compares: false };
    let checked = desk.checker().target_state_count(200_000).spawn_bfs().join();
    assert!(checked.discovery(SENT_ONCE).is_some());
}
