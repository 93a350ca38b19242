//! What does the OpenAPI file say, and is that all?

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use countersign::hold::{Barred, State};
use countersign::json::{Fault, FaultKind};
use countersign::review::api::OWN_CODES;
use countersign::time::At;
use serde_json::{Value, json};

use crate::support::Response;

/// `schemas/openapi.yaml`, and which of its operations were asked for.
pub(super) struct File {
    whole: Value,
    asked: RefCell<BTreeSet<String>>,
}

impl File {
    pub(super) fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/openapi.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        Self { whole: serde_saphyr::from_str(&text).unwrap(), asked: RefCell::default() }
    }

    /// Whether this answer is one that the operation of this method and path can give.
    pub(super) fn describes(&self, method: &str, path: &str, answer: &Response) {
        let path = path.split('?').next().unwrap();
        let template = self.template(path);
        let operation = &self.whole["paths"][&template][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {template} is not in the file");
        self.asked.borrow_mut().insert(operation["operationId"].as_str().unwrap().to_owned());
        let response = self.resolved(&operation["responses"][answer.status.to_string()]);
        assert!(response.is_object(), "{method} {path} answered {answer:?}");
        let media = answer.header("content-type").unwrap();
        let schema = &response["content"][media]["schema"];
        assert!(schema.is_object(), "{method} {path}: {media} is not in the file");
        self.is_valid(schema, &answer.json(), path);
        self.names_each_field(schema, &answer.json());
    }

    /// Whether an error is as the file has them, wherever it came from.
    pub(super) fn describes_error(&self, answer: &Response, code: &str) {
        let schema = json!({"$ref": "#/components/schemas/Error"});
        self.is_valid(&schema, &answer.json(), code);
        assert_eq!(answer.json()["error"]["code"], code, "{}", answer.text());
    }

    pub(super) fn was_asked_for_everything_but(&self, others: &[&str]) {
        let all: BTreeSet<String> = self
            .operations()
            .into_iter()
            .map(|(_, _, o)| o["operationId"].as_str().unwrap().to_owned())
            .collect();
        let asked = self.asked.borrow();
        let left: Vec<_> = all.difference(&asked).collect();
        assert_eq!(left, others);
    }

    fn operations(&self) -> Vec<(String, String, &Value)> {
        let paths = self.whole["paths"].as_object().unwrap();
        let of = |(path, item): (&String, &'_ Value)| {
            let path = path.clone();
            let methods = ["get", "post", "put", "patch", "delete", "head", "options"];
            let there: Vec<_> = methods.into_iter().filter(|m| item.get(*m).is_some()).collect();
            there.into_iter().map(move |m| (m.to_owned(), path.clone())).collect::<Vec<_>>()
        };
        let named: Vec<_> = paths.iter().flat_map(of).collect();
        named
            .into_iter()
            .map(|(m, p)| {
                let operation = &self.whole["paths"][&p][&m];
                (m, p, operation)
            })
            .collect()
    }

    fn template(&self, path: &str) -> String {
        let mut parts: Vec<&str> = path.split('/').collect();
        if parts.len() > 2 && parts[1] == "holds" {
            parts[2] = "{id}";
        }
        parts.join("/")
    }

    fn resolved<'a>(&'a self, node: &'a Value) -> &'a Value {
        match node["$ref"].as_str() {
            Some(at) => self.whole.pointer(at.strip_prefix('#').unwrap()).unwrap(),
            None => node,
        }
    }

    fn is_valid(&self, schema: &Value, value: &Value, what: &str) {
        let mut whole = schema.clone();
        whole["components"] = self.whole["components"].clone();
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .should_validate_formats(true)
            .build(&whole)
            .unwrap();
        let faults: Vec<_> = validator
            .iter_errors(value)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{what}: {faults:#?}\n{value:#}");
    }

    /// A field that the file does not name is one that nobody may rely on.
    fn names_each_field(&self, schema: &Value, value: &Value) {
        let (mut names, mut parts) = (BTreeSet::new(), vec![schema]);
        while let Some(part) = parts.pop() {
            let part = self.resolved(part);
            names
                .extend(part["properties"].as_object().into_iter().flatten().map(|(name, _)| name));
            parts.extend(part["allOf"].as_array().into_iter().flatten());
        }
        for name in value.as_object().unwrap().keys() {
            assert!(names.contains(name), "`{name}` is not in the file");
        }
    }
}

#[test]
fn what_is_served_and_what_is_in_the_file_are_the_same() {
    let source = include_str!("../../../src/review/api.rs");
    let served: BTreeSet<_> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".route(\""))
        .map(|rest| {
            let (path, rest) = rest.split_once("\", ").unwrap();
            let method = rest.split('(').next().unwrap();
            (method.to_owned(), path.to_owned())
        })
        .collect();
    let file = File::read();
    let described: BTreeSet<_> = file.operations().into_iter().map(|(m, p, _)| (m, p)).collect();
    assert_eq!(served, described);
    assert_eq!(served.len(), 8);
}

#[test]
fn every_code_is_in_the_file() {
    let at = At::from_micros(0);
    let barred = [
        Barred::Over { state: State::Denied, by: None, at },
        Barred::Changed,
        Barred::Late(at),
        Barred::Closed,
        Barred::NotAReviewer,
        Barred::Requester,
        Barred::SignedAlready,
        Barred::JustificationNeeded,
    ];
    let kinds = [
        FaultKind::Syntax,
        FaultKind::Text,
        FaultKind::DuplicateKey,
        FaultKind::ReservedKey,
        FaultKind::Depth,
        FaultKind::Size,
        FaultKind::Number,
    ];
    let mut codes: BTreeSet<&str> = OWN_CODES.into();
    codes.extend(barred.iter().map(Barred::code));
    codes.extend(kinds.map(|kind| Fault { kind, at: 0 }.code()));
    let file = File::read();
    let listed = file.whole["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
    let listed: BTreeSet<&str> = listed.iter().map(|code| code.as_str().unwrap()).collect();
    assert_eq!(listed, codes);
}

#[test]
fn every_example_is_one() {
    let file = File::read();
    let mut seen = 0;
    for (_, _, operation) in file.operations() {
        let responses = operation["responses"].as_object().unwrap().values();
        let contents = responses.map(|response| &file.resolved(response)["content"]);
        for content in contents.chain([&operation["requestBody"]["content"]]) {
            let media = &content["application/json"];
            for (name, example) in media["examples"].as_object().into_iter().flatten() {
                file.is_valid(&media["schema"], &file.resolved(example)["value"], name);
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
}
