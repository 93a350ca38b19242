//! How does what an operator wrote become what the gate uses?

use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config, Jwks, Problem, Proof, files};
use crate::front::mcp::seal::Seal;
use crate::front::mcp::upstream::{self, Server};
use crate::gate::Snapshot;
use crate::gate::desk::{self, Desk, Herald};
use crate::gate::identify::{
    AgentSettings, Credential, Identities, IdentitySettings, IssuerSettings, KeySource, Token,
    WorkloadSettings,
};
use crate::gate::policy::{self, Policies};
use crate::gate::record::Ledger;
use crate::hold::Reviewer;
use crate::json::Digest;
use crate::metrics::Metrics;
use crate::notify::{self, Notifier};
use crate::review::act;
use crate::review::auth::{Access, OneTimeLink, Reviewers};
use crate::review::oidc::{self, Oidc};
use crate::store::sqlite::Sqlite;
use crate::store::{Room, StoreFault};
use crate::tls;
use crate::tools::{Classifier, Pins};
use crate::trail::Trail;

/// Reads policies, tool files and pins into one snapshot, or says all that is wrong with them.
pub fn snapshot(config: &Config) -> Result<Snapshot, Vec<Problem>> {
    let policies = policies(config);
    let classifier = classifier(config);
    let pins = pins(config);
    match (policies, classifier, pins) {
        (Ok(policies), Ok((classifier, tools)), Ok((pins, lock))) => {
            let parts = [policies.digest(), tools, lock, config.digest];
            let digest = Digest::of(parts.map(|part| part.0).concat());
            Ok(Snapshot {
                policies,
                classifier,
                pins,
                environment: Arc::from(config.environment.as_str()),
                mode: config.mode,
                sync: config.sync,
                digest,
            })
        }
        (policies, classifier, pins) => {
            let mut problems = policies.err().unwrap_or_default();
            problems.extend(classifier.err().unwrap_or_default());
            problems.extend(pins.err().unwrap_or_default());
            Err(problems)
        }
    }
}

/// Loads the policies that a config names.
pub fn policies(config: &Config) -> Result<Policies, Vec<Problem>> {
    let defaults = policy::Settings::default();
    let settings = policy::Settings {
        deadline: config.policy.deadline,
        workers: config.policy.workers.unwrap_or(defaults.workers),
        remembered: config.policy.remembered,
        ..defaults
    };
    let sources = policy::read_directory(&config.policies)?;
    Policies::load(&sources, &settings)
}

/// Loads the tool files that a config names, and their digest.
pub fn classifier(config: &Config) -> Result<(Classifier, Digest), Vec<Problem>> {
    let texts = files::read_tool_files(&config.tools)?;
    let classifier = Classifier::load(&texts)?;
    let digest = Digest::of(texts.iter().map(|(_, text)| text.as_str()).collect::<String>());
    Ok((classifier, digest))
}

/// Loads the lock file that a config names. One that is not there yet pins nothing.
pub fn pins(config: &Config) -> Result<(Option<Pins>, Digest), Vec<Problem>> {
    let Some(path) = &config.pins else { return Ok((None, Digest::of(b""))) };
    let shown = path.display().to_string();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(vec![Problem::whole(shown, format!("cannot be read: {error}"))]),
    };
    let pins = if text.is_empty() { Pins::default() } else { Pins::load(&shown, &text)? };
    Ok((Some(pins), Digest::of(text)))
}

/// Where held calls wait.
pub async fn desk(
    config: &Config,
    trail: Trail,
    metrics: &Arc<Metrics>,
    herald: Herald,
) -> Result<Arc<Desk>, StoreFault> {
    let store = Arc::new(Sqlite::open(&config.state.join("store.db"))?);
    let ledger = Arc::new(Ledger { trail, metrics: Arc::clone(metrics) });
    Desk::open(store, hold_settings(&config.hold), ledger, herald).await
}

/// Tells people of holds, where the operator named whom.
pub fn herald(
    config: &Config,
    operators: SocketAddr,
    metrics: &Arc<Metrics>,
) -> Result<Herald, String> {
    if config.notify.is_empty() {
        return Ok(Box::new(|_, _| {}));
    }
    let url = config.operator.url_at(operators);
    let notifier = Notifier::new(config.notify.clone(), url, Arc::clone(metrics))
        .map_err(|error| error.to_string())?;
    Ok(Box::new(move |hold, event| {
        if let Some(kind) = notify::Kind::of(event) {
            notifier.tell(kind, hold);
        }
    }))
}

fn hold_settings(hold: &config::Hold) -> desk::Settings {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    desk::Settings {
        wait: hold.wait,
        rounds: u32::try_from(hold.rounds).unwrap_or(u32::MAX),
        expires_in: hold.expires_in,
        keep_result: hold.keep_result,
        keep_denial: hold.keep_denial,
        repeat: hold.repeat,
        keep: hold.keep,
        execute: hold.on_approval == config::OnApproval::Execute,
        room: Room { all: count(hold.open), each: count(hold.open_per_agent) },
        remind: hold.remind,
        escalate: hold.escalate.as_ref().map(|later| (later.after, later.to.clone())),
    }
}

/// Everybody who may call.
pub fn identities(config: &Config) -> Result<Identities, String> {
    let mut settings = IdentitySettings::default();
    for agent in &config.agents {
        let credential = match &agent.proof {
            Proof::Token(digest) => Credential::Token(Token::from_sha256(digest.0)),
            Proof::Certificate(spiffe) => Credential::Spiffe(spiffe.clone()),
            Proof::Anonymous => Credential::Anonymous,
            Proof::Workloads(within) => {
                let groups = agent.groups.clone();
                settings.workloads.push(WorkloadSettings { within: within.clone(), groups });
                continue;
            }
        };
        settings.agents.push(AgentSettings {
            id: agent.id.to_string(),
            groups: agent.groups.clone(),
            credentials: vec![credential],
        });
    }
    for issuer in &config.issuers {
        settings.issuers.push(issuer_settings(issuer)?);
    }
    Identities::new(settings, None).map_err(|error| error.to_string())
}

fn issuer_settings(issuer: &config::Issuer) -> Result<IssuerSettings, String> {
    let keys = match &issuer.jwks {
        Jwks::File(path) => KeySource::file(path),
        Jwks::Url(url) => {
            let client = tls::client(&tls::ClientFiles::default()).map_err(|e| e.to_string())?;
            KeySource::url(url.clone(), tls::connector(client)).map_err(|e| e.to_string())?
        }
    };
    Ok(IssuerSettings {
        issuer: issuer.issuer.clone(),
        audiences: issuer.audience.clone(),
        algorithms: issuer.algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect(),
        keys,
        id_claim: issuer.id_claim.clone(),
        groups_claim: Some(issuer.groups_claim.clone()),
        prefix: issuer.prefix.clone(),
    })
}

/// The clients of all servers.
pub fn servers(config: &Config, metrics: &Arc<Metrics>) -> Result<Vec<Arc<Server>>, String> {
    config.servers.values().map(|server| one_server(config, server, metrics)).collect()
}

fn one_server(
    config: &Config,
    server: &config::Server,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Server>, String> {
    let files = tls::ClientFiles {
        roots: server.tls.roots.clone(),
        identity: server
            .tls
            .identity
            .as_ref()
            .map(|pair| (pair.certificate.clone(), pair.key.clone())),
    };
    let client = match server.mcp.scheme_str() {
        Some("https") => tls::client(&files),
        // The system's roots take milliseconds to read, and are not needed.
        _ => tls::plain_client(),
    };
    let connector = tls::connector(client.map_err(|error| error.to_string())?);
    let settings = upstream::Settings {
        name: Arc::clone(&server.name),
        uri: server.mcp.clone(),
        credential: server.credential.as_ref().map(|c| (c.header.clone(), c.value.clone())),
        timeout: server.timeout,
        idle: server.idle,
        minimum: Arc::from(server.minimum_version),
        forward: server.forward_headers.clone(),
        required: server.required,
        result_bytes: config.limits.result,
        event_bytes: config.limits.event,
    };
    Ok(Arc::new(Server::new(settings, connector, Arc::clone(metrics))))
}

/// TLS toward agents.
pub fn listener_tls(config: &Config) -> Result<Option<Arc<rustls::ServerConfig>>, String> {
    let Some(files) = &config.tls else { return Ok(None) };
    let files = tls::ServerFiles {
        certificate: files.identity.certificate.clone(),
        key: files.identity.key.clone(),
        clients: files.client_ca.clone().map(|roots| tls::ClientRoots { roots, required: false }),
    };
    tls::server(&files).map(Some).map_err(|error| error.to_string())
}

/// Makes the state directory, for nobody else to read.
pub fn make_private(state: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state)
}

/// The key that binds states to agents, made on the first start.
pub fn seal(state: &Path, lifetime: Duration) -> io::Result<Seal> {
    Ok(Seal::new(&kept_key(&state.join("seal.key"))?, lifetime))
}

/// Who may come in at the operator's listener, and the one-time link where nobody is configured.
pub fn access(config: &Config, bound: SocketAddr) -> io::Result<(Access, Option<String>)> {
    let operator = &config.operator;
    let url = operator.url_at(bound);
    let (link, address) = if config.reviewers.is_empty() && operator.oidc.is_none() {
        let (link, address) = OneTimeLink::new(&url).map_err(io::Error::other)?;
        (Some(link), Some(address))
    } else {
        (None, None)
    };
    let reviewers = config.reviewers.iter().map(|one| {
        let reviewer = Reviewer { id: one.id.clone(), groups: one.groups.clone(), sole: false };
        (reviewer, one.token.0)
    });
    let key = kept_key(&config.state.join("session.key"))?;
    let access = Access::new(Reviewers::new(reviewers.collect()), link, &key)
        .secure(url.starts_with("https:"))
        .lasting(operator.session);
    let access = match &operator.oidc {
        Some(issuer) => access.with_elsewhere(issuer.issuer.clone(), oidc::SIGN_IN),
        None => access,
    };
    Ok((access, address))
}

/// Whom people sign in with, where one is configured.
pub fn oidc(config: &Config, bound: SocketAddr) -> Result<Option<Arc<Oidc>>, String> {
    let Some(issuer) = &config.operator.oidc else { return Ok(None) };
    let client = match issuer.issuer.starts_with("https:") {
        true => tls::client(&tls::ClientFiles::default()),
        // As for servers: the system's roots are not needed.
        false => tls::plain_client(),
    };
    let connector = tls::connector(client.map_err(|error| error.to_string())?);
    let settings = oidc::Settings {
        issuer: issuer.issuer.clone(),
        client_id: issuer.client_id.clone(),
        client_secret: issuer.client_secret.clone(),
        id_claim: issuer.id_claim.clone(),
        groups_claim: issuer.groups_claim.clone(),
        scopes: issuer.scopes.clone(),
        allow: issuer.allow.clone(),
        url: config.operator.url_at(bound),
    };
    Oidc::new(settings, connector).map(|oidc| Some(Arc::new(oidc)))
}

/// What a denial can say at a click.
pub fn presets(config: &Config) -> Vec<config::Preset> {
    let own = &config.hold.denials;
    if own.is_empty() { act::usual_presets() } else { own.clone() }
}

/// A key in a file that only we can read, made where there is none.
fn kept_key(path: &Path) -> io::Result<[u8; 64]> {
    let mut key = [0; 64];
    match fs::File::open(path) {
        Ok(mut file) => file.read_exact(&mut key)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            key = new_key();
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(&key)?;
            file.sync_all()?;
        }
        Err(error) => return Err(error),
    }
    Ok(key)
}

fn new_key() -> [u8; 64] {
    let mut key = [0; 64];
    // Version 4: 122 random bits in each 16 bytes, from the system's generator.
    for part in key.chunks_exact_mut(16) {
        part.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    }
    key
}
