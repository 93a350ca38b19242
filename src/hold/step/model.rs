//! In each order of what several do at once, what can become of a hold?

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use stateright::{Checker as _, Model, Property};

use super::tests::{at, held, person};
use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Who {
    /// Signs, the second time under another spelling.
    Ann,
    /// Signs, edits or denies.
    Bob,
    /// Asked for it, and would like to sign it.
    Ada,
    /// Asks for more, once.
    Policy,
    Clock,
    Client,
    Retry(u8),
}

const ALL: [Who; 8] = [
    Who::Ann,
    Who::Bob,
    Who::Ada,
    Who::Policy,
    Who::Clock,
    Who::Client,
    Who::Retry(1),
    Who::Retry(2),
];

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

#[derive(Debug, Clone, Copy)]
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
    read: Option<Hold>,
    /// What they looked at first; the store may have gone on since.
    seen: Option<Digest>,
    sending: bool,
}

/// The store, everybody, and what has really happened.
#[derive(Debug, Clone)]
struct World {
    stored: Hold,
    actors: BTreeMap<Who, Actor>,
    late: bool,
    /// Who said yes to what, in small letters.
    yes: BTreeSet<(String, Digest)>,
    sending: u8,
    finished: u8,
    ends: u8,
    released: bool,
    revived: bool,
    unsigned: bool,
}

/// All of a hold that decides what can become of it.
fn essence(hold: &Hold) -> impl Hash + PartialEq + use<> {
    let signers: Vec<String> = hold.signatures.iter().map(|one| one.reviewer.id.clone()).collect();
    (hold.version, hold.state, hold.ask.hash, hold.terms.approvals, signers)
}

impl World {
    fn essence(&self) -> impl Hash + PartialEq + use<> {
        let actors: Vec<_> = self
            .actors
            .values()
            .map(|one| (one.tries, one.read.as_ref().map(essence), one.seen, one.sending))
            .collect();
        let happened = (self.sending, self.finished, self.ends, self.released);
        let wrong = (self.revived, self.unsigned);
        (essence(&self.stored), actors, self.late, self.yes.clone(), happened, wrong)
    }

    fn write(&mut self, next: Hold, step: Move, by: Option<String>) {
        self.revived |= !self.stored.state.is_open();
        self.ends += u8::from(self.stored.state.is_open() && !next.state.is_open());
        match step {
            Move::Sign | Move::Edit => {
                self.yes.extend(by.map(|by| (by.to_lowercase(), next.ask.hash)));
            }
            Move::Claim => {
                self.sending += 1;
                let yes = self.yes.iter().filter(|(_, hash)| *hash == next.ask.hash);
                let enough = yes.count() >= next.terms.approvals as usize;
                self.unsigned |= !enough || self.yes.iter().any(|(who, _)| who == "ada");
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
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.essence().hash(state);
    }
}

struct Desk {
    /// Whether the store compares versions.
    compares: bool,
}

impl Model for Desk {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let actor = |who| {
            let tries = match who {
                Who::Ann | Who::Retry(_) => 2,
                _ => 1,
            };
            (who, Actor { tries, read: None, seen: None, sending: false })
        };
        let mut stored = held();
        stored.terms.approvals = 1;
        vec![World {
            stored,
            actors: ALL.into_iter().map(actor).collect(),
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
                Who::Ann | Who::Ada => &[Move::Sign],
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
                actor.read = Some(world.stored.clone());
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
            Who::Ada => Some("Ada"),
            _ => None,
        };
        let taken = read.after(self.step(&read, step, name, actor.seen?), now);
        if taken == Err(Barred::Changed) {
            actor.seen = None;
        }
        let Ok(taken) = taken else { return Some(next) };
        if self.compares && world.stored.version + 1 != taken.version {
            return Some(next);
        }
        // Whoever claimed it goes on with what they wrote.
        actor.sending = step == Move::Claim;
        actor.read = actor.sending.then(|| taken.clone());
        next.write(taken, step, name.map(str::to_owned));
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("it ends once", |_, world: &World| world.ends <= 1),
            Property::always("what has ended stays so", |_, world: &World| !world.revived),
            Property::always("one sends it at a time", |_, world: &World| world.sending <= 1),
            Property::always("it is finished once", |_, world: &World| world.finished <= 1),
            Property::always("it was signed", |_, world: &World| !world.unsigned),
            Property::sometimes("released and done", |_, world: &World| {
                world.released && world.stored.state == State::Done
            }),
            Property::sometimes("edited, asked for more, and done", |_, world: &World| {
                let stored = &world.stored;
                let twice = stored.terms.approvals == 2;
                stored.edited.is_some() && twice && stored.state == State::Done
            }),
            Property::sometimes("unknown", |_, world: &World| world.is(State::Unknown)),
            Property::sometimes("denied", |_, world: &World| world.is(State::Denied)),
            Property::sometimes("cancelled", |_, world: &World| world.is(State::Cancelled)),
            Property::sometimes("expired", |_, world: &World| world.is(State::Expired)),
        ]
    }
}

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

#[test]
fn e05_in_each_order_a_hold_ends_once_and_is_sent_once_and_signed() {
    let checked = Desk { compares: true }.checker().threads(2).spawn_bfs().join();
    checked.assert_properties();
    assert!(checked.is_done());
    println!("{} states", checked.unique_state_count());
}

#[test]
fn without_the_comparison_it_is_sent_twice() {
    let checked = Desk { compares: false }.checker().target_state_count(200_000).spawn_bfs().join();
    assert!(checked.discovery("one sends it at a time").is_some());
}
