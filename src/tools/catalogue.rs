//! What does one server offer?

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::compile::{Compiled, Side};
use super::mirror::{HeaderParam, header_params};
use super::{Limits, usable_name};
use crate::json::{self, Digest};
use crate::refusal::Refusal;

/// One tool, as its server defines it.
#[derive(Debug)]
pub struct Definition {
    /// Its name, byte for byte; empty where the server gave none.
    pub name: Arc<str>,
    /// SHA-256 over the canonical form (RFC 8785) of the whole definition: what a pin accepts.
    pub digest: Digest,
    /// What the server sent.
    pub raw: Box<RawValue>,
    /// What the server says of the tool; hints, never trusted.
    pub annotations: Value,
    /// The compiled schemas, or why the tool cannot be used.
    pub schemas: Result<Schemas, String>,
    /// Arguments that clients mirror into `Mcp-Param-*` headers.
    pub header_params: Vec<HeaderParam>,
    /// What an operator should know of the definition, by place.
    pub warnings: Vec<String>,
}

/// A tool's schemas, compiled.
#[derive(Debug)]
pub struct Schemas {
    /// What its arguments have to be.
    pub input: Compiled,
    /// What its structured results have to be, where it says so.
    pub output: Option<Compiled>,
}

impl Definition {
    /// The schemas of a tool that can be used.
    ///
    /// # Errors
    /// [`Refusal::UnusableTool`], with the reason.
    pub fn usable(&self) -> Result<&Schemas, Refusal> {
        self.schemas.as_ref().map_err(|reason| Refusal::UnusableTool {
            tool: self.name.to_string(),
            reason: reason.clone(),
        })
    }

    /// Whether its results have to be structured.
    pub fn promises_structure(&self) -> bool {
        self.schemas.as_ref().is_ok_and(|schemas| schemas.output.is_some())
    }

    fn read(raw: &RawValue, limits: &Limits) -> Self {
        let unreadable = |reason: &str| Self {
            name: Arc::from(""),
            digest: Digest::of(raw.get()),
            raw: raw.to_owned(),
            annotations: Value::Object(Map::new()),
            schemas: Err(reason.to_owned()),
            header_params: Vec::new(),
            warnings: Vec::new(),
        };
        if raw.get().len() > limits.bytes {
            return unreadable("its definition is larger than the limit");
        }
        let Some(tool) = strictly_parsed(raw.get(), limits) else {
            return unreadable("its definition is not strict JSON");
        };
        let Some(name) = tool.get("name").and_then(Value::as_str) else {
            return unreadable("its definition has no name");
        };
        let input = tool.get("inputSchema").unwrap_or(&Value::Null);
        let (header_params, mut warnings) = header_params(input);
        let schemas = usable_name(name).and_then(|()| compiled(&tool, limits, &mut warnings));
        Self {
            name: Arc::from(name),
            digest: json::digest(&tool),
            raw: raw.to_owned(),
            annotations: tool
                .get("annotations")
                .cloned()
                .unwrap_or_else(|| Value::Object(Map::new())),
            schemas,
            header_params,
            warnings,
        }
    }
}

fn compiled(tool: &Value, limits: &Limits, said: &mut Vec<String>) -> Result<Schemas, String> {
    let Some(schema) = tool.get("inputSchema").filter(|schema| schema.is_object()) else {
        return Err("it has no `inputSchema`".to_owned());
    };
    let (input, warnings) = Compiled::new(schema, Side::Input, limits)
        .map_err(|reason| format!("its input schema is refused {reason}"))?;
    said.extend(warnings);
    let output = match tool.get("outputSchema") {
        None | Some(Value::Null) => None,
        Some(schema) => {
            let (output, warnings) = Compiled::new(schema, Side::Output, limits)
                .map_err(|reason| format!("its output schema is refused {reason}"))?;
            said.extend(warnings.into_iter().map(|said| format!("output schema {said}")));
            Some(output)
        }
    };
    Ok(Schemas { input, output })
}

/// What one server offers; immutable.
#[derive(Debug, Default)]
pub struct Catalogue {
    tools: Vec<Arc<Definition>>,
    by_name: HashMap<Arc<str>, usize>,
}

impl Catalogue {
    /// Reads the tools of `tools/list`, all pages in the server's order. Each is kept; one that
    /// cannot be used says why.
    pub fn build(tools: &[Box<RawValue>], limits: &Limits) -> Self {
        let mut catalogue = Self::default();
        let read = |(place, raw): (usize, &RawValue)| {
            let mut definition = if place < limits.tools {
                Definition::read(raw, limits)
            } else {
                let none = Limits { bytes: 0, ..limits.clone() };
                Definition::read(raw, &none)
            };
            if place >= limits.tools {
                definition.schemas = Err("its server offers more tools than the limit".to_owned());
            }
            definition
        };
        let mut read: Vec<Definition> =
            tools.iter().map(|raw| &**raw).enumerate().map(read).collect();
        let mut times: HashMap<Arc<str>, usize> = HashMap::new();
        for definition in &read {
            *times.entry(Arc::clone(&definition.name)).or_default() += 1;
        }
        for definition in &mut read {
            if !definition.name.is_empty() && times.get(&definition.name).is_some_and(|n| *n > 1) {
                definition.schemas = Err("its server offers two tools of its name".to_owned());
            }
        }
        for definition in read {
            let place = catalogue.tools.len();
            if !definition.name.is_empty() {
                catalogue.by_name.entry(Arc::clone(&definition.name)).or_insert(place);
            }
            catalogue.tools.push(Arc::new(definition));
        }
        catalogue
    }

    /// The tool of exactly this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Definition>> {
        self.tools.get(*self.by_name.get(name)?)
    }

    /// All tools, in the server's order.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Definition>> {
        self.tools.iter()
    }

    /// How many tools there are, usable or not.
    pub fn len(&self) -> usize {
        self.tools.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }
}

impl<'c> IntoIterator for &'c Catalogue {
    type Item = &'c Arc<Definition>;
    type IntoIter = std::slice::Iter<'c, Arc<Definition>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A definition is the server's word, and has to have one meaning as well.
fn strictly_parsed(text: &str, limits: &Limits) -> Option<Value> {
    let bounds = json::Limits { bytes: limits.bytes, depth: 128, values: 100_000 };
    json::parse(text.as_bytes(), &bounds).ok()
}
