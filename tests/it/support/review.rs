//! A reviewer, by the API.

use serde_json::{Value, json};

use super::client::{Connection, Response};
use super::gate::{Gate, Setup};

/// Somebody with a token.
pub(crate) struct Reviewer<'a> {
    gate: &'a Gate,
    id: &'static str,
}

impl Setup {
    /// Reviewers of the group `payments`, each with a token.
    pub(crate) fn reviewers(mut self, ids: &[&str]) -> Self {
        let mut lines = "reviewers:\n".to_owned();
        for id in ids {
            lines.push_str(&format!(
                "  - {{id: {id}, groups: [payments], token: {{file: ./{id}.reviewer}}}}\n"
            ));
            self = self.file(&format!("{id}.reviewer"), &reviewer_token(id));
        }
        self.config(&lines)
    }

    /// Holds each call of `refund`; the other packages say nothing.
    pub(crate) fn holds(self, terms: &str) -> Self {
        let comma = if terms.is_empty() { "" } else { ", " };
        self.file(
            "policies/reversibility.rego",
            &format!(
                "package countersign.reversibility\n\nhold contains {{\"code\": \"big\", \
                 \"message\": \"refunds need a signature\"{comma}{terms}}} if \
                 input.call.tool == \"refund\"\n"
            ),
        )
    }
}

/// The token of a reviewer.
pub(crate) fn reviewer_token(id: &str) -> String {
    format!("r3v13w-of-{id}-88aa41c7f0")
}

impl Gate {
    /// A reviewer of this gate.
    pub(crate) fn reviewer(&self, id: &'static str) -> Reviewer<'_> {
        Reviewer { gate: self, id }
    }
}

impl Reviewer<'_> {
    /// Asks the API.
    pub(crate) fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        self.try_request(method, path, body).expect("a response")
    }

    /// The same; nothing where the gate is gone.
    pub(crate) fn try_request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Option<Response> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            reviewer_token(self.id),
            body.len(),
        );
        let mut connection = Connection::try_to(self.gate.operators)?;
        connection.send(request.as_bytes());
        connection.try_response()
    }

    /// Follows the changes of holds, from now on.
    pub(crate) fn watches(&self) -> Connection {
        let mut connection = Connection::to(self.gate.operators);
        let token = reviewer_token(self.id);
        let request = format!(
            "GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        connection.send(request.as_bytes());
        connection
    }

    /// The holds in a state, once there are `count`.
    pub(crate) fn holds(&self, state: &str, count: usize) -> Vec<Value> {
        for _ in 0..1000 {
            let page = self.request("GET", &format!("/holds?state={state}"), None).json();
            let holds = page["holds"].as_array().unwrap().clone();
            if holds.len() == count {
                return holds;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("never {count} that are {state}: {}", self.request("GET", "/holds", None).text());
    }

    /// The only hold in a state.
    pub(crate) fn only(&self, state: &str) -> Value {
        self.holds(state, 1).remove(0)
    }

    /// Does something with a hold that this reviewer has seen.
    pub(crate) fn act(&self, hold: &Value, action: &str, mut body: Value) -> Response {
        if matches!(action, "approve" | "edit") {
            body["hash"] = hold["hash"].clone();
        }
        let id = hold["id"].as_str().unwrap();
        self.request("POST", &format!("/holds/{id}/{action}"), Some(&body))
    }

    /// Approves the only pending hold.
    pub(crate) fn approves(&self) -> Value {
        let hold = self.only("pending");
        let answer = self.act(&hold, "approve", json!({}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}
