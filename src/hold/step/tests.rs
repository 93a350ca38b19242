use std::time::Duration;

use serde_json::{Map, json};

use super::*;
use crate::call::{Agent, Claimed, Door, Tier};
use crate::hold::HoldId;

/// So many minutes after it was held; its time is over at 60.
pub(super) fn at(minute: u64) -> At {
    At::from_micros(1_795_000_000_000_000).plus(Duration::from_secs(60 * minute))
}

pub(super) fn person(id: &str) -> Reviewer {
    Reviewer { id: id.into(), groups: Vec::new(), sole: false }
}

fn of_group(id: &str, group: &str) -> Reviewer {
    Reviewer { id: id.into(), groups: vec![group.into()], sole: false }
}

/// Asked for by the agent `ada`, for Dora; two people must sign it.
pub(super) fn held() -> Hold {
    let hash = Digest::of("call");
    Hold {
        id: HoldId::of(1),
        version: 1,
        state: State::Pending,
        binding: Digest::of("binding"),
        ask: Ask {
            door: Door::Mcp,
            agent: Agent { id: "ada".into(), groups: Vec::new(), claims: Map::new() },
            server: "crm".into(),
            method: "tools/call".into(),
            tool: "refund".into(),
            arguments: json!({"amount": 7}),
            hash,
            definition: None,
            claimed: Claimed { user: Some("Dora".into()), ..Claimed::default() },
            meta: Map::new(),
            call: uuid::Uuid::nil(),
        },
        context: Context {
            tier: Tier::High,
            reversible: false,
            labels: Vec::new(),
            reasons: Vec::new(),
            warnings: Vec::new(),
            charges: Vec::new(),
            session: json!({}),
            environment: "test".into(),
            policy: Digest::of("policy"),
        },
        edited: None,
        terms: HoldTerms { approvals: 2, ..HoldTerms::default() },
        escalated: BTreeSet::new(),
        signatures: Vec::new(),
        created_at: at(0),
        expires_at: at(60),
        changed_at: at(0),
        due_at: at(10),
        ending: None,
        told_at: None,
        history: Vec::new(),
    }
}

fn sign(who: &str) -> Step {
    Step::Sign { reviewer: person(who), justification: None, seen: Digest::of("call") }
}

fn edit(who: &str, terms: HoldTerms) -> Step {
    let Hold { mut ask, context, .. } = held();
    (ask.arguments, ask.hash) = (json!({"amount": 5}), Digest::of("edited"));
    let (seen, justification) = (Digest::of("call"), None);
    let (ask, context) = (Box::new(ask), Box::new(context));
    Step::Edit { reviewer: person(who), justification, seen, ask, context, terms }
}

fn deny(who: &str) -> Step {
    let ending = Ending { by: Some(who.into()), code: "denied".into(), message: "no".into() };
    Step::Deny { reviewer: person(who), ending }
}

fn finish(state: State) -> Step {
    Step::Finish { state, ending: None, told: false }
}

fn void() -> Step {
    let message = "the tool has changed".into();
    Step::Void { ending: Ending { by: None, code: "definition".into(), message } }
}

fn ask_more(terms: HoldTerms) -> Step {
    Step::AskMore { terms, context: Box::new(held().context) }
}

fn remind(escalate: &[&str]) -> Step {
    let escalate = escalate.iter().map(|name| (*name).to_owned()).collect();
    Step::Remind { escalate, due_at: at(30) }
}

/// The hold after all of these, a minute each.
fn after(steps: impl IntoIterator<Item = Step>) -> Hold {
    steps
        .into_iter()
        .zip(1..)
        .fold(held(), |hold, (step, minute)| hold.after(step, at(minute)).unwrap())
}

fn pending() -> Hold {
    held()
}

fn approved() -> Hold {
    after([sign("ann"), sign("bob")])
}

fn executing() -> Hold {
    after([sign("ann"), sign("bob"), Step::Claim])
}

#[test]
fn each_step_leads_from_where_it_may_be_taken() {
    use State::{
        Approved, Cancelled, Denied, Done, Executing, Expired, Failed, Pending, Unknown, Void,
    };
    let terms = held().terms;
    let release = Step::Release { why: "refused".into() };
    // What it becomes, if it was pending, approved, executing; a dash: the step is refused.
    for (step, from_pending, from_approved, from_executing) in [
        (sign("eve"), Some(Pending), None, None),
        (edit("eve", terms.clone()), Some(Pending), None, None),
        (deny("eve"), Some(Denied), Some(Denied), None),
        (Step::Expire, Some(Expired), Some(Expired), None),
        (Step::Cancel, Some(Cancelled), Some(Cancelled), None),
        (ask_more(HoldTerms { approvals: 3, ..terms }), None, Some(Pending), None),
        (void(), Some(Void), Some(Void), None),
        (Step::Claim, None, Some(Executing), None),
        (release, None, None, Some(Approved)),
        (finish(Done), None, None, Some(Done)),
        (finish(Failed), None, None, Some(Failed)),
        (finish(Unknown), None, None, Some(Unknown)),
        // Whatever else is said of what was sent, nobody knows.
        (finish(Pending), None, None, Some(Unknown)),
        (Step::Tell, None, None, None),
        (remind(&[]), Some(Pending), Some(Approved), None),
    ] {
        for (hold, expected) in
            [(pending(), from_pending), (approved(), from_approved), (executing(), from_executing)]
        {
            let next = hold.after(step.clone(), at(20));
            let state = next.as_ref().ok().map(|next| next.state);
            assert_eq!(state, expected, "{step:?} from {:?}", hold.state);
            match next {
                Ok(next) => {
                    assert_eq!((next.version, next.changed_at), (hold.version + 1, at(20)));
                    assert_eq!(next.history.last().map(|event| event.state), expected);
                    assert_eq!(next.ended_at().is_some(), !next.state.is_open());
                }
                Err(barred) => assert_eq!(barred.code(), "already_decided"),
            }
        }
    }
}

#[test]
fn what_is_final_stays_so_and_is_told_once() {
    let ends = [
        executing().after(finish(State::Done), at(20)),
        executing().after(finish(State::Failed), at(20)),
        executing().after(finish(State::Unknown), at(20)),
        pending().after(deny("ann"), at(20)),
        pending().after(Step::Expire, at(20)),
        pending().after(Step::Cancel, at(20)),
        pending().after(void(), at(20)),
    ];
    let states: Vec<_> = ends.iter().map(|end| end.as_ref().unwrap().state).collect();
    let all_final: Vec<_> = State::ALL.into_iter().filter(|state| !state.is_open()).collect();
    assert_eq!(states, all_final);
    for end in ends {
        let end = end.unwrap();
        let told = end.after(Step::Tell, at(30)).unwrap();
        assert_eq!((told.state, told.told_at), (end.state, Some(at(30))));
        assert_eq!(told.ended_at(), Some(at(20)), "it ended when it ended");
        for hold in [&end, &told] {
            for step in [
                sign("eve"),
                edit("eve", held().terms),
                deny("eve"),
                Step::Expire,
                Step::Cancel,
                ask_more(held().terms),
                void(),
                Step::Claim,
                Step::Release { why: String::new() },
                finish(State::Done),
                remind(&["eve"]),
            ] {
                let by = match end.state {
                    State::Denied => Some("ann".to_owned()),
                    State::Done | State::Failed | State::Unknown => Some("bob".to_owned()),
                    _ => None,
                };
                let over = Barred::Over { state: end.state, by, at: at(20) };
                assert_eq!(hold.after(step, at(40)), Err(over));
            }
        }
        assert!(told.after(Step::Tell, at(31)).is_err());
    }
}

#[test]
fn e07_who_asked_does_not_decide() {
    for who in ["ada", "ADA", "Dora", "dORA"] {
        for step in [sign(who), deny(who), edit(who, held().terms)] {
            assert_eq!(held().after(step, at(1)), Err(Barred::Requester), "{who}");
        }
    }
    // Nor by way of a list that names them, or a group, or an escalation.
    let mut hold = held();
    hold.terms.reviewers = ["ada".into(), "group:bots".into()].into();
    hold.escalated = hold.terms.reviewers.clone();
    assert_eq!(hold.may_sign(&of_group("ada", "bots")), Err(Barred::Requester));
    assert_eq!(hold.may_sign(&person("adam")), Err(Barred::NotAReviewer));
}

#[test]
fn who_may_sign_is_what_the_terms_say() {
    let mut hold = held();
    hold.terms.reviewers = ["Ann".into(), "group:payments".into()].into();
    for (reviewer, may) in [
        (person("ann"), true),
        (person("bob"), false),
        (of_group("bob", "payments"), true),
        (of_group("bob", "Payments"), false),
        (person("group:payments"), false),
        (person("payments"), false),
    ] {
        assert_eq!(hold.may_sign(&reviewer).is_ok(), may, "{reviewer:?}");
        let deny = Step::Deny {
            reviewer,
            ending: Ending { by: None, code: "denied".into(), message: "no".into() },
        };
        assert_eq!(hold.after(deny, at(1)).is_ok(), may);
    }
    let escalated = hold.after(remind(&["bob"]), at(1)).unwrap();
    assert_eq!(escalated.may_sign(&person("bob")), Ok(()));
    assert_eq!(escalated.may_sign(&person("eve")), Err(Barred::NotAReviewer));
    assert_eq!(escalated.due_at, at(30));
}

#[test]
fn two_signatures_are_two_people() {
    let once = after([sign("ann")]);
    for again in ["ann", "ANN"] {
        assert_eq!(once.after(sign(again), at(2)), Err(Barred::SignedAlready));
    }
    assert_eq!((once.state, once.missing(&once.terms)), (State::Pending, 1));
    let twice = once.after(sign("bob"), at(2)).unwrap();
    assert_eq!((twice.state, twice.missing(&twice.terms)), (State::Approved, 0));
    // No number of approvals is none.
    let none = HoldTerms { approvals: 0, ..HoldTerms::default() };
    assert_eq!(held().missing(&none), 1);
}

#[test]
fn a_justification_is_more_than_blanks() {
    let mut hold = held();
    hold.terms.justification = true;
    let with = |text: Option<&str>| Step::Sign {
        reviewer: person("ann"),
        justification: text.map(str::to_owned),
        seen: Digest::of("call"),
    };
    for nothing in [None, Some(""), Some(" \t\n")] {
        assert_eq!(hold.after(with(nothing), at(1)), Err(Barred::JustificationNeeded));
    }
    let signed = hold.after(with(Some("known customer")), at(1)).unwrap();
    assert_eq!(signed.signatures[0].justification.as_deref(), Some("known customer"));
    assert_eq!(signed.missing(&signed.terms), 1);
}

#[test]
fn who_signed_for_less_may_sign_for_more() {
    let more = HoldTerms { approvals: 2, justification: true, ..HoldTerms::default() };
    let asked = approved().after(ask_more(more.clone()), at(3)).unwrap();
    assert_eq!((asked.state, asked.missing(&more)), (State::Pending, 2));
    let with_reason = |who: &str| Step::Sign {
        reviewer: person(who),
        justification: Some("I called them".into()),
        seen: Digest::of("call"),
    };
    let once = asked.after(with_reason("Ann"), at(4)).unwrap();
    assert_eq!(once.signatures.len(), 2, "the old one made way");
    assert_eq!(once.missing(&more), 1);
    assert_eq!(once.after(with_reason("ann"), at(5)), Err(Barred::SignedAlready));
    assert_eq!(once.after(with_reason("bob"), at(5)).unwrap().state, State::Approved);
}

#[test]
fn an_edit_is_signed_anew_and_keeps_what_was_asked_for() {
    let signed = after([sign("ann")]);
    let edited = signed.after(edit("bob", held().terms), at(2)).unwrap();
    let signers: Vec<_> = edited.signatures.iter().map(|one| one.reviewer.id.as_str()).collect();
    assert_eq!((signers, edited.state), (vec!["bob"], State::Pending));
    let first = edited.edited.clone().unwrap();
    assert_eq!((first.by.as_str(), first.hash), ("bob", Digest::of("call")));
    assert_eq!(first.arguments, json!({"amount": 7}));
    assert_eq!(edited.ask.arguments, json!({"amount": 5}));
    assert_eq!(edited.binding, signed.binding, "the agent finds it by what it asked for");
    // Ann still has the old one before her.
    assert_eq!(edited.after(sign("ann"), at(3)), Err(Barred::Changed));
    let anew =
        |who| Step::Sign { reviewer: person(who), justification: None, seen: Digest::of("edited") };
    assert_eq!(edited.after(anew("ann"), at(3)).unwrap().state, State::Approved);
    assert_eq!(edited.after(anew("bob"), at(3)), Err(Barred::SignedAlready));
    // What the editor may not sign, they may not make.
    let others = HoldTerms { reviewers: ["eve".into()].into(), ..held().terms };
    assert_eq!(signed.after(edit("bob", others), at(2)), Err(Barred::NotAReviewer));
    let why = HoldTerms { justification: true, ..held().terms };
    assert_eq!(signed.after(edit("bob", why), at(2)), Err(Barred::JustificationNeeded));
}

#[test]
fn e05_after_its_time_nothing_is_decided_or_sent() {
    for (minute, late) in [(59, false), (60, true), (61, true)] {
        for (hold, step) in [
            (pending(), sign("eve")),
            (pending(), deny("eve")),
            (pending(), edit("eve", held().terms)),
            (approved(), deny("eve")),
            (approved(), Step::Claim),
        ] {
            let taken = hold.after(step, at(minute));
            assert_eq!(taken.is_err(), late, "{minute}");
            if late {
                assert_eq!(taken, Err(Barred::Late(at(60))));
            }
        }
    }
}

#[test]
fn it_is_sent_within_its_window_only() {
    let mut hold = approved();
    hold.terms.not_before = Some(at(20));
    hold.terms.not_after = Some(at(30));
    for (minute, open) in [(19, false), (20, true), (29, true), (30, false)] {
        let expected = if open { Ok(State::Executing) } else { Err(Barred::Closed) };
        assert_eq!(hold.after(Step::Claim, at(minute)).map(|next| next.state), expected);
    }
}

#[test]
fn who_lost_is_told_who_won() {
    let approved = approved();
    let reminded = approved.after(remind(&[]), at(5)).unwrap();
    let denied = approved.after(deny("eve"), at(6)).unwrap();
    let told = denied.after(Step::Tell, at(7)).unwrap();
    for (hold, step, words) in [
        (&approved, sign("eve"), "it is already approved by bob"),
        // Nobody approved it by being reminded.
        (&reminded, sign("eve"), "it is already approved by bob"),
        (&denied, sign("zoe"), "it is already denied by eve"),
        (&told, Step::Claim, "it is already denied by eve"),
        (&executing(), deny("eve"), "it is already executing; bob approved it"),
    ] {
        assert_eq!(hold.after(step, at(8)).unwrap_err().to_string(), words);
    }
}
