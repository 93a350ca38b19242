//! How does a receiver know that it was us?

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::config::SigningKey;

/// The value of `webhook-signature`: HMAC-SHA256 over id, time in seconds since 1970, and body
/// (Standard Webhooks, "Signature scheme"). Nothing where there is no key that HMAC takes.
pub(super) fn signature(key: &SigningKey, id: &str, seconds: u64, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}
