//! Which token did they present?

use http::HeaderValue;

use crate::refusal::Refusal;

/// Longer tokens are refused unread.
const TOKEN_BYTES: usize = 8 * 1024;

/// The bearer token of a request, given all its `Authorization` headers; `None` only where there
/// is no such header at all.
///
/// A header that is there and cannot be used is refused, never overlooked: two headers, another
/// scheme, no token, characters outside RFC 6750, too long.
pub(super) fn token<'a>(
    headers: impl IntoIterator<Item = &'a HeaderValue>,
) -> Result<Option<&'a str>, Refusal> {
    let mut headers = headers.into_iter();
    let Some(header) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(Refusal::Unauthenticated("send one `Authorization` header, not several"));
    }
    let (scheme, token) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(Refusal::Unauthenticated("send `Authorization: Bearer <token>`"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Unauthenticated("the scheme of `Authorization` has to be Bearer"));
    }
    let token = token.trim_start_matches(' ');
    if token.len() > TOKEN_BYTES {
        return Err(Refusal::Unauthenticated("the bearer token is longer than 8 KiB"));
    }
    if !is_b64token(token) {
        return Err(Refusal::Unauthenticated("the bearer token is empty or malformed"));
    }
    Ok(Some(token))
}

/// RFC 6750: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
pub(super) fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d01_a_header_is_either_used_or_refused() {
        let long = format!("Bearer {}", "a".repeat(TOKEN_BYTES));
        let longer = format!("Bearer {}", "a".repeat(TOKEN_BYTES + 1));
        let cases: &[(&[&[u8]], Option<&str>)] = &[
            (&[b"Bearer abc"], Some("abc")),
            (&[b"bearer abc"], Some("abc")),
            (&[b"BEARER   a-._~+/1=="], Some("a-._~+/1==")),
            (&[long.as_bytes()], Some(&long[7..])),
            (&[longer.as_bytes()], None),
            (&[b""], None),
            (&[b"Bearer"], None),
            (&[b"Bearer "], None),
            (&[b"Bearer =="], None),
            (&[b"Bearer a b"], None),
            (&[b"Bearer a,b"], None),
            (&[b"Bearer a=b"], None),
            (&[b"Bearer a\tb"], None),
            (&[b"Bearer\tabc"], None),
            (&[b" Bearer abc"], None),
            (&[b"Basic abc"], None),
            (&[b"Bearerx abc"], None),
            (&[b"abc"], None),
            (&[b"Bearer \xff\xfe"], None),
            (&[b"Bearer abc", b"Bearer abc"], None),
            (&[b"Bearer abc", b""], None),
        ];
        for (headers, expected) in cases {
            let headers: Vec<_> =
                headers.iter().map(|h| HeaderValue::from_bytes(h).unwrap()).collect();
            let found = token(&headers);
            match expected {
                Some(expected) => assert_eq!(found, Ok(Some(*expected))),
                None => assert!(matches!(found, Err(Refusal::Unauthenticated(_))), "{headers:?}"),
            }
        }
        assert_eq!(token(&[]), Ok(None));
    }
}
