//! How little can a proxy cost that at least reads what it passes on?
//!
//! The floor of the benchmark: a bare hyper reverse proxy that buffers and
//! parses JSON both ways, and decides nothing. The gate is measured against it.
//!
//! `bench-floor ADDRESS UPSTREAM`: UPSTREAM is `host:port`.

use std::{convert::Infallible, io::Error, net::SocketAddr};

use bytes::Bytes;
use http::{
    HeaderMap, Request, Response, StatusCode, Uri,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    uri::{Authority, Scheme},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::Value;
use tokio::net::TcpListener;

/// The largest body that is read, in bytes.
const BODY_BYTES: usize = 1 << 20;

type Upstream = Client<HttpConnector, Full<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut words = std::env::args().skip(1);
    let address: SocketAddr = words.next().unwrap_or_default().parse().map_err(Error::other)?;
    let target: Authority = words.next().unwrap_or_default().parse().map_err(Error::other)?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Upstream = Client::builder(TokioExecutor::new()).build(connector);
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, target) = (client.clone(), target.clone());
        tokio::spawn(async move {
            let pass = service_fn(move |request| pass(client.clone(), target.clone(), request));
            // A load generator hangs up when its time is over.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), pass)
                .await;
        });
    }
}

async fn pass(
    client: Upstream,
    target: Authority,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(exchange(&client, target, request).await.unwrap_or_else(|status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        response
    }))
}

async fn exchange(
    client: &Upstream,
    target: Authority,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, StatusCode> {
    let (mut parts, body) = request.into_parts();
    let mut uri = parts.uri.into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(target);
    parts.uri = Uri::from_parts(uri).map_err(|_| StatusCode::BAD_REQUEST)?;
    drop_hop_headers(&mut parts.headers);
    let body = read_json(body).await.ok_or(StatusCode::BAD_REQUEST)?;
    let sent = client.request(Request::from_parts(parts, Full::new(body))).await;
    let (mut parts, body) = sent.map_err(|_| StatusCode::BAD_GATEWAY)?.into_parts();
    let body = read_json(body).await.ok_or(StatusCode::BAD_GATEWAY)?;
    drop_hop_headers(&mut parts.headers);
    Ok(Response::from_parts(parts, Full::new(body)))
}

/// Buffers a body and parses it; gives back the bytes. An empty one is fine.
async fn read_json(body: Incoming) -> Option<Bytes> {
    let bytes = Limited::new(body, BODY_BYTES).collect().await.ok()?.to_bytes();
    if !bytes.is_empty() {
        std::hint::black_box(serde_json::from_slice::<Value>(&bytes).ok()?);
    }
    Some(bytes)
}

fn drop_hop_headers(headers: &mut HeaderMap) {
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
}
