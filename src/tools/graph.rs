//! Which schemas are there, and which applies to what?
//!
//! A schema in dialect 2020-12 as a graph: a node for each place that holds a schema, an edge for
//! each way that one applies another.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::Limits;
use super::keywords::{APPLICATORS, Applies, Holds};
use super::normal::escape;
use super::problem;

/// A node's number.
pub(super) type Id = usize;

/// One way that a schema applies another.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    /// The keyword, or `$ref`.
    pub(super) keyword: &'static str,
    /// How it applies.
    pub(super) applies: Applies,
    /// The property's name or pattern, where the keyword has named members.
    pub(super) name: String,
    /// What is applied.
    pub(super) to: Id,
}

/// One place that holds a schema.
#[derive(Debug)]
pub(super) struct Node<'s> {
    /// JSON Pointer within the schema.
    pub(super) at: String,
    /// What stands there; `None` for `true` and `false`.
    pub(super) says: Option<&'s Map<String, Value>>,
    /// What it applies, in the order of the keywords.
    pub(super) edges: Vec<Edge>,
    /// How it is applied by the node that holds it.
    pub(super) held: Applies,
    /// The node that holds it.
    pub(super) parent: Option<Id>,
}

/// All of them; the root is node 0.
#[derive(Debug)]
pub(super) struct Graph<'s> {
    nodes: Vec<Node<'s>>,
}

impl<'s> Graph<'s> {
    /// Reads a schema in dialect 2020-12.
    ///
    /// # Errors
    /// Too many schemas, nesting too deep, or a `$ref` that points at no schema, by place.
    pub(super) fn read(schema: &'s Value, limits: &Limits) -> Result<Self, String> {
        let mut graph = Self { nodes: Vec::new() };
        graph.add(schema, String::new(), Applies::Below, None, 0, limits)?;
        graph.connect()?;
        Ok(graph)
    }

    /// The nodes with their numbers.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (Id, &Node<'s>)> {
        self.nodes.iter().enumerate()
    }

    /// One node.
    pub(super) fn node(&self, id: Id) -> Option<&Node<'s>> {
        self.nodes.get(id)
    }

    /// What a node applies; nothing for a number that is none.
    pub(super) fn edges(&self, id: Id) -> &[Edge] {
        self.node(id).map_or(&[], |node| &node.edges)
    }

    fn add(
        &mut self,
        schema: &'s Value,
        at: String,
        held: Applies,
        parent: Option<Id>,
        depth: usize,
        limits: &Limits,
    ) -> Result<Id, String> {
        if depth > limits.depth {
            return Err(problem(&at, "schemas nest deeper than the limit"));
        }
        let id = self.nodes.len();
        if id >= limits.schemas {
            return Err(problem(&at, "more schemas than the limit"));
        }
        let says = schema.as_object();
        self.nodes.push(Node { at: at.clone(), says, edges: Vec::new(), held, parent });
        let Some(says) = says else { return Ok(id) };
        let mut edges = Vec::new();
        for (keyword, holds, applies) in APPLICATORS {
            let Some(held) = says.get(*keyword) else { continue };
            let mut add = |path: String, name: &str, schema| {
                let to = self.add(schema, path, *applies, Some(id), depth + 1, limits)?;
                edges.push(Edge { keyword, applies: *applies, name: name.to_owned(), to });
                Ok::<_, String>(())
            };
            match (holds, held) {
                (Holds::One, held) => add(format!("{at}/{keyword}"), "", held)?,
                (Holds::Many, Value::Array(items)) => {
                    for (index, item) in items.iter().enumerate() {
                        add(format!("{at}/{keyword}/{index}"), &index.to_string(), item)?;
                    }
                }
                (Holds::Named, Value::Object(members)) => {
                    for (name, member) in members {
                        add(format!("{at}/{keyword}/{}", escape(name)), name, member)?;
                    }
                }
                _ => return Err(problem(&at, "a keyword holds what it cannot hold")),
            }
        }
        if let Some(node) = self.nodes.get_mut(id) {
            node.edges = edges;
        }
        Ok(id)
    }

    /// Adds an edge for each `$ref`.
    fn connect(&mut self) -> Result<(), String> {
        let mut places: HashMap<&str, Id> = HashMap::new();
        let mut anchors: BTreeMap<&str, Id> = BTreeMap::new();
        for (id, node) in self.nodes.iter().enumerate() {
            places.insert(&node.at, id);
            for key in ["$anchor", "$dynamicAnchor"] {
                if let Some(name) = node.says.and_then(|says| says.get(key)).and_then(Value::as_str)
                    && anchors.insert(name, id).is_some_and(|earlier| earlier != id)
                {
                    return Err(problem(&node.at, "an anchor that stands twice"));
                }
            }
        }
        let mut found = Vec::new();
        for (id, node) in self.nodes.iter().enumerate() {
            let Some(reference) = node.says.and_then(|says| says.get("$ref")) else { continue };
            let target = reference.as_str().and_then(|text| text.strip_prefix('#')).and_then(|f| {
                let fragment = percent_decoded(f)?;
                if fragment.is_empty() || fragment.starts_with('/') {
                    places.get(canonical(&fragment).as_str()).copied()
                } else {
                    anchors.get(fragment.as_str()).copied()
                }
            });
            let Some(to) = target else {
                return Err(problem(&node.at, "`$ref` points at no schema here"));
            };
            found.push((id, to));
        }
        for (id, to) in found {
            if let Some(node) = self.nodes.get_mut(id) {
                let (keyword, applies, name) = ("$ref", Applies::Here, String::new());
                node.edges.push(Edge { keyword, applies, name, to });
            }
        }
        Ok(())
    }
}

/// A pointer with each token escaped in the one way that node places are.
fn canonical(pointer: &str) -> String {
    pointer
        .split('/')
        .map(|token| escape(&token.replace("~1", "/").replace("~0", "~")))
        .collect::<Vec<_>>()
        .join("/")
}

/// RFC 3986, section 2.1; `None` for what is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, tail @ ..]) => {
                bytes.extend(hex::decode([*high, *low]).ok()?);
                rest = tail;
            }
            (b'%', _) => return None,
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_lead_to_the_schema_they_name() {
        for (reference, at) in [
            ("#", Some("")),
            ("#/$defs/a", Some("/$defs/a")),
            ("#/$defs/x~1y", Some("/$defs/x~1y")),
            ("#/$defs/x%2Fy", None),
            ("#/$defs/%61", Some("/$defs/a")),
            ("#here", Some("/$defs/anchored")),
            ("#/$defs/b", None),
            ("#/description", None),
            ("#nowhere", None),
        ] {
            let schema = json!({
                "$defs": {"a": {}, "x/y": {}, "anchored": {"$anchor": "here"}},
                "properties": {"p": {"$ref": reference}}, "description": "d"
            });
            let graph = Graph::read(&schema, &Limits::default());
            let found = graph.ok().and_then(|graph| {
                let (_, holder) = graph.nodes().find(|(_, node)| node.at == "/properties/p")?;
                Some(graph.node(holder.edges.first()?.to)?.at.clone())
            });
            assert_eq!(found.as_deref(), at, "{reference}");
        }
    }

    #[test]
    fn size_and_depth_are_bounded_at_the_limit() {
        let limits = Limits { depth: 3, schemas: 5, ..Limits::default() };
        for (schema, fits) in [
            (json!({"not": {"not": {"not": {}}}}), true),
            (json!({"not": {"not": {"not": {"not": {}}}}}), false),
            (json!({"allOf": [{}, {}, {}, {}]}), true),
            (json!({"allOf": [{}, {}, {}, {}, {}]}), false),
        ] {
            assert_eq!(Graph::read(&schema, &limits).is_ok(), fits, "{schema}");
        }
    }
}
