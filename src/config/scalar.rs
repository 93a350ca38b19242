//! What is meant by `45s`, `4MiB` or `127.0.0.1:8700`?

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::yaml::{Node, Value};

/// No duration in a config is longer: clocks overflow somewhere beyond.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// No text in a config is longer.
const MAX_TEXT: usize = 4096;

fn expected<T>(what: &str, node: &Node) -> Result<T, String> {
    Err(format!("expected {what}, found {}", node.value.kind()))
}

/// Text on one line, not empty.
pub(super) fn text(node: &Node) -> Result<String, String> {
    match &node.value {
        Value::Text(text) if text.trim().is_empty() => Err("the text is empty".into()),
        Value::Text(text) if text.len() > MAX_TEXT => {
            Err(format!("the text is longer than {MAX_TEXT} bytes"))
        }
        Value::Text(text) if text.chars().any(char::is_control) => {
            Err("the text has a control character or line break".into())
        }
        Value::Text(text) => Ok(text.clone()),
        Value::Integer(_) | Value::Number(_) | Value::Bool(_) => {
            Err(format!("expected text, found {}; put quotes around it", node.value.kind()))
        }
        _ => expected("text", node),
    }
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node) -> Result<bool, String> {
    match node.value {
        Value::Bool(value) => Ok(value),
        _ => expected("true or false", node),
    }
}

/// A whole number within a range.
pub(super) fn count(range: RangeInclusive<usize>) -> impl Fn(&Node) -> Result<usize, String> {
    move |node| {
        let Value::Integer(number) = node.value else { return expected("a whole number", node) };
        usize::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("expected a number from {} to {}", range.start(), range.end()))
    }
}

/// A share, 0 to 1.
pub(super) fn ratio(node: &Node) -> Result<f64, String> {
    let number = match node.value {
        Value::Integer(0) => 0.0,
        Value::Integer(1) => 1.0,
        Value::Number(number) => number,
        Value::Integer(_) => f64::NAN,
        _ => return expected("a number from 0 to 1", node),
    };
    if (0.0..=1.0).contains(&number) {
        Ok(number)
    } else {
        Err("expected a number from 0 to 1".into())
    }
}

/// A duration with its unit, longer than nothing.
pub(super) fn duration(node: &Node) -> Result<Duration, String> {
    const HOW: &str = "write a duration with its unit, such as `45s` or `5m`";
    let Value::Text(text) = &node.value else { return Err(HOW.into()) };
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("the duration must be longer than zero".into()),
        Ok(duration) if duration > LONGEST => Err("the duration is longer than a year".into()),
        Ok(duration) => Ok(duration),
        Err(_) => Err(HOW.into()),
    }
}

/// A duration within a range.
pub(super) fn within(
    range: RangeInclusive<Duration>,
) -> impl Fn(&Node) -> Result<Duration, String> {
    move |node| {
        let duration = duration(node)?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let told = humantime::format_duration;
        Err(format!("expected a duration from {} to {}", told(*range.start()), told(*range.end())))
    }
}

/// A duration, or `none`.
pub(super) fn duration_or_none(node: &Node) -> Result<Option<Duration>, String> {
    match &node.value {
        Value::Text(text) if text == "none" => Ok(None),
        _ => duration(node).map(Some).map_err(|message| format!("{message}, or `none`")),
    }
}

/// A size in bytes, with or without unit, within a range.
pub(super) fn size(range: RangeInclusive<usize>) -> impl Fn(&Node) -> Result<usize, String> {
    move |node| {
        let bytes = match &node.value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            Value::Text(text) => bytes(text),
            _ => None,
        };
        let bytes =
            bytes.ok_or("write a size in bytes or with a unit, such as `512KiB` or `4MiB`")?;
        if range.contains(&bytes) {
            Ok(bytes)
        } else {
            Err(format!("expected a size from {} to {} bytes", range.start(), range.end()))
        }
    }
}

fn bytes(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: usize = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

/// An address to listen on. Names are not resolved, but for `localhost`: what is bound must not
/// depend on a name server.
pub(super) fn listener(node: &Node) -> Result<SocketAddr, String> {
    const HOW: &str = "write an address and a port, such as `127.0.0.1:8700` or `[::1]:8700`";
    let Value::Text(text) = &node.value else { return Err(HOW.into()) };
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| HOW.into())
}

/// One of a few names, as what it stands for.
pub(super) fn one_of<T: Copy>(choices: &[(&str, T)]) -> impl Fn(&Node) -> Result<T, String> {
    move |node| {
        let name = text(node)?;
        choices.iter().find(|(choice, _)| *choice == name).map(|(_, meant)| *meant).ok_or_else(
            || {
                let names: Vec<_> =
                    choices.iter().map(|(choice, _)| format!("`{choice}`")).collect();
                format!("expected one of {}", names.join(", "))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn node(text: &str) -> Node {
        yaml::read(text, "c.yaml").unwrap()
    }

    #[test]
    fn durations_carry_their_unit() {
        for (text, expected) in [
            ("45s", Some(Duration::from_secs(45))),
            ("1m 30s", Some(Duration::from_secs(90))),
            ("50ms", Some(Duration::from_millis(50))),
            ("366d", Some(LONGEST)),
            ("367d", None),
            ("0s", None),
            ("45", None),
            ("-5s", None),
            ("[1]", None),
            ("99999999999999999999y", None),
        ] {
            assert_eq!(duration(&node(text)).ok(), expected, "{text}");
        }
        assert_eq!(duration_or_none(&node("none")), Ok(None));
    }

    #[test]
    fn sizes_hold_at_the_bound_and_not_one_past_it() {
        for (text, expected) in [
            ("4MiB", Some(4 << 20)),
            ("4 MiB", Some(4 << 20)),
            ("1", Some(1)),
            ("0", None),
            ("4194305", None),
            ("4MB", Some(4_000_000)),
            ("4mib", None),
            ("MiB", None),
            ("99999999999999999999GiB", None),
            ("1.5MiB", None),
        ] {
            assert_eq!(size(1..=4 << 20)(&node(text)).ok(), expected, "{text}");
        }
    }

    #[test]
    fn numbers_keep_their_range() {
        for (text, expected) in
            [("1", Some(1)), ("9", Some(9)), ("0", None), ("10", None), ("1.5", None), ("x", None)]
        {
            assert_eq!(count(1..=9)(&node(text)).ok(), expected, "{text}");
        }
        for (text, expected) in
            [("0", Some(0.0)), ("1", Some(1.0)), ("0.25", Some(0.25)), ("1.1", None), ("2", None)]
        {
            assert_eq!(ratio(&node(text)).ok(), expected, "{text}");
        }
    }

    #[test]
    fn addresses_are_numbers_or_localhost() {
        for (text, expected) in [
            ("127.0.0.1:8700", Some("127.0.0.1:8700")),
            ("localhost:1", Some("127.0.0.1:1")),
            ("'[::1]:8700'", Some("[::1]:8700")),
            ("example.com:80", None),
            ("8700", None),
            ("127.0.0.1", None),
        ] {
            let address = listener(&node(text)).ok();
            assert_eq!(address.map(|a| a.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_message_never_shows_what_was_written() {
        for message in [
            duration(&node("hunter2")).unwrap_err(),
            one_of(&[("a", 1)])(&node("hunter2")).unwrap_err(),
            listener(&node("hunter2")).unwrap_err(),
        ] {
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
