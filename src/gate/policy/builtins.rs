//! Which built-in functions may a policy call?

use anyhow::bail;
use regorus::{Engine, Value};

use super::paths::convert;

/// How a built-in is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Same arguments, same answer, soon.
    Plain,
    /// Its answer changes by itself: what calls it is never remembered.
    Changing,
    /// May not be called, and why.
    Refused(&'static str),
    /// There is none of that name here.
    Unknown,
}

/// The standing of `name`, such as `time.now_ns`.
pub(super) fn standing(name: &str) -> Standing {
    if let Some(reason) = refused(name) {
        return Standing::Refused(reason);
    }
    match name {
        "time.now_ns" | "rand.intn" => Standing::Changing,
        _ if regorus::unstable::BUILTINS.contains_key(name) => Standing::Plain,
        _ => Standing::Unknown,
    }
}

/// Whether any reference to `name` is refused, also one that is no call (`with`).
pub(super) fn refused(name: &str) -> Option<&'static str> {
    Some(match name {
        "http.send" => "policy decides on facts that it is given; it sends nothing",
        "opa.runtime" => "policy does not see the process that it runs in",
        "net.lookup_ip_addr" => "policy decides on facts that it is given; it asks no name server",
        "print" => "it would write arguments to the log",
        "numbers.range"
        | "numbers.range_step"
        | "net.cidr_expand"
        | "bits.lsh"
        | "graph.reachable_paths" => "one call of it can outlast every deadline",
        _ => return None,
    })
}

/// Arguments that must be written out in the policy, because the length of the result grows with
/// their product.
pub(super) fn constants(name: &str) -> &'static [usize] {
    match name {
        "replace" => &[1, 2],
        "strings.replace_n" | "concat" | "sprintf" => &[0],
        "regex.replace" => &[1, 2],
        _ => &[],
    }
}

/// Digits and exponent that a number in a text may have. The interpreter would write out
/// `1e2000000000` digit by digit, for minutes.
const MAX_NUMBER: usize = 320;

fn is_modest(text: &str) -> bool {
    let exponent = text.split_once(['e', 'E']).map_or("", |(_, exponent)| exponent);
    let digits = exponent.trim_start_matches(['+', '-']).trim_start_matches('0');
    let digits = digits.find(|c: char| !c.is_ascii_digit()).map_or(digits, |at| &digits[..at]);
    text.len() <= MAX_NUMBER && digits.len() <= 3
}

/// Replace the built-ins that read numbers out of texts by ones that cannot run long.
pub(super) fn bound(engine: &mut Engine) -> anyhow::Result<()> {
    engine.add_extension("to_number".into(), 1, Box::new(|args: Vec<Value>| to_number(&args)))?;
    engine.add_extension(
        "json.unmarshal".into(),
        1,
        Box::new(|args: Vec<Value>| match unmarshal(&args) {
            Some(value) => Ok(value),
            None => bail!("`json.unmarshal` cannot read this"),
        }),
    )?;
    engine.add_extension(
        "json.is_valid".into(),
        1,
        Box::new(|args: Vec<Value>| Ok(Value::Bool(unmarshal(&args).is_some()))),
    )?;
    for name in ["units.parse", "units.parse_bytes"] {
        let Some((function, _)) = regorus::unstable::BUILTINS.get(name).copied() else {
            bail!("`{name}` is missing");
        };
        let (span, argument) = place()?;
        engine.add_extension(
            name.into(),
            1,
            Box::new(move |args: Vec<Value>| match args.first() {
                Some(Value::String(text)) if is_modest(text) => {
                    function(&span, std::slice::from_ref(&argument), &args, true)
                }
                _ => bail!("`{name}` cannot read this"),
            }),
        )?;
    }
    Ok(())
}

/// A place in no file, for built-ins that want one for their errors.
fn place()
-> anyhow::Result<(regorus::unstable::Span, regorus::unstable::Ref<regorus::unstable::Expr>)> {
    let source = regorus::Source::from_contents("built-in".into(), " ".into())?;
    let span = regorus::unstable::Span { source, line: 1, col: 1, start: 0, end: 0 };
    let argument =
        regorus::unstable::Expr::Null { span: span.clone(), value: Value::Null, eidx: 0 };
    Ok((span, regorus::unstable::Ref::new(argument)))
}

fn to_number(args: &[Value]) -> anyhow::Result<Value> {
    Ok(match args.first() {
        Some(Value::Null | Value::Bool(false)) => Value::from(0),
        Some(Value::Bool(true)) => Value::from(1),
        Some(number @ Value::Number(_)) => number.clone(),
        Some(Value::String(text)) if is_modest(text) => match Value::from_json_str(text) {
            Ok(number @ Value::Number(_)) => number,
            _ => bail!("`to_number` cannot read this"),
        },
        _ => bail!("`to_number` cannot read this"),
    })
}

fn unmarshal(args: &[Value]) -> Option<Value> {
    let Some(Value::String(text)) = args.first() else { return None };
    serde_json::from_str(text).ok().as_ref().map(convert)
}
