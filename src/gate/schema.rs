//! Do the arguments, and the results, fit the definition of the tool?
//!
//! The answer is nearly always yes, so that is asked first and alone. Only a no costs more: up to
//! five sentences, each by place and rule, none with a value in it.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::{Map, Value};

use crate::config::nearest;
use crate::refusal::Refusal;
use crate::tools::{Compiled, Schemas};

/// The most problems that one refusal tells.
const MOST: usize = 5;

/// The longest place or name that a sentence repeats, in characters.
const LONGEST: usize = 80;

/// The arguments with the schema's defaults filled in: what is decided, hashed and forwarded.
///
/// Absent arguments are an empty object.
///
/// # Errors
/// [`Refusal::Arguments`], with up to five problems.
pub fn arguments(schemas: &Schemas, arguments: Option<Value>) -> Result<Value, Refusal> {
    let mut arguments = arguments.unwrap_or_else(|| Value::Object(Map::new()));
    let refuse = |problems| Err(Refusal::Arguments { problems });
    if !arguments.is_object() {
        return refuse(vec!["they are not an object".to_owned()]);
    }
    if !schemas.input.affords(&arguments) {
        return refuse(vec!["they nest deeper, or hold more, than this schema allows".to_owned()]);
    }
    schemas.input.complete(&mut arguments);
    if schemas.input.admits(&arguments) {
        return Ok(arguments);
    }
    refuse(problems(&schemas.input, &arguments))
}

/// Whether a result fits what the tool says of its results.
///
/// # Errors
/// In what it does not, without values.
pub fn result(schemas: &Schemas, structured: Option<&Value>, is_error: bool) -> Result<(), String> {
    let Some(output) = &schemas.output else { return Ok(()) };
    if is_error {
        return Ok(());
    }
    let Some(structured) = structured else {
        return Err("the tool promises a structured result and gave none".to_owned());
    };
    if !output.affords(structured) {
        return Err("the result nests deeper, or holds more, than its schema allows".to_owned());
    }
    if output.admits(structured) {
        return Ok(());
    }
    let said = problems(output, structured).join("; ");
    Err(format!("the result does not fit the tool's output schema: {said}"))
}

fn problems(schema: &Compiled, value: &Value) -> Vec<String> {
    let mut problems: Vec<String> = Vec::new();
    for error in schema.errors(value).take(MOST * 4) {
        let said = sentence(schema, &error);
        if !problems.contains(&said) {
            problems.push(said);
        }
        if problems.len() == MOST {
            break;
        }
    }
    if problems.is_empty() {
        problems.push("they do not fit".to_owned());
    }
    problems
}

fn sentence(schema: &Compiled, error: &ValidationError<'_>) -> String {
    let place = error.instance_path().as_str();
    let place = if place.is_empty() { String::new() } else { format!("`{}`: ", shown(place)) };
    place + &rule(schema, error.kind())
}

fn rule(schema: &Compiled, kind: &Kind) -> String {
    match kind {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            unexpected_names(schema, unexpected)
        }
        Kind::Required { property } => {
            format!("`{}` is missing", shown(property.as_str().unwrap_or_default()))
        }
        Kind::Type { kind: TypeKind::Single(one) } => format!("has to be of type {one}"),
        Kind::Type { kind: TypeKind::Multiple(several) } => {
            let names: Vec<String> = several.iter().map(|one| one.to_string()).collect();
            format!("has to be of type {}", names.join(" or "))
        }
        Kind::Enum { options } => format!("has to be one of {}", choices(options)),
        Kind::Constant { expected_value } => format!("has to be {}", choice(expected_value)),
        Kind::Format { format } => format!("has to have the format `{}`", shown(format)),
        Kind::Pattern { pattern } => format!("has to match the pattern `{}`", shown(pattern)),
        Kind::Minimum { limit } => format!("has to be at least {limit}"),
        Kind::Maximum { limit } => format!("has to be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("has to be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("has to be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("has to be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("has to have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("has to have at most {limit} characters"),
        Kind::MinItems { limit } => format!("has to have at least {limit} elements"),
        Kind::MaxItems { limit } => format!("has to have at most {limit} elements"),
        Kind::AdditionalItems { limit } => format!("has to have at most {limit} elements"),
        Kind::MinProperties { limit } => format!("has to have at least {limit} members"),
        Kind::MaxProperties { limit } => format!("has to have at most {limit} members"),
        Kind::UniqueItems => "has to have no element twice".to_owned(),
        Kind::Contains => "has no element of the kind that the schema asks for".to_owned(),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            "fits none of the alternatives that the schema has".to_owned()
        }
        Kind::OneOfMultipleValid { .. } => {
            "fits more than one of the alternatives that the schema has".to_owned()
        }
        Kind::Not { .. } => "is what the schema excludes".to_owned(),
        Kind::PropertyNames { .. } => "has a member whose name is not allowed".to_owned(),
        Kind::UnevaluatedItems { .. } => "has elements that the schema does not mention".to_owned(),
        Kind::FalseSchema => "is not allowed".to_owned(),
        other => format!("does not satisfy `{}`", other.keyword()),
    }
}

fn unexpected_names(schema: &Compiled, unexpected: &[String]) -> String {
    let named = unexpected.iter().take(MOST).map(|name| {
        let meant = nearest(name, schema.properties()).filter(|meant| *meant != name);
        match meant {
            Some(meant) => format!("`{}` (did you mean `{}`?)", shown(name), shown(meant)),
            None => format!("`{}`", shown(name)),
        }
    });
    let named = named.collect::<Vec<_>>().join(", ");
    match unexpected.len() {
        0 | 1 => format!("{named} is not in the schema"),
        2..=MOST => format!("{named} are not in the schema"),
        more => format!("{named} and {} more are not in the schema", more - MOST),
    }
}

/// What the schema, not the caller, lists.
fn choices(options: &Value) -> String {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut listed: Vec<String> = options.iter().take(12).map(choice).collect();
    if options.len() > listed.len() {
        listed.push("…".to_owned());
    }
    listed.join(", ")
}

fn choice(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => "a fixed value".to_owned(),
        plain => format!("`{}`", shown(&plain.to_string())),
    }
}

/// A name or place, cut and without what could act on a terminal or page.
fn shown(text: &str) -> String {
    let mut shown: String =
        text.chars().filter(|c| !c.is_control() && *c != '`').take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
