//! Can these files decide anything?
//!
//! Everything that can be known before the first call: the texts are safe to parse, they parse,
//! they call only what is there, no rule asks for itself, and the engine takes them.
//!
//! This runs on a thread, not in a child process: what could end the process (a stack overflow) or
//! take for ever (nested literals) is bounded by `scan` and `graph` before the parser or the engine
//! sees it. What remains: a text within all bounds that still takes longer than `patience` is
//! refused, and its thread goes on until the parser is done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use regorus::Engine;

use super::engine::{ENTRY, Program, place};
use super::graph::{self, Depends};
use super::paths::{Reads, convert};
use super::source::{Problem, Source};
use super::syntax::{self, Facts, Rules};
use super::{Package, data, scan};
use crate::json::Value;

/// What loading found out.
pub(super) struct Loaded {
    pub(super) program: Arc<Program>,
    pub(super) entries: Vec<Known>,
}

/// One question that can be asked, and what its answer depends on.
pub(super) struct Known {
    pub(super) package: Package,
    pub(super) visible: bool,
    pub(super) reads: Reads,
    pub(super) changes: bool,
}

/// Load on a thread with a large stack, and give up after `patience`.
pub(super) fn load(
    sources: &[Source],
    stack_bytes: usize,
    patience: Duration,
) -> Result<Loaded, Vec<Problem>> {
    let sources = sources.to_vec();
    let (done, loaded) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("policy-load".into())
        .stack_size(stack_bytes)
        .spawn(move || {
            let _ = done.send(examine(&sources));
        })
        .map_err(|error| vec![Problem::whole("", format!("no thread to load on: {error}"))])?;
    match loaded.recv_timeout(patience) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(vec![Problem::whole(
            "",
            format!("the policy took longer than {patience:?} to load; simplify its literals"),
        )]),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(vec![Problem::whole("", "the parser panicked")])
        }
    }
}

fn examine(sources: &[Source]) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut engine = Engine::new();
    let mut modules = Vec::new();
    for source in sources.iter().filter(|source| source.is_rego()) {
        let parsed = scan::scan(&source.path, &source.text).and_then(|()| {
            engine
                .add_policy(source.path.clone(), source.text.clone())
                .map_err(|error| told(&source.path, &error.to_string()))
        });
        match parsed {
            Ok(_) => modules.push((source.path.clone(), source.text.clone())),
            Err(problem) => problems.push(problem),
        }
    }
    let data = data::merge(sources, &mut problems);
    let mut rules = Rules::new();
    for module in engine.get_modules() {
        let package = syntax::package(module);
        if package.first().is_some_and(|first| first == ENTRY) {
            let message = format!("the package name `{ENTRY}` belongs to the gate");
            problems.push(syntax::problem(&module.package.span, message));
        }
        if data::overlaps(&data, &package) {
            let message = format!("data files stand where package `{}` is", package.join("."));
            problems.push(syntax::problem(&module.package.span, message));
        }
        syntax::survey(module, &mut rules, &mut problems);
    }
    graph::check(&rules, &mut problems);
    let (entry, entries) = entries(&rules, &mut problems);
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(problems);
    }
    modules.push((format!("{ENTRY}.rego"), entry));
    let program = Program { modules, data: convert(&Value::Object(data)) };
    match program.engine() {
        Ok(_) => Ok(Loaded { program: Arc::new(program), entries }),
        Err(error) => Err(vec![told("", &error.to_string())]),
    }
}

/// The entry module, and what each question in it depends on.
fn entries(rules: &Rules, problems: &mut Vec<Problem>) -> (String, Vec<Known>) {
    let mut text = format!("package {ENTRY}\n\nready := true\n");
    let mut entries = Vec::new();
    let mut asked = BTreeSet::new();
    for package in Package::ALL {
        let mut decide = Vec::new();
        let mut visible = Vec::new();
        for (path, name, facts) in rules_of(rules, package) {
            if !Package::WORDS.contains(&name) {
                continue;
            }
            if facts.function || !package.rules().contains(&name) {
                let message = package.misplaced(name, facts.function);
                problems.push(Problem { message, ..place_of(facts) });
                continue;
            }
            let (entry, paths) = if name == "visible" {
                ("visible", &mut visible)
            } else {
                (package.name(), &mut decide)
            };
            text.push_str(&format!(
                "{entry}[rule] := value if {{\n\trule := \"{name}\"\n\tvalue := data.{}\n}}\n",
                path.join(".")
            ));
            paths.push(path.clone());
        }
        for (visible, paths) in [(false, decide), (true, visible)] {
            if !paths.is_empty() {
                let Depends { reads, changes, rules } = graph::closure(rules, &paths);
                asked.extend(rules);
                entries.push(Known { package, visible, reads, changes });
            }
        }
    }
    misspelt(rules, &asked, problems);
    (text, entries)
}

/// A rule that nobody asks for and that is nearly one that the gate asks for.
fn misspelt(rules: &Rules, asked: &BTreeSet<&Vec<String>>, problems: &mut Vec<Problem>) {
    for package in Package::ALL {
        for (path, name, facts) in rules_of(rules, package) {
            let near = |word: &&&str| strsim::damerau_levenshtein(word, name) <= 2;
            if !asked.contains(path)
                && !Package::WORDS.contains(&name)
                && name.len() > 3
                && let Some(word) = package.rules().iter().find(near)
            {
                let message = format!("nobody asks for `{name}`; is it `{word}` that is meant?");
                problems.push(Problem { message, ..place_of(facts) });
            }
        }
    }
}

fn rules_of(rules: &Rules, package: Package) -> impl Iterator<Item = (&Vec<String>, &str, &Facts)> {
    rules.iter().filter_map(move |(path, facts)| match path.as_slice() {
        [first, second, name] if first == "countersign" && second == package.name() => {
            Some((path, name.as_str(), facts))
        }
        _ => None,
    })
}

fn place_of(facts: &Facts) -> Problem {
    facts.place.clone().unwrap_or_else(|| Problem::whole("", ""))
}

/// An error of the parser as a problem: its place, and its last line.
fn told(path: &str, text: &str) -> Problem {
    let message = text
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("error: "))
        .or_else(|| text.lines().rev().find(|line| !line.trim().is_empty()))
        .unwrap_or("cannot be read")
        .to_owned();
    match place(text) {
        Some((path, line, column)) => Problem { path: path.to_owned(), line, column, message },
        None => Problem::whole(path, message),
    }
}
