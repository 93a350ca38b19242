//! Which arguments does a client repeat in headers?
//!
//! `x-mcp-header` on a property asks clients to mirror it into `Mcp-Param-<suffix>` (SEP-2243). It
//! counts only where the property is reached through `properties` alone, so that the value's place
//! in the arguments is certain.

use std::collections::HashSet;

use serde_json::Value;

use super::problem;

/// One argument that is mirrored into a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderParam {
    /// What follows `Mcp-Param-`, as declared.
    pub suffix: String,
    /// The names that lead to the value in the arguments.
    pub path: Vec<String>,
}

/// The mirrored arguments of an input schema, and what is wrong with declarations left out.
pub(super) fn header_params(schema: &Value) -> (Vec<HeaderParam>, Vec<String>) {
    let mut scan = Scan { found: Vec::new(), warnings: Vec::new(), suffixes: HashSet::new() };
    scan.properties(schema, &mut Vec::new());
    let declared = count(schema, 0);
    let seen = scan.found.len() + scan.warnings.len();
    if declared > seen {
        scan.warnings.push(
            "`x-mcp-header` counts only where `properties` alone lead to it; others are left out"
                .to_owned(),
        );
    }
    (scan.found, scan.warnings)
}

struct Scan {
    found: Vec<HeaderParam>,
    warnings: Vec<String>,
    suffixes: HashSet<String>,
}

impl Scan {
    fn properties(&mut self, schema: &Value, path: &mut Vec<String>) {
        let Some(Value::Object(properties)) = schema.get("properties") else { return };
        if path.len() > 32 {
            return;
        }
        for (name, property) in properties {
            path.push(name.clone());
            if let Some(suffix) = property.get("x-mcp-header") {
                match self.suffix(suffix, property) {
                    Ok(suffix) => self.found.push(HeaderParam { suffix, path: path.clone() }),
                    Err(why) => {
                        let at = format!("/properties/{}", path.join("/properties/"));
                        self.warnings.push(problem(&at, why));
                    }
                }
            }
            self.properties(property, path);
            path.pop();
        }
    }

    fn suffix(&mut self, suffix: &Value, property: &Value) -> Result<String, &'static str> {
        let Some(suffix) = suffix.as_str().filter(|s| !s.is_empty() && s.bytes().all(is_token))
        else {
            return Err("`x-mcp-header` is not a header name (RFC 9110, section 5.6.2)");
        };
        let kind = property.get("type").and_then(Value::as_str).unwrap_or_default();
        // The specification leaves `number` out, but servers check the header all the same.
        if !matches!(kind, "string" | "integer" | "boolean" | "number") {
            return Err("`x-mcp-header` stands on a property that is no text, number or boolean");
        }
        if !self.suffixes.insert(suffix.to_ascii_lowercase()) {
            return Err("`x-mcp-header` repeats the name of another one");
        }
        Ok(suffix.to_owned())
    }
}

/// RFC 9110, section 5.6.2: `tchar`.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// How often the word stands where a schema could, at any place.
fn count(value: &Value, depth: usize) -> usize {
    match value {
        Value::Object(members) if depth < 128 => {
            let own = usize::from(members.get("x-mcp-header").is_some_and(Value::is_string));
            own + members.values().map(|member| count(member, depth + 1)).sum::<usize>()
        }
        Value::Array(items) if depth < 128 => items.iter().map(|item| count(item, depth + 1)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_primitive_properties_on_a_certain_path_are_mirrored() {
        let text = |suffix| json!({"type": "string", "x-mcp-header": suffix});
        for (schema, expected, warnings) in [
            (json!({"properties": {"region": text("Region")}}), vec![("Region", "region")], 0),
            (
                json!({"properties": {"to": {"properties": {"zone": text("Zone")}}}}),
                vec![("Zone", "to.zone")],
                0,
            ),
            (json!({"properties": {"a": text("X"), "b": text("x")}}), vec![("X", "a")], 1),
            (json!({"properties": {"a": text("no blanks")}}), vec![], 1),
            (json!({"properties": {"a": text("a\r\nb")}}), vec![], 1),
            (json!({"properties": {"a": text("")}}), vec![], 1),
            (json!({"properties": {"a": {"type": "object", "x-mcp-header": "A"}}}), vec![], 1),
            (json!({"properties": {"a": {"items": text("A")}}}), vec![], 1),
            (json!({"anyOf": [{"properties": {"a": text("A")}}]}), vec![], 1),
            (json!({"properties": {"a": {"type": "string"}}}), vec![], 0),
        ] {
            let (found, said) = header_params(&schema);
            let found: Vec<_> =
                found.iter().map(|p| (p.suffix.as_str(), p.path.join("."))).collect();
            let expected: Vec<_> = expected.into_iter().map(|(s, p)| (s, p.to_owned())).collect();
            assert_eq!(found, expected, "{schema}");
            assert_eq!(said.len(), warnings, "{schema}: {said:?}");
        }
    }
}
