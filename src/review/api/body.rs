//! What exactly does a request say?
//!
//! One strict parse, as for a call: what a reviewer sends is read by nobody else in another way.

use axum::body::{Body, to_bytes};
use http::request::Parts;
use http::{Request, header};

use super::fault::ApiFault;
use crate::config::problem::nearest;
use crate::json::{self, Digest, Limits, Map, Value};
use crate::review::act::WORDS;

/// Bytes of a body that holds no arguments.
pub(super) const SMALL: usize = 64 * 1024;
/// Bytes of one that does: as much as a call may have by default.
pub(super) const LARGE: usize = 4 << 20;

/// The fields of a body.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads them. Whatever is none of `known` is refused, with the nearest that is.
    pub(super) async fn read(
        request: Request<Body>,
        most: usize,
        known: &[&str],
    ) -> Result<Self, ApiFault> {
        let (head, body) = request.into_parts();
        if !is_json(&head) {
            return Err(ApiFault::media_type());
        }
        let bytes = to_bytes(body, most).await.map_err(|_| ApiFault::too_large(most))?;
        let limits = Limits { bytes: most, ..Limits::default() };
        let Value::Object(fields) = json::parse(&bytes, &limits)? else {
            return Err(ApiFault::body(format!("expected an object of `{}`", known.join("`, `"))));
        };
        if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            let meant = nearest(name, known.iter().copied()).map_or_else(
                || format!("it may have `{}`", known.join("`, `")),
                |name| format!("did you mean `{name}`?"),
            );
            return Err(ApiFault::body(format!("an unknown field; {meant}")));
        }
        Ok(Self(fields))
    }

    /// A text; empty is none.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ApiFault> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= WORDS => Ok(Some(text)),
            Some(_) => {
                let fault = format!("`{name}` is a text of at most {WORDS} characters");
                Err(ApiFault::body(fault))
            }
        }
    }

    /// The hash of what the reviewer has seen.
    pub(super) fn hash(&mut self) -> Result<Digest, ApiFault> {
        let hash = match self.0.remove("hash") {
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        hash.ok_or_else(|| {
            ApiFault::body("`hash` is needed: that of the hold as you have seen it, `sha256:…`")
        })
    }

    /// A value of any kind that has to be there.
    pub(super) fn value(&mut self, name: &str) -> Result<Value, ApiFault> {
        self.0.remove(name).ok_or_else(|| ApiFault::body(format!("`{name}` is needed")))
    }
}

fn is_json(head: &Parts) -> bool {
    let mut types = head.headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let essence = only.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}
