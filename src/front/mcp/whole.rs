//! What kind of body is this, and how much of it?

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// Whether a response is a stream of events.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    media(headers).is_some_and(|media| media.eq_ignore_ascii_case("text/event-stream"))
}

/// Whether a response is one JSON text.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    media(headers).is_some_and(|media| media.eq_ignore_ascii_case("application/json"))
}

/// Whether a response is in any coding but plain bytes.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let plain = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    !headers.get_all(CONTENT_ENCODING).iter().all(plain)
}

/// The media type without its parameters.
pub(super) fn media(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

/// Why a body could not be read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CollectFault {
    /// More than the limit.
    #[error("the answer is longer than the limit")]
    TooLong,
    /// The connection ended first.
    #[error("the connection broke off within the answer")]
    BrokeOff,
    /// It took longer than the server may.
    #[error("the answer did not end in time")]
    Late,
}

/// Reads a body that is not a stream.
pub(super) async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, CollectFault> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if expected > limit {
        return Err(CollectFault::TooLong);
    }
    let mut first = Bytes::new();
    let mut whole: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| CollectFault::BrokeOff)?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > limit {
            return Err(CollectFault::TooLong);
        }
        if first.is_empty() && whole.is_empty() {
            first = data; // most answers are one piece
        } else {
            if whole.is_empty() {
                whole.reserve(expected.max(first.len() + data.len()));
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.into() })
}
