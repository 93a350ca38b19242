//! What does this schema say in today's dialect?
//!
//! Tools declare drafts 4 to 2020-12. All are rewritten to 2020-12, so that everything after has
//! one dialect to know. References may only point into the schema itself (`#…`): what a
//! definition means must not depend on what a server elsewhere answers today.

use serde_json::{Map, Value, json};

use super::keywords::{APPLICATORS, Holds};
use super::problem;

/// The dialects, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Draft {
    D4,
    D6,
    D7,
    D2019,
    D2020,
}

fn draft(schema: &Map<String, Value>) -> Result<Draft, String> {
    let Some(declared) = schema.get("$schema") else { return Ok(Draft::D2020) };
    let url = declared.as_str().unwrap_or_default();
    let bare = url.trim_end_matches('#').trim_start_matches("https").trim_start_matches("http");
    Ok(match bare {
        "://json-schema.org/draft-04/schema" => Draft::D4,
        "://json-schema.org/draft-06/schema" => Draft::D6,
        "://json-schema.org/draft-07/schema" | "://json-schema.org/schema" => Draft::D7,
        "://json-schema.org/draft/2019-09/schema" => Draft::D2019,
        "://json-schema.org/draft/2020-12/schema" => Draft::D2020,
        _ => return Err(problem("", "`$schema` names a dialect that is not known here")),
    })
}

/// The schema in dialect 2020-12, without `$schema` and `$id`, or why it cannot be used.
///
/// # Errors
/// An unknown dialect, an embedded resource, or a reference that leaves the schema, by place.
pub(super) fn normal(schema: &Value) -> Result<Value, String> {
    let root = match schema {
        Value::Object(root) => root,
        Value::Bool(_) => return Ok(schema.clone()),
        _ => return Err(problem("", "a schema is an object")),
    };
    let draft = draft(root)?;
    let id_key = if draft == Draft::D4 { "id" } else { "$id" };
    let id = root.get(id_key).and_then(Value::as_str).unwrap_or_default();
    let id = id.trim_end_matches('#').to_owned();
    let mut root = root.clone();
    root.shift_remove("$schema");
    root.shift_remove("$id");
    if draft == Draft::D4 {
        root.shift_remove("id");
    }
    let whole = Dialect { draft, id, original: schema };
    whole.convert(Value::Object(root), &mut String::new())
}

struct Dialect<'s> {
    draft: Draft,
    id: String,
    original: &'s Value,
}

impl Dialect<'_> {
    fn convert(&self, schema: Value, at: &mut String) -> Result<Value, String> {
        let Value::Object(mut map) = schema else { return Ok(schema) };
        self.refuse_embedded(&map, at)?;
        self.references(&mut map, at)?;
        if self.draft <= Draft::D7 && map.contains_key("$ref") {
            // Before 2019-09, whatever stood beside `$ref` did not count.
            map.retain(|key, _| matches!(key.as_str(), "$ref" | "$defs" | "definitions"));
        }
        self.modernise(&mut map);
        for (keyword, holds, _) in APPLICATORS {
            let Some(held) = map.get_mut(*keyword) else { continue };
            let mark = at.len();
            at.push('/');
            at.push_str(keyword);
            self.held(held, *holds, at)?;
            at.truncate(mark);
        }
        Ok(Value::Object(map))
    }

    fn held(&self, held: &mut Value, holds: Holds, at: &mut String) -> Result<(), String> {
        let mark = at.len();
        match (holds, held) {
            (Holds::One, held) => *held = self.convert(held.take(), at)?,
            (Holds::Many, Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    at.push_str(&format!("/{index}"));
                    *item = self.convert(item.take(), at)?;
                    at.truncate(mark);
                }
            }
            (Holds::Named, Value::Object(members)) => {
                for (name, member) in members.iter_mut() {
                    at.push('/');
                    at.push_str(&escape(name));
                    *member = self.convert(member.take(), at)?;
                    at.truncate(mark);
                }
            }
            _ => return Err(problem(at, "does not hold what this keyword holds")),
        }
        Ok(())
    }

    fn refuse_embedded(&self, map: &Map<String, Value>, at: &str) -> Result<(), String> {
        let id = if self.draft == Draft::D4 { "id" } else { "$id" };
        for key in ["$schema", id, "$vocabulary"] {
            if map.get(key).is_some_and(|found| !found.is_object()) {
                let why = format!("`{key}` inside a schema is not supported; use `$defs`");
                return Err(problem(at, &why));
            }
        }
        Ok(())
    }

    fn references(&self, map: &mut Map<String, Value>, at: &str) -> Result<(), String> {
        for key in ["$ref", "$dynamicRef", "$recursiveRef"] {
            let Some(target) = map.shift_remove(key) else { continue };
            let Some(target) = target.as_str() else {
                return Err(problem(at, &format!("`{key}` is a text")));
            };
            let local = match target.strip_prefix(self.id.as_str()) {
                Some(rest) if !self.id.is_empty() && (rest.is_empty() || rest.starts_with('#')) => {
                    if rest.is_empty() {
                        "#"
                    } else {
                        rest
                    }
                }
                _ => target,
            };
            if !local.starts_with('#') {
                let why = format!("`{key}` leaves the schema, and nothing is ever fetched");
                return Err(problem(at, &why));
            }
            // One resource has one anchor of a name, so a dynamic reference is a plain one.
            if map.contains_key("$ref") {
                return Err(problem(at, "two references in one place"));
            }
            map.insert("$ref".into(), Value::String(self.relocate(local)));
        }
        Ok(())
    }

    /// The reference, after the renames that [`Self::modernise`] does.
    fn relocate(&self, reference: &str) -> String {
        if self.draft == Draft::D2020 || !reference.starts_with("#/") {
            return reference.to_owned();
        }
        let mut place = Some(self.original);
        let mut moved = String::from("#");
        let mut tokens = reference.split('/').skip(1).peekable();
        while let Some(token) = tokens.next() {
            let is_tuple = |p: &Value| p.get("items").is_some_and(Value::is_array);
            let new = match token {
                "items" if place.is_some_and(is_tuple) => "prefixItems",
                "additionalItems" if place.is_some_and(is_tuple) => "items",
                "dependencies" if tokens.peek().is_some() => "dependentSchemas",
                other => other,
            };
            moved.push('/');
            moved.push_str(new);
            place = place.and_then(|p| p.pointer(&format!("/{token}")));
        }
        moved
    }

    /// Renames what older drafts called otherwise.
    fn modernise(&self, map: &mut Map<String, Value>) {
        if self.draft == Draft::D2020 {
            return;
        }
        if map.get("items").is_some_and(Value::is_array) {
            let rest = map.shift_remove("additionalItems");
            if let Some(tuple) = map.shift_remove("items") {
                map.insert("prefixItems".into(), tuple);
            }
            if let Some(rest) = rest {
                map.insert("items".into(), rest);
            }
        } else {
            map.shift_remove("additionalItems");
        }
        if let Some(Value::Object(dependencies)) = map.shift_remove("dependencies") {
            split_dependencies(map, dependencies);
        }
        if self.draft == Draft::D4 {
            exclusive_bounds(map);
        }
        let unknown: &[&str] = match self.draft {
            Draft::D4 => &["const", "contains", "propertyNames", "if", "then", "else"],
            Draft::D6 => &["if", "then", "else"],
            _ => &[],
        };
        map.retain(|key, _| !unknown.contains(&key.as_str()));
    }
}

fn split_dependencies(map: &mut Map<String, Value>, dependencies: Map<String, Value>) {
    let (mut required, mut schemas) = (Map::new(), Map::new());
    for (name, held) in dependencies {
        match held {
            Value::Array(_) => required.insert(name, held),
            Value::String(one) => required.insert(name, json!([one])),
            _ => schemas.insert(name, held),
        };
    }
    for (keyword, members) in [("dependentRequired", required), ("dependentSchemas", schemas)] {
        if !members.is_empty() {
            map.insert(keyword.into(), Value::Object(members));
        }
    }
}

fn exclusive_bounds(map: &mut Map<String, Value>) {
    for (bound, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        match map.shift_remove(exclusive) {
            Some(Value::Bool(true)) => {
                if let Some(limit) = map.shift_remove(bound) {
                    map.insert(exclusive.into(), limit);
                }
            }
            Some(Value::Bool(false)) | None => {}
            Some(other) => {
                map.insert(exclusive.into(), other);
            }
        }
    }
}

/// A name as one token of a JSON Pointer (RFC 6901, section 3).
pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    const D7: &str = "http://json-schema.org/draft-07/schema#";
    const D4: &str = "http://json-schema.org/draft-04/schema#";

    #[test]
    fn older_dialects_say_the_same_in_2020_12() {
        for (given, expected) in [
            (
                json!({"$schema": D7, "items": [{"type": "string"}], "additionalItems": false}),
                json!({"prefixItems": [{"type": "string"}], "items": false}),
            ),
            (
                json!({"$schema": D7, "dependencies": {"a": ["b"], "c": {"required": ["d"]}}}),
                json!({"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"c": {"required": ["d"]}}}),
            ),
            (
                json!({"$schema": D4, "minimum": 1, "exclusiveMinimum": true, "maximum": 3, "exclusiveMaximum": false}),
                json!({"exclusiveMinimum": 1, "maximum": 3}),
            ),
            (
                json!({"$schema": D7, "properties": {"a": {"$ref": "#/definitions/x", "type": "string"}}, "definitions": {"x": {}}}),
                json!({"properties": {"a": {"$ref": "#/definitions/x"}}, "definitions": {"x": {}}}),
            ),
            (
                json!({"$schema": D7, "properties": {"t": {"items": [{}, {"$ref": "#/properties/t/items/0"}]}}}),
                json!({"properties": {"t": {"prefixItems": [{}, {"$ref": "#/properties/t/prefixItems/0"}]}}}),
            ),
            (
                json!({"$id": "https://a.example/t", "$defs": {"x": {}}, "$ref": "https://a.example/t#/$defs/x"}),
                json!({"$defs": {"x": {}}, "$ref": "#/$defs/x"}),
            ),
        ] {
            assert_eq!(normal(&given).unwrap(), expected, "{given}");
        }
    }

    #[test]
    fn g07_references_that_leave_the_schema_are_refused_by_place() {
        for reference in [
            "http://169.254.169.254/latest/meta-data",
            "https://example.com/schema.json",
            "file:///etc/passwd",
            "other.json#/x",
            "//host/x",
            "HTTP://127.0.0.1/",
            "",
        ] {
            for keyword in ["$ref", "$dynamicRef"] {
                let schema = json!({"properties": {"a/b": {keyword: reference}}});
                let reason = normal(&schema).unwrap_err();
                assert!(reason.contains("`/properties/a~1b`"), "{reason}");
            }
        }
    }

    #[test]
    fn unknown_dialects_and_embedded_resources_are_refused() {
        for schema in [
            json!({"$schema": "https://example.com/dialect"}),
            json!({"$schema": 7}),
            json!({"properties": {"a": {"$id": "https://example.com/a"}}}),
            json!({"properties": {"a": {"$schema": D7}}}),
            json!([]),
        ] {
            assert!(normal(&schema).is_err(), "{schema}");
        }
        assert!(normal(&json!({"properties": {"$id": {"type": "string"}, "id": {}}})).is_ok());
    }
}
