//! Who starts what, in which order, and how does it all stop?
//!
//! All listeners are bound before any is served, and nothing is served without a policy and a
//! trail. A reload swaps the snapshot whole or not at all. SIGTERM stops accepting, lets what runs
//! finish, and ends the streams that only listen, so that their clients resume elsewhere.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::{Config, Problem};
use crate::front::listen::{self, Listener};
use crate::front::mcp::hand::Own;
use crate::front::mcp::upstream::Server;
use crate::front::mcp::{Front, Limits, Names, Needs};
use crate::gate::Gate;
use crate::gate::desk::Hand;
use crate::json;
use crate::metrics::{Build, Metrics};
use crate::review::act::Office;
use crate::review::auth::Access;
use crate::review::oidc::Oidc;
use crate::review::{self, Review};
use crate::store::StoreFault;
use crate::time::At;
use crate::trail::{self, Body, Lifecycle, Trail, V1};

pub mod compose;
mod health;
mod reload;

use health::State;

/// Why the gate did not start.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// What an operator wrote is wrong.
    #[error("{} problems in config, policies or tool files", .0.len())]
    Problems(Vec<Problem>),
    /// A listener could not be bound.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, io::Error),
    /// The state directory cannot be used.
    #[error("cannot use the state directory `{}`: {cause}", path.display())]
    State {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The trail cannot be written.
    #[error(transparent)]
    Trail(trail::TrailFault),
    /// The store cannot be used.
    #[error(transparent)]
    Store(StoreFault),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Other(String),
}

/// The version that runs.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// The release.
    pub release: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
}

/// A gate that is bound and not yet serving.
pub struct App {
    config: Config,
    version: Version,
    agents: TcpListener,
    operators: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    gate: Arc<Gate>,
    front: Arc<Front>,
    servers: Vec<Arc<Server>>,
    metrics: Arc<Metrics>,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    access: Access,
    oidc: Option<Arc<Oidc>>,
    link: Option<String>,
}

impl App {
    /// Reads what the config names, opens the trail, binds both listeners.
    pub async fn bind(config: Config, version: Version) -> Result<Self, Fault> {
        let build = Build { version: version.release, commit: version.commit };
        let metrics = Metrics::new(build).map_err(|error| Fault::Other(error.to_string()))?;
        let metrics = Arc::new(metrics);
        let snapshot = compose::snapshot(&config).map_err(Fault::Problems)?;
        metrics.policy_loaded(&snapshot.digest.to_string());
        let unusable = |cause| Fault::State { path: config.state.clone(), cause };
        compose::make_private(&config.state).map_err(unusable)?;
        let seal = compose::seal(&config.state, config.limits.session_idle).map_err(unusable)?;
        let trail = Trail::open(&config.state.join("trail"), trail::Settings::default())
            .map_err(Fault::Trail)?;
        if let Some(cut) = trail.cut() {
            tracing::warn!(
                ?cut,
                "the end of the trail was torn and has been cut back to its last whole entry"
            );
        }
        let identities = compose::identities(&config).map_err(Fault::Other)?;
        if identities.allows_anonymous() {
            metrics.exception("anonymous");
        }
        let servers = compose::servers(&config, &metrics).map_err(Fault::Other)?;
        let tls = compose::listener_tls(&config).map_err(Fault::Other)?;
        let agents = bound(config.listen).await?;
        let operators = bound(config.operator.listen).await?;
        let sessions = config.limits.sessions;
        let herald = compose::herald(&config, config.operator.listen, &metrics);
        let herald = herald.map_err(Fault::Other)?;
        let desk = compose::desk(&config, trail, &metrics, herald).await.map_err(Fault::Store)?;
        let gate = Arc::new(Gate::new(snapshot, desk, sessions));
        let (stop, draining) = watch::channel(false);
        let front = Arc::new(Front::new(Needs {
            gate: Arc::clone(&gate),
            metrics: Arc::clone(&metrics),
            servers: servers.clone(),
            identities,
            limits: limits(&config),
            names: Names {
                hosts: config.hosts.clone(),
                origins: config.origins.clone(),
                local_origins: config.listen.ip().is_loopback(),
            },
            seal,
            draining,
        }));
        let state = Arc::new(State::default());
        let at =
            operators.local_addr().map_err(|error| Fault::Bind(config.operator.listen, error))?;
        let (access, link) = compose::access(&config, at).map_err(unusable)?;
        let oidc = compose::oidc(&config, at).map_err(Fault::Other)?;
        Ok(Self {
            access,
            oidc,
            link,
            config,
            version,
            agents,
            operators,
            tls,
            gate,
            front,
            servers,
            metrics,
            state,
            stop,
        })
    }

    /// Where agents connect; useful where the config said port 0.
    pub fn agents_at(&self) -> io::Result<SocketAddr> {
        self.agents.local_addr()
    }

    /// Where operators connect.
    pub fn operators_at(&self) -> io::Result<SocketAddr> {
        self.operators.local_addr()
    }

    /// What signs one browser in, where nobody is configured to sign.
    pub fn sign_in_link(&self) -> Option<&str> {
        self.link.as_deref()
    }

    /// Serves until `until` is done, then drains.
    pub async fn serve(self, until: impl Future<Output = ()>) {
        let Self { config, version, agents, operators, tls, gate, front, servers, .. } = self;
        let (metrics, state, stop) = (self.metrics, self.state, self.stop);
        let (access, oidc) = (self.access, self.oidc);
        let lifecycle = || Lifecycle {
            v: V1,
            at: At(SystemTime::now()),
            version: version.release.into(),
            config: Some(config.digest),
        };
        on_record(&gate, &Body::Start(lifecycle()));
        let hand: Arc<dyn Hand> = Arc::new(Own(Arc::clone(&front)));
        let office = Arc::new(Office {
            gate: Arc::clone(&gate),
            hand: Arc::clone(&hand),
            presets: compose::presets(&config),
        });
        let review = Arc::new(Review {
            metrics,
            health: health::of(Arc::clone(&state), Arc::clone(&gate), servers.clone()),
            hosts: config.hosts.iter().cloned().chain(config.operator.host()).collect(),
            limits: review::Limits::default(),
            people: Some(review::People { office, access: Arc::new(access), oidc }),
        });
        let (stop_review, reviewing) = watch::channel(false);
        let review = tokio::spawn(review.serve(operators, reviewing));
        let learning = tokio::spawn(learn(servers));
        let watcher = reload::watch(&config, Arc::clone(&gate), Arc::clone(&state));
        let working = tokio::spawn(Arc::clone(gate.desk()).work(Arc::clone(&hand)));
        let listener = Arc::new(Listener { front, tls, limits: listen_limits(&config) });
        let serving = tokio::spawn(listener.serve(agents, stop.subscribe(), config.drain));
        state.serving();
        tracing::info!(agents = %config.listen, operators = %config.operator.listen, version = version.release, "serving");
        until.await;
        tracing::info!(within = ?config.drain, "draining");
        state.draining();
        stop.send_replace(true);
        match serving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "agents could not be served"),
            Err(_) => tracing::error!("the agents' listener failed"),
        }
        learning.abort();
        working.abort();
        gate.desk().settled().await;
        drop(watcher);
        on_record(&gate, &Body::Stop(lifecycle()));
        stop_review.send_replace(true);
        let _ = review.await;
    }
}

async fn bound(address: SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|error| Fault::Bind(address, error))
}

fn on_record(gate: &Gate, body: &Body<'_>) {
    if let Err(error) = gate.ledger().append(body) {
        tracing::error!(%error, "the trail cannot be written");
    }
}

/// Asks each server for its tools, again and again until it answers.
async fn learn(servers: Vec<Arc<Server>>) {
    let asked = servers.into_iter().map(|server| async move {
        let mut pause = Duration::from_millis(100);
        while !server.offer.is_known() {
            server.offer.refresh(&server, Duration::ZERO).await;
            if !server.offer.is_known() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(10));
            }
        }
    });
    futures_util::future::join_all(asked).await;
}

fn limits(config: &Config) -> Limits {
    let limits = &config.limits;
    Limits {
        message: json::Limits {
            bytes: limits.body,
            depth: limits.depth,
            ..json::Limits::default()
        },
        calls: limits.calls,
        streams: limits.streams,
        sessions: limits.sessions,
        session_idle: limits.session_idle,
        body_timeout: limits.body_timeout,
    }
}

fn listen_limits(config: &Config) -> listen::Limits {
    let limits = &config.limits;
    listen::Limits {
        connections: limits.connections,
        head_bytes: limits.header_bytes,
        headers: limits.headers,
        head_timeout: limits.header_timeout,
        idle: limits.connection_idle,
    }
}
