//! What the API says no to, and in which words.

use serde_json::{Value, json};

use super::{Checked, at, file::File, held, refund};
use crate::support::{Connection, Gate, Response, Setup, Upstream, reviewer_token};

const ERRORS: &[(&str, u16)] = &[
    // The body, and what is told of it.
    ("", 400),
    ("[]", 400),
    ("{}", 400),
    (r#"{"hash":"sha256:1"}"#, 400),
    (r#"{"hash":HASH,"hash":HASH}"#, 400),
    (r#"{"hash":HASH,"justificaton":"x"}"#, 400),
    (r#"{"hash":HASH,"justification":1}"#, 400),
    ("{\"hash\":HASH,\"justification\":\"\\ud800\"}", 400),
    (r#"{"hash":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}"#, 409),
];

#[test]
fn what_cannot_be_understood_changes_nothing() {
    let (file, upstream) = (File::read(), Upstream::of_tools(&[refund()]));
    let gate = Gate::start(&held(&upstream, ""));
    let ann = Checked { gate: &gate, file: &file, id: "ann" };
    let hold = ann.holds(1, "1");
    let path = format!("{}/approve", at(&hold));
    for (body, status) in ERRORS {
        let body = body.replace("HASH", &hold["hash"].to_string());
        let answer = raw(&gate, "POST", &path, &[JSON, &bearer("ann")], body.as_bytes());
        file.describes("POST", &path, &answer);
        assert_eq!(answer.status, *status, "{body}: {}", answer.text());
    }
    let long = format!(r#"{{"hash":{},"justification":"{}"}}"#, hold["hash"], "x".repeat(70_000));
    let answer = raw(&gate, "POST", &path, &[JSON, &bearer("ann")], long.as_bytes());
    assert_eq!(answer.status, 413);
    file.describes_error(&answer, "too_large");
    let typo = raw(&gate, "POST", &path, &[JSON, &bearer("ann")], br#"{"hahs":"x"}"#);
    assert!(typo.text().contains("did you mean `hash`?"), "{}", typo.text());
    for kind in
        ["content-type: text/plain", "content-type: application/x-www-form-urlencoded", "x: y"]
    {
        let answer = raw(&gate, "POST", &path, &[kind, &bearer("ann")], b"{}");
        assert_eq!(answer.status, 415, "{kind}");
        file.describes_error(&answer, "unsupported_media_type");
    }
    assert_eq!(ann.get(&at(&hold))["version"], 1);
}

#[test]
fn only_reviewers_are_somebody_here() {
    let (file, upstream) = (File::read(), Upstream::of_tools(&[refund()]));
    let gate = Gate::start(&held(&upstream, "").agents(&["bot"]));
    let agent = format!("authorization: Bearer {}", Setup::token("bot"));
    let twice = format!("{}\r\n{}", bearer("ann"), bearer("ben"));
    let basic = format!("authorization: Basic {}", reviewer_token("ann"));
    for header in ["x: y", &agent, &twice, &basic, "cookie: countersign=x"] {
        for (method, path) in [("GET", "/holds"), ("GET", "/events"), ("POST", "/holds/x/deny")] {
            let answer = raw(&gate, method, path, &[header, JSON, "accept: text/html"], b"{}");
            assert_eq!(answer.status, 401, "{header} {path}");
            file.describes_error(&answer, "unauthenticated");
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
        }
    }
}

#[test]
fn guessing_tokens_has_an_end() {
    let (file, upstream) = (File::read(), Upstream::of_tools(&[refund()]));
    let gate = Gate::start(&held(&upstream, ""));
    let guess = |n: u32| format!("authorization: Bearer not-a-token-{n}");
    let statuses: Vec<_> =
        (0..12).map(|n| raw(&gate, "GET", "/holds", &[&guess(n)], b"")).collect();
    assert_eq!(statuses[0].status, 401);
    file.describes("GET", "/holds", &statuses[11]);
    file.describes_error(&statuses[11], "too_many_tries");
}

#[test]
fn a_hold_says_no_in_its_own_words() {
    let (file, upstream) = (File::read(), Upstream::of_tools(&[refund()]));
    let terms = r#""reviewers": ["ann", "ben"], "approvals": 2, "justification": true"#;
    let gate = Gate::start(&held(&upstream, terms));
    let [ann, ben, eve] = ["ann", "ben", "eve"].map(|id| Checked { gate: &gate, file: &file, id });
    let hold = ann.holds(1, "1");
    let seen = |more: Value| {
        let mut body = more;
        body["hash"] = hold["hash"].clone();
        body
    };
    let told = |answer: Response, status: u16, code: &str| {
        assert_eq!(answer.status, status, "{code}: {}", answer.text());
        file.describes_error(&answer, code);
        answer.json()["error"].clone()
    };
    let why = || json!({"justification": "the customer sent it back"});
    told(eve.tell(&hold, "approve", seen(why())), 403, "not_a_reviewer");
    told(eve.tell(&hold, "deny", json!({"reason": "no"})), 403, "not_a_reviewer");
    told(ann.tell(&hold, "approve", seen(json!({}))), 400, "justification_needed");
    let bad = json!({"arguments": {"order": 7}, "justification": "x"});
    let refused = told(ann.tell(&hold, "edit", seen(bad)), 409, "edit_refused");
    assert_eq!(refused["refusal"], "invalid_arguments");
    told(ann.tell(&hold, "edit", json!({"hash": hold["hash"]})), 400, "invalid_body");
    assert_eq!(ann.tells(&hold, "approve", seen(why()))["missing"], 1);
    told(ann.tell(&hold, "approve", seen(why())), 409, "already_signed");
    assert_eq!(ann.get(&at(&hold))["barred"], "already_signed");
    told(ben.tell(&hold, "deny", json!({"preset": "nonsense"})), 400, "invalid_body");
    told(ben.tell(&hold, "deny", json!({})), 400, "invalid_body");
    told(ben.tell(&hold, "answer", json!({"message": "  "})), 400, "invalid_body");
    ben.tells(&hold, "deny", json!({"reason": "no"}));
    let late = told(ann.tell(&hold, "answer", json!({"message": "x"})), 409, "already_decided");
    assert_eq!((&late["state"], &late["by"]), (&"denied".into(), &"ben".into()));
    let answer = ann.ask("GET", &format!("{}/result", at(&hold)), None);
    told(answer, 404, "no_result");
}

#[test]
fn what_is_not_there_is_told_as_json_too() {
    let (file, upstream) = (File::read(), Upstream::of_tools(&[refund()]));
    let gate = Gate::start(&held(&upstream, ""));
    let ann = Checked { gate: &gate, file: &file, id: "ann" };
    for path in ["/holds/7", "/holds/hold-00000000000000000000000000000007", "/holds/..%2fx"] {
        file.describes_error(&ann.ask("GET", path, None), "unknown_hold");
    }
    for query in ["stat=pending", "state=odd", "limit=501", "q=%ff&q=x"] {
        file.describes_error(&ann.ask("GET", &format!("/holds?{query}"), None), "invalid_query");
    }
    let id = "hold-00000000000000000000000000000007";
    for (method, path, status, code) in [
        ("GET", "/nothing".to_owned(), 404, "not_found"),
        ("GET", format!("/holds/{id}/burn"), 404, "not_found"),
        ("GET", format!("/holds/{id}/approve"), 405, "method_not_allowed"),
        ("DELETE", format!("/holds/{id}"), 405, "method_not_allowed"),
        ("PUT", "/holds".to_owned(), 405, "method_not_allowed"),
        ("POST", "/events".to_owned(), 405, "method_not_allowed"),
    ] {
        let answer = gate.reviewer("ann").request(method, &path, None);
        assert_eq!(answer.status, status, "{method} {path}");
        file.describes_error(&answer, code);
    }
}

const JSON: &str = "content-type: application/json";

fn bearer(id: &str) -> String {
    format!("authorization: Bearer {}", reviewer_token(id))
}

fn raw(gate: &Gate, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Response {
    let mut request = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: {}\r\n{}\r\n\r\n",
        body.len(),
        headers.join("\r\n"),
    )
    .into_bytes();
    request.extend_from_slice(body);
    let mut connection = Connection::to(gate.operators);
    connection.send(&request);
    connection.response()
}
