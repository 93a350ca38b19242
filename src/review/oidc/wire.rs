//! How does the issuer's word reach us?
//!
//! Over the gate's own client, which connects to no metadata address; by `https`, or plain on this
//! machine; bounded in time and size; and redirects lead nowhere.

use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};

use crate::tls::Connector;

/// How long one answer may take, with its body.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Bytes of one answer.
const ANSWER_BYTES: usize = 256 * 1024;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireFault {
    /// Whoever is on the way could answer.
    #[error("`{0}` is neither https nor on this machine")]
    Insecure(String),
    /// Nobody is there, or what comes is not HTTP, or too much of it.
    #[error("{0}")]
    Broken(String),
    /// Nothing came.
    #[error("no whole answer within {} s", ANSWER_TIME.as_secs())]
    Late,
}

/// Asks an issuer.
pub(super) struct Wire(Client<Connector, Full<Bytes>>);

impl Wire {
    pub(super) fn new(connector: Connector) -> Self {
        // Asked once in a while: a kept connection would be closed by then.
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
    }

    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, WireFault> {
        if !is_private(request.uri()) {
            return Err(WireFault::Insecure(request.uri().to_string()));
        }
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, Full::new(Bytes::from(body)));
        tokio::time::timeout(ANSWER_TIME, self.exchange(request))
            .await
            .map_err(|_| WireFault::Late)?
            .map_err(|cause| WireFault::Broken(causes(&*cause)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<HttpResponse, Cause> {
        let (head, body) = self.0.request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body.to_vec()))
    }
}

impl<'c> AsyncHttpClient<'c> for Wire {
    type Error = WireFault;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, WireFault>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.ask(request))
    }
}

/// Whether nobody on the way can read or change what goes there.
fn is_private(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    let loopback = host == "localhost" || address.is_ok_and(|ip: IpAddr| ip.is_loopback());
    match url.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => loopback,
        _ => false,
    }
}

/// A client's errors say what happened only in their sources.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_where_others_can_answer() {
        for (url, private) in [
            ("https://id.example/token", true),
            ("http://127.0.0.1:8080/token", true),
            ("http://localhost/token", true),
            ("http://[::1]:3000/token", true),
            ("http://id.example/token", false),
            ("http://127.0.0.1.id.example/token", false),
            ("http://10.0.0.1/token", false),
            ("ftp://localhost/token", false),
            ("/token", false),
        ] {
            assert_eq!(is_private(&url.parse().unwrap()), private, "{url}");
        }
    }
}
