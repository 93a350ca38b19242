//! Where must nothing be that the schema does not mention?
//!
//! JSON Schema admits every member that nothing mentions; a gate must not. So an object schema
//! that lists `properties`, and does not say itself what else it admits, is closed. Where several
//! schemas apply to one object (`allOf`, `anyOf`, `$ref`…) each alone does not know all members:
//! there the outermost one gets `unevaluatedProperties: false`, which counts what the others
//! mention. An object schema without `properties` is a free-form map, and stays one, except at the
//! root of a tool's input, where it means a tool without parameters.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::graph::{Edge, Graph, Id};
use super::keywords::Applies;

/// What to add where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closing {
    /// JSON Pointer of the schema.
    pub(super) at: String,
    /// The keyword to add.
    pub(super) keyword: &'static str,
    /// Its value.
    pub(super) admits: bool,
}

/// Keywords that say something of objects by themselves.
const OBJECT_WORDS: &[&str] = &[
    "properties",
    "patternProperties",
    "required",
    "dependentRequired",
    "minProperties",
    "maxProperties",
    "propertyNames",
];

/// What closes this schema.
pub(super) fn closings(graph: &Graph<'_>) -> Vec<Closing> {
    let places = Places::new(graph);
    let mut walk =
        Walk { graph, places, seen: HashSet::new(), queue: vec![0], closings: Vec::new() };
    while let Some(id) = walk.queue.pop() {
        if walk.seen.insert(id) {
            walk.outermost(id);
        }
    }
    walk.closings
}

/// Adds them to the schema.
pub(super) fn close(schema: &mut Value, closings: &[Closing]) {
    for closing in closings {
        if let Some(Value::Object(place)) = schema.pointer_mut(&closing.at) {
            place.insert(closing.keyword.into(), Value::Bool(closing.admits));
        }
    }
}

struct Walk<'g, 's> {
    graph: &'g Graph<'s>,
    places: Places<'g, 's>,
    seen: HashSet<Id>,
    queue: Vec<Id>,
    closings: Vec<Closing>,
}

impl Walk<'_, '_> {
    /// Closes a schema that no other one applies to the same object.
    fn outermost(&mut self, id: Id) {
        let Some(node) = self.graph.node(id) else { return };
        let Some(says) = node.says else { return };
        let group = self.group(id);
        self.queue_members(&group);
        let mentions = |id: &Id| {
            let says = self.graph.node(*id).and_then(|node| node.says);
            says.is_some_and(|s| {
                s.contains_key("properties") || s.contains_key("patternProperties")
            })
        };
        let mentioned = group.iter().any(mentions);
        if id != 0 && !mentioned {
            return;
        }
        if let Some(through) = pass_through(self.graph, id)
            && mentioned
            && through.iter().all(|to| self.places.alone(*to))
        {
            self.queue.extend(through);
            return;
        }
        if says.contains_key("additionalProperties") || says.contains_key("unevaluatedProperties") {
            return;
        }
        if group.len() == 1 {
            self.add(id, "additionalProperties", false);
            return;
        }
        self.add(id, "unevaluatedProperties", false);
        if !mentions(&id) {
            self.keep_maps_open(id);
        }
    }

    /// The schemas that apply to the same object, this one first.
    fn group(&self, id: Id) -> Vec<Id> {
        let mut group = vec![id];
        let mut next = 0;
        while let Some(member) = group.get(next) {
            next += 1;
            for edge in self.graph.edges(*member) {
                if edge.applies == Applies::Here && !group.contains(&edge.to) {
                    group.push(edge.to);
                }
            }
        }
        group
    }

    /// What stands in the object is an object of its own.
    fn queue_members(&mut self, group: &[Id]) {
        let asks = |edge: &Edge| matches!(edge.keyword, "contains" | "propertyNames");
        for member in group {
            for edge in self.graph.edges(*member) {
                if edge.applies == Applies::Below && !asks(edge) {
                    self.queue.push(edge.to);
                }
            }
        }
    }

    /// An alternative that is a free-form map says so, or closing the whole would empty it.
    fn keep_maps_open(&mut self, id: Id) {
        let alternatives = self.graph.edges(id).iter();
        let maps: Vec<Id> = alternatives
            .filter(|edge| matches!(edge.keyword, "anyOf" | "oneOf"))
            .map(|edge| edge.to)
            .filter(|to| self.graph.node(*to).and_then(|n| n.says).is_some_and(is_free_form))
            .collect();
        for map in maps {
            self.add(map, "additionalProperties", true);
        }
    }

    fn add(&mut self, id: Id, keyword: &'static str, admits: bool) {
        let Some(node) = self.graph.node(id) else { return };
        let closing = Closing { at: node.at.clone(), keyword, admits };
        if !self.closings.contains(&closing) {
            self.closings.push(closing);
        }
    }
}

/// Schemas that, each alone, stand for this one: it says nothing of objects itself, and has one
/// reference, one conjunct, exclusive alternatives, or one alternative that can be an object.
fn pass_through(graph: &Graph<'_>, id: Id) -> Option<Vec<Id>> {
    let node = graph.node(id)?;
    let says = node.says?;
    if OBJECT_WORDS.iter().any(|word| says.contains_key(*word))
        || says.contains_key("additionalProperties")
        || says.contains_key("unevaluatedProperties")
    {
        return None;
    }
    let here: Vec<&Edge> = node.edges.iter().filter(|e| e.applies == Applies::Here).collect();
    let first = here.first()?;
    if node.edges.iter().any(|e| e.applies == Applies::Asks)
        || here.iter().any(|e| e.keyword != first.keyword)
    {
        return None;
    }
    let objects: Vec<Id> =
        here.iter().map(|e| e.to).filter(|to| can_be_object(graph, *to)).collect();
    match first.keyword {
        "$ref" | "allOf" if here.len() == 1 => Some(vec![first.to]),
        "oneOf" => Some(objects),
        "anyOf" if objects.len() <= 1 || exclusive(graph, &objects) => Some(objects),
        _ => None,
    }
}

/// Whether no object can fit two of these: each requires one property to be another constant.
fn exclusive(graph: &Graph<'_>, alternatives: &[Id]) -> bool {
    let tags = |id: Id| -> Option<HashSet<(&str, &str)>> {
        let direct = graph.edges(id).iter().find(|edge| edge.keyword == "$ref");
        let says = graph.node(direct.map_or(id, |edge| edge.to))?.says?;
        let required = says.get("required")?.as_array()?;
        let properties = says.get("properties")?.as_object()?;
        let constants = properties.iter().filter_map(|(name, property)| {
            let is_required = required.iter().any(|word| word == name);
            let constant = property.get("const").and_then(Value::as_str);
            constant.filter(|_| is_required).map(|constant| (name.as_str(), constant))
        });
        Some(constants.collect())
    };
    let Some(tags) = alternatives.iter().map(|id| tags(*id)).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let Some(first) = tags.first() else { return true };
    first.iter().any(|(name, _)| {
        let values = tags.iter().map(|of| of.iter().find(|(other, _)| other == name));
        let values: Option<Vec<_>> = values.collect();
        values.is_some_and(|v| v.iter().collect::<HashSet<_>>().len() == tags.len())
    })
}

fn can_be_object(graph: &Graph<'_>, id: Id) -> bool {
    let Some(says) = graph.node(id).and_then(|node| node.says) else { return true };
    match (says.get("type"), says.get("const"), says.get("enum")) {
        (Some(Value::String(name)), ..) => name == "object",
        (Some(Value::Array(names)), ..) => names.iter().any(|name| name == "object"),
        (_, Some(only), _) => only.is_object(),
        (_, _, Some(Value::Array(values))) => values.iter().any(Value::is_object),
        _ => true,
    }
}

/// Which schemas may be closed themselves, because all who apply them apply nothing beside them.
struct Places<'g, 's> {
    graph: &'g Graph<'s>,
    /// Who refers to each.
    uses: HashMap<Id, Vec<Id>>,
    known: HashMap<Id, bool>,
}

impl<'g, 's> Places<'g, 's> {
    fn new(graph: &'g Graph<'s>) -> Self {
        let mut uses: HashMap<Id, Vec<Id>> = HashMap::new();
        for (id, node) in graph.nodes() {
            for edge in node.edges.iter().filter(|edge| edge.keyword == "$ref") {
                uses.entry(edge.to).or_default().push(id);
            }
        }
        Self { graph, uses, known: HashMap::new() }
    }

    fn alone(&mut self, id: Id) -> bool {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        // A loop through one value is refused later, by what it would cost.
        self.known.insert(id, true);
        let alone = self.found_alone(id);
        self.known.insert(id, alone);
        alone
    }

    fn found_alone(&mut self, id: Id) -> bool {
        let Some(node) = self.graph.node(id) else { return false };
        match (node.held, node.parent) {
            (Applies::Below, None) => true,
            (Applies::Below, Some(parent)) => {
                !asked(self.graph, parent) && !counted(self.graph, id, parent)
            }
            (Applies::Here, Some(parent)) => self.passes(parent),
            (Applies::Stored, _) => {
                let uses = self.uses.get(&id).cloned().unwrap_or_default();
                uses.into_iter().all(|holder| self.passes(holder))
            }
            _ => false,
        }
    }

    fn passes(&mut self, id: Id) -> bool {
        pass_through(self.graph, id).is_some() && self.alone(id)
    }
}

/// Whether a schema stands within a question.
fn asked(graph: &Graph<'_>, id: Id) -> bool {
    let mut place = graph.node(id);
    while let Some(node) = place {
        if node.held == Applies::Asks {
            return true;
        }
        place = node.parent.and_then(|parent| graph.node(parent));
    }
    false
}

fn counted(graph: &Graph<'_>, id: Id, parent: Id) -> bool {
    graph
        .edges(parent)
        .iter()
        .any(|edge| edge.to == id && matches!(edge.keyword, "contains" | "propertyNames"))
}

fn is_free_form(says: &Map<String, Value>) -> bool {
    const SHAPES: &[&str] = &[
        "additionalProperties",
        "unevaluatedProperties",
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
        "if",
        "not",
        "dependentSchemas",
    ];
    let says_object = match says.get("type") {
        None => true,
        Some(Value::String(name)) => name == "object",
        Some(Value::Array(names)) => names.iter().any(|name| name == "object"),
        Some(_) => false,
    };
    says_object && !OBJECT_WORDS.iter().chain(SHAPES).any(|word| says.contains_key(*word))
}
