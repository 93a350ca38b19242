//! Which of an issuer's keys checks this signature?

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Issuers publish a handful of keys; more than this is a mistake.
const KEYS: usize = 100;
/// What the RSA library verifies at most, and what is secure at least.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// One published key that can check signatures here.
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

/// An issuer's published keys (RFC 7517), read once.
pub(super) struct Keys {
    keys: Vec<Key>,
    /// SHA-256 of the text that they were read from: when it changes, so may they.
    pub(super) digest: [u8; 32],
}

/// Why no key checks a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// None of that id; newer keys may have it.
    Unknown,
    /// More than one would do, and the token does not say which.
    Ambiguous,
}

/// Why a text is not a key set.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotKeys {
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Some other JSON.
    #[error("no array `keys` of at most {KEYS} keys")]
    Shape,
}

impl Keys {
    /// Read a key set. Keys that cannot check signatures here (symmetric, for encryption, of
    /// other kinds, weak, malformed) are skipped, as RFC 7517 has it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, NotKeys> {
        let mut set: Value = serde_json::from_slice(text)?;
        let published = match set.get_mut("keys").map(Value::take) {
            Some(Value::Array(published)) if published.len() <= KEYS => published,
            _ => return Err(NotKeys::Shape),
        };
        let count = published.len();
        let keys: Vec<_> = published.into_iter().filter_map(usable).collect();
        if keys.len() < count {
            tracing::debug!(published = count, usable = keys.len(), "some keys are not used");
        }
        Ok(Self { keys, digest: Sha256::digest(text).into() })
    }

    /// How many keys can check signatures.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The one key of this id that is made for this algorithm; without an id, the only one.
    pub(super) fn select(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<&DecodingKey, NoKey> {
        let mut fitting = self.keys.iter().filter(|key| {
            (id.is_none() || key.id.as_deref() == id) && key.algorithms.contains(&algorithm)
        });
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(&key.decoding),
            (Some(_), Some(_)) => Err(NoKey::Ambiguous),
            (None, _) => Err(NoKey::Unknown),
        }
    }
}

fn usable(published: Value) -> Option<Key> {
    // Read leniently: one key of a kind that nobody knows must not spoil the others.
    let key: Jwk = serde_json::from_value(published).ok()?;
    let signs = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let verifies = match &key.common.key_operations {
        None => true,
        Some(operations) => operations.contains(&KeyOperations::Verify),
    };
    let mut algorithms = fitting_algorithms(&key.algorithm)?;
    if let Some(declared) = key.common.key_algorithm {
        algorithms.retain(|algorithm| format!("{algorithm:?}") == declared.to_string());
    }
    if !signs || !verifies || algorithms.is_empty() {
        return None;
    }
    let decoding = DecodingKey::from_jwk(&key).ok()?;
    Some(Key { id: key.common.key_id, algorithms, decoding })
}

/// The algorithms that a key's own parameters allow. The library takes parameters as they come
/// (and panics on a short Ed25519 key), so their sizes are checked here.
fn fitting_algorithms(parameters: &AlgorithmParameters) -> Option<Vec<Algorithm>> {
    match parameters {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = bytes(&rsa.n)?;
            let significant = modulus.iter().skip_while(|b| **b == 0).count();
            let exponent = bytes(&rsa.e)?;
            let fits = RSA_MODULUS_BYTES.contains(&significant)
                && (1..=8).contains(&exponent.len())
                && exponent.last().is_some_and(|last| last % 2 == 1);
            fits.then(|| AlgorithmFamily::Rsa.algorithms().to_vec())
        }
        AlgorithmParameters::EllipticCurve(point) => {
            let (algorithm, size) = match point.curve {
                EllipticCurve::P256 => (Algorithm::ES256, 32),
                EllipticCurve::P384 => (Algorithm::ES384, 48),
                _ => return None,
            };
            let fits = bytes(&point.x)?.len() == size && bytes(&point.y)?.len() == size;
            fits.then(|| vec![algorithm])
        }
        AlgorithmParameters::OctetKeyPair(pair) => (pair.curve == EllipticCurve::Ed25519
            && bytes(&pair.x)?.len() == 32)
            .then(|| vec![Algorithm::EdDSA]),
        // Symmetric keys above all: with one, whoever checks tokens could make them.
        _ => None,
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
