//! Is the address that a name led to one that we connect to?
//!
//! What is connected to is what is checked ([`forbidden_address`]): after the name was resolved,
//! so that neither a rebinding name nor an odd spelling (`0xa9fea9fe`) gets around it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::config::forbidden_address;

/// How long TCP may take to connect to one server, all of its addresses together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long connecting may take with the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(30);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The address is one that is never connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is never connected to: link-local, a cloud's metadata service, or nobody in particular"
)]
pub struct Forbidden(pub IpAddr);

/// Connects to servers by HTTP and HTTPS, and never where [`forbidden_address`] says not to.
///
/// For `hyper_util::client::legacy::Client::builder(…).build(connector)`.
#[derive(Clone, Debug)]
pub struct Connector(HttpsConnector<Guarded>);

/// A connector for these settings, which come from [`super::client`].
///
/// Timeouts: 5 s for TCP, 10 s with the handshake. Proxies of the environment are not read.
pub fn connector(mut config: ClientConfig) -> Connector {
    let mut http = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(KEEPALIVE));
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    // The builder sets ALPN itself, and panics where somebody else has.
    config.alpn_protocols.clear();
    Connector(
        HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Guarded(http)),
    )
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Connecting<Self::Response, BoxError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let connecting = self.0.call(server);
        Box::pin(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await {
                Ok(done) => done,
                Err(late) => Err(io::Error::new(io::ErrorKind::TimedOut, late).into()),
            }
        })
    }
}

/// `HttpConnector` does not ask its resolver about addresses: those are checked here.
#[derive(Clone, Debug)]
struct Guarded(HttpConnector<Resolver>);

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting<Self::Response, BoxError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        if let Some(address) =
            literal(&server).filter(|address| forbidden_address(*address).is_some())
        {
            return Box::pin(async move { Err(Forbidden(address).into()) });
        }
        let connecting = self.0.call(server);
        Box::pin(async move { connecting.await.map_err(Into::into) })
    }
}

fn literal(server: &Uri) -> Option<IpAddr> {
    server.host()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The system's resolver, whose answer is refused whole if any address in it is forbidden: a
/// name that points there once will do so again.
#[derive(Clone, Debug)]
struct Resolver(GaiResolver);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Connecting<Self::Response, io::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.0.call(name);
        Box::pin(async move { allowed(resolving.await?.collect()) })
    }
}

pub(super) fn allowed(addresses: Vec<SocketAddr>) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    match addresses.iter().find(|address| forbidden_address(address.ip()).is_some()) {
        Some(address) => {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, Forbidden(address.ip())))
        }
        None => Ok(addresses.into_iter()),
    }
}
