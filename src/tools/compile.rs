//! Can this schema be used, and how is it checked?
//!
//! Compiled once when a tool is listed. What is refused here makes one tool unusable, by a reason
//! that names the place; nothing is fetched, patterns are linear, the work is bounded.

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use super::cost::{Allowance, allowance};
use super::defaults::Completion;
use super::graph::Graph;
use super::keywords::Applies;
use super::strict::{close, closings};
use super::{Limits, lint, normal, problem};

/// What a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Arguments: what is not mentioned is not admitted.
    Input,
    /// Results: as the schema says.
    Output,
}

/// A schema, ready to check values.
#[derive(Debug)]
pub struct Compiled {
    validator: Validator,
    /// The schema as given, where closing it could make it admit more.
    also: Option<Validator>,
    completion: Completion,
    allowance: Allowance,
    properties: Vec<String>,
}

/// The most values times checks that arguments may ask for.
const MOST_CHECKS: u64 = 20_000_000;

impl Compiled {
    /// Compiles a schema, with what the operator should know of it.
    ///
    /// # Errors
    /// Why it cannot be used, by place.
    pub fn new(schema: &Value, side: Side, limits: &Limits) -> Result<(Self, Vec<String>), String> {
        let given = normal::normal(schema)?;
        let graph = Graph::read(&given, limits)?;
        lint::patterns(&graph, limits)?;
        // First: what follows may then take chains of references to be short.
        allowance(&graph, limits)?;
        let mut warnings = lint::warnings(&graph);
        let mut closed = given.clone();
        if side == Side::Input {
            close(&mut closed, &closings(&graph));
        }
        let closed_graph = Graph::read(&closed, limits)?;
        let allowance = allowance(&closed_graph, limits)?;
        let validator = build(&closed)?;
        let also = (side == Side::Input && closed != given && may_admit_more(&graph))
            .then(|| build(&given))
            .transpose()?;
        let completion = match side {
            Side::Input => Completion::of(&graph),
            Side::Output => Completion::default(),
        };
        let properties = properties(&graph);
        let mut compiled = Self { validator, also, completion, allowance, properties };
        warnings.extend(compiled.forget_wrong_defaults());
        Ok((compiled, warnings))
    }

    /// Fills in the schema's defaults.
    pub fn complete(&self, value: &mut Value) {
        if !self.completion.is_empty() {
            self.completion.fill(value);
        }
    }

    /// Whether a value fits.
    pub fn admits(&self, value: &Value) -> bool {
        self.validator.is_valid(value) && self.also.as_ref().is_none_or(|also| also.is_valid(value))
    }

    /// In what a value does not fit; call it only when [`Self::admits`] says no.
    pub fn errors<'v>(
        &'v self,
        value: &'v Value,
    ) -> impl Iterator<Item = jsonschema::ValidationError<'v>> {
        let also = self.also.iter().flat_map(|also| also.iter_errors(value));
        self.validator.iter_errors(value).chain(also)
    }

    /// Whether a value is small enough to be checked; nearly always known without looking.
    pub fn affords(&self, value: &Value) -> bool {
        let Allowance { depth, checks_per_value } = self.allowance;
        if depth >= 128 && checks_per_value <= 64 {
            return true;
        }
        let mut values = MOST_CHECKS / checks_per_value.max(1);
        fits(value, depth, &mut values)
    }

    /// The names that the schema mentions anywhere, to find what was meant.
    pub fn properties(&self) -> impl Iterator<Item = &str> {
        self.properties.iter().map(String::as_str)
    }

    fn forget_wrong_defaults(&mut self) -> Vec<String> {
        if self.completion.is_empty() {
            return Vec::new();
        }
        let skeleton = self.completion.skeleton();
        let wrong: Vec<String> =
            self.errors(&skeleton).map(|error| error.instance_path().as_str().to_owned()).collect();
        let within = |at: &str| {
            wrong.iter().any(|place| {
                place.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let forgotten = self.completion.forget(within);
        let told = |at: &String| format!("the default of `{at}` does not fit its schema");
        forgotten.iter().map(told).collect()
    }
}

fn fits(value: &Value, depth: usize, values: &mut u64) -> bool {
    let Some(left) = values.checked_sub(1) else { return false };
    *values = left;
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|v| fits(v, depth - 1, values)),
        Value::Object(members) => depth > 0 && members.values().all(|v| fits(v, depth - 1, values)),
        _ => true,
    }
}

fn build(schema: &Value) -> Result<Validator, String> {
    let built = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(4 << 20).dfa_size_limit(1 << 20))
        .should_validate_formats(true)
        .should_ignore_unknown_formats(true)
        .build(schema);
    built.map_err(|error| {
        let why: String = error.masked().to_string().chars().take(200).collect();
        problem(error.instance_path().as_str(), &why)
    })
}

/// Whether a stricter part can make the whole admit more: where something counts what does not fit.
fn may_admit_more(graph: &Graph<'_>) -> bool {
    graph.nodes().any(|(_, node)| {
        node.edges.iter().any(|edge| {
            edge.applies == Applies::Asks || matches!(edge.keyword, "oneOf" | "contains")
        })
    })
}

fn properties(graph: &Graph<'_>) -> Vec<String> {
    let edges = graph.nodes().flat_map(|(_, node)| &node.edges);
    let mut names: Vec<String> =
        edges.filter(|edge| edge.keyword == "properties").map(|edge| edge.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
