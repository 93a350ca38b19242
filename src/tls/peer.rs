//! Whose certificate did the client show?
//!
//! Read once for each connection, after rustls has verified the chain. The only name that counts
//! is a SPIFFE ID: exactly one URI in the subject alternative names, as X.509-SVIDs have it.
//! Common names and DNS names identify nobody.

use std::sync::Arc;

use rustls::server::ServerConnection;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// A SPIFFE ID's length is bounded by its specification.
const SPIFFE_ID_BYTES: usize = 2048;

/// The verified certificate of a client, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    digest: [u8; 32],
    spiffe: Option<SpiffeId>,
}

impl PeerCertificate {
    /// What the client of a finished handshake showed; nothing if it showed none.
    ///
    /// rustls gives out the certificate only after its chain was verified.
    pub fn of(connection: &ServerConnection) -> Option<Self> {
        connection.peer_certificates()?.first().map(|leaf| Self::from_der(leaf))
    }

    /// Read a certificate that somebody else has verified.
    pub fn from_der(der: &[u8]) -> Self {
        Self { digest: Sha256::digest(der).into(), spiffe: spiffe_id(der) }
    }

    /// The SPIFFE ID that it is for, if it is for exactly one.
    pub fn spiffe(&self) -> Option<&SpiffeId> {
        self.spiffe.as_ref()
    }

    /// SHA-256 over its DER: the `x5t#S256` of RFC 8705.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// A SPIFFE ID in its one canonical form, so that comparing bytes compares identities.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId(Arc<str>);

impl SpiffeId {
    /// Parse one: `spiffe://<trust domain>/<path>`; nothing that could be written in another way.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("spiffe://")?;
        let (domain, path) = match rest.find('/') {
            Some(slash) => rest.split_at_checked(slash)?,
            None => (rest, ""),
        };
        let domain_fits = (1..=255).contains(&domain.len())
            && domain.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        let path_fits = path.split('/').skip(1).all(|segment| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(
                    |b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_'),
                )
        });
        (text.len() <= SPIFFE_ID_BYTES && domain_fits && path_fits).then(|| Self(text.into()))
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this one, or lies below it, segment by segment.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        self.0.strip_prefix(&*ancestor.0).is_some_and(|r| r.is_empty() || r.starts_with('/'))
    }
}

fn spiffe_id(der: &[u8]) -> Option<SpiffeId> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    match (uris.next(), uris.next(), rest) {
        (Some(only), None, []) => SpiffeId::parse(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_spiffe_ids_are_ids() {
        for (text, passes) in [
            ("spiffe://example.org/ns/agents/sa/bot", true),
            ("spiffe://example.org", true),
            ("spiffe://example.org/A.b-c_9", true),
            ("spiffe://example.org/", false),
            ("spiffe://example.org//a", false),
            ("spiffe://example.org/a/", false),
            ("spiffe://example.org/a/../b", false),
            ("spiffe://example.org/./b", false),
            ("spiffe://Example.org/a", false),
            ("SPIFFE://example.org/a", false),
            ("spiffe://example.org:80/a", false),
            ("spiffe://user@example.org/a", false),
            ("spiffe://example.org/a?x=1", false),
            ("spiffe://example.org/a#x", false),
            ("spiffe://example.org/%61", false),
            ("spiffe:///a", false),
            ("spiffe://", false),
            ("https://example.org/a", false),
            ("", false),
        ] {
            assert_eq!(SpiffeId::parse(text).is_some(), passes, "{text}");
        }
        assert!(SpiffeId::parse(&format!("spiffe://a/{}", "b".repeat(2037))).is_some());
        assert!(SpiffeId::parse(&format!("spiffe://a/{}", "b".repeat(2038))).is_none());
    }

    #[test]
    fn within_means_whole_segments() {
        for (ancestor, id, within) in [
            ("spiffe://example.org", "spiffe://example.org/a", true),
            ("spiffe://example.org/a", "spiffe://example.org/a", true),
            ("spiffe://example.org/a", "spiffe://example.org/a/b", true),
            ("spiffe://example.org/a", "spiffe://example.org/ab", false),
            ("spiffe://example.org", "spiffe://example.org.evil/a", false),
            ("spiffe://example.org/a", "spiffe://example.org", false),
        ] {
            let parse = |text| SpiffeId::parse(text).unwrap();
            assert_eq!(parse(id).is_within(&parse(ancestor)), within, "{id} in {ancestor}");
        }
    }

    #[test]
    fn what_is_no_certificate_names_nobody() {
        assert_eq!(PeerCertificate::from_der(b"").spiffe(), None);
        assert_eq!(PeerCertificate::from_der(&[0x30, 0x80, 1, 2, 3]).spiffe(), None);
    }
}
