//! Who is known, and is what identifies them good enough?

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::issuer::{Issuer, IssuerError, IssuerSettings, is_name};
use super::{Fingerprint, Identities, REMEMBERED, bearer};
use crate::call::Agent;
use crate::json::Map;
use crate::tls::SpiffeId;

/// Shorter tokens can be guessed.
const TOKEN_BYTES: usize = 16;

/// Everybody who may call, as the operator describes them.
#[derive(Clone, Default)]
pub struct IdentitySettings {
    /// Agents by name.
    pub agents: Vec<AgentSettings>,
    /// Trust domains (or paths in them) whose workloads are agents, named by their SPIFFE ID.
    pub workloads: Vec<WorkloadSettings>,
    /// Issuers of JWTs, which name agents in their tokens.
    pub issuers: Vec<IssuerSettings>,
}

/// One agent that the operator names.
#[derive(Clone)]
pub struct AgentSettings {
    /// Its name in policy, record and metrics.
    pub id: String,
    /// The groups it is in.
    pub groups: Vec<String>,
    /// Each of these identifies it; several tokens let one be replaced without a gap.
    pub credentials: Vec<Credential>,
}

/// What identifies an agent.
#[derive(Clone)]
pub enum Credential {
    /// A bearer token.
    Token(Token),
    /// The SPIFFE ID in its client certificate, exactly.
    Spiffe(String),
    /// Nothing, for callers on loopback that present nothing.
    Anonymous,
}

/// A bearer token, of which only the SHA-256 is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Fingerprint);

/// A token that is not fit to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token has at least 16 characters of A-Z a-z 0-9 - . _ ~ + / and is not one character over \
     and over; `openssl rand -hex 32` makes a good one"
)]
pub struct WeakToken;

impl Token {
    /// From the token itself, without the line end that files have.
    pub fn from_plain(token: &str) -> Result<Self, WeakToken> {
        let mut bytes = token.bytes();
        let first = bytes.next();
        let varied = bytes.any(|byte| Some(byte) != first);
        if token.len() < TOKEN_BYTES || !bearer::is_b64token(token) || !varied {
            return Err(WeakToken);
        }
        Ok(Self(Sha256::digest(token).into()))
    }

    /// From its SHA-256, where the operator keeps only that.
    pub const fn from_sha256(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

/// Workloads of one trust domain, or below one path of it.
#[derive(Clone)]
pub struct WorkloadSettings {
    /// `spiffe://example.org` or `spiffe://example.org/ns/agents`; whole segments count.
    pub within: String,
    /// The groups that they all are in.
    pub groups: Vec<String>,
}

/// Why nobody could be identified by these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not a name.
    #[error("an agent's id has 1 to 256 bytes and no control characters: `{}`", .0.escape_debug())]
    Id(String),
    /// Two agents of one name.
    #[error("agent `{0}` stands there twice; give one agent several credentials instead")]
    TwiceNamed(String),
    /// Nothing identifies it.
    #[error("agent `{0}` has no credential: give it `token`, `spiffe` or `anonymous: true`")]
    NoCredential(String),
    /// One credential for two agents.
    #[error("agents `{0}` and `{1}` have the same credential; nobody could tell them apart")]
    SharedCredential(String, String),
    /// Not a SPIFFE ID.
    #[error("`{}` is not a SPIFFE ID such as `spiffe://example.org/agent`", .0.escape_debug())]
    Spiffe(String),
    /// An agent whose name is also a workload's.
    #[error("agent `{0}` is named like a workload of a configured trust domain; rename it")]
    NamedLikeWorkload(String),
    /// Two entries for the same part of a trust domain.
    #[error("`{0}` stands there twice")]
    TwiceWithin(String),
    /// One issuer's settings.
    #[error("issuer `{issuer}`: {source}")]
    Issuer {
        /// Its name.
        issuer: String,
        /// What is wrong.
        source: IssuerError,
    },
    /// Two entries for one issuer.
    #[error("issuer `{0}` stands there twice")]
    TwiceIssuer(String),
    /// Two issuers that could name the same agent.
    #[error(
        "issuers `{0}` and `{1}` could name the same agent; give each a `prefix` that the other's \
         does not begin with"
    )]
    SharedNames(String, String),
}

impl Identities {
    /// Everybody as described, or the first thing that is wrong with it.
    ///
    /// On a reload give the predecessor, whose issuers' keys then serve on: an issuer that is down
    /// just now does not lock its agents out.
    pub fn new(
        settings: IdentitySettings,
        predecessor: Option<&Self>,
    ) -> Result<Self, SettingsError> {
        let mut identities = Self {
            tokens: HashMap::new(),
            workloads: HashMap::new(),
            domains: domains(settings.workloads)?,
            anonymous: None,
            issuers: issuers(settings.issuers)?,
            reserved: HashSet::new(),
            checked: Cache::new(REMEMBERED),
        };
        for agent in settings.agents {
            identities.add(agent)?;
        }
        for issuer in &identities.issuers {
            let same = |old: &&Issuer| old.name == issuer.name;
            if let Some(old) = predecessor.and_then(|old| old.issuers.iter().find(same)) {
                issuer.keys.inherit(&old.keys);
            }
        }
        Ok(identities)
    }

    fn add(&mut self, settings: AgentSettings) -> Result<(), SettingsError> {
        let AgentSettings { id, groups, credentials } = settings;
        if !is_name(&id) {
            return Err(SettingsError::Id(id));
        }
        if credentials.is_empty() {
            return Err(SettingsError::NoCredential(id));
        }
        let agent = Arc::new(Agent { id: id.into(), groups, claims: Map::new() });
        let workload = SpiffeId::parse(&agent.id).filter(|id| self.is_workload(id));
        if workload.is_some() {
            return Err(SettingsError::NamedLikeWorkload(agent.id.to_string()));
        }
        if !self.reserved.insert(agent.id.clone()) {
            return Err(SettingsError::TwiceNamed(agent.id.to_string()));
        }
        for credential in credentials {
            let other = match credential {
                Credential::Token(Token(digest)) => self.tokens.insert(digest, agent.clone()),
                Credential::Anonymous => self.anonymous.replace(agent.clone()),
                Credential::Spiffe(text) => {
                    let id = SpiffeId::parse(&text).ok_or(SettingsError::Spiffe(text))?;
                    self.workloads.insert(id, agent.clone())
                }
            };
            if let Some(other) = other {
                let ids = (other.id.to_string(), agent.id.to_string());
                return Err(SettingsError::SharedCredential(ids.0, ids.1));
            }
        }
        Ok(())
    }
}

fn domains(settings: Vec<WorkloadSettings>) -> Result<Vec<(SpiffeId, Vec<String>)>, SettingsError> {
    let mut domains: Vec<(SpiffeId, Vec<String>)> = Vec::new();
    for WorkloadSettings { within, groups } in settings {
        let Some(id) = SpiffeId::parse(&within) else { return Err(SettingsError::Spiffe(within)) };
        if domains.iter().any(|(other, _)| *other == id) {
            return Err(SettingsError::TwiceWithin(within));
        }
        domains.push((id, groups));
    }
    domains.sort_by_key(|(id, _)| std::cmp::Reverse(id.as_str().len()));
    Ok(domains)
}

fn issuers(settings: Vec<IssuerSettings>) -> Result<Vec<Issuer>, SettingsError> {
    for (index, one) in settings.iter().enumerate() {
        for other in settings.iter().skip(index + 1) {
            if one.issuer == other.issuer {
                return Err(SettingsError::TwiceIssuer(one.issuer.clone()));
            }
            if one.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&one.prefix) {
                let names = (one.issuer.clone(), other.issuer.clone());
                return Err(SettingsError::SharedNames(names.0, names.1));
            }
        }
    }
    settings
        .into_iter()
        .map(|settings| {
            let issuer = settings.issuer.clone();
            Issuer::new(settings).map_err(|source| SettingsError::Issuer { issuer, source })
        })
        .collect()
}
