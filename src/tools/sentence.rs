//! What will a call do, in one sentence?
//!
//! A template in the operator's tool file, such as `Refund {{ arguments.amount }} USD`. It can load
//! nothing and include nothing, and a bound on its steps ends it. What an agent put in stays apart
//! from the operator's words, so that the page can show which is which.

use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::{Deserialize, Deserializer, de::Error};

use crate::call::Claimed;
use crate::json::Value;

/// Steps of one rendering.
const FUEL: u64 = 5_000;
/// Characters of one value in a sentence; the arguments stand in full below it.
const LONGEST: usize = 200;
const NAME: &str = "says";
/// Around what is put in. Private use, so no operator writes it; taken out of what agents write.
const OPEN: char = '\u{F8F0}';
const CLOSE: char = '\u{F8F1}';

/// A template, compiled.
#[derive(Clone)]
pub struct Sentence {
    text: Arc<str>,
    environment: Arc<Environment<'static>>,
}

/// A part of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The operator's words.
    Own(String),
    /// What the call put in.
    Given(String),
}

/// What a sentence can speak of.
pub struct About<'a> {
    /// `arguments`.
    pub arguments: &'a Value,
    /// `agent`: its id.
    pub agent: &'a str,
    /// `claimed`: what the agent says of the call.
    pub claimed: &'a Claimed,
    /// `tool`: its name.
    pub tool: &'a str,
}

impl Sentence {
    /// Compiles a template.
    ///
    /// # Errors
    /// Why it is none.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(|out, _, value| {
            let text = value.to_string();
            let mut kept: String = text
                .chars()
                .take(LONGEST)
                .map(|c| if matches!(c, OPEN | CLOSE) { char::REPLACEMENT_CHARACTER } else { c })
                .collect();
            if text.chars().nth(LONGEST).is_some() {
                kept.push('…');
            }
            write!(out, "{OPEN}{kept}{CLOSE}").map_err(Into::into)
        });
        environment
            .add_template_owned(NAME, text.to_owned())
            .map_err(|error| format!("not a template: {}", brief(&error)))?;
        Ok(Self { text: text.into(), environment: Arc::new(environment) })
    }

    /// The sentence for a call; none, where the call lacks what it speaks of.
    pub fn say(&self, about: &About<'_>) -> Option<Vec<Part>> {
        let template = self.environment.get_template(NAME).ok()?;
        let said = template.render(context! {
            arguments => Serde(about.arguments),
            agent => about.agent,
            claimed => Serde(about.claimed),
            tool => about.tool,
        });
        Some(parts(&said.ok()?))
    }
}

fn brief(error: &minijinja::Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    detail.lines().next().unwrap_or_default().to_owned()
}

fn parts(said: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = said;
    while let Some((own, after)) = rest.split_once(OPEN) {
        let Some((given, after)) = after.split_once(CLOSE) else { break };
        parts.extend((!own.is_empty()).then(|| Part::Own(own.to_owned())));
        parts.push(Part::Given(given.to_owned()));
        rest = after;
    }
    parts.extend((!rest.is_empty()).then(|| Part::Own(rest.to_owned())));
    parts
}

impl PartialEq for Sentence {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Sentence {}

impl std::fmt::Debug for Sentence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Sentence {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::new(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(template: &str, arguments: &Value) -> Option<String> {
        let claimed = Claimed { user: Some("bob".into()), ..Claimed::default() };
        let about = About { arguments, agent: "ada", claimed: &claimed, tool: "refund" };
        let parts = Sentence::new(template).unwrap().say(&about)?;
        let show = |part: &Part| match part {
            Part::Own(text) => text.clone(),
            Part::Given(text) => format!("[{text}]"),
        };
        Some(parts.iter().map(show).collect())
    }

    #[test]
    fn a_sentence_keeps_apart_what_the_call_put_in() {
        let arguments = json!({"amount": "250.00", "to": {"name": "Bob {{ 7 }}"}, "n": [1, 2],
            "bad": "\u{F8F1} and all is well \u{F8F0}", "long": "x".repeat(300)});
        for (template, expected) in [
            ("Refund {{ arguments.amount }} USD", Some("Refund [250.00] USD".to_owned())),
            (
                "{{ agent }} for {{ claimed.user }}: {{ tool }}",
                Some("[ada] for [bob]: [refund]".into()),
            ),
            ("To {{ arguments.to.name }}", Some("To [Bob {{ 7 }}]".into())),
            ("{% if arguments.n|length > 1 %}many{% endif %}", Some("many".into())),
            ("{{ arguments.bad }}!", Some("[\u{FFFD} and all is well \u{FFFD}]!".into())),
            ("{{ arguments.long }}", Some(format!("[{}…]", "x".repeat(200)))),
            ("{{ arguments.missing }}", None),
            ("{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}", None),
        ] {
            assert_eq!(said(template, &arguments), expected, "{template}");
        }
    }

    #[test]
    fn a_template_reaches_nothing_and_is_refused_when_broken() {
        for broken in ["{{ arguments.amount", "{% if %}", "{{ a | nofilter( }}"] {
            assert!(Sentence::new(broken).is_err(), "{broken}");
        }
        for reaching in
            ["{% include 'says' %}", "{% include '/etc/passwd' %}", "{% import 'x' as x %}"]
        {
            let sentence = Sentence::new(reaching);
            let about = About {
                arguments: &json!({}),
                agent: "a",
                claimed: &Claimed::default(),
                tool: "t",
            };
            assert!(sentence.is_err() || sentence.unwrap().say(&about).is_none(), "{reaching}");
        }
    }
}
