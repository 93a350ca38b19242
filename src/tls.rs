//! Whose certificates are trusted, and which do we show?
//!
//! Each function goes from paths to a finished configuration, so that a reload is another call:
//! nothing here is kept, and no process-wide default is set. The provider is ring, named
//! explicitly. TLS 1.2 and 1.3.

mod connector;
mod peer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub use connector::{Connector, Forbidden, connector};
pub use peer::{PeerCertificate, SpiffeId};

/// What a listener shows, and what it asks of its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// PEM: our certificate first, then the intermediates.
    pub certificate: PathBuf,
    /// PEM: the private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
    /// Whether clients show certificates, and who must have signed them.
    pub clients: Option<ClientRoots>,
}

/// Who signs the certificates that clients show.
///
/// Whoever holds one of these keys can name any agent that is known by certificate, in any trust
/// domain: list the authorities of agents here, and no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRoots {
    /// PEM: one or more authorities.
    pub roots: PathBuf,
    /// Whether a client without a certificate is turned away in the handshake.
    pub required: bool,
}

/// What we trust and show when we are the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// PEM: the authorities to trust, instead of the system's.
    pub roots: Option<PathBuf>,
    /// PEM: our certificate chain and its key, if servers ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why there is no TLS to be had from these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is not there, or not ours to read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not PEM.
    #[error("`{}` is not valid PEM: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Where it breaks.
        source: pem::Error,
    },
    /// PEM, but not of what is needed.
    #[error("`{}` holds no {what}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A certificate that cannot be an authority.
    #[error("certificate {number} in `{}` cannot be trusted as an authority: {source}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Its place in the file, from 1.
        number: usize,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The key is not the certificate's, or of a kind that is not supported.
    #[error("certificate `{}` and key `{}` do not go together: {source}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// The authorities of clients cannot be used.
    #[error("client certificates cannot be checked with `{}`: {reason}", path.display())]
    Clients {
        /// The file of authorities.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The library refuses the settings: a fault of ours.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

/// What a listener needs to speak TLS: HTTP/2 and HTTP/1.1.
///
/// Call it again for a reload. Sessions do not carry over, so a client that new roots no longer
/// cover cannot resume an old one.
pub fn server(files: &ServerFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let builder = match &files.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(roots(&clients.roots)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier =
                if clients.required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| {
                TlsError::Clients { path: clients.roots.clone(), reason: error.to_string() }
            })?)
        }
    };
    let mut config = builder
        .with_single_cert(certificates(&files.certificate)?, key(&files.key)?)
        .map_err(|source| pair(&files.certificate, &files.key, source))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// For servers that are spoken to without TLS: nothing is trusted.
pub fn plain_client() -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// What we need to speak TLS to a server; give it to [`connector()`].
///
/// Reading the system's roots takes milliseconds: share one where the files are the same. Where
/// the system has none (an image built from scratch), nothing is trusted and a warning says so;
/// plain HTTP still works.
pub fn client(files: &ClientFiles) -> Result<ClientConfig, TlsError> {
    let builder = || {
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)
    };
    let trusting = match &files.roots {
        Some(path) => builder()?.with_root_certificates(roots(path)?),
        None => match builder()?.with_native_roots() {
            Ok(builder) => builder,
            Err(error) => {
                tracing::warn!(%error, "the system has no root certificates: no https server is trusted");
                builder()?.with_root_certificates(RootCertStore::empty())
            }
        },
    };
    match &files.identity {
        None => Ok(trusting.with_no_client_auth()),
        Some((certificate_path, key_path)) => trusting
            .with_client_auth_cert(certificates(certificate_path)?, key(key_path)?)
            .map_err(|source| pair(certificate_path, key_path, source)),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn pair(certificate: &Path, key: &Path, source: rustls::Error) -> TlsError {
    TlsError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::Empty { path: path.to_owned(), what: "private key" },
        source => TlsError::Pem { path: path.to_owned(), source },
    })
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates(path)?.into_iter().enumerate() {
        store.add(certificate).map_err(|source| TlsError::Root {
            path: path.to_owned(),
            number: index + 1,
            source,
        })?;
    }
    Ok(store)
}

#[cfg(test)]
mod tests;
