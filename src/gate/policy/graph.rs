//! Whom do the rules ask in turn?
//!
//! Closes over what each rule reads, and refuses what could recurse or chain without end: the
//! interpreter has no limit of its own but the stack.

use std::collections::{BTreeMap, BTreeSet};

use super::builtins::{self, Standing};
use super::paths::Reads;
use super::source::Problem;
use super::syntax::{Facts, Rules};

/// Rules that may wait for one another in a row.
pub const MAX_CHAIN: usize = 100;

/// What an answer depends on.
#[derive(Default)]
pub(super) struct Depends<'a> {
    pub(super) reads: Reads,
    /// On something that changes by itself.
    pub(super) changes: bool,
    /// On these rules.
    pub(super) rules: BTreeSet<&'a Vec<String>>,
}

/// All that the rules at `roots` read and ask, and those that they ask.
pub(super) fn closure<'a>(rules: &'a Rules, roots: &[Vec<String>]) -> Depends<'a> {
    let mut depends = Depends::default();
    let mut open: Vec<&Vec<String>> = roots.iter().flat_map(|root| at(rules, root)).collect();
    while let Some(name) = open.pop() {
        if !depends.rules.insert(name) {
            continue;
        }
        let Some(facts) = rules.get(name) else { continue };
        depends.reads.merge(&facts.reads);
        depends.changes |= facts.changes;
        open.extend(facts.asks.iter().flat_map(|path| at(rules, path)));
    }
    depends
}

/// The rules that a reference to `path` can mean: at it, above it and below it.
fn at<'a>(rules: &'a Rules, path: &[String]) -> Vec<&'a Vec<String>> {
    let above = (1..path.len())
        .filter_map(|n| path.get(..n))
        .filter_map(|prefix| rules.get_key_value(prefix).map(|(name, _)| name));
    let below = rules.range(path.to_vec()..).map(|(name, _)| name);
    above.chain(below.take_while(|name| name.starts_with(path))).collect()
}

/// Calls of what there is not, recursion, and chains past the limit.
pub(super) fn check(rules: &Rules, problems: &mut Vec<Problem>) {
    for facts in rules.values() {
        for (path, name, place) in &facts.calls {
            if !rules.get(path).is_some_and(|f| f.function)
                && builtins::standing(name) == Standing::Unknown
            {
                let message = format!(
                    "there is no function `{name}` here, neither built in nor in this package"
                );
                problems.push(Problem { message, ..place.clone() });
            }
        }
    }
    for (path, name, place) in rules.values().flat_map(|facts| &facts.needs) {
        if !rules.contains_key(path) {
            let message = format!("`{name}` is neither a rule of this package nor a variable");
            problems.push(Problem { message, ..place.clone() });
        }
    }
    let mut heights = BTreeMap::new();
    for name in rules.keys() {
        let mut chain = Vec::new();
        if let Err((facts, message)) = height(rules, name, &mut chain, &mut heights) {
            let place = facts.place.clone().unwrap_or_else(|| Problem::whole("", ""));
            problems.push(Problem { message, ..place });
            // One circle is found again from each rule that leads to it.
            return;
        }
    }
}

/// How many rules can wait below this one.
fn height<'a>(
    rules: &'a Rules,
    name: &'a Vec<String>,
    chain: &mut Vec<&'a Vec<String>>,
    heights: &mut BTreeMap<&'a Vec<String>, usize>,
) -> Result<usize, (&'a Facts, String)> {
    if let Some(height) = heights.get(name) {
        return Ok(*height);
    }
    let Some(facts) = rules.get(name) else { return Ok(0) };
    if let Some(start) = chain.iter().position(|waiting| *waiting == name) {
        let circle = chain.get(start..).unwrap_or_default();
        let told = circle.iter().chain([&name]).map(|n| n.join(".")).collect::<Vec<_>>();
        return Err((facts, format!("rules ask for each other in a circle: {}", told.join(" → "))));
    }
    if chain.len() > MAX_CHAIN {
        return Err((facts, too_long()));
    }
    chain.push(name);
    let mut tallest = 0;
    for path in &facts.surely {
        for asked in at(rules, path) {
            tallest = tallest.max(height(rules, asked, chain, heights)? + 1);
        }
    }
    chain.pop();
    if tallest > MAX_CHAIN {
        return Err((facts, too_long()));
    }
    heights.insert(name, tallest);
    Ok(tallest)
}

fn too_long() -> String {
    format!("a chain of more than {MAX_CHAIN} rules that ask for one another; shorten it")
}
