//! Does this number come out of every parser as it went in?

use serde_json::Number;

use super::{Fault, FaultKind};

/// The largest integer that a double holds without holding its neighbour too: 2^53 - 1.
const SAFE: i64 = (1 << 53) - 1;

/// The number that begins at `start`, and where it ends.
pub(super) fn read(text: &str, start: usize) -> Result<(Number, usize), Fault> {
    let bytes = text.as_bytes();
    let negative = bytes.get(start) == Some(&b'-');
    let whole = start + usize::from(negative);
    let mut at = whole;
    let mut magnitude = 0_i64;
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        magnitude = magnitude.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
        at += 1;
    }
    let leading_zero = at > whole + 1 && bytes.get(whole) == Some(&b'0');
    if at == whole || leading_zero {
        return Err(Fault { kind: FaultKind::Syntax, at: whole });
    }
    if let Some(b'.' | b'e' | b'E') = bytes.get(at) {
        return float(text, start, at);
    }
    // Integer zero has no sign in Python, and has one in JavaScript.
    if magnitude > SAFE || (negative && magnitude == 0) {
        return Err(Fault { kind: FaultKind::Number, at: start });
    }
    Ok((Number::from(if negative { -magnitude } else { magnitude }), at))
}

/// A number with a fraction or an exponent, of which the part before `at` is read.
fn float(text: &str, start: usize, mut at: usize) -> Result<(Number, usize), Fault> {
    let bytes = text.as_bytes();
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        at = digits(bytes, at)?;
    }
    let token = text.get(start..at).unwrap_or_default();
    match token.parse::<f64>() {
        Ok(double) if survives(token, double) => Number::from_f64(double).map(|n| (n, at)),
        _ => None,
    }
    .ok_or(Fault { kind: FaultKind::Number, at: start })
}

/// Past one or more digits.
fn digits(bytes: &[u8], from: usize) -> Result<usize, Fault> {
    let run = bytes.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    if run == 0 { Err(Fault { kind: FaultKind::Syntax, at: from }) } else { Ok(from + run) }
}

/// Whether the shortest text for `double` is the same decimal as `token`.
fn survives(token: &str, double: f64) -> bool {
    let Some(sent) = Decimal::of(token) else { return false };
    if sent.digits == 0 {
        return double.is_sign_positive();
    }
    // Fifteen digits always survive, away from the ends of a double's range.
    if sent.digits < 1_000_000_000_000_000 && sent.exponent.unsigned_abs() < 280 {
        return true;
    }
    double.is_finite()
        && Decimal::of(ryu_js::Buffer::new().format_finite(double)).as_ref() == Some(&sent)
}

/// A decimal without its sign: `digits` times ten to the `exponent`, no zero at the end of
/// `digits`. Two of them are equal exactly if the values are (zero apart).
#[derive(PartialEq)]
struct Decimal {
    digits: u64,
    exponent: i64,
}

impl Decimal {
    /// Of a well-formed token; `None` if it has more digits than any double needs.
    fn of(token: &str) -> Option<Self> {
        let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
        let mut decimal = Self { digits: 0, exponent: 0 };
        let mut zeros = 0_u32;
        let mut in_fraction = false;
        for byte in mantissa.bytes() {
            match byte {
                b'0' if decimal.digits == 0 => {}
                b'0' => zeros = zeros.checked_add(1)?,
                b'1'..=b'9' => {
                    let shift = 10_u64.checked_pow(zeros.checked_add(1)?)?;
                    let digit = u64::from(byte - b'0');
                    decimal.digits = decimal.digits.checked_mul(shift)?.checked_add(digit)?;
                    zeros = 0;
                }
                b'.' => in_fraction = true,
                _ => continue, // the sign
            }
            decimal.exponent -= i64::from(in_fraction && byte != b'.');
        }
        decimal.exponent = decimal
            .exponent
            .saturating_add(i64::from(zeros))
            // An exponent past 64 bits is no double's.
            .saturating_add(if decimal.digits == 0 { 0 } else { exponent.parse().ok()? });
        Some(decimal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_stays_one_and_a_float_stays_one() {
        for (token, becomes) in [
            ("0", "0"),
            ("-1", "-1"),
            ("9007199254740991", "9007199254740991"),
            ("-9007199254740991", "-9007199254740991"),
            ("0.0", "0.0"),
            ("0e999999999999999999999", "0.0"),
            ("1.0", "1.0"),
            ("1e2", "100.0"),
            ("1E+2", "100.0"),
            ("100.00", "100.0"),
            ("0.1", "0.1"),
            ("-0.5", "-0.5"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("1e21", "1e+21"),
            ("1e-7", "1e-7"),
            ("123456789012345.0", "123456789012345.0"),
            ("9007199254740992.0", "9007199254740992.0"),
            ("5e-324", "5e-324"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("0.000000000000000000000000000001", "1e-30"),
        ] {
            let (number, end) = read(token, 0).expect(token);
            assert_eq!(end, token.len(), "{token}");
            assert_eq!(number.to_string(), becomes, "{token}");
        }
    }

    #[test]
    fn what_would_change_on_the_way_is_refused() {
        for token in [
            "-0",
            "-0.0",
            "-0e5",
            "9007199254740992",
            "-9007199254740992",
            "9007199254740993",
            "9007199254740993.0",
            "18446744073709551616",
            "123456789012345678901234567890",
            "0.1000000000000000055",
            "0.10000000000000001",
            "1e400",
            "-1e400",
            "1e-400",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "4e-324",
            "2.5e-324",
            "1.7976931348623159e308",
            "100000000000000000000000.1",
        ] {
            let fault = read(token, 0).expect_err(token);
            assert_eq!(fault, Fault { kind: FaultKind::Number, at: 0 }, "{token}");
        }
        let digits = "1".repeat(100_000);
        assert!(read(&digits, 0).is_err());
        assert!(read(&format!("0.{digits}"), 0).is_err());
    }

    #[test]
    fn what_is_no_number_is_refused_as_such() {
        for (token, at) in [
            ("-", 1),
            ("01", 0),
            ("-01", 1),
            ("00", 0),
            ("1.", 2),
            ("1.e1", 2),
            ("1e", 2),
            ("1e+", 3),
            ("-.5", 1),
            ("-a", 1),
            ("1.e", 2),
        ] {
            let fault = read(token, 0).expect_err(token);
            assert_eq!(fault, Fault { kind: FaultKind::Syntax, at }, "{token}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_finite_double_survives_as_its_shortest_text(bits: u64) {
            let double = f64::from_bits(bits);
            if double.is_finite() && bits != (-0.0_f64).to_bits() {
                let token = Number::from_f64(double).expect("finite").to_string();
                let (read, _) = read(&token, 0).expect(&token);
                proptest::prop_assert_eq!(read.as_f64().map(f64::to_bits), Some(bits));
            }
        }

        #[test]
        fn what_is_accepted_is_the_same_decimal(
            whole in "-?(0|[1-9][0-9]{0,20})", fraction in "[0-9]{1,20}", exponent in -330_i32..320,
        ) {
            let token = format!("{whole}.{fraction}e{exponent}");
            if let Ok((number, _)) = read(&token, 0) {
                let (sent, kept) = (plain(&token), plain(&number.to_string()));
                proptest::prop_assert_eq!(sent, kept, "{}", token);
            }
        }
    }

    /// The token as sign, digits and exponent, by text alone: an independent reading.
    fn plain(token: &str) -> (bool, String, i64) {
        let (mantissa, exponent) = token.split_once('e').unwrap_or((token, "0"));
        let (sign, mantissa) = (mantissa.starts_with('-'), mantissa.trim_start_matches('-'));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let kept = digits.trim_end_matches('0');
        let exponent = exponent.parse::<i64>().unwrap() - i64::try_from(fraction.len()).unwrap()
            + i64::try_from(digits.len() - kept.len()).unwrap();
        let kept = kept.trim_start_matches('0').to_owned();
        let exponent = if kept.is_empty() { 0 } else { exponent };
        (sign, kept, exponent)
    }
}
