//! Do pages and forms do what people mean, and nothing that somebody else means?

use std::net::SocketAddr;

use axum::body::Bytes;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::config::{Mode, Sync};
use crate::gate::desk::{Desk, Draft, Hand, Settings, Soon};
use crate::gate::policy::{self, Policies, Source};
use crate::gate::record::Ledger;
use crate::gate::{Arrival, Gate, Snapshot};
use crate::hold::{Ask, Hold, HoldId, Reviewer, State, Step};
use crate::json::{Digest, Value};
use crate::refusal::Refusal;
use crate::review::auth::{OneTimeLink, Reviewers};
use crate::store::sqlite::Sqlite;
use crate::store::suite::held;
use crate::tools::Classifier;
use crate::trail::{self, Trail};

/// The hand of a gate whose servers are gone.
struct Gone;

impl Hand for Gone {
    fn arrival<'a>(&'a self, ask: &'a Ask) -> Soon<'a, Result<Arrival, Refusal>> {
        Box::pin(async { Err(Refusal::Unreachable(ask.server.clone())) })
    }

    fn make(&self, _: HoldId) -> Soon<'_, ()> {
        Box::pin(async {})
    }

    fn read<'a>(
        &'a self,
        server: &'a str,
        _: &'a str,
        _: Value,
    ) -> Soon<'a, Result<Value, Refusal>> {
        Box::pin(async { Err(Refusal::Unreachable(server.to_owned())) })
    }
}

/// A listener with pages, on a real socket and a real store.
struct Place {
    address: SocketAddr,
    gate: Arc<Gate>,
    link: String,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
    _state: tempfile::TempDir,
}

const TOOLS: &str = "server: crm\ntools:\n  refund: {tier: medium, says: \"Refund {{ arguments.amount }} USD\", undo: Charge it again}\n  other: {tier: medium}\n  grave: {tier: high}\n";
const PERMISSION: &str = "package countersign.permission\nallow := true\n";

async fn place() -> Place {
    let state = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new(Build { version: "0", commit: "c" }).unwrap());
    let trail = Trail::open(&state.path().join("trail"), trail::Settings::default()).unwrap();
    let ledger = Arc::new(Ledger { trail, metrics: Arc::clone(&metrics) });
    let store = Arc::new(Sqlite::open(&state.path().join("store.db")).unwrap());
    let desk = Desk::open(store, Settings::default(), ledger, Box::new(|_, _| {})).await.unwrap();
    let settings = policy::Settings {
        deadline: Duration::from_secs(5),
        workers: 1,
        ..policy::Settings::default()
    };
    let snapshot = Snapshot {
        policies: Policies::load(&[Source::new("p.rego", PERMISSION)], &settings).unwrap(),
        classifier: Classifier::load(&[("t.yaml".into(), TOOLS.into())]).unwrap(),
        pins: None,
        environment: Arc::from("test"),
        mode: Mode::Enforce,
        sync: Sync::default(),
        digest: Digest::of("snapshot"),
    };
    let gate = Arc::new(Gate::new(snapshot, desk, 100));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (link, url) = OneTimeLink::new(&format!("http://{address}")).unwrap();
    let people = ["ann", "bob", "ada"].map(|id| {
        let digest = Sha256::digest(format!("token of {id}")).into();
        (Reviewer { id: id.to_owned(), groups: Vec::new(), sole: false }, digest)
    });
    let office = Arc::new(Office {
        gate: Arc::clone(&gate),
        hand: Arc::new(Gone),
        presets: act::usual_presets(),
    });
    let access = Arc::new(Access::new(Reviewers::new(people.into()), Some(link), &[7; 64]));
    let health: Arc<dyn Health> = Arc::new(|| report(Phase::Serving));
    let (stop, stopped) = watch::channel(false);
    let review = Arc::new(Review {
        metrics,
        health,
        hosts: Vec::new(),
        limits: Limits::default(),
        people: Some(People { office, access, oidc: None }),
    });
    let serving = tokio::spawn(review.serve(listener, stopped));
    Place { address, gate, link: url, stop, serving, _state: state }
}

impl Place {
    async fn hold(&self, number: u64, change: impl FnOnce(&mut Hold)) -> Hold {
        let mut hold = held(number, "ada");
        hold.context.tier = crate::call::Tier::Medium;
        change(&mut hold);
        let Hold { ask, binding, context, terms, .. } = hold;
        self.gate.desk().submit(Draft { ask, binding, context, terms }, None).await.unwrap()
    }

    async fn state(&self, hold: &Hold) -> State {
        self.gate.desk().hold(hold.id).await.unwrap().state
    }

    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer { status: status(&text), head: head.to_owned(), body: body.to_owned() }
    }

    /// Signs in by token, as a browser does.
    async fn visit(&self, id: &str) -> Visitor<'_> {
        let form = format!("token=token+of+{id}");
        let answer = self.ask("POST", "/sign-in", FORM, &form).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        Visitor::of(self, &answer).await
    }
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Somebody with a session.
struct Visitor<'a> {
    place: &'a Place,
    cookie: String,
    csrf: String,
}

impl<'a> Visitor<'a> {
    async fn of(place: &'a Place, answer: &Answer) -> Self {
        let set = answer.header("set-cookie").unwrap();
        let cookie = format!("Cookie: {}\r\n", set.split(';').next().unwrap());
        let page = place.ask("GET", "/", &cookie, "").await;
        let csrf = page.body.split("name=\"csrf\" value=\"").nth(1).unwrap();
        let csrf = csrf.split('"').next().unwrap().to_owned();
        Self { place, cookie, csrf }
    }

    async fn get(&self, path: &str) -> Answer {
        self.place.ask("GET", path, &self.cookie, "").await
    }

    async fn post(&self, path: &str, form: &str) -> Answer {
        let headers = format!("{}{FORM}Origin: http://{}\r\n", self.cookie, self.place.address);
        self.place.ask("POST", path, &headers, &format!("csrf={}&{form}", self.csrf)).await
    }

    async fn decide(&self, hold: &Hold, what: &str, form: &str) -> Answer {
        let form = format!("seen={}&{form}", hold.ask.hash);
        self.post(&format!("/holds/{}/{what}", hold.id), &form).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_in_decides_and_signs_out() {
    let place = place().await;
    let hold = place.hold(1, |_| {}).await;
    let ann = place.visit("ann").await;
    let queue = ann.get("/").await;
    let row = format!("data-hold=\"{}\" data-state=\"pending\" data-missing=\"1\"", hold.id);
    assert!(queue.body.contains(&row), "{}", queue.body);
    assert!(queue.body.contains("Refund <b class=\"given\">1</b> USD"), "{}", queue.body);
    let page = ann.get(&format!("/holds/{}", hold.id)).await;
    assert!(page.body.contains("Charge it again"), "{}", page.body);
    assert!(page.body.contains("data-leaf=\"/amount\">1<"), "{}", page.body);

    let answer = ann.decide(&hold, "approve", "justification=owed").await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(answer.header("location"), Some(&*format!("/holds/{}", hold.id)));
    assert_eq!(place.state(&hold).await, State::Approved);
    let page = ann.get(&format!("/holds/{}", hold.id)).await;
    assert!(page.body.contains("<q>owed</q>"), "{}", page.body);

    assert_eq!(ann.post("/sign-out", "").await.status, 303);
    assert_eq!(ann.get("/events").await.status, 401, "the old cookie is good for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_an_answer_and_their_words() {
    let place = place().await;
    let ann = place.visit("ann").await;
    for (n, what, form, status, code, words) in [
        (1, "deny", "preset=not_needed", 303, "not_needed", "this is not needed"),
        (2, "deny", "reason=use+42", 303, "denied", "use 42"),
        (
            3,
            "deny",
            "preset=not_needed&reason=really",
            303,
            "not_needed",
            "this is not needed: really",
        ),
        (4, "answer", "answer=use+42", 303, "answered", "use 42"),
        (5, "deny", "reason=++", 422, "", ""),
        (6, "deny", "preset=invented", 422, "", ""),
        (7, "answer", "", 422, "", ""),
    ] {
        let hold = place.hold(n, |_| {}).await;
        let answer = ann.decide(&hold, what, form).await;
        assert_eq!(answer.status, status, "{what} {form}: {answer:?}");
        let after = place.gate.desk().hold(hold.id).await.unwrap();
        match after.ending {
            Some(ending) => assert_eq!((&*ending.code, &*ending.message), (code, words)),
            None => assert_eq!(after.state, State::Pending, "{what} {form}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e08_only_a_form_of_this_session_changes_anything() {
    let place = place().await;
    let hold = place.hold(1, |_| {}).await;
    let ann = place.visit("ann").await;
    let bob = place.visit("bob").await;
    let (cookie, csrf, other) = (&ann.cookie, &ann.csrf, &bob.csrf);
    let here = format!("Origin: http://{}\r\n", place.address);
    let body = |csrf: &str| {
        format!("csrf={csrf}&seen={}&reason=x&answer=x&arguments=%7B%7D", hold.ask.hash)
    };
    for what in ["approve", "deny", "answer", "edit"] {
        let path = format!("/holds/{}/{what}", hold.id);
        for (case, method, headers, body, expected) in [
            ("no token", "POST", format!("{cookie}{FORM}{here}"), body(""), 403),
            ("another's token", "POST", format!("{cookie}{FORM}{here}"), body(other), 403),
            (
                "another origin",
                "POST",
                format!("{cookie}{FORM}Origin: http://127.0.0.1:1\r\n"),
                body(csrf),
                403,
            ),
            ("no origin", "POST", format!("{cookie}{FORM}Origin: null\r\n"), body(csrf), 403),
            (
                "another site",
                "POST",
                format!("{cookie}{FORM}Sec-Fetch-Site: cross-site\r\n"),
                body(csrf),
                403,
            ),
            (
                "not a form",
                "POST",
                format!("{cookie}{here}Content-Type: text/plain\r\n"),
                body(csrf),
                415,
            ),
            ("no session", "POST", format!("{FORM}{here}"), body(csrf), 401),
            ("by GET", "GET", format!("{cookie}{here}"), String::new(), 405),
            ("by HEAD", "HEAD", format!("{cookie}{here}"), String::new(), 405),
        ] {
            let answer = place
                .ask(method, &format!("{path}?{}", body_of(&hold, csrf)), &headers, &body)
                .await;
            assert_eq!(answer.status, expected, "{case}: {path}: {answer:?}");
            assert_eq!(place.state(&hold).await, State::Pending, "{case}: {path}");
        }
    }
}

fn body_of(hold: &Hold, csrf: &str) -> String {
    format!("csrf={csrf}&seen={}&reason=x", hold.ask.hash)
}

#[tokio::test(flavor = "multi_thread")]
async fn e07_nobody_but_a_reviewer_signs_and_nobody_their_own_call() {
    let place = place().await;
    let hold = place.hold(1, |hold| hold.ask.claimed.user = Some("Bob".into())).await;
    let path = format!("/holds/{}/approve", hold.id);
    let body = format!("seen={}", hold.ask.hash);
    let ann = place.visit("ann").await;
    for (case, headers, expected) in [
        ("the token of an agent", "Authorization: Bearer an-agents-token\r\n".to_owned(), 401),
        ("not a bearer", "Authorization: Basic YW5uOmFubg==\r\n".into(), 401),
        ("two", "Authorization: Bearer token of ann\r\nAuthorization: Bearer x\r\n".into(), 401),
        (
            "a wrong token beside a good cookie",
            format!("Authorization: Bearer x\r\n{}", ann.cookie),
            401,
        ),
        ("the agent, were it a reviewer", "Authorization: Bearer token of ada\r\n".into(), 403),
        ("the user it claims to act for", "Authorization: Bearer token of bob\r\n".into(), 403),
    ] {
        let answer = place.ask("POST", &path, &format!("{headers}{FORM}"), &body).await;
        assert_eq!(answer.status, expected, "{case}: {answer:?}");
        assert_eq!(place.state(&hold).await, State::Pending, "{case}");
    }
    let headers = format!("Authorization: Bearer token of ann\r\n{FORM}");
    assert_eq!(place.ask("POST", &path, &headers, &body).await.status, 303);
    assert_eq!(place.state(&hold).await, State::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_tokens_ends_in_a_wait() {
    let place = place().await;
    for _ in 0..10 {
        assert_eq!(place.ask("POST", "/sign-in", FORM, "token=guess").await.status, 401);
    }
    assert_eq!(place.ask("POST", "/sign-in", FORM, "token=token+of+ann").await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn e08_looking_at_the_link_does_not_use_it_up() {
    let place = place().await;
    let path = place.link.strip_prefix(&format!("http://{}", place.address)).unwrap().to_owned();
    for method in ["GET", "HEAD", "GET"] {
        assert_eq!(place.ask(method, &path, "", "").await.status, 200);
    }
    let foreign = "Origin: https://evil.example\r\n";
    assert_eq!(place.ask("POST", &path, foreign, "").await.status, 403);
    let answer = place.ask("POST", &path, "", "").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    assert_eq!(Visitor::of(&place, &answer).await.get("/").await.status, 200);
    assert_eq!(place.ask("POST", &path, "", "").await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_says_what_a_browser_may_do_with_it() {
    let place = place().await;
    let hold = place.hold(1, |_| {}).await;
    let ann = place.visit("ann").await;
    for path in
        ["/", "/sign-in", "/nothing", &format!("/holds/{}", hold.id), "/holds/hold-0", "/healthz"]
    {
        let answer = ann.get(path).await;
        let csp = answer.header("content-security-policy").unwrap();
        assert!(csp.starts_with("default-src 'none'; script-src 'self';"), "{path}: {csp}");
        assert!(csp.ends_with("base-uri 'none'; frame-ancestors 'none'"), "{path}: {csp}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        for inline in [" style=", "<style", "<script>", " onclick="] {
            assert!(!answer.body.contains(inline), "{path}: {inline}");
        }
    }
    let page = ann.get("/").await;
    for asset in page.body.split('"').filter(|part| part.starts_with("/assets/")) {
        let answer = place.ask("GET", asset, "", "").await;
        assert_eq!(answer.status, 200, "{asset}");
        assert!(answer.header("cache-control").unwrap().contains("immutable"), "{asset}");
    }
    assert_eq!(place.ask("GET", "/assets/0000000000000000/page.js", "", "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_signed_in_sees_nothing() {
    let place = place().await;
    let hold = place.hold(1, |_| {}).await;
    for path in [
        "/".to_owned(),
        format!("/holds/{}", hold.id),
        format!("/holds/{}/diff", hold.id),
        "/events".into(),
    ] {
        let answer = place.ask("GET", &path, "Accept: text/html\r\n", "").await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/sign-in")), "{path}");
        assert_eq!(place.ask("GET", &path, "", "").await.status, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e09_what_an_agent_writes_is_text() {
    let place = place().await;
    let nasty = "<script>alert(1)</script>\u{202E}{{ 7*7 }}\u{1B}[2J";
    let hold = place
        .hold(1, |hold| {
            hold.ask.arguments = serde_json::json!({nasty: [nasty], "amount": nasty});
            hold.ask.claimed.reason = Some(nasty.into());
            hold.ask.claimed.evidence = vec!["javascript:alert(1)".into(), nasty.into()];
            hold.ask.agent.id = nasty.into();
        })
        .await;
    let ann = place.visit("ann").await;
    for path in ["/".to_owned(), format!("/holds/{}", hold.id)] {
        let body = ann.get(&path).await.body;
        // A leaf's pointer is for scripts, and names it as it is.
        let shown = |part: &str| part.split_once('"').map_or("", |(_, rest)| rest).to_owned();
        let mut parts = body.split("data-leaf=\"");
        let body = parts.next().unwrap().to_owned() + &parts.map(shown).collect::<String>();
        assert!(body.contains("&lt;script&gt;alert(1)"), "{path}");
        for raw in ["<script>alert", "\u{202E}", "\u{1B}", "href=\"javascript", "49"] {
            assert!(
                !body.contains(raw) || raw == "49" && !body.contains(">49<"),
                "{path}: {raw:?}"
            );
        }
        assert!(body.contains("data-hidden=\"202E\"") && body.contains("{{ 7*7 }}"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_long_is_served_locked() {
    let place = place().await;
    let short = place.hold(1, |_| {}).await;
    let long = place
        .hold(2, |hold| hold.ask.arguments = serde_json::json!({"a": "x ".repeat(5_000)}))
        .await;
    let ann = place.visit("ann").await;
    for (hold, locked) in [(short, false), (long, true)] {
        let body = ann.get(&format!("/holds/{}", hold.id)).await.body;
        assert_eq!(body.contains("aria-disabled=\"true\""), locked);
        assert_eq!(body.contains("data-part=\"unseen\""), locked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn together_go_only_calls_of_one_tool_that_are_not_grave() {
    let place = place().await;
    let ann = place.visit("ann").await;
    let one = place.hold(1, |_| {}).await;
    let two = place.hold(2, |_| {}).await;
    let other = place.hold(3, |hold| hold.ask.tool = "other".into()).await;
    let grave = place.hold(4, |hold| hold.context.tier = crate::call::Tier::High).await;
    let long =
        place.hold(5, |hold| hold.ask.arguments = serde_json::json!("x".repeat(9_000))).await;
    let gone = place.hold(6, |_| {}).await;
    place.gate.desk().step(gone.id, Step::Cancel).await.unwrap();
    let chosen = |holds: &[&Hold]| -> String {
        holds.iter().map(|hold| format!("hold={}+{}&", hold.id, hold.ask.hash)).collect()
    };
    for (holds, said) in [
        (&[&one, &other][..], "one and the same tool"),
        (&[&one, &grave], "tier `high`"),
        (&[&one, &long], "its own page"),
        (&[], "between 1 and"),
    ] {
        let answer = ann.post("/holds/approve", &chosen(holds)).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.body.contains(said), "{said}: {}", answer.body);
        assert_eq!(place.state(&one).await, State::Pending);
    }
    let answer = ann.post("/holds/approve", &chosen(&[&one, &two, &gone])).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("2 signed; "), "{}", answer.body);
    assert!(answer.body.contains("is already cancelled"), "{}", answer.body);
    for (hold, state) in
        [(&one, State::Approved), (&two, State::Approved), (&other, State::Pending)]
    {
        assert_eq!(place.state(hold).await, state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loser_is_told_who_was_first() {
    let place = place().await;
    let hold = place.hold(1, |_| {}).await;
    let (ann, bob) = (place.visit("ann").await, place.visit("bob").await);
    assert_eq!(ann.decide(&hold, "approve", "").await.status, 303);
    let answer = bob.decide(&hold, "approve", "").await;
    assert_eq!(answer.status, 409);
    assert!(answer.body.contains("it is already approved by ann"), "{}", answer.body);

    let stale = place.hold(2, |_| {}).await;
    let form = format!("seen={}", hold.ask.hash);
    let answer = bob.post(&format!("/holds/{}/approve", stale.id), &form).await;
    assert_eq!(answer.status, 409, "what was seen is another call");
    let answer = bob.post(&format!("/holds/{}/approve", stale.id), "").await;
    assert_eq!(answer.status, 409, "nothing was seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_edit_is_told_in_its_dialog() {
    let place = place().await;
    let hold = place.hold(1, |_| {}).await;
    let ann = place.visit("ann").await;
    let part = format!("{}{FORM}HX-Request: true\r\n", ann.cookie);
    for (arguments, said) in [
        ("%7B%22a%22", "cannot be read: invalid JSON"),
        ("%7B%22a%22%3A1%2C%22a%22%3A2%7D", "a key that stands twice"),
        ("%5B%5D", "one JSON object"),
        ("%7B%22amount%22%3A1%7D", "nothing is changed"),
        ("%7B%22amount%22%3A2%7D", "would be refused"),
    ] {
        let body = format!("csrf={}&seen={}&arguments={arguments}", ann.csrf, hold.ask.hash);
        let answer = place.ask("POST", &format!("/holds/{}/edit", hold.id), &part, &body).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(answer.header("hx-retarget"), Some("#problem-edit"));
        assert!(answer.body.contains(said), "{said}: {}", answer.body);
        assert_eq!(place.state(&hold).await, State::Pending);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_hears_of_changes_until_the_listener_stops() {
    let place = place().await;
    let hold = place.hold(1, |_| {}).await;
    let ann = place.visit("ann").await;
    let mut streams = Vec::new();
    for (path, name) in
        [("/events".to_owned(), "queue"), (format!("/events?hold={}", hold.id), "hold")]
    {
        let mut stream = TcpStream::connect(place.address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{}\r\n", place.address, ann.cookie);
        stream.write_all(head.as_bytes()).await.unwrap();
        let event = format!("event: {name}\n");
        let so_far = read_until(&mut stream, &event, 1).await;
        assert!(so_far.contains("text/event-stream"), "{so_far}");
        streams.push((stream, event));
    }
    ann.decide(&hold, "deny", "reason=no").await;
    for (stream, event) in &mut streams {
        read_until(stream, event, 1).await;
    }
    place.stop.send(true).unwrap();
    place.serving.await.unwrap();
    for (mut stream, _) in streams {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
}

/// Reads until this was said so often.
async fn read_until(stream: &mut TcpStream, what: &str, times: usize) -> String {
    let mut said = Vec::new();
    let mut part = [0; 4096];
    loop {
        let length = stream.read(&mut part).await.unwrap();
        assert!(length > 0, "it ended: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&Bytes::copy_from_slice(&part[..length]));
        let text = String::from_utf8_lossy(&said);
        if text.matches(what).count() >= times {
            return text.into_owned();
        }
    }
}
