//! How does a connection become requests?
//!
//! Accepts, speaks TLS where configured, and HTTP/1.1 or HTTP/2 as the client likes, all bounded:
//! connections, headers, streams of one connection, and the time each may take.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::mcp::{Front, Peer};
use super::workers::Workers;
use crate::tls::PeerCertificate;

/// A pause after a failed accept, lest a full descriptor table become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that the kernel keeps until they are accepted. Beyond, a client's next try is a
/// second later; tokio asks for 128.
const BACKLOG: i32 = 1024;
/// How often a silent peer is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// HTTP/2 streams of one connection.
const STREAMS: u32 = 256;
/// Streams that a client may open and reset before the connection is closed (CVE-2023-44487).
const RESETS: usize = 32;

/// What bounds connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open at once; one more is closed at once.
    pub connections: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// A connection's first request, or its TLS handshake, has to be there within this.
    pub head_timeout: Duration,
    /// A connection may wait this long between requests, and for a peer that reads nothing.
    pub idle: Duration,
}

/// The agents' listener.
pub struct Listener {
    /// What answers.
    pub front: Arc<Front>,
    /// TLS, where configured.
    pub tls: Option<Arc<ServerConfig>>,
    /// What bounds it.
    pub limits: Limits,
}

/// A connection that nobody has spoken on yet.
struct Arrived {
    stream: std::net::TcpStream,
    loopback: bool,
    place: OwnedSemaphorePermit,
}

impl Listener {
    /// Serves until `stop` turns true, then lets what runs finish, for at most `drain`.
    pub async fn serve(
        self: Arc<Self>,
        socket: TcpListener,
        mut stop: watch::Receiver<bool>,
        drain: Duration,
    ) -> io::Result<()> {
        // A second `listen` only changes the backlog.
        SockRef::from(&socket).listen(BACKLOG)?;
        let mut workers =
            Workers::start(|arrivals| Arc::clone(&self).work(arrivals, stop.clone(), drain))?;
        let places = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = socket.accept() => accepted,
            };
            let arrived = accepted.and_then(|(stream, address)| {
                let loopback = address.ip().to_canonical().is_loopback();
                Ok((stream.into_std()?, loopback))
            });
            let (stream, loopback) = match arrived {
                Ok(arrived) => arrived,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                self.front.metrics.shed();
                continue;
            };
            if workers.give(Arrived { stream, loopback, place }).is_err() {
                tracing::error!("a worker has ended; a connection was closed");
            }
        }
        drop(socket);
        workers.end().await;
        Ok(())
    }

    /// What one worker does with the connections it is given.
    async fn work(
        self: Arc<Self>,
        mut arrivals: mpsc::UnboundedReceiver<Arrived>,
        stop: watch::Receiver<bool>,
        drain: Duration,
    ) {
        let graceful = GracefulShutdown::new();
        while let Some(Arrived { stream, loopback, place }) = arrivals.recv().await {
            let stream = match TcpStream::from_std(stream) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken over");
                    continue;
                }
            };
            let (listener, stop) = (Arc::clone(&self), stop.clone());
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                listener.greet(stream, loopback, stop, watcher, place).await;
            });
        }
        let finished = async { tokio::join!(graceful.shutdown(), self.front.finished()) };
        if tokio::time::timeout(drain, finished).await.is_err() {
            tracing::warn!(
                "connections or calls were cut off at shutdown: not all was finished in time"
            );
        }
    }

    async fn greet(
        self: Arc<Self>,
        stream: TcpStream,
        loopback: bool,
        mut stop: watch::Receiver<bool>,
        watcher: Watcher,
        place: OwnedSemaphorePermit,
    ) {
        tune(&stream, self.limits.idle);
        let Some(config) = &self.tls else {
            let peer = Peer { certificate: None, loopback };
            // Boxed, so that a plain connection does not keep room for a TLS session.
            return Box::pin(self.converse(TokioIo::new(stream), peer, watcher, place)).await;
        };
        let handshake = TlsAcceptor::from(Arc::clone(config)).accept(stream);
        let handshake = tokio::select! {
            // Nobody waits at shutdown for who has not even begun.
            _ = stop.wait_for(|stop| *stop) => return,
            done = tokio::time::timeout(self.limits.head_timeout, handshake) => done,
        };
        match handshake {
            Ok(Ok(stream)) => {
                let certificate = PeerCertificate::of(stream.get_ref().1);
                let peer = Peer { certificate, loopback };
                Box::pin(self.converse(TokioIo::new(stream), peer, watcher, place)).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn converse<S>(
        self: Arc<Self>,
        stream: TokioIo<S>,
        peer: Peer,
        watcher: Watcher,
        _place: OwnedSemaphorePermit,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.limits;
        let front = Arc::clone(&self.front);
        let peer = Arc::new(peer);
        let asked = Arc::new(Notify::new());
        let first = Arc::clone(&asked);
        let service = service_fn(move |request: Request<Incoming>| {
            first.notify_one();
            let (front, peer) = (Arc::clone(&front), Arc::clone(&peer));
            // Boxed, or each open connection would keep room for the largest answer there is.
            async move { Ok::<_, Infallible>(Box::pin(front.serve(request, &peer)).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout.max(limits.idle))
            .max_headers(limits.headers)
            .max_buf_size(limits.head_bytes.max(8 * 1024));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .keep_alive_interval(limits.idle)
            .keep_alive_timeout(limits.head_timeout);
        let connection = builder.serve_connection(stream, service).into_owned();
        // hyper's own timers begin once it knows which HTTP is spoken, which may be never.
        let silent = async {
            if tokio::time::timeout(limits.head_timeout, asked.notified()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            ended = watcher.watch(connection) => {
                if let Err(error) = ended {
                    tracing::debug!(error = %error, "a connection ended early");
                }
            }
            () = silent => tracing::debug!("a connection asked nothing in time"),
        }
    }
}

/// Lets the kernel end what nobody else would notice: a peer that vanished without a word, or one
/// that asks for answers and never reads them.
fn tune(stream: &TcpStream, patience: Duration) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(Some(patience)));
    if let Err(error) = tuned {
        // What it fails on is a connection that is gone already.
        tracing::debug!(%error, "a connection could not be tuned");
    }
}
