//! What in this schema does not check what its author thinks?
//!
//! JSON Schema ignores keywords and formats that it does not know. Neither makes a tool unusable;
//! both are told to the operator.

use serde_json::Value;

use super::Limits;
use super::graph::{Graph, Node};
use super::keywords::{Doubt, FORMATS, KNOWN_FORMATS, doubt};
use super::problem;
use crate::config::nearest;

/// The most warnings about one schema.
const MOST: usize = 20;

/// What an operator should know of the schema.
pub(super) fn warnings(graph: &Graph<'_>) -> Vec<String> {
    graph.nodes().flat_map(|(_, node)| of_node(node)).take(MOST).collect()
}

fn of_node(node: &Node<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (word, value) in node.says.into_iter().flatten() {
        let shown: String = word.chars().filter(|c| !c.is_control()).take(40).collect();
        match doubt(word) {
            Some(Doubt::Misspelt(meant)) => warnings.push(problem(
                &node.at,
                &format!("`{shown}` is no keyword and checks nothing; did you mean `{meant}`?"),
            )),
            Some(Doubt::Unknown) => warnings
                .push(problem(&node.at, &format!("`{shown}` is no keyword and checks nothing"))),
            None if word == "format" => warnings.extend(of_format(&node.at, value)),
            None => {}
        }
    }
    warnings
}

fn of_format(at: &str, format: &Value) -> Option<String> {
    let format = format.as_str()?;
    if FORMATS.contains(&format) || KNOWN_FORMATS.contains(&format) {
        return None;
    }
    let shown: String = format.chars().filter(|c| !c.is_control()).take(40).collect();
    let meant = nearest(format, FORMATS.iter().copied());
    let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
    Some(problem(at, &format!("format `{shown}` is not known and checks nothing{hint}")))
}

/// Whether the patterns are few and short enough to compile.
///
/// # Errors
/// The first that is too long, or one too many, by place.
pub(super) fn patterns(graph: &Graph<'_>, limits: &Limits) -> Result<(), String> {
    let mut count = 0;
    for (_, node) in graph.nodes() {
        let own = node.says.and_then(|says| says.get("pattern")).and_then(Value::as_str);
        let named = node.edges.iter().filter(|edge| edge.keyword == "patternProperties");
        for pattern in own.into_iter().chain(named.map(|edge| edge.name.as_str())) {
            count += 1;
            if pattern.len() > limits.pattern_bytes {
                return Err(problem(&node.at, "a pattern longer than the limit"));
            }
            if count > limits.patterns {
                return Err(problem(&node.at, "more patterns than the limit"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_checks_nothing_is_told_by_place_and_nearest_name() {
        for (schema, expected) in [
            (json!({"type": "object", "requird": ["a"]}), vec!["did you mean `required`"]),
            (json!({"properties": {"a": {"minimun": 1}}}), vec!["at `/properties/a`"]),
            (json!({"properties": {"requird": {}}}), vec![]),
            (json!({"x-order": 1, "nullable": true, "example": 1}), vec![]),
            (json!({"format": "dat-time"}), vec!["did you mean `date-time`"]),
            (json!({"format": "uint32"}), vec![]),
            (json!({"format": "postcode"}), vec!["format `postcode` is not known"]),
        ] {
            let graph = Graph::read(&schema, &Limits::default()).unwrap();
            let said = warnings(&graph);
            assert_eq!(said.len(), expected.len(), "{schema}: {said:?}");
            for (said, expected) in said.iter().zip(expected) {
                assert!(said.contains(expected), "{said}");
            }
        }
    }
}
