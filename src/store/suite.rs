//! What must any store do?
//!
//! One suite for all of them. A store comes with a [`Shelf`], which opens it as often as asked, and
//! one line: `suite::every_store!(ItsShelf);`

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::{Inserted, Open, Page, Query, Replaced, Room, Store};
use crate::call::{Agent, Claimed, Door, Tier};
use crate::hold::{
    Ask, Context, Ending, Hold, HoldId, HoldTerms, Reviewer, Signature, State, Step,
};
use crate::json::Digest;
use crate::time::At;

/// A place for one store, empty at first.
pub(crate) trait Shelf {
    type Store: Store;

    fn new() -> Self;

    /// Opens what lies there. The one opened before is dropped by then.
    fn open(&self) -> Self::Store;
}

/// Makes one test of each case.
macro_rules! every_store {
    ($shelf:ty) => {
        $crate::store::suite::every_store!($shelf:
            what_is_kept_comes_back_whole_and_after_a_restart,
            the_same_call_of_the_same_agent_is_held_once,
            the_newest_of_a_call_is_found,
            a_change_wins_against_the_version_before_it_only,
            results_lie_beside_the_hold,
            there_is_room_for_so_many_of_all_and_of_each,
            e03_of_64_holds_for_one_call_one_is_new,
            e05_of_64_changes_at_once_one_wins,
            rooms_hold_against_64_at_once,
            pages_show_what_was_asked_for,
            a_text_is_looked_for_as_it_stands,
            counts_say_how_many_and_since_when,
            what_is_due_comes_in_its_order,
            a_page_of_large_holds_ends_early,
            what_was_decided_before_is_counted,
            what_ended_long_ago_is_forgotten,
            deep_and_odd_calls_come_back,
        );
    };
    ($shelf:ty: $($case:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $case() {
            let shelf = <$shelf as $crate::store::suite::Shelf>::new();
            $crate::store::suite::$case(&shelf).await;
        }
    )*};
}
pub(crate) use every_store;

pub(crate) const AMPLE: Room = Room { all: 1_000_000, each: 1_000_000 };

/// A second of the story that these tests tell.
pub(crate) fn at(second: u64) -> At {
    At::from_micros(1_795_000_000_000_000 + second * 1_000_000)
}

/// A pending hold: `number` makes it another call, held at that second.
pub(crate) fn held(number: u64, agent: &str) -> Hold {
    let hash = Digest::of(format!("{number} {agent}"));
    let (reversible, environment) = (false, "test".to_owned());
    Hold {
        id: HoldId::random().unwrap(),
        version: 1,
        state: State::Pending,
        binding: hash,
        ask: Ask {
            door: Door::Mcp,
            agent: Agent { id: agent.into(), groups: vec!["bots".into()], claims: json_map() },
            server: "crm".into(),
            method: "tools/call".into(),
            tool: "refund".into(),
            arguments: json!({"amount": number}),
            hash,
            definition: Some(Digest::of("definition")),
            claimed: Claimed { user: Some("Dora".into()), ..Claimed::default() },
            meta: json_map(),
            call: uuid::Uuid::now_v7(),
        },
        context: Context {
            tier: Tier::High,
            reversible,
            labels: vec!["money".into()],
            reasons: Vec::new(),
            warnings: Vec::new(),
            charges: Vec::new(),
            session: json!({"calls": 3}),
            environment,
            policy: Digest::of("policy"),
        },
        edited: None,
        terms: HoldTerms { approvals: 1, ..HoldTerms::default() },
        escalated: BTreeSet::new(),
        signatures: Vec::new(),
        created_at: at(number),
        expires_at: at(number + 3600),
        changed_at: at(number),
        due_at: at(number + 600),
        ending: None,
        told_at: None,
        history: Vec::new(),
    }
}

fn json_map() -> crate::json::Map<String, crate::json::Value> {
    crate::json::Map::new()
}

fn denied(hold: &Hold, second: u64) -> Hold {
    let ending = Ending { by: Some("ann".into()), code: "denied".into(), message: "no".to_owned() };
    let reviewer = Reviewer { id: "ann".into(), groups: Vec::new(), sole: false };
    hold.after(Step::Deny { reviewer, ending }, at(second)).unwrap()
}

async fn keep(store: &impl Store, hold: &Hold) {
    let before = store.find(&hold.ask.agent.id, hold.binding).await.unwrap();
    let after = before.map(|hold| hold.id);
    assert_eq!(store.insert(hold.clone(), after, AMPLE).await, Ok(Inserted::New));
}

async fn change(store: &impl Store, next: &Hold) {
    assert_eq!(store.replace(next.clone(), None).await, Ok(Replaced::Won));
}

fn numbers(page: &Page) -> Vec<u64> {
    page.holds.iter().map(|hold| hold.ask.arguments["amount"].as_u64().unwrap()).collect()
}

pub(crate) async fn what_is_kept_comes_back_whole_and_after_a_restart(shelf: &impl Shelf) {
    let mut hold = held(1, "ada");
    hold.terms.expires_in = Some(Duration::from_secs(90 * 60));
    hold.terms.not_before = Some(at(7));
    hold.ask.claimed.confidence = Some(0.1 + 0.2);
    hold.signatures.push(Signature {
        reviewer: Reviewer { id: "ann".into(), groups: vec!["payments".into()], sole: false },
        at: at(2),
        justification: Some("seen\n\u{202e}it".into()),
    });
    let store = shelf.open();
    keep(&store, &hold).await;
    let next = denied(&hold, 3);
    change(&store, &next).await;
    let other = held(2, "bob");
    keep(&store, &other).await;
    drop(store);
    let store = shelf.open();
    assert_eq!(store.hold(hold.id).await, Ok(Some(next)));
    assert_eq!(store.hold(HoldId::of(1)).await, Ok(None));
    assert_eq!(
        store.open().await,
        Ok(vec![Open {
            agent: "bob".into(),
            binding: other.binding,
            id: other.id,
            state: other.state
        }])
    );
}

pub(crate) async fn the_same_call_of_the_same_agent_is_held_once(shelf: &impl Shelf) {
    let store = shelf.open();
    let first = held(1, "ada");
    keep(&store, &first).await;
    let again = Hold { id: HoldId::of(2), ..first.clone() };
    let existing = Inserted::Existing(Box::new(first.clone()));
    // Even where there is no room: it takes none.
    for room in [AMPLE, Room { all: 0, each: 0 }] {
        assert_eq!(store.insert(again.clone(), None, room).await, Ok(existing.clone()));
    }
    // Somebody else's call is another one, and so is the next one after the end.
    let mut bobs = Hold { id: HoldId::of(3), ..first.clone() };
    bobs.ask.agent.id = "bob".into();
    keep(&store, &bobs).await;
    let ended = denied(&first, 2);
    change(&store, &ended).await;
    // But whoever looked before the first was there hears how it ended.
    let existing = Inserted::Existing(Box::new(ended));
    assert_eq!(store.insert(again.clone(), None, AMPLE).await, Ok(existing));
    keep(&store, &again).await;
}

pub(crate) async fn the_newest_of_a_call_is_found(shelf: &impl Shelf) {
    let store = shelf.open();
    let first = held(1, "ada");
    assert_eq!(store.find("ada", first.binding).await, Ok(None));
    keep(&store, &first).await;
    let ended = denied(&first, 2);
    change(&store, &ended).await;
    assert_eq!(store.find("ada", first.binding).await, Ok(Some(ended)));
    // In the same moment, or after the clock was set back: what came last is the newest.
    for (number, created) in [(2, at(1)), (3, at(0))] {
        let next = Hold { id: HoldId::of(number), created_at: created, ..first.clone() };
        keep(&store, &next).await;
        assert_eq!(store.find("ada", first.binding).await, Ok(Some(next.clone())));
        change(&store, &denied(&next, 2)).await;
    }
    assert_eq!(store.find("bob", first.binding).await, Ok(None));
    assert_eq!(store.find("ada", Digest::of("other")).await, Ok(None));
}

pub(crate) async fn a_change_wins_against_the_version_before_it_only(shelf: &impl Shelf) {
    let store = shelf.open();
    let first = held(1, "ada");
    keep(&store, &first).await;
    let second = denied(&first, 2);
    let cancelled = first.after(Step::Cancel, at(3)).unwrap();
    change(&store, &second).await;
    let lost = Replaced::Lost(Some(Box::new(second.clone())));
    for late in [&cancelled, &second, &first, &Hold { version: 9, ..first.clone() }] {
        let result = Some(Bytes::from_static(b"late"));
        assert_eq!(store.replace(late.clone(), result).await, Ok(lost.clone()));
    }
    assert_eq!(store.hold(first.id).await, Ok(Some(second)));
    assert_eq!(store.result(first.id).await, Ok(None), "a loser leaves nothing");
    let unknown = held(2, "ada");
    assert_eq!(store.replace(unknown, None).await, Ok(Replaced::Lost(None)));
}

pub(crate) async fn results_lie_beside_the_hold(shelf: &impl Shelf) {
    let store = shelf.open();
    let first = held(1, "ada");
    keep(&store, &first).await;
    assert_eq!(store.result(first.id).await, Ok(None));
    let second = denied(&first, 2);
    let bytes = Bytes::from(vec![0, 255, b'"', 0]);
    assert_eq!(store.replace(second.clone(), Some(bytes.clone())).await, Ok(Replaced::Won));
    // The next version keeps it.
    change(&store, &second.after(Step::Tell, at(3)).unwrap()).await;
    drop(store);
    let store = shelf.open();
    assert_eq!(store.result(first.id).await, Ok(Some(bytes)));
}

pub(crate) async fn there_is_room_for_so_many_of_all_and_of_each(shelf: &impl Shelf) {
    let store = shelf.open();
    let room = Room { all: 3, each: 2 };
    let first = held(0, "ada");
    assert_eq!(store.insert(first.clone(), None, room).await, Ok(Inserted::New));
    for (number, agent, expected) in [
        (1, "ada", Inserted::New),
        (2, "ada", Inserted::Full),
        (3, "bob", Inserted::New),
        (4, "bob", Inserted::Full),
        (5, "eve", Inserted::Full),
    ] {
        assert_eq!(store.insert(held(number, agent), None, room).await, Ok(expected), "{number}");
    }
    // What ended takes no room.
    change(&store, &denied(&first, 9)).await;
    assert_eq!(store.insert(held(6, "eve"), None, room).await, Ok(Inserted::New));
    assert_eq!(store.insert(held(7, "ada"), None, room).await, Ok(Inserted::Full));
}

/// Does it 64 times at once; each is told its number.
async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    one: impl Fn(u64) -> F,
) -> Vec<T> {
    let tasks: Vec<_> = (0..64).map(|number| tokio::spawn(one(number))).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap());
    }
    all
}

pub(crate) async fn e03_of_64_holds_for_one_call_one_is_new(shelf: &impl Shelf) {
    let store = Arc::new(shelf.open());
    for round in 0..20 {
        let first = held(round, "ada");
        let told = at_once(|_| {
            let hold = Hold { id: HoldId::random().unwrap(), ..first.clone() };
            let store = Arc::clone(&store);
            async move { (hold.id, store.insert(hold, None, AMPLE).await.unwrap()) }
        })
        .await;
        let new: Vec<_> =
            told.iter().filter(|(_, told)| *told == Inserted::New).map(|(id, _)| *id).collect();
        assert_eq!(new.len(), 1, "round {round}");
        for (id, told) in told {
            match told {
                Inserted::New => {}
                Inserted::Existing(winner) => assert_eq!(winner.id, new[0]),
                Inserted::Full => panic!("{id}: there is room"),
            }
        }
    }
}

pub(crate) async fn e05_of_64_changes_at_once_one_wins(shelf: &impl Shelf) {
    let store = Arc::new(shelf.open());
    for round in 0..20 {
        let first = held(round, "ada");
        keep(&*store, &first).await;
        let told = at_once(|number| {
            let next = match number % 3 {
                0 => first.after(Step::Expire, at(number)).unwrap(),
                1 => first.after(Step::Cancel, at(number)).unwrap(),
                _ => denied(&first, number),
            };
            let store = Arc::clone(&store);
            async move { (store.replace(next.clone(), None).await.unwrap(), next) }
        })
        .await;
        let won: Vec<_> = told.iter().filter(|(told, _)| *told == Replaced::Won).collect();
        assert_eq!(won.len(), 1, "round {round}");
        let winner = &won[0].1;
        for (told, _) in &told {
            assert!(
                *told == Replaced::Won || *told == Replaced::Lost(Some(Box::new(winner.clone()))),
                "who lost is told who won"
            );
        }
        assert_eq!(store.hold(first.id).await.unwrap().as_ref(), Some(winner));
    }
}

pub(crate) async fn rooms_hold_against_64_at_once(shelf: &impl Shelf) {
    let store = Arc::new(shelf.open());
    let room = Room { all: 20, each: 7 };
    let told = at_once(|number| {
        let store = Arc::clone(&store);
        let hold = held(number, ["ada", "bob", "eve", "zoe"][number as usize % 4]);
        async move { store.insert(hold, None, room).await.unwrap() }
    })
    .await;
    assert_eq!(told.iter().filter(|told| **told == Inserted::New).count(), 20);
    let open = store.open().await.unwrap();
    for agent in ["ada", "bob", "eve", "zoe"] {
        assert!(open.iter().filter(|one| one.agent == *agent).count() <= 7, "{agent}");
    }
}

pub(crate) async fn pages_show_what_was_asked_for(shelf: &impl Shelf) {
    let store = shelf.open();
    for number in 0..10 {
        let mut hold = held(number, if number % 2 == 0 { "ada" } else { "bob" });
        hold.ask.server = if number < 5 { "crm".into() } else { "mail".into() };
        hold.ask.tool = if number < 8 { "refund".into() } else { "send".into() };
        hold.context.tier = if number == 7 { Tier::Low } else { Tier::High };
        // Not in the order of their age.
        hold.created_at = at((number + 5) % 10);
        keep(&store, &hold).await;
        if number == 3 {
            change(&store, &denied(&hold, 20)).await;
        }
    }
    let all = Query { limit: 100, ..Query::default() };
    let text = |text: &str| Some(text.to_owned());
    let open = vec![State::Pending, State::Approved, State::Executing];
    for (query, expected) in [
        (all.clone(), vec![5, 6, 7, 8, 9, 0, 1, 2, 3, 4]),
        (Query { newest_first: true, ..all.clone() }, vec![4, 3, 2, 1, 0, 9, 8, 7, 6, 5]),
        (Query { states: open.clone(), ..all.clone() }, vec![5, 6, 7, 8, 9, 0, 1, 2, 4]),
        (Query { states: vec![State::Denied], ..all.clone() }, vec![3]),
        (Query { states: vec![State::Done], ..all.clone() }, vec![]),
        (
            Query { states: vec![State::Pending, State::Denied], ..all.clone() },
            vec![5, 6, 7, 8, 9, 0, 1, 2, 3, 4],
        ),
        (Query { agent: text("bob"), ..all.clone() }, vec![5, 7, 9, 1, 3]),
        (Query { agent: text("bo"), ..all.clone() }, vec![]),
        (Query { server: text("mail"), ..all.clone() }, vec![5, 6, 7, 8, 9]),
        (Query { tool: text("send"), ..all.clone() }, vec![8, 9]),
        (Query { tier: Some(Tier::Low), ..all.clone() }, vec![7]),
        (
            Query { agent: text("ada"), server: text("mail"), states: open, ..all.clone() },
            vec![6, 8],
        ),
    ] {
        let page = store.page(query.clone()).await.unwrap();
        assert_eq!(numbers(&page), expected, "{query:?}");
        assert_eq!(page.total, expected.len() as u64, "{query:?}");
    }
    for (skip, limit, expected) in [
        (0, 3, vec![5, 6, 7]),
        (8, 3, vec![3, 4]),
        (10, 3, vec![]),
        (0, 0, vec![]),
        (u64::MAX, u64::MAX, vec![]),
    ] {
        let page = store.page(Query { skip, limit, ..all.clone() }).await.unwrap();
        assert_eq!((numbers(&page), page.total), (expected, 10), "{skip} {limit}");
    }
}

pub(crate) async fn a_text_is_looked_for_as_it_stands(shelf: &impl Shelf) {
    let store = shelf.open();
    let users = ["50% off", "a_b", "o'hara", "\"q\"", "Ärger", "back\\slash", "*?[x]", "plain"];
    let mut ids = Vec::new();
    for (number, user) in users.iter().enumerate() {
        let mut hold = held(number as u64, &format!("agent-{number}"));
        hold.ask.claimed.user = Some((*user).to_owned());
        ids.push(hold.id);
        keep(&store, &hold).await;
    }
    let own_id = ids[6].to_string();
    let everyone: Vec<u64> = (0..8).collect();
    for (text, expected) in [
        ("%", vec![0]),
        ("_", vec![1]),
        ("a%b", vec![]),
        ("'", vec![2]),
        ("' OR 1=1 --", vec![]),
        ("\"", vec![3]),
        ("ÄRGER", vec![4]),
        ("ärg", vec![4]),
        ("\\", vec![5]),
        ("*", vec![6]),
        ("[x]", vec![6]),
        ("AGENT-7", vec![7]),
        (&own_id, vec![6]),
        ("crm", everyone.clone()),
        ("REFUND", everyone.clone()),
        ("", everyone),
        ("nobody", vec![]),
    ] {
        let query = Query { text: Some(text.into()), limit: 100, ..Query::default() };
        let page = store.page(query).await.unwrap();
        assert_eq!(
            (numbers(&page), page.total),
            (expected.clone(), expected.len() as u64),
            "{text}"
        );
    }
}

pub(crate) async fn counts_say_how_many_and_since_when(shelf: &impl Shelf) {
    let store = shelf.open();
    assert_eq!(store.counts().await.unwrap(), super::Counts::default());
    for number in 0..5 {
        let hold = held(number, "ada");
        keep(&store, &hold).await;
        if number < 2 {
            change(&store, &denied(&hold, 9)).await;
        }
    }
    let mut counts = store.counts().await.unwrap();
    counts.by_state.sort();
    assert_eq!(counts.by_state, [(State::Pending, 3), (State::Denied, 2)]);
    assert_eq!(counts.oldest, Some(at(2)));
}

pub(crate) async fn what_is_due_comes_in_its_order(shelf: &impl Shelf) {
    let store = shelf.open();
    for (number, due) in [(0, 30), (1, 10), (2, 20), (3, 10)] {
        let hold = Hold { due_at: at(due), ..held(number, "ada") };
        keep(&store, &hold).await;
        if number == 3 {
            change(&store, &denied(&hold, 5)).await;
        }
    }
    // What is on its way is nobody's to end, and hides nothing behind it.
    keep(&store, &Hold { state: State::Executing, due_at: at(1), ..held(4, "ada") }).await;
    for (now, limit, expected) in [
        (9, 9, vec![]),
        (10, 9, vec![1]),
        (29, 9, vec![1, 2]),
        (30, 9, vec![1, 2, 0]),
        (30, 1, vec![1]),
    ] {
        let holds = store.due(at(now), limit).await.unwrap();
        assert_eq!(numbers(&Page { holds, total: 0 }), expected, "{now} {limit}");
    }
}

pub(crate) async fn a_page_of_large_holds_ends_early(shelf: &impl Shelf) {
    let store = shelf.open();
    for number in 0..3 {
        let mut hold = held(number, "ada");
        hold.ask.arguments["text"] = "x".repeat(7 << 20).into();
        keep(&store, &hold).await;
    }
    for (skip, expected) in [(0, vec![0, 1]), (2, vec![2])] {
        let page = store.page(Query { skip, limit: 10, ..Query::default() }).await.unwrap();
        assert_eq!((numbers(&page), page.total), (expected, 3));
    }
}

pub(crate) async fn what_was_decided_before_is_counted(shelf: &impl Shelf) {
    let store = shelf.open();
    for number in 0..6 {
        let mut hold = held(number, if number < 5 { "ada" } else { "bob" });
        hold.ask.tool = if number < 4 { "refund".into() } else { "send".into() };
        keep(&store, &hold).await;
        match number {
            0 => {}
            1 => change(&store, &hold.after(Step::Cancel, at(9)).unwrap()).await,
            _ => change(&store, &denied(&hold, 9)).await,
        }
    }
    let mut past = store.past("ada", "crm", "refund").await.unwrap();
    past.sort();
    assert_eq!(past, [(State::Denied, 2), (State::Cancelled, 1)]);
    assert_eq!(store.past("ada", "crm", "send").await, Ok(vec![(State::Denied, 1)]));
    assert_eq!(store.past("ada", "mail", "refund").await, Ok(vec![]));
}

pub(crate) async fn what_ended_long_ago_is_forgotten(shelf: &impl Shelf) {
    let store = shelf.open();
    let mut holds = Vec::new();
    for number in 0..4 {
        let hold = held(number, "ada");
        keep(&store, &hold).await;
        if number > 0 {
            let ended = denied(&hold, number * 10);
            let result = Some(Bytes::from_static(b"result"));
            assert_eq!(store.replace(ended.clone(), result).await, Ok(Replaced::Won));
            // Told later; it ended when it ended.
            change(&store, &ended.after(Step::Tell, at(99)).unwrap()).await;
        }
        holds.push(hold.id);
    }
    for (results, all, gone, with_result, there) in [
        (10, 10, 0, vec![1, 2, 3], vec![0, 1, 2, 3]),
        (25, 11, 3, vec![3], vec![0, 2, 3]),
        (25, 11, 0, vec![3], vec![0, 2, 3]),
        (1000, 1000, 3, vec![], vec![0]),
    ] {
        assert_eq!(store.forget(at(results), at(all)).await, Ok(gone), "{results} {all}");
        for (number, id) in holds.iter().enumerate() {
            let hold = store.hold(*id).await.unwrap();
            assert_eq!(hold.is_some(), there.contains(&number), "{number} before {all}");
            let result = store.result(*id).await.unwrap();
            assert_eq!(result.is_some(), with_result.contains(&number), "{number} of {results}");
        }
    }
}

pub(crate) async fn deep_and_odd_calls_come_back(shelf: &impl Shelf) {
    let store = shelf.open();
    let mut deep = json!("bottom");
    for _ in 0..crate::json::DEPTH_CAP {
        deep = json!([deep]);
    }
    for (number, arguments) in (0..).zip([
        deep,
        json!({"a": 1.0e300, "b": -0.1, "c": u64::MAX, "d": i64::MIN}),
        json!({"": "\u{0}\u{1f}\u{2028}\u{10ffff}"}),
        json!("x".repeat(300_000)),
    ]) {
        let mut hold = held(number, "ada");
        hold.ask.arguments = arguments;
        hold.ask.claimed.user = Some("u\u{0}ser".repeat(1000));
        keep(&store, &hold).await;
        assert_eq!(store.hold(hold.id).await, Ok(Some(hold.clone())));
        assert_eq!(store.find("ada", hold.binding).await, Ok(Some(hold)));
    }
    assert_eq!(store.page(Query { limit: 9, ..Query::default() }).await.unwrap().total, 4);
}
