//! How much work can a value make this schema do?
//!
//! Alternatives that descend into the same member do their work once for each alternative, at
//! each level again: a schema of 2 KB can ask for 2^26 checks of one value. So the most checks
//! that one value can cost is computed at load, for arguments of each depth, and a schema is
//! refused, or the depth of its arguments limited, before that grows too large.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Limits;
use super::graph::{Edge, Graph, Id};
use super::keywords::Applies;
use super::problem;

/// What arguments may be, so that checking them stays cheap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// How deep they may nest.
    pub depth: usize,
    /// How many schemas can come to be checked for each value in them, at most.
    pub checks_per_value: u64,
}

/// Frames that a check may put on the stack: schemas applied to one value, times the depth.
const FRAMES: usize = 1_500;

/// Each place in a value that schemas descend to: which schemas, each how often.
type Slot = Vec<(Id, u64)>;

/// All that applies to one value, when one schema is applied to it.
struct Spread {
    /// Schemas applied to the value itself.
    here: u64,
    /// Those that its members and elements get, for each member.
    slots: Vec<Slot>,
}

/// What arguments this schema can be checked with.
///
/// # Errors
/// A `$ref` that comes back to the same value, or too many checks, by place.
pub(super) fn allowance(graph: &Graph<'_>, limits: &Limits) -> Result<Allowance, String> {
    let mut spreads: HashMap<Id, Spread> = HashMap::new();
    let mut queue = vec![0];
    let (mut longest, mut size) = (1, 0);
    while let Some(id) = queue.pop() {
        if spreads.contains_key(&id) {
            continue;
        }
        let mut same_value =
            SameValue { graph, limits, all: BTreeMap::new(), here: 0, path: vec![] };
        longest = longest.max(same_value.apply(id, 1)?);
        let spread = same_value.spread();
        size += spread.slots.iter().map(Vec::len).sum::<usize>();
        if size > limits.edges {
            return Err(too_much(graph, id));
        }
        queue.extend(spread.slots.iter().flatten().map(|(to, _)| *to));
        spreads.insert(id, spread);
    }
    let deepest = (FRAMES / longest).min(limits.argument_depth);
    let (depth, checks_per_value) = grow(&spreads, deepest, limits);
    if depth < limits.argument_depth.min(8) {
        return Err(too_much(graph, 0));
    }
    Ok(Allowance { depth, checks_per_value })
}

/// The depth up to which the work stays within the limit, and that work.
fn grow(spreads: &HashMap<Id, Spread>, deepest: usize, limits: &Limits) -> (usize, u64) {
    let mut work: HashMap<Id, u64> = spreads.iter().map(|(id, s)| (*id, s.here)).collect();
    for depth in 0..deepest {
        let now = work.get(&0).copied().unwrap_or(0);
        if now > limits.checks_per_value {
            return (depth.saturating_sub(1), limits.checks_per_value);
        }
        let next: HashMap<Id, u64> = spreads
            .iter()
            .map(|(id, spread)| {
                let below = spread.slots.iter().map(|slot| {
                    let each = slot.iter().map(|(to, times)| {
                        times.saturating_mul(work.get(to).copied().unwrap_or(0))
                    });
                    each.fold(0_u64, u64::saturating_add)
                });
                (*id, below.fold(spread.here, u64::max))
            })
            .collect();
        if next == work {
            return (deepest, now);
        }
        work = next;
    }
    let last = work.get(&0).copied().unwrap_or(0);
    (deepest, last.min(limits.checks_per_value))
}

fn too_much(graph: &Graph<'_>, id: Id) -> String {
    let at = graph.node(id).map(|node| node.at.as_str()).unwrap_or_default();
    problem(at, "alternatives nest so that checking a value can take too long")
}

struct SameValue<'g, 's> {
    graph: &'g Graph<'s>,
    limits: &'g Limits,
    /// Each schema applied to the value, and how often.
    all: BTreeMap<Id, u64>,
    here: u64,
    path: Vec<Id>,
}

impl SameValue<'_, '_> {
    /// Counts a schema and what it applies to the same value; how long the chain gets.
    fn apply(&mut self, id: Id, times: u64) -> Result<usize, String> {
        let Some(node) = self.graph.node(id) else { return Ok(0) };
        if self.path.contains(&id) {
            return Err(problem(&node.at, "`$ref` comes back to the same value"));
        }
        if self.path.len() >= self.limits.depth || self.here > self.limits.checks_per_value {
            return Err(too_much(self.graph, id));
        }
        if node.says.is_none() {
            return Ok(0);
        }
        self.here = self.here.saturating_add(times);
        *self.all.entry(id).or_insert(0) += times;
        // What is left over is found by asking each alternative again.
        let again = node.edges.iter().any(|edge| edge.keyword.starts_with("unevaluated"));
        let times = if again { times.saturating_mul(2) } else { times };
        self.path.push(id);
        let mut longest = 0;
        for edge in &node.edges {
            if matches!(edge.applies, Applies::Here | Applies::Asks) {
                longest = longest.max(self.apply(edge.to, times)?);
            }
        }
        self.path.pop();
        Ok(longest + 1)
    }

    fn spread(self) -> Spread {
        let mut named: BTreeSet<&str> = BTreeSet::new();
        let mut indexed: BTreeSet<&str> = BTreeSet::new();
        for edge in self.all.keys().flat_map(|id| self.graph.edges(*id)) {
            match edge.keyword {
                "properties" => named.insert(&edge.name),
                "prefixItems" => indexed.insert(&edge.name),
                _ => false,
            };
        }
        let mut slots = Vec::new();
        for name in named.into_iter().map(Some).chain([None]) {
            slots.push(self.slot("properties", "additionalProperties", name));
        }
        for index in indexed.into_iter().map(Some).chain([None]) {
            slots.push(self.slot("prefixItems", "items", index));
        }
        slots.retain(|slot| !slot.is_empty());
        Spread { here: self.here, slots }
    }

    /// What one member gets: the schema of its name, or that for the others; and those for all.
    fn slot(&self, by_name: &str, others: &str, name: Option<&str>) -> Slot {
        let for_all: &[&str] = match by_name {
            "properties" => &["patternProperties", "unevaluatedProperties", "propertyNames"],
            _ => &["contains", "unevaluatedItems"],
        };
        let mut slot = Vec::new();
        for (id, times) in &self.all {
            let edges = self.graph.edges(*id);
            let is_it = |e: &&Edge| e.keyword == by_name && Some(e.name.as_str()) == name;
            let own = edges.iter().find(is_it);
            let own = own.or_else(|| edges.iter().find(|edge| edge.keyword == others));
            let shared = edges.iter().filter(|edge| for_all.contains(&edge.keyword));
            let schemas = own.into_iter().chain(shared).map(|edge| edge.to);
            let checked =
                schemas.filter(|to| self.graph.node(*to).is_some_and(|node| node.says.is_some()));
            slot.extend(checked.map(|to| (to, *times)));
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judge(schema: &Value) -> Result<Allowance, String> {
        let limits = Limits::default();
        allowance(&Graph::read(schema, &limits)?, &limits)
    }

    /// Alternatives on one member, `levels` deep.
    fn doubling(levels: usize) -> Value {
        let mut schema = json!({"type": "string"});
        for _ in 0..levels {
            let level = json!({"properties": {"a": schema}});
            schema = json!({"anyOf": [level.clone(), level]});
        }
        schema
    }

    /// The same by reference, so that the schema stays small.
    fn doubling_by_reference(levels: usize) -> Value {
        let mut definitions = serde_json::Map::new();
        for level in 0..levels {
            let below = json!({"properties": {"a": {"$ref": format!("#/$defs/l{}", level + 1)}}});
            definitions.insert(format!("l{level}"), json!({"anyOf": [below.clone(), below]}));
        }
        definitions.insert(format!("l{levels}"), json!({"type": "string"}));
        json!({"$ref": "#/$defs/l0", "$defs": definitions})
    }

    #[test]
    fn work_that_doubles_at_each_level_is_refused() {
        let all_of = json!({"$ref": "#/$defs/x0", "$defs": (0..30).map(|n| {
            let next = json!({"$ref": format!("#/$defs/x{}", n + 1)});
            (format!("x{n}"), if n == 29 { json!({}) } else { json!({"allOf": [next.clone(), next]}) })
        }).collect::<serde_json::Map<_, _>>()});
        for (name, schema, fits) in [
            ("few levels", doubling(4), true),
            ("many levels", doubling_by_reference(26), true),
            ("the same value", all_of, false),
            ("loop", json!({"$ref": "#"}), false),
            (
                "loop of two",
                json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#"}]}}}),
                false,
            ),
            (
                "endless doubling",
                json!({"anyOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}},
                    {"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]}),
                false,
            ),
            ("a tree", json!({"properties": {"children": {"items": {"$ref": "#"}}}}), true),
            (
                "a tree of any",
                json!({"properties": {"l": {"$ref": "#"}, "r": {"$ref": "#"}}, "additionalProperties": {"$ref": "#"}}),
                true,
            ),
        ] {
            let judged = judge(&schema);
            assert_eq!(judged.is_ok(), fits, "{name}: {judged:?}");
        }
    }

    #[test]
    fn many_levels_are_checked_only_as_deep_as_they_stay_cheap() {
        let allowed = judge(&doubling_by_reference(26)).unwrap();
        assert!(allowed.depth < 12, "{allowed:?}");
        assert!(allowed.checks_per_value <= Limits::default().checks_per_value);
    }

    #[test]
    fn a_tagged_tree_is_checked_to_a_depth_that_stays_cheap() {
        let branch = |tag| json!({"properties": {"op": {"const": tag}, "args": {"items": {"$ref": "#/$defs/f"}}}});
        let schema = json!({"properties": {"filter": {"$ref": "#/$defs/f"}},
            "$defs": {"f": {"anyOf": [branch("and"), branch("or")]}}});
        let allowed = judge(&schema).unwrap();
        assert!(allowed.depth >= 16 && allowed.depth < 64, "{allowed:?}");
        let plain = judge(&json!({"properties": {"children": {"items": {"$ref": "#"}}}})).unwrap();
        assert_eq!(plain.depth, Limits::default().argument_depth);
    }
}
