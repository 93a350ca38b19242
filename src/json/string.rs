//! Which characters does this string hold?

use super::{Fault, FaultKind};

/// The string whose opening quote is at `start`, and where its closing quote ends.
pub(super) fn read(text: &str, start: usize) -> Result<(String, usize), Fault> {
    let bytes = text.as_bytes();
    let from = start + 1;
    let at = stop(bytes, from);
    let plain = text.get(from..at).unwrap_or_default();
    match bytes.get(at) {
        Some(b'"') => Ok((plain.to_owned(), at + 1)),
        Some(b'\\') => escaped(text, plain, at),
        _ => Err(Fault { kind: FaultKind::Syntax, at }),
    }
}

/// The rest of a string that has an escape at `at`.
fn escaped(text: &str, before: &str, mut at: usize) -> Result<(String, usize), Fault> {
    let bytes = text.as_bytes();
    let mut string = String::with_capacity(before.len() + 16);
    string.push_str(before);
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok((string, at + 1)),
            Some(b'\\') => {
                let (character, end) = escape(bytes, at)?;
                string.push(character);
                let next = stop(bytes, end);
                string.push_str(text.get(end..next).unwrap_or_default());
                at = next;
            }
            _ => return Err(Fault { kind: FaultKind::Syntax, at }),
        }
    }
}

/// The character that the escape at `at` means, and where the escape ends.
fn escape(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let character = match bytes.get(at + 1) {
        Some(b'u') => return unicode(bytes, at),
        Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        _ => return Err(Fault { kind: FaultKind::Syntax, at }),
    };
    Ok((character, at + 2))
}

fn unicode(bytes: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let lone = Fault { kind: FaultKind::Text, at };
    let first = hex4(bytes, at)?;
    if !(0xd800..0xe000).contains(&first) {
        return char::from_u32(first).map(|character| (character, at + 6)).ok_or(lone);
    }
    if first >= 0xdc00 || bytes.get(at + 6..at + 8) != Some(b"\\u") {
        return Err(lone);
    }
    let second = hex4(bytes, at + 6)?;
    if !(0xdc00..0xe000).contains(&second) {
        return Err(lone);
    }
    let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    char::from_u32(code).map(|character| (character, at + 12)).ok_or(lone)
}

/// The four hexadecimal digits of the `\u` at `at`.
fn hex4(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    let fault = Fault { kind: FaultKind::Syntax, at };
    let digits = bytes.get(at + 2..at + 6).ok_or_else(|| fault.clone())?;
    digits.iter().try_fold(0, |code, digit| {
        char::from(*digit).to_digit(16).map(|digit| code * 16 + digit).ok_or_else(|| fault.clone())
    })
}

/// Where the first quote, backslash or control character is, or the end of the text.
pub(super) fn stop(bytes: &[u8], from: usize) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    // The high bit of each byte that is zero; exact up to the first one, which is all we read.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;

    let (words, _) = bytes.get(from..).unwrap_or_default().as_chunks::<8>();
    let mut at = from;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let found = zero(word ^ (ONES * u64::from(b'"')))
            | zero(word ^ (ONES * u64::from(b'\\')))
            | (word.wrapping_sub(ONES * 0x20) & !word & HIGHS);
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_mean_what_rfc_8259_says() {
        for (token, means) in [
            (r#""""#, ""),
            (r#""abc""#, "abc"),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""n\u0061me""#, "name"),
            (r#""\u0000\u001F""#, "\0\u{1f}"),
            (r#""\uD83D\ude00!""#, "😀!"),
            (r#""\uFFFF\ue000""#, "\u{ffff}\u{e000}"),
            ("\"é😀\u{7f}\u{2028}\"", "é😀\u{7f}\u{2028}"),
            (
                r#""a long run of plain text, then\u0020one escape, and then more text""#,
                "a long run of plain text, then one escape, and then more text",
            ),
        ] {
            assert_eq!(read(token, 0), Ok((means.to_owned(), token.len())), "{token}");
        }
    }

    #[test]
    fn what_is_not_a_string_of_characters_is_refused_where_it_goes_wrong() {
        use FaultKind::{Syntax, Text};
        for (token, kind, at) in [
            ("\"", Syntax, 1),
            ("\"abc", Syntax, 4),
            ("\"abcdefgh\n\"", Syntax, 9),
            ("\"\0\"", Syntax, 1),
            ("\"\u{1f}\"", Syntax, 1),
            (r#""\"#, Syntax, 1),
            (r#""\""#, Syntax, 3),
            (r#""\x41""#, Syntax, 1),
            (r#""\'""#, Syntax, 1),
            (r#""\u12""#, Syntax, 1),
            (r#""\u12G4""#, Syntax, 1),
            (r#""\u+123""#, Syntax, 1),
            (r#""\U0041""#, Syntax, 1),
            (r#""\ud800""#, Text, 1),
            (r#""a\udc00""#, Text, 2),
            (r#""\ud800\u0041""#, Text, 1),
            (r#""\ud800\ud800\udc00""#, Text, 1),
            (r#""\udc00\ud800""#, Text, 1),
            (r#""\ud83d😀""#, Text, 1),
            (r#""\ud83d\n""#, Text, 1),
        ] {
            assert_eq!(read(token, 0), Err(Fault { kind, at }), "{token}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_next_stop_is_found_as_if_byte_by_byte(bytes: Vec<u8>, from in 0_usize..20) {
            let slow = bytes.iter().skip(from)
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            let from = from.min(bytes.len());
            proptest::prop_assert_eq!(stop(&bytes, from), slow.map_or(bytes.len(), |n| from + n));
        }

        #[test]
        fn any_string_written_by_serde_json_is_read_back(string: String) {
            let token = serde_json::to_string(&string).expect("a string");
            proptest::prop_assert_eq!(read(&token, 0), Ok((string, token.len())));
        }
    }
}
