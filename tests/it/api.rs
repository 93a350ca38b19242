//! Does the API do what its OpenAPI file says, and nothing else?

mod file;
mod refusals;

use serde_json::{Value, json};

use crate::support::{Gate, Response, Setup, Upstream, call, reviewer_token, tool};
use file::File;

/// A tool that each of these tests holds.
fn refund() -> Value {
    tool("refund", r#"{"order":{"type":"string"},"amount":{"type":"string"}}"#)
}

/// A gate that holds refunds, with three reviewers, whose clients do not wait for long.
fn held(upstream: &Upstream, terms: &str) -> Setup {
    let lines = "hold: {wait: 1s, denials: [{code: wrong_amount, message: the amount is wrong}]}";
    Setup::to(upstream).holds(terms).reviewers(&["ann", "ben", "eve"]).config(lines)
}

/// A reviewer whose every answer is held against the file.
struct Checked<'a> {
    gate: &'a Gate,
    file: &'a File,
    id: &'static str,
}

impl Checked<'_> {
    /// Asks; the answer has to be one that the file describes for this operation.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let answer = self.gate.reviewer(self.id).request(method, path, body);
        self.file.describes(method, path, &answer);
        assert!(!answer.text().contains(&reviewer_token(self.id)), "{}", answer.text());
        answer
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    fn tell(&self, hold: &Value, what: &str, body: Value) -> Response {
        self.ask("POST", &format!("{}/{what}", at(hold)), Some(&body))
    }

    /// The same, and it is done.
    fn tells(&self, hold: &Value, what: &str, body: Value) -> Value {
        let answer = self.tell(hold, what, body);
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        answer.json()
    }

    /// Has a call held, and gives all of its hold.
    fn holds(&self, id: u64, order: &str) -> Value {
        let arguments = json!({"order": order, "amount": "20.00"}).to_string();
        let ticket = self.gate.post(&call(id, "refund", &arguments)).message();
        let id = ticket["result"]["_meta"]["io.countersign/hold"]["id"].as_str().unwrap();
        self.get(&format!("/holds/{id}"))
    }
}

fn at(hold: &Value) -> String {
    format!("/holds/{}", hold["id"].as_str().unwrap())
}

#[test]
fn every_operation_answers_as_the_file_says() {
    let (file, upstream) = (File::read(), Upstream::of_tools(&[refund()]));
    let gate = Gate::start(&held(&upstream, ""));
    let ann = Checked { gate: &gate, file: &file, id: "ann" };

    let hold = ann.holds(1, "1");
    assert_eq!((&hold["state"], &hold["may_sign"]), (&"pending".into(), &true.into()));
    assert_eq!(hold["arguments"], json!({"order": "1", "amount": "20.00"}));
    let signed = ann.tells(&hold, "approve", json!({"hash": hold["hash"], "justification": "ok"}));
    assert_eq!(signed["signatures"][0]["reviewer"], "ann");
    gate.reviewer("ann").holds("done", 1);
    let result = ann.get(&format!("{}/result", at(&hold)));
    assert_eq!(result["answer"]["result"]["content"][0]["text"], "refund");

    let hold = ann.holds(2, "2");
    let denied = ann.tells(&hold, "deny", json!({"preset": "wrong_amount", "reason": "it was 2"}));
    assert_eq!(denied["ending"]["message"], "the amount is wrong: it was 2");
    assert_eq!(denied["ending"]["code"], "wrong_amount");

    let hold = ann.holds(3, "3");
    let answered = ann.tells(&hold, "answer", json!({"message": "use invoice 42 instead"}));
    assert_eq!(answered["ending"]["code"], "answered");

    let hold = ann.holds(4, "4");
    let arguments = json!({"order": "4", "amount": "10.00"});
    let edited = ann.tells(&hold, "edit", json!({"hash": hold["hash"], "arguments": arguments}));
    assert_eq!(edited["arguments"], arguments);
    assert_eq!(edited["edited"]["arguments"], hold["arguments"]);
    assert_ne!(edited["hash"], hold["hash"]);

    assert_eq!(ann.get("/holds?state=denied")["total"], 2);
    assert_eq!(ann.get("/holds?agent=nobody")["total"], 0);
    let page = ann.get("/holds?limit=1&offset=1&order=newest");
    assert_eq!(page["holds"].as_array().unwrap().len(), 1);
    assert_eq!(page["holds"][0]["id"], answered["id"]);
    file.was_asked_for_everything_but(&["watchHolds"]);
}

#[test]
fn events_tell_of_each_change() {
    let (file, upstream) = (File::read(), Upstream::of_tools(&[refund()]));
    let gate = Gate::start(&held(&upstream, ""));
    let ann = Checked { gate: &gate, file: &file, id: "ann" };
    let mut events = gate.reviewer("ann").watches();
    let head = events.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let hold = ann.holds(1, "1");
    ann.tells(&hold, "deny", json!({"reason": "no"}));
    let mut told = Vec::new();
    while told.len() < 2 {
        let event = events.event().unwrap();
        if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
            let change: Value = serde_json::from_str(data).unwrap();
            assert_eq!(change["id"], hold["id"]);
            told.push(format!("{} {}", change["what"], change["state"]));
        }
    }
    assert_eq!(told, [r#""held" "pending""#, r#""denied" "denied""#]);
}
