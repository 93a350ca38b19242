//! Who is calling?
//!
//! The laws here:
//! - A credential that is presented has to be good. A bad one is refused even where anonymous
//!   agents are configured, and so is one that cannot be checked now.
//! - An agent known by token and one known by certificate are the same or the call is refused.
//! - One id is one agent. The operator's ids are reserved: a JWT that names one of them is
//!   refused, or whoever can get a token from the issuer with that name could act as it. Issuers
//!   do not share names either, which their prefixes see to.
//!
//! Tokens are looked up by their SHA-256. What a look-up's timing tells is how far the *digest* of
//! a guess agrees with a stored one, and whoever can steer digests has broken SHA-256; so a plain
//! map is as safe as a comparison in constant time, and does not slow down with the agents.

mod bearer;
mod issuer;
mod key_set;
mod keys;
mod settings;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use crate::call::Agent;
use crate::json::Map;
use crate::refusal::Refusal;
use crate::tls::{PeerCertificate, SpiffeId};
use issuer::{Issuer, Unverified, Verified};

pub use issuer::{IssuerError, IssuerSettings};
pub use key_set::{InsecureKeys, KeySource};
pub use settings::{
    AgentSettings, Credential, IdentitySettings, SettingsError, Token, WeakToken, WorkloadSettings,
};

/// How many checked JWTs are remembered. Only good tokens get in, so guesses push nothing out.
const REMEMBERED: usize = 2048;

type Fingerprint = [u8; 32];

/// Everybody who may call, and how they are known. One immutable snapshot, but for the issuers'
/// keys and the memory of checked tokens.
pub struct Identities {
    tokens: HashMap<Fingerprint, Arc<Agent>>,
    workloads: HashMap<SpiffeId, Arc<Agent>>,
    /// Deepest first.
    domains: Vec<(SpiffeId, Vec<String>)>,
    anonymous: Option<Arc<Agent>>,
    issuers: Vec<Issuer>,
    reserved: HashSet<Arc<str>>,
    checked: Cache<Fingerprint, Arc<Verified>>,
}

impl Identities {
    /// The agent that calls.
    ///
    /// `authorization` is *every* `Authorization` header of the request, `certificate` what the
    /// client showed in the handshake, and `loopback` whether the connection comes from this
    /// machine. Waits only where an issuer's keys have to be read first.
    pub async fn identify<'a>(
        &self,
        authorization: impl IntoIterator<Item = &'a HeaderValue>,
        certificate: Option<&PeerCertificate>,
        loopback: bool,
    ) -> Result<Arc<Agent>, Refusal> {
        let token = bearer::token(authorization)?;
        match (token, certificate) {
            (Some(token), _) => {
                let agent = self.by_token(token, certificate).await?;
                match certificate.and_then(|certificate| self.by_certificate(certificate)) {
                    Some(other) if other.id != agent.id => Err(Refusal::Unauthenticated(
                        "the token and the client certificate name different agents",
                    )),
                    _ => Ok(agent),
                }
            }
            (None, Some(certificate)) => {
                self.by_certificate(certificate).ok_or(Refusal::Unauthenticated(
                    "the client certificate names no agent; send a bearer token",
                ))
            }
            (None, None) => self
                .anonymous
                .as_ref()
                .filter(|_| loopback)
                .cloned()
                .ok_or(Refusal::Unauthenticated("send `Authorization: Bearer <token>`")),
        }
    }

    /// Whether callers on loopback need no credential: an exception that belongs in a metric.
    pub const fn allows_anonymous(&self) -> bool {
        self.anonymous.is_some()
    }

    /// Read all issuers' keys ahead of the first call; the issuers whose keys cannot be read.
    pub async fn warm(&self) -> Vec<&str> {
        let reads = self.issuers.iter().map(|issuer| async {
            issuer.keys.current().await.is_err().then_some(issuer.name.as_str())
        });
        futures_util::future::join_all(reads).await.into_iter().flatten().collect()
    }

    async fn by_token(
        &self,
        token: &str,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Arc<Agent>, Refusal> {
        const NOT_ACCEPTED: Refusal = Refusal::Unauthenticated("the token is not accepted here");
        let fingerprint: Fingerprint = Sha256::digest(token).into();
        if let Some(agent) = self.tokens.get(&fingerprint) {
            return Ok(agent.clone());
        }
        if self.issuers.is_empty() {
            return Err(NOT_ACCEPTED);
        }
        let remembered = self.checked.get(&fingerprint).filter(|token| token.still_holds(now_s()));
        let verified = match remembered {
            Some(verified) => verified,
            None => {
                let verified = Arc::new(self.check(token).await?.ok_or(NOT_ACCEPTED)?);
                self.checked.insert(fingerprint, verified.clone());
                verified
            }
        };
        if !verified.is_for(certificate.map(PeerCertificate::digest)) {
            return Err(Refusal::Unauthenticated("the token is bound to another certificate"));
        }
        Ok(verified.agent.clone())
    }

    async fn check(&self, token: &str) -> Result<Option<Verified>, Refusal> {
        let Some(token) = Unverified::parse(token) else { return Ok(None) };
        let Some(issuer) = self.issuers.iter().find(|issuer| issuer.name == token.issuer) else {
            return Ok(None);
        };
        let verified = issuer.verify(&token).await?;
        if self.is_reserved(&verified.agent.id) {
            return Err(issuer.refuse("it names an agent that the configuration knows otherwise"));
        }
        Ok(Some(verified))
    }

    fn is_reserved(&self, id: &str) -> bool {
        self.reserved.contains(id) || SpiffeId::parse(id).is_some_and(|id| self.is_workload(&id))
    }

    fn is_workload(&self, id: &SpiffeId) -> bool {
        self.domains.iter().any(|(domain, _)| id.is_within(domain))
    }

    fn by_certificate(&self, certificate: &PeerCertificate) -> Option<Arc<Agent>> {
        let id = certificate.spiffe()?;
        if let Some(agent) = self.workloads.get(id) {
            return Some(agent.clone());
        }
        let (_, groups) = self.domains.iter().find(|(domain, _)| id.is_within(domain))?;
        Some(Arc::new(Agent { id: id.as_str().into(), groups: groups.clone(), claims: Map::new() }))
    }
}

/// A clock before 1970 is broken, and no token holds then.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
