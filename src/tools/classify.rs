//! How much harm can this tool do?
//!
//! The operator says so in tool files, by name or glob; what nobody classified is `high` and not
//! reversible. An exact tool name counts before a glob, an exact server before a glob, a longer
//! glob before a shorter one; of two that are equal the more careful one counts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Preview, Problem, Sentence};
use crate::call::Tier;
use crate::config::nearest;

/// What the operator says of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// How much harm a call can do.
    #[serde(default)]
    pub tier: Tier,
    /// Whether its effect can be undone.
    #[serde(default)]
    pub reversible: bool,
    /// Words that policies ask for, such as `money`.
    #[serde(default)]
    pub labels: Vec<String>,
    /// What a call will do, for a reviewer.
    #[serde(default)]
    pub says: Option<Sentence>,
    /// How what it did is undone, likewise.
    #[serde(default)]
    pub undo: Option<Sentence>,
    /// How to read what it would change.
    #[serde(default)]
    pub preview: Option<Preview>,
    /// What a reviewer reads instead of the name.
    #[serde(default)]
    pub title: Option<String>,
    /// Arguments, as JSON Pointers, that may differ without being another call to whoever signs.
    #[serde(default)]
    pub advisory: Vec<String>,
}

/// One tool file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The server's name in the config, or a glob.
    server: Spanned<String>,
    /// Tools by name or glob.
    tools: BTreeMap<String, Spanned<Class>>,
}

/// The most rules in all files.
const MOST_RULES: usize = 10_000;

/// What all tool files say; immutable.
#[derive(Debug, Default)]
pub struct Classifier {
    exact: HashMap<String, HashMap<String, Arc<Class>>>,
    /// All others, the one that counts most first.
    rules: Vec<Rule>,
    unclassified: Arc<Class>,
}

#[derive(Debug)]
struct Rule {
    server: Pattern,
    tool: Pattern,
    class: Arc<Class>,
}

#[derive(Debug)]
enum Pattern {
    Exact(String),
    Glob(GlobMatcher, usize),
}

impl Pattern {
    fn new(text: &str) -> Result<Self, String> {
        if !text.contains(['*', '?', '[', '{', '\\']) {
            return Ok(Self::Exact(text.to_owned()));
        }
        let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(true).build();
        let glob = glob.map_err(|error| format!("`{text}` is no glob: {}", error.kind()))?;
        Ok(Self::Glob(glob.compile_matcher(), text.chars().count()))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(text) => text == name,
            Self::Glob(glob, _) => glob.is_match(name),
        }
    }

    const fn rank(&self) -> (bool, usize) {
        match self {
            Self::Exact(_) => (true, 0),
            Self::Glob(_, length) => (false, *length),
        }
    }
}

impl Rule {
    fn rank(&self) -> (bool, bool, usize, usize, Tier, bool) {
        let ((tool, tool_length), (server, server_length)) = (self.tool.rank(), self.server.rank());
        (tool, server, tool_length, server_length, self.class.tier, !self.class.reversible)
    }
}

impl Classifier {
    /// Reads tool files, each a path and its text.
    ///
    /// # Errors
    /// All that is wrong, by file and line; the first in each file that cannot be read at all.
    pub fn load(files: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let mut loading = Loading::default();
        for (path, text) in files {
            match serde_saphyr::from_str::<File>(text) {
                Ok(file) => loading.add(path, file),
                Err(error) => loading.problems.push(unreadable(path, &error)),
            }
        }
        if !loading.problems.is_empty() {
            return Err(loading.problems);
        }
        let mut classifier = loading.classifier;
        classifier.rules.sort_by_key(|rule| Reverse(rule.rank()));
        Ok(classifier)
    }

    /// What the operator says of this tool.
    pub fn classify(&self, server: &str, tool: &str) -> Arc<Class> {
        if let Some(class) = self.exact.get(server).and_then(|tools| tools.get(tool)) {
            return Arc::clone(class);
        }
        let mut rules = self.rules.iter();
        let rule = rules.find(|rule| rule.server.matches(server) && rule.tool.matches(tool));
        Arc::clone(rule.map_or(&self.unclassified, |rule| &rule.class))
    }
}

#[derive(Default)]
struct Loading {
    classifier: Classifier,
    problems: Vec<Problem>,
    /// Where each pair of server and tool was classified.
    places: HashMap<(String, String), String>,
}

impl Loading {
    fn add(&mut self, path: &str, file: File) {
        for (tool, class) in file.tools {
            let place = class.referenced;
            let mut complain = |message| {
                let (line, column) = at(&place);
                self.problems.push(Problem { path: path.to_owned(), line, column, message });
            };
            let key = (file.server.value.clone(), tool.clone());
            let here = format!("{path}:{}", place.line());
            if let Some(earlier) = self.places.insert(key, here) {
                complain(format!("`{tool}` is classified already, at {earlier}"));
                continue;
            }
            if self.places.len() > MOST_RULES {
                complain(format!("more than {MOST_RULES} tools are classified"));
                return;
            }
            let class = Arc::new(class.value);
            match (Pattern::new(&file.server.value), Pattern::new(&tool)) {
                (Ok(Pattern::Exact(server)), Ok(Pattern::Exact(tool))) => {
                    self.classifier.exact.entry(server).or_default().insert(tool, class);
                }
                (Ok(server), Ok(tool)) => {
                    self.classifier.rules.push(Rule { server, tool, class });
                }
                (Err(why), _) | (_, Err(why)) => complain(why),
            }
        }
    }
}

/// A reading error, with the nearest key where one is unknown.
pub(super) fn unreadable(path: &str, error: &serde_saphyr::Error) -> Problem {
    let error = error.without_snippet();
    let message = match error {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            match nearest(field, expected.iter().copied()) {
                Some(meant) => format!("no key `{field}` here; did you mean `{meant}`?"),
                None => format!("no key `{field}` here; there are {}", listed(expected)),
            }
        }
        serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("`{variant}` is none of {}", listed(expected))
        }
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    let place = error.location();
    let (line, column) = place.map_or((0, 0), |place| at(&place));
    Problem { path: path.to_owned(), line, column, message }
}

/// Line and column; a file so long that they do not fit has no place worth telling.
pub(super) fn at(place: &serde_saphyr::Location) -> (u32, u32) {
    let fit = |n: u64| u32::try_from(n).unwrap_or(0);
    (fit(place.line()), fit(place.column()))
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(texts: &[&str]) -> Result<Classifier, Vec<Problem>> {
        let named = |(n, text): (usize, &&str)| (format!("tools/{n}.yaml"), (*text).to_owned());
        Classifier::load(&texts.iter().enumerate().map(named).collect::<Vec<_>>())
    }

    #[test]
    fn the_most_specific_rule_counts_and_nothing_is_high() {
        let files = [
            "server: crm\ntools:\n  get_contact: {tier: low, reversible: true, labels: [pii], title: Read a contact}\n  \"get_*\": {tier: medium}\n  \"get_c*\": {tier: low}\n  \"*_x\": {tier: low, reversible: true}\n  \"a_*\": {tier: medium}\n",
            "server: \"c*\"\ntools:\n  get_contact: {tier: medium}\n  ping: {tier: low}\n  \"*\": {tier: medium, reversible: true}\n",
        ];
        let classifier = load(&files).unwrap();
        for (server, tool, tier, reversible) in [
            ("crm", "get_contact", Tier::Low, true),
            ("crm", "get_card", Tier::Low, false),
            ("crm", "get_order", Tier::Medium, false),
            ("crm", "a_x", Tier::Medium, false),
            ("crm", "ping", Tier::Low, false),
            ("crm", "Get_contact", Tier::Medium, true),
            ("cdn", "get_contact", Tier::Medium, false),
            ("cdn", "purge", Tier::Medium, true),
            ("CRM", "get_contact", Tier::High, false),
            ("mail", "send", Tier::High, false),
        ] {
            let class = classifier.classify(server, tool);
            assert_eq!((class.tier, class.reversible), (tier, reversible), "{server}/{tool}");
        }
        assert_eq!(classifier.classify("crm", "get_contact").labels, ["pii"]);
    }

    #[test]
    fn mistakes_are_told_by_file_line_and_nearest_key() {
        for (texts, line, said) in [
            (&["server: crm\ntools:\n  a: {teir: low}\n"][..], 3, "did you mean `tier`"),
            (&["sever: crm\ntools: {}\n"], 1, "did you mean `server`"),
            (&["server: crm\ntools:\n  a: {tier: severe}\n"], 3, "`low`, `medium`, `high`"),
            (&["server: crm\ntools:\n  a: {tier: low}\n  a: {tier: high}\n"], 4, "uplicate"),
            (
                &[
                    "server: crm\ntools: {a: {tier: low}}\n",
                    "server: crm\ntools:\n  a: {tier: high}\n",
                ],
                3,
                "classified already, at tools/0.yaml:2",
            ),
            (&["server: crm\ntools:\n  \"a[\": {tier: low}\n"], 3, "is no glob"),
            (&["server: crm\ntools:\n  a:\n    says: \"{{ arguments.x\"\n"], 4, "not a template"),
            (
                &["server: crm\ntools:\n  a:\n    preview: {tool: b, current: x, proposed: /x}\n"],
                4,
                "no JSON Pointer",
            ),
            (&["server: crm\n"], 1, "tools"),
            (&["server: crm\ntools:\n  a: {color: red}\n"], 3, "there are `tier`"),
        ] {
            let problems = load(texts).unwrap_err();
            let last = problems.last().unwrap();
            assert!(last.message.contains(said), "{last}");
            assert_eq!(last.line, line, "{last}");
        }
    }

    #[test]
    fn the_shipped_file_loads_and_satisfies_its_schema() {
        let text = include_str!("../../tools/demo.yaml");
        let classifier = load(&[text]).unwrap();
        assert_eq!(classifier.classify("demo", "lookup_customer").tier, Tier::Low);
        assert_eq!(classifier.classify("demo", "wire_transfer").tier, Tier::High);
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../schemas/tools.schema.json")).unwrap();
        let file: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        let validator = jsonschema::options().offline().build(&schema).unwrap();
        assert!(validator.is_valid(&file));
        for wrong in [
            serde_json::json!({"server": "x", "tools": {"a": {"teir": "low"}}}),
            serde_json::json!({"server": "x", "tools": {"a": {"tier": "severe"}}}),
            serde_json::json!({"tools": {}}),
        ] {
            assert!(!validator.is_valid(&wrong), "{wrong}");
            assert!(load(&[&wrong.to_string()]).is_err(), "{wrong}");
        }
    }
}
