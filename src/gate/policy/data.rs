//! What do the data files say?

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::source::{Problem, Source};
use crate::json::{Map, Value};

/// All data files as one document, each under the names of its folders.
pub(super) fn merge(sources: &[Source], problems: &mut Vec<Problem>) -> Map<String, Value> {
    let mut all = Map::new();
    for source in sources.iter().filter(|source| !source.is_rego()) {
        let value = match parse(source) {
            Ok(value) => value,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let nested = source.under.iter().rev().fold(value, |value, name| {
            let mut outer = Map::new();
            outer.insert(name.clone(), value);
            Value::Object(outer)
        });
        match nested {
            Value::Object(members) => {
                if let Err(at) = add(&mut all, members) {
                    let message = format!("`{at}` is set by another data file already");
                    problems.push(Problem::whole(&source.path, message));
                }
            }
            _ => problems.push(Problem::whole(&source.path, "the outermost value is no object")),
        }
    }
    all
}

fn add(into: &mut Map<String, Value>, from: Map<String, Value>) -> Result<(), String> {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (None, value) => {
                into.insert(key, value);
            }
            (Some(Value::Object(known)), Value::Object(more)) => {
                add(known, more).map_err(|at| format!("{key}.{at}"))?;
            }
            _ => return Err(key),
        }
    }
    Ok(())
}

/// Whether data stands where the rules of a package do.
pub(super) fn overlaps(data: &Map<String, Value>, package: &[String]) -> bool {
    let Some((key, rest)) = package.split_first() else { return true };
    match data.get(key) {
        None => false,
        Some(Value::Object(_)) if rest.is_empty() => true,
        Some(Value::Object(members)) => overlaps(members, rest),
        Some(_) => true,
    }
}

fn parse(source: &Source) -> Result<Value, Problem> {
    if source.path.ends_with(".json") {
        return match serde_json::from_str::<Strict>(&source.text) {
            Ok(strict) => Ok(strict.0),
            Err(error) => Err(Problem {
                path: source.path.clone(),
                line: u32::try_from(error.line()).unwrap_or(0),
                column: u32::try_from(error.column()).unwrap_or(0),
                message: told(&error.to_string()),
            }),
        };
    }
    serde_saphyr::from_str::<Strict>(&source.text)
        .map(|strict| strict.0)
        .map_err(|error| Problem::whole(&source.path, told(&error.to_string())))
}

fn told(error: &str) -> String {
    error.lines().next().unwrap_or("cannot be read").to_owned()
}

/// A value in which no key stands twice and no number was rounded.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Value, E> {
        Ok(n.into())
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Value, E> {
        Ok(n.into())
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Value, E> {
        // A whole number this large came from an integer that does not fit.
        if n.fract() == 0.0 && n.abs() >= 9_007_199_254_740_992.0 {
            return Err(E::custom("a number that would be rounded; write it as a string"));
        }
        serde_json::Number::from_f64(n)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = members.next_entry::<String, Strict>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` stands twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(path: &str, under: &[&str], text: &str) -> Source {
        Source { under: under.iter().map(|s| (*s).to_owned()).collect(), ..Source::new(path, text) }
    }

    #[test]
    fn data_files_add_up_and_never_shadow_each_other() {
        for (name, files, expected) in [
            (
                "folders nest",
                vec![
                    data("data.json", &["a", "b"], r#"{"c": 1}"#),
                    data("data.yaml", &["a"], "d: [x]"),
                ],
                Some(r#"{"a":{"b":{"c":1},"d":["x"]}}"#),
            ),
            (
                "twice",
                vec![data("x.json", &[], r#"{"a":1}"#), data("y.json", &[], r#"{"a":1}"#)],
                None,
            ),
            ("a key twice", vec![data("x.json", &[], r#"{"a":1,"a":1}"#)], None),
            ("a key twice in YAML", vec![data("x.yaml", &[], "a: 1\na: 2\n")], None),
            ("a list outside", vec![data("x.json", &[], "[]")], None),
            ("rounding", vec![data("x.json", &[], r#"{"a":123456789012345678901}"#)], None),
            ("broken", vec![data("x.json", &[], "{")], None),
        ] {
            let mut problems = Vec::new();
            let merged = Value::Object(merge(&files, &mut problems)).to_string();
            assert_eq!(
                problems.is_empty().then_some(merged.as_str()),
                expected,
                "{name}: {problems:?}"
            );
        }
    }
}
