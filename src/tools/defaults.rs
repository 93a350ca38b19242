//! What does the schema say of members that are not there?
//!
//! A `default` is filled in where the schema declares the property outright; not within
//! alternatives, where presence may be what tells them apart, and not for a property that the
//! client mirrors into a header (its absence there means absence in the body).

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::graph::{Graph, Id};

/// What to fill in, as a graph: object shapes by number, the root's first.
#[derive(Debug, Default)]
pub(super) struct Completion {
    shapes: Vec<Vec<Field>>,
}

#[derive(Debug)]
struct Field {
    name: String,
    default: Option<Value>,
    shape: Option<usize>,
}

/// Words that give presence a meaning.
const PRESENCE: &[&str] =
    &["anyOf", "oneOf", "not", "if", "dependentRequired", "dependentSchemas", "maxProperties"];

impl Completion {
    /// Collects the defaults of a schema.
    pub(super) fn of(graph: &Graph<'_>) -> Self {
        let mut completion = Self::default();
        let mut known = Known { numbers: HashMap::from([(0, 0)]), pending: vec![0] };
        // In order of their numbers, and not by recursion: references chain as long as they like.
        while let Some(id) = known.pending.get(completion.shapes.len()).copied() {
            let mut fields = Vec::new();
            collect(graph, id, &mut known, &mut fields, 0);
            completion.shapes.push(fields);
        }
        if completion.shapes.iter().flatten().all(|field| field.default.is_none()) {
            return Self::default();
        }
        completion
    }

    /// Whether there is nothing to fill in.
    pub(super) fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// Fills in what is absent.
    pub(super) fn fill(&self, arguments: &mut Value) {
        self.fill_shape(0, arguments, false);
    }

    /// A value made of nothing but defaults, with the objects that they stand in.
    pub(super) fn skeleton(&self) -> Value {
        let mut value = Value::Object(Map::new());
        self.fill_shape(0, &mut value, true);
        value
    }

    /// Forgets the defaults that `is_wrong` says are, by JSON Pointer in the skeleton; which ones.
    pub(super) fn forget(&mut self, is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
        let mut forgotten = Vec::new();
        let mut queue = vec![(0, String::new())];
        let mut rounds = 0;
        while let Some((shape, at)) = queue.pop() {
            rounds += 1;
            if rounds > 1_000 {
                break;
            }
            for field in self.shapes.get_mut(shape).into_iter().flatten() {
                let at = format!("{at}/{}", super::normal::escape(&field.name));
                if field.default.is_some() && is_wrong(&at) {
                    field.default = None;
                    forgotten.push(at.clone());
                }
                // A recursive shape ends where its skeleton does.
                if let Some(shape) = field.shape
                    && at.matches('/').count() < SKELETON_DEPTH
                {
                    queue.push((shape, at));
                }
            }
        }
        forgotten
    }

    fn fill_shape(&self, shape: usize, value: &mut Value, make: bool) {
        self.fill_to(shape, value, make, 0);
    }

    fn fill_to(&self, shape: usize, value: &mut Value, make: bool, depth: usize) {
        let Value::Object(members) = value else { return };
        for field in self.shapes.get(shape).into_iter().flatten() {
            let inner = field.shape.filter(|s| self.shapes.get(*s).is_some_and(|f| !f.is_empty()));
            let present = members.contains_key(&field.name);
            if !present {
                if let Some(default) = &field.default {
                    members.insert(field.name.clone(), default.clone());
                } else if make && inner.is_some() && depth < SKELETON_DEPTH {
                    members.insert(field.name.clone(), Value::Object(Map::new()));
                }
            }
            if let (Some(shape), Some(member)) = (inner, members.get_mut(&field.name))
                && if make { depth < SKELETON_DEPTH } else { present }
            {
                self.fill_to(shape, member, make, depth + 1);
            }
        }
    }
}

/// How deep defaults are tried at load; a recursive schema has no end of its own.
const SKELETON_DEPTH: usize = 4;

/// The shapes met so far, by schema and in order of their numbers.
struct Known {
    numbers: HashMap<Id, usize>,
    pending: Vec<Id>,
}

impl Known {
    fn number(&mut self, id: Id) -> usize {
        let next = self.pending.len();
        let number = *self.numbers.entry(id).or_insert(next);
        if number == next {
            self.pending.push(id);
        }
        number
    }
}

fn collect(graph: &Graph<'_>, id: Id, known: &mut Known, fields: &mut Vec<Field>, depth: usize) {
    let Some(node) = graph.node(id) else { return };
    let Some(says) = node.says else { return };
    let presence_matters = PRESENCE.iter().any(|word| says.contains_key(*word));
    for edge in &node.edges {
        match edge.keyword {
            "properties" if !presence_matters => {
                let Some(property) = graph.node(edge.to).and_then(|n| n.says) else { continue };
                let mirrored = property.contains_key("x-mcp-header");
                let default = property.get("default").filter(|_| !mirrored).cloned();
                let shape = Some(known.number(edge.to));
                if !fields.iter().any(|field| field.name == edge.name) {
                    fields.push(Field { name: edge.name.clone(), default, shape });
                }
            }
            "$ref" | "allOf" if !presence_matters && depth < 32 => {
                collect(graph, edge.to, known, fields, depth + 1);
            }
            _ => {}
        }
    }
}
