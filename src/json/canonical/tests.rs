use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::json::{Limits, digest, parse};

fn text(value: &Value) -> String {
    String::from_utf8(canonical(value)).expect("canonical text is UTF-8")
}

#[test]
fn the_sample_of_rfc_8785_section_3_2_2() {
    let sample = r#"{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    let expected = concat!(
        r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
        r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
    );
    assert_eq!(text(&serde_json::from_str(sample).unwrap()), expected);
}

#[test]
fn the_sorting_sample_of_rfc_8785_section_3_2_3() {
    let sample = r#"{
        "\u20ac": "Euro Sign", "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
        "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis"
    }"#;
    let written = text(&serde_json::from_str(sample).unwrap());
    let sorted: Map<String, Value> = serde_json::from_str(&written).unwrap();
    let keys: Vec<&str> = sorted.keys().map(String::as_str).collect();
    assert_eq!(keys, ["\r", "1", "\u{80}", "ö", "€", "😀", "\u{fb33}"]);
}

#[test]
fn the_numbers_of_rfc_8785_appendix_b() {
    for (bits, written) in [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        assert_eq!(text(&json!(f64::from_bits(bits))), written, "{bits:016x}");
    }
}

#[test]
fn an_integer_past_the_doubles_is_written_exactly() {
    assert_eq!(text(&json!(u64::MAX)), "18446744073709551615");
    assert_eq!(text(&json!(9_007_199_254_740_993_i64)), "9007199254740993");
    assert_eq!(text(&json!([1, 1.0, -5])), "[1,1,-5]");
}

#[test]
fn strings_are_escaped_as_ecmascript_does() {
    let all: String = ('\0'..' ').collect();
    assert_eq!(
        text(&json!(all)),
        concat!(
            r#""\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f"#,
            r#"\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017"#,
            r#"\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f""#
        )
    );
    assert_eq!(text(&json!("\"\\/\u{7f}\u{2028}😀")), "\"\\\"\\\\/\u{7f}\u{2028}😀\"");
}

/// Values that a strict parse can give.
pub(in crate::json) fn values() -> impl Strategy<Value = Value> {
    let safe = (1_i64 << 53) - 1;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-safe..=safe).prop_map(Value::from),
        any::<f64>()
            .prop_filter("no text keeps it", |x| x.is_finite()
                && !(*x == 0.0 && x.is_sign_negative()))
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Writes a value in one of the many ways that mean the same.
struct Scribe(u64);

impl Scribe {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn space(&mut self, out: &mut String) {
        for _ in 0..self.roll(3) {
            out.push([' ', '\n', '\t', '\r'][self.roll(4) as usize]);
        }
    }

    fn string(&mut self, string: &str, out: &mut String) {
        out.push('"');
        for character in string.chars() {
            if self.roll(3) == 0 || matches!(character, '"' | '\\' | '\0'..' ') {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                out.push(character);
            }
        }
        out.push('"');
    }

    fn value(&mut self, value: &Value, out: &mut String) {
        self.space(out);
        match value {
            Value::String(string) => self.string(string, out),
            Value::Array(elements) => {
                out.push('[');
                for (nth, element) in elements.iter().enumerate() {
                    out.push_str(if nth > 0 { "," } else { "" });
                    self.value(element, out);
                }
                out.push(']');
            }
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                for nth in (1..members.len()).rev() {
                    members.swap(nth, self.roll(nth as u64 + 1) as usize);
                }
                out.push('{');
                for (nth, (key, value)) in members.into_iter().enumerate() {
                    out.push_str(if nth > 0 { "," } else { "" });
                    self.space(out);
                    self.string(key, out);
                    self.space(out);
                    out.push(':');
                    self.value(value, out);
                }
                out.push('}');
            }
            Value::Number(number) if number.is_f64() && self.roll(2) == 0 => {
                let text = number.to_string();
                let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let exponent: i32 = exponent.parse().unwrap();
                let zero = if mantissa.contains('.') { "0" } else { ".0" };
                out.push_str(&format!("{mantissa}{zero}E{exponent:+}"));
            }
            other => out.push_str(&other.to_string()),
        }
        self.space(out);
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(elements) => elements.iter().map(nodes).sum(),
        Value::Object(members) => members.values().map(nodes).sum(),
        _ => 0,
    }
}

/// Changes the node that comes as number `nth`, and nothing else.
fn change(value: &mut Value, nth: &mut usize) {
    if *nth == 0 {
        match value {
            Value::Null => *value = json!(false),
            Value::Bool(flag) => *flag = !*flag,
            Value::Number(number) => {
                *value = match number.as_i64() {
                    Some(0) => json!(1),
                    Some(integer) => json!(integer - integer.signum()),
                    None => json!(number.to_string()),
                };
            }
            Value::String(string) => string.push('\0'),
            Value::Array(elements) => elements.push(json!(null)),
            Value::Object(members) => {
                if members.shift_remove("").is_none() {
                    members.insert(String::new(), json!(null));
                }
            }
        }
        *nth = usize::MAX;
        return;
    }
    *nth = nth.saturating_sub(1);
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(|e| descend(e, nth)),
        Value::Object(members) => members.values_mut().for_each(|e| descend(e, nth)),
        _ => {}
    }
}

fn descend(value: &mut Value, nth: &mut usize) {
    if *nth < usize::MAX / 2 {
        change(value, nth);
    }
}

proptest! {
    #[test]
    fn a14_the_same_value_written_otherwise_has_the_same_hash(value in values(), seed: u64) {
        let mut again = String::new();
        Scribe(seed).value(&value, &mut again);
        let read = parse(again.as_bytes(), &Limits::default());
        prop_assert_eq!(read.as_ref().map(digest), Ok(digest(&value)), "{}", again);
        // And a fresh serialisation is the same value again, to us and to others.
        let forwarded = serde_json::to_vec(&read.unwrap()).unwrap();
        prop_assert_eq!(parse(&forwarded, &Limits::default()), Ok(value.clone()));
        prop_assert_eq!(serde_json::from_slice::<Value>(&forwarded).unwrap(), value);
    }

    #[test]
    fn a14_one_value_changed_changes_the_hash(value in values(), pick: prop::sample::Index) {
        let mut changed = value.clone();
        change(&mut changed, &mut pick.index(nodes(&value)));
        prop_assume!(changed != value);
        prop_assert_ne!(digest(&changed), digest(&value), "{} {}", changed, value);
    }

    #[test]
    fn a14_a_renamed_key_changes_the_hash(value in values(), key: String, to: String) {
        prop_assume!(key != to);
        prop_assert_ne!(digest(&json!({ &key: value })), digest(&json!({ &to: value })));
    }

    #[test]
    fn canonical_text_is_its_own_canonical_text(value in values()) {
        let once = canonical(&value);
        let read: Value = serde_json::from_slice(&once).expect("canonical text is JSON");
        prop_assert_eq!(String::from_utf8(canonical(&read)), String::from_utf8(once));
    }

    #[test]
    fn keys_are_in_the_order_of_their_utf16_units(a: String, b: String) {
        prop_assert_eq!(utf16_order(&a, &b), a.encode_utf16().cmp(b.encode_utf16()));
    }

    #[test]
    fn keys_at_the_seam_of_planes_are_in_the_order_of_their_utf16_units(
        a in "[a\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}]{0,4}",
        b in "[a\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}]{0,4}",
    ) {
        prop_assert_eq!(utf16_order(&a, &b), a.encode_utf16().cmp(b.encode_utf16()));
    }
}
