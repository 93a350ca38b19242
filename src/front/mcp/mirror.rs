//! Do the headers say what the body says?
//!
//! From 2026-07-28 on a client repeats method, name and some arguments in headers, so that
//! others on the way can route without reading the body (SEP-2243). Whoever believes a header
//! that the gate did not compare decides on something else than what is forwarded.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::message::{Kind, Message};
use super::methods::Method;
use crate::json::{Map, Value};
use crate::refusal::Refusal;
use crate::tools::HeaderParam;

/// The revision that a message is spoken in.
pub const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The session of the revisions up to 2025-11-25.
pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// Mirrors `method`.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// Mirrors `params.name`, `params.uri` or `params.taskId`.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Begins the mirror of an argument.
pub const PARAM_PREFIX: &str = "mcp-param-";

/// The revisions spoken here, oldest first.
pub const REVISIONS: &[&str] = &[OLDEST, "2025-06-18", "2025-11-25", "2026-07-28"];
/// The revision of who does not say which.
pub const OLDEST: &str = "2025-03-26";
/// The first stateless revision.
pub const STATELESS: &str = "2026-07-28";
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Where a request says what its client can do.
pub const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// The only value of a header; more than one, or one that is not visible ASCII, is a mismatch.
pub fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mismatch = || Refusal::HeaderMismatch { header: name.as_str().to_owned() };
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(mismatch());
    }
    first.to_str().map(Some).map_err(|_| mismatch())
}

/// The revision that a message is spoken in, and whether its headers agree with it.
///
/// `None` where the client did not say, which means 2025-03-26 or an `initialize`.
pub fn revision(
    headers: &HeaderMap,
    message: &Message,
    minimum: &str,
) -> Result<Option<&'static str>, Refusal> {
    let header = only(headers, &VERSION)?;
    let body = message.meta().and_then(|meta| meta.get(META_VERSION));
    let body = match body {
        None => None,
        Some(Value::String(version)) => Some(version.as_str()),
        Some(_) => return Err(missing_meta()),
    };
    if let (Some(body), Some(header)) = (body, header)
        && body != header
    {
        return Err(Refusal::HeaderMismatch { header: VERSION.to_string() });
    }
    if body.is_some() && header.is_none() && message.kind() == Kind::Request {
        return Err(Refusal::HeaderMismatch { header: VERSION.to_string() });
    }
    let Some(named) = header.or(body) else {
        // The server negotiates an `initialize`; all else without a word means the oldest.
        let oldest = message.method() != "initialize" && minimum > OLDEST;
        return if oldest { Err(unsupported(OLDEST, minimum)) } else { Ok(None) };
    };
    let Some(known) = REVISIONS.iter().find(|revision| **revision == named) else {
        return Err(unsupported(named, minimum));
    };
    if *known < minimum {
        return Err(unsupported(named, minimum));
    }
    if *known >= STATELESS && message.kind() == Kind::Request && message.method() != "initialize" {
        let meta = message.meta().ok_or_else(missing_meta)?;
        if !meta.contains_key(META_VERSION) || !meta.contains_key(META_CAPABILITIES) {
            return Err(missing_meta());
        }
    }
    Ok(Some(known))
}

fn missing_meta() -> Refusal {
    Refusal::Parameters {
        method: "this method",
        reason: format!("`_meta` must carry `{META_VERSION}` and `{META_CAPABILITIES}`"),
    }
}

/// The refusal of a revision.
pub fn unsupported(requested: &str, minimum: &str) -> Refusal {
    Refusal::Version {
        supported: REVISIONS.iter().copied().filter(|revision| *revision >= minimum).collect(),
        requested: requested.chars().filter(|c| !c.is_control()).take(10).collect(),
    }
}

/// Compares `Mcp-Method` and `Mcp-Name` with the body.
///
/// In the stateless revisions a request must have them; in the older ones a header that is there
/// anyway must not lie either, since somebody on the way may believe it.
pub fn standard(
    headers: &HeaderMap,
    message: &Message,
    method: Option<&Method>,
    stateless: bool,
) -> Result<(), Refusal> {
    let required = stateless && message.kind() == Kind::Request;
    compare(headers, &METHOD, Some(message.method()), required)?;
    let Some(field) = method.and_then(|method| method.named_by) else { return Ok(()) };
    compare(headers, &NAME, message.param(field), required)
}

fn compare(
    headers: &HeaderMap,
    name: &HeaderName,
    body: Option<&str>,
    required: bool,
) -> Result<(), Refusal> {
    let header = only(headers, name)?;
    let agrees = match (header, body) {
        (None, None) => true,
        (None, Some(_)) => !required,
        (Some(_), None) => false,
        (Some(header), Some(body)) => decode(header).as_deref() == Some(body),
    };
    if agrees { Ok(()) } else { Err(Refusal::HeaderMismatch { header: name.to_string() }) }
}

/// Compares each declared `Mcp-Param-*` with the arguments as the client sent them.
///
/// As with [`standard`], the older revisions need not have them, but may not lie in them.
pub fn parameters(
    headers: &HeaderMap,
    declared: &[HeaderParam],
    arguments: Option<&Value>,
    required: bool,
) -> Result<(), Refusal> {
    for HeaderParam { suffix, path } in declared {
        let name = param_name(suffix)?;
        let header = only(headers, &name)?;
        let value = arguments.and_then(|arguments| at(arguments, path)).and_then(as_text);
        let agrees = match (header, value) {
            (None, None) => true,
            (Some(header), Some(value)) => decode(header).is_some_and(|h| same(&h, &value)),
            (Some(_), None) => false,
            (None, Some(_)) => !required,
        };
        if !agrees {
            return Err(Refusal::HeaderMismatch { header: name.to_string() });
        }
    }
    Ok(())
}

/// The `Mcp-Param-*` headers of the arguments that go upstream, defaults filled in.
pub fn mirrored(
    declared: &[HeaderParam],
    arguments: &Value,
) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    let mut headers = Vec::with_capacity(declared.len());
    for HeaderParam { suffix, path } in declared {
        let Some(text) = at(arguments, path).and_then(as_text) else { continue };
        let name = param_name(suffix)?;
        let value = HeaderValue::from_str(&encode(&text))
            .map_err(|_| Refusal::HeaderMismatch { header: name.to_string() })?;
        headers.push((name, value));
    }
    Ok(headers)
}

fn param_name(suffix: &str) -> Result<HeaderName, Refusal> {
    HeaderName::try_from(format!("{PARAM_PREFIX}{suffix}"))
        .map_err(|_| Refusal::HeaderMismatch { header: PARAM_PREFIX.to_owned() })
}

fn at<'a>(arguments: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter()
        .try_fold(arguments, |value, key| value.as_object().and_then(|o: &Map<_, _>| o.get(key)))
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn same(header: &str, value: &str) -> bool {
    // Numbers are compared as numbers: `42.0` is `42` (the revision's SHOULD).
    header == value || matches!((decimal(header), decimal(value)), (Some(a), Some(b)) if a == b)
}

fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    if plain { text.parse().ok() } else { None }
}

const SENTINEL: (&str, &str) = ("=?base64?", "?=");

/// Reads `=?base64?…?=`; anything else is itself. None if what is inside is not canonical.
pub fn decode(header: &str) -> Option<String> {
    let inner = header.strip_prefix(SENTINEL.0).and_then(|rest| rest.strip_suffix(SENTINEL.1));
    match inner {
        None => Some(header.to_owned()),
        Some(inner) => String::from_utf8(BASE64_STANDARD.decode(inner).ok()?).ok(),
    }
}

/// Writes a text so that a header can hold it.
pub fn encode(text: &str) -> String {
    let plain = !text.is_empty()
        && text.trim() == text
        && text.bytes().all(|b| b == b'\t' || (0x20..=0x7e).contains(&b))
        && !(text.starts_with(SENTINEL.0) && text.ends_with(SENTINEL.1));
    if plain {
        text.to_owned()
    } else {
        format!("{}{}{}", SENTINEL.0, BASE64_STANDARD.encode(text), SENTINEL.1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::methods;
    use super::*;
    use crate::json::Limits;

    fn message(text: &str) -> Message {
        Message::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"café",
        "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",
                 "io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    const OLD: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#;

    #[test]
    fn b01_headers_that_differ_are_missing_repeated_or_joined_are_refused() {
        let version = ("mcp-protocol-version", "2026-07-28");
        let method = ("mcp-method", "tools/call");
        let name = ("mcp-name", "=?base64?Y2Fmw6k=?=");
        for (pairs, agrees) in [
            (vec![version, method, name], true),
            (vec![version, method], false),
            (vec![version, name], false),
            (vec![version, ("mcp-method", "tools/list"), name], false),
            (vec![version, ("mcp-method", "Tools/call"), name], false),
            (vec![version, method, method, name], false),
            (vec![version, ("mcp-method", "tools/call, tools/call"), name], false),
            (vec![version, method, ("mcp-name", "cafe")], false),
            (vec![version, method, name, name], false),
            (vec![version, method, ("mcp-name", "=?base64?Y2Fmw6k?=")], false), // no padding
            (vec![version, method, ("mcp-name", "=?base64?!?=")], false),
        ] {
            let map = headers(&pairs);
            let message = message(CALL);
            let result = standard(&map, &message, methods::request("tools/call"), true);
            assert_eq!(result.is_ok(), agrees, "{pairs:?}");
        }
    }

    #[test]
    fn an_older_client_need_not_mirror_but_must_not_lie() {
        for (pairs, agrees) in [
            (vec![], true),
            (vec![("mcp-method", "tools/call"), ("mcp-name", "x")], true),
            (vec![("mcp-method", "ping")], false),
            (vec![("mcp-name", "y")], false),
        ] {
            let result =
                standard(&headers(&pairs), &message(OLD), methods::request("tools/call"), false);
            assert_eq!(result.is_ok(), agrees, "{pairs:?}");
        }
    }

    #[test]
    fn b04_the_version_is_one_known_one_in_header_and_body() {
        for (text, pairs, minimum, expected) in [
            (CALL, vec![("mcp-protocol-version", "2026-07-28")], "2025-03-26", Ok(Some(STATELESS))),
            (CALL, vec![("mcp-protocol-version", "2025-11-25")], "2025-03-26", Err(-32020)),
            (CALL, vec![], "2025-03-26", Err(-32020)),
            (OLD, vec![("mcp-protocol-version", "2026-07-28")], "2025-03-26", Err(-32602)),
            (OLD, vec![("mcp-protocol-version", "1900-01-01")], "2025-03-26", Err(-32022)),
            (OLD, vec![("mcp-protocol-version", "2025-06-18")], "2025-11-25", Err(-32022)),
            (OLD, vec![], "2025-06-18", Err(-32022)),
            (OLD, vec![], "2025-03-26", Ok(None)),
            (
                OLD,
                vec![
                    ("mcp-protocol-version", "2025-06-18"),
                    ("mcp-protocol-version", "2025-06-18"),
                ],
                "2025-03-26",
                Err(-32020),
            ),
        ] {
            let result = revision(&headers(&pairs), &message(text), minimum);
            assert_eq!(result.map_err(|refusal| refusal.rpc_code()), expected, "{pairs:?}");
        }
    }

    #[test]
    fn declared_parameters_are_compared_by_value() {
        let declared = vec![
            HeaderParam { suffix: "Region".into(), path: vec!["region".into()] },
            HeaderParam { suffix: "Count".into(), path: vec!["nested".into(), "count".into()] },
        ];
        let arguments = serde_json::json!({"region": "eu", "nested": {"count": 42}});
        for (pairs, agrees) in [
            (vec![("mcp-param-region", "eu"), ("mcp-param-count", "42")], true),
            (vec![("mcp-param-region", "=?base64?ZXU=?="), ("mcp-param-count", "42.0")], true),
            (vec![("mcp-param-region", "us"), ("mcp-param-count", "42")], false),
            (vec![("mcp-param-region", "eu")], false),
            (vec![("mcp-param-region", "eu"), ("mcp-param-count", "0x2a")], false),
        ] {
            let result = parameters(&headers(&pairs), &declared, Some(&arguments), true);
            assert_eq!(result.is_ok(), agrees, "{pairs:?}");
        }
        assert!(
            parameters(&headers(&[("mcp-param-region", "eu")]), &declared, None, true).is_err()
        );
        let sent = mirrored(&declared, &arguments).unwrap();
        assert_eq!(sent.len(), 2);
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        for text in ["plain", "", " edge ", "café", "=?base64?x?=", "a\tb", "line\nbreak"] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
    }
}
