//! Did an issuer that we trust sign this token, for us, and is it still good?
//!
//! The order matters: the token's own words (`iss`, `alg`, `kid`) only choose among what the
//! configuration allows; nothing else in it is looked at before its signature was checked. Keys
//! that a token brings along or points to (`jwk`, `jku`, `x5u`, `x5c`) are never used.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};

use super::key_set::{KeySet, KeySource, Unavailable};
use super::keys::{Keys, NoKey};
use crate::call::Agent;
use crate::json::{Map, Value};
use crate::refusal::Refusal;

/// How far clocks may differ.
pub(super) const LEEWAY_S: u64 = 30;
const ID_BYTES: usize = 256;
const GROUPS: usize = 256;
const CLAIM_DEPTH: usize = 16;

/// An issuer of JWTs, as the operator describes it.
#[derive(Clone)]
pub struct IssuerSettings {
    /// What `iss` has to be, to the byte.
    pub issuer: String,
    /// `aud` has to name one of these; never empty.
    pub audiences: Vec<String>,
    /// The algorithms it signs with, such as `RS256`; never empty, never symmetric.
    pub algorithms: Vec<String>,
    /// Where its public keys are.
    pub keys: KeySource,
    /// The claim that names the agent; usually `sub`.
    pub id_claim: String,
    /// The claim that lists the agent's groups, if its word counts for that.
    pub groups_claim: Option<String>,
    /// Put before the id, so that two issuers cannot name the same agent.
    pub prefix: String,
}

/// An issuer, ready to check tokens.
pub(super) struct Issuer {
    pub(super) name: String,
    pub(super) keys: Arc<KeySet>,
    /// One for each algorithm: the library wants all in one validation to be of one family.
    validations: Vec<(Algorithm, Validation)>,
    id_claim: String,
    groups_claim: Option<String>,
    prefix: String,
}

/// Why an issuer's settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// No name.
    #[error("`issuer` is empty; write what the tokens say in `iss`")]
    NoName,
    /// No audience.
    #[error("no audience; name the one that its tokens for this gate carry in `aud`")]
    NoAudience,
    /// No algorithm, or one that cannot be used.
    #[error(
        "`{0}` is not an algorithm for tokens here; use RS256, RS384, RS512, PS256, PS384, PS512, \
         ES256, ES384 or EdDSA"
    )]
    Algorithm(String),
    /// A prefix or the name of a claim that is not plain text.
    #[error("the prefix or the name of a claim is empty, too long or has control characters")]
    Text,
}

impl Issuer {
    pub(super) fn new(settings: IssuerSettings) -> Result<Self, IssuerError> {
        if settings.issuer.is_empty() {
            return Err(IssuerError::NoName);
        }
        if settings.audiences.is_empty() || settings.audiences.iter().any(String::is_empty) {
            return Err(IssuerError::NoAudience);
        }
        if settings.algorithms.is_empty() {
            return Err(IssuerError::Algorithm(String::new()));
        }
        let claims = [Some(&settings.id_claim), settings.groups_claim.as_ref()];
        if !claims.into_iter().flatten().all(|name| is_name(name))
            || !(settings.prefix.is_empty() || is_name(&settings.prefix))
        {
            return Err(IssuerError::Text);
        }
        let validation = |name: &String| {
            let algorithm = algorithm(name).ok_or_else(|| IssuerError::Algorithm(name.clone()))?;
            let mut validation = Validation::new(algorithm);
            validation.set_required_spec_claims(&["exp", "aud", "iss"]);
            validation.set_issuer(&[&settings.issuer]);
            validation.set_audience(&settings.audiences);
            validation.leeway = LEEWAY_S;
            validation.validate_nbf = true;
            Ok((algorithm, validation))
        };
        Ok(Self {
            validations: settings.algorithms.iter().map(validation).collect::<Result<_, _>>()?,
            name: settings.issuer,
            keys: Arc::new(KeySet::new(settings.keys)),
            id_claim: settings.id_claim,
            groups_claim: settings.groups_claim,
            prefix: settings.prefix,
        })
    }

    /// Check a token that says it is from here.
    pub(super) async fn verify(&self, token: &Unverified<'_>) -> Result<Verified, Refusal> {
        let (algorithm, validation) = self
            .validations
            .iter()
            .find(|(algorithm, _)| algorithm_name(*algorithm) == token.algorithm)
            .ok_or_else(|| self.refuse("its algorithm is not one that the issuer signs with"))?;
        let mut keys = self.keys.current().await.map_err(unavailable)?;
        if keys.select(token.key_id.as_deref(), *algorithm).is_err_and(|no| no == NoKey::Unknown) {
            keys = self.keys.after_another_look().await.map_err(unavailable)?;
        }
        let key = keys.select(token.key_id.as_deref(), *algorithm).map_err(|no| match no {
            NoKey::Unknown => self.refuse("it names a key that its issuer does not publish"),
            NoKey::Ambiguous => self.refuse("it does not say which of the issuer's keys signed it"),
        })?;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token.text, key, validation)
            .map_err(|error| match error.kind() {
                // Said only of a token whose signature is good.
                ErrorKind::ExpiredSignature => {
                    Refusal::Unauthenticated("the token has expired; get a new one")
                }
                _ => self.refuse(&error.to_string()),
            })?
            .claims;
        self.verified(claims, &keys)
    }

    fn verified(&self, mut claims: Map<String, Value>, keys: &Keys) -> Result<Verified, Refusal> {
        let expires = claims.get("exp").and_then(seconds);
        let until = expires.ok_or_else(|| self.refuse("`exp` is not a time"))?;
        let binding = Binding::of(&claims).ok_or_else(|| {
            self.refuse("it is bound to a key in a way (`cnf`) that cannot be checked here")
        })?;
        let id = match claims.remove(&self.id_claim) {
            Some(Value::String(id)) if is_name(&id) => format!("{}{id}", self.prefix),
            _ => return Err(self.refuse("the claim that names the agent is missing or not a name")),
        };
        let groups = match self.groups_claim.as_ref().and_then(|name| claims.remove(name)) {
            None => Vec::new(),
            Some(claim) => groups(claim).ok_or_else(|| {
                self.refuse("the claim that lists groups is not a list of at most 256 names")
            })?,
        };
        if claims.values().any(|claim| !is_shallow(claim, CLAIM_DEPTH)) {
            return Err(self.refuse("its claims are nested too deep"));
        }
        Ok(Verified {
            agent: Arc::new(Agent { id: id.into(), groups, claims }),
            until_s: until.saturating_add(LEEWAY_S),
            binding,
            source: self.keys.clone(),
            keys: keys.digest,
        })
    }

    /// The cause is for the operator; whoever guesses tokens learns nothing.
    pub(super) fn refuse(&self, reason: &str) -> Refusal {
        tracing::info!(issuer = self.name, reason, "a token was refused");
        Refusal::Unauthenticated("the token is not accepted here")
    }
}

/// What a token says of itself before anybody has checked it: enough to choose how.
pub(super) struct Unverified<'a> {
    text: &'a str,
    pub(super) issuer: String,
    algorithm: String,
    key_id: Option<String>,
}

impl<'a> Unverified<'a> {
    /// A signed JWT in compact form, or nothing.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split('.');
        let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || signature.is_empty() {
            return None;
        }
        let (mut header, mut payload) = (object(header)?, object(payload)?);
        // RFC 7515: what is critical and not understood is refused; nothing is understood here.
        // RFC 8725: a token made for something else (`logout+jwt`) is no access token.
        if header.contains_key("crit") || !header.get("typ").is_none_or(is_access_token) {
            return None;
        }
        let key_id = match header.remove("kid") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return None,
        };
        match (header.remove("alg"), payload.remove("iss")) {
            (Some(Value::String(algorithm)), Some(Value::String(issuer))) => {
                Some(Self { text, issuer, algorithm, key_id })
            }
            _ => None,
        }
    }
}

/// A token that was checked, remembered until it expires or its issuer's keys change.
pub(super) struct Verified {
    pub(super) agent: Arc<Agent>,
    until_s: u64,
    binding: Binding,
    source: Arc<KeySet>,
    keys: [u8; 32],
}

impl Verified {
    /// Whether it would pass again.
    pub(super) fn still_holds(&self, now_s: u64) -> bool {
        now_s <= self.until_s && self.source.at_hand().is_some_and(|keys| keys.digest == self.keys)
    }

    /// Whether whoever presents it may: a bound token needs its certificate (RFC 8705).
    pub(super) fn is_for(&self, certificate: Option<&[u8; 32]>) -> bool {
        match &self.binding {
            Binding::Nobody => true,
            Binding::Certificate(digest) => certificate == Some(digest),
        }
    }
}

enum Binding {
    Nobody,
    Certificate([u8; 32]),
}

impl Binding {
    fn of(claims: &Map<String, Value>) -> Option<Self> {
        let Some(confirmation) = claims.get("cnf") else { return Some(Self::Nobody) };
        let only = confirmation.as_object().filter(|members| members.len() == 1)?;
        let thumbprint = URL_SAFE_NO_PAD.decode(only.get("x5t#S256")?.as_str()?).ok()?;
        Some(Self::Certificate(thumbprint.try_into().ok()?))
    }
}

fn unavailable(_: Unavailable) -> Refusal {
    Refusal::IdentityUnavailable
}

fn algorithm(name: &str) -> Option<Algorithm> {
    let algorithm: Algorithm = name.parse().ok()?;
    let symmetric = matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
    (!symmetric).then_some(algorithm)
}

/// As it stands in a token's header: the library's own names are the registered ones.
pub(super) fn algorithm_name(algorithm: Algorithm) -> String {
    format!("{algorithm:?}")
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn is_access_token(kind: &Value) -> bool {
    let kind = kind.as_str().unwrap_or_default().to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt")
}

/// Text that can stand in a log, a metric and a record.
pub(super) fn is_name(text: &str) -> bool {
    (1..=ID_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn groups(claim: Value) -> Option<Vec<String>> {
    let names = match claim {
        Value::String(name) => vec![Value::String(name)],
        Value::Array(names) if names.len() <= GROUPS => names,
        _ => return None,
    };
    names
        .into_iter()
        .map(|name| match name {
            Value::String(name) if is_name(&name) => Some(name),
            _ => None,
        })
        .collect()
}

fn is_shallow(value: &Value, depth: usize) -> bool {
    match (value, depth.checked_sub(1)) {
        (_, None) => false,
        (Value::Array(items), Some(left)) => items.iter().all(|item| is_shallow(item, left)),
        (Value::Object(members), Some(left)) => members.values().all(|item| is_shallow(item, left)),
        _ => true,
    }
}

/// A NumericDate in whole seconds; fractions count as not reached.
fn seconds(claim: &Value) -> Option<u64> {
    claim.as_u64().or_else(|| {
        // Saturates, and a time before 1970 is past in any case.
        claim.as_f64().map(|seconds| seconds.floor() as u64)
    })
}
