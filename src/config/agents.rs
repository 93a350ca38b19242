//! Who may call, and how do they prove it?

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use jsonwebtoken::Algorithm;

use super::scalar::{boolean, one_of, text};
use super::secret::{TokenDigest, token};
use super::section::{Reading, Section};
use super::url::private_endpoint;
use super::yaml::{Node, Value};

pub(super) const AGENT: &[&str] = &["id", "groups", "token", "anonymous", "certificate"];
pub(super) const ISSUER: &[&str] =
    &["issuer", "audience", "jwks", "algorithms", "id_claim", "groups_claim", "prefix"];
pub(super) const JWKS: &[&str] = &["file", "url"];

/// An agent that the operator names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its name in policy, record and metrics. For [`Proof::Workloads`] what they are below: each
    /// of them is named by its own SPIFFE ID.
    pub id: Arc<str>,
    /// The groups the operator put it in.
    pub groups: Vec<String>,
    /// How it proves who it is.
    pub proof: Proof,
}

/// How an agent proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// By a bearer token.
    Token(TokenDigest),
    /// By a client certificate with this SPIFFE ID.
    Certificate(String),
    /// By a client certificate with any SPIFFE ID below this one; written `spiffe://…/*`.
    Workloads(String),
    /// Not at all: whoever calls without a credential. Only with every listener on loopback.
    Anonymous,
}

/// Somebody whose signed tokens name agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must contain one of; never empty.
    pub audience: Vec<String>,
    /// Where its keys are.
    pub jwks: Jwks,
    /// The algorithms it signs with; never one with a shared secret, never `none`.
    pub algorithms: Vec<Algorithm>,
    /// The claim that names the agent.
    pub id_claim: String,
    /// The claim that lists its groups.
    pub groups_claim: String,
    /// What the names of its agents begin with; two issuers need different ones.
    pub prefix: String,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Jwks {
    /// In a file.
    File(PathBuf),
    /// At a URL: `https`, or plain on this machine.
    Url(Uri),
}

// No HS*: whoever can check such a signature can make it. No `none`.
const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

pub(super) fn agents(root: &Section<'_>, reading: &mut Reading<'_>) -> Vec<Agent> {
    let mut places: HashMap<Unique, u32> = HashMap::new();
    reading.list(root.find("agents"), |reading, node| {
        let agent = agent(node, reading)?;
        for (unique, what) in claims_of(&agent) {
            if let Some(first) = places.insert(unique, node.at.line) {
                reading.fault(node.at, format!("{what} as the agent on line {first}"));
            }
        }
        Some(agent)
    })
}

// What no two agents share, or the gate could not tell them apart.
#[derive(PartialEq, Eq, Hash)]
enum Unique {
    Id(Arc<str>),
    Token(TokenDigest),
    Certificate(String),
    Anonymous,
}

fn claims_of(agent: &Agent) -> [(Unique, &'static str); 2] {
    let proof = match &agent.proof {
        Proof::Token(digest) => (Unique::Token(*digest), "the same token"),
        Proof::Certificate(name) | Proof::Workloads(name) => {
            (Unique::Certificate(name.clone()), "the same certificate name")
        }
        Proof::Anonymous => (Unique::Anonymous, "anonymous callers cannot be told apart: the same"),
    };
    [(Unique::Id(Arc::clone(&agent.id)), "the same id"), proof]
}

fn agent(node: &Node, reading: &mut Reading<'_>) -> Option<Agent> {
    let section = Section::open(node, AGENT, reading);
    let groups = reading.list(section.find("groups"), |reading, node| reading.take(node, text));
    let proof = proof(&section, reading);
    if let Some(Proof::Workloads(within)) = &proof {
        if section.find("id").is_some() {
            let at = section.place("id");
            reading.fault(at, "each of these is named by its own SPIFFE ID; leave `id` out");
        }
        return Some(Agent { id: within.as_str().into(), groups, proof: proof? });
    }
    let id = section.require("id", reading, agent_id);
    Some(Agent { id: id?.into(), groups, proof: proof? })
}

/// A name that reads the same in every log, label and path.
fn agent_id(node: &Node) -> Result<String, String> {
    let id = text(node)?;
    let usable = |b: u8| b.is_ascii_alphanumeric() || b"._@:/-".contains(&b);
    if id.len() > 128 || !id.bytes().all(usable) {
        return Err("an id has up to 128 letters, digits and `._@:/-`".into());
    }
    Ok(id)
}

fn proof(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Proof> {
    let ways = ["token", "certificate", "anonymous"];
    let given = ways.iter().filter(|way| section.find(way).is_some()).count();
    if given == 0 && ways.iter().any(|way| section.was_meant(way)) {
        return None;
    }
    if given != 1 {
        reading.fault(
            section.at,
            "an agent proves itself in one way: `token`, `certificate` or `anonymous: true`",
        );
        return None;
    }
    if let Some(node) = section.find("token") {
        return token(node, reading).map(Proof::Token);
    }
    if let Some(node) = section.find("certificate") {
        return reading.take(node, spiffe);
    }
    match section.read("anonymous", reading, boolean)? {
        true => Some(Proof::Anonymous),
        false => {
            let at = section.place("anonymous");
            reading.fault(at, "`anonymous: false` leaves no way to prove who calls");
            None
        }
    }
}

/// A SPIFFE ID, or all below one.
fn spiffe(node: &Node) -> Result<Proof, String> {
    const HOW: &str = "expected a SPIFFE ID such as `spiffe://example.org/agents/crm`, \
                       or `spiffe://example.org/*` for all of a trust domain";
    let name = text(node)?;
    let rest = name.strip_prefix("spiffe://").ok_or(HOW)?;
    let (domain, path) = rest.split_once('/').ok_or(HOW)?;
    let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let in_path = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let fits = |segment: &str| {
        !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(in_path)
    };
    let within = path.strip_suffix('*').map(|above| above.strip_suffix('/').unwrap_or(above));
    let segments = within.unwrap_or(path);
    let is_whole_domain = path == "*";
    if name.len() > 2048
        || domain.is_empty()
        || !domain.bytes().all(in_domain)
        || !(is_whole_domain || segments.split('/').all(fits))
        || path.ends_with('*') && !name.ends_with("/*")
    {
        return Err(HOW.into());
    }
    Ok(match name.strip_suffix("/*") {
        Some(within) => Proof::Workloads(within.to_owned()),
        None => Proof::Certificate(name),
    })
}

pub(super) fn issuers(root: &Section<'_>, reading: &mut Reading<'_>) -> Vec<Issuer> {
    let mut places: HashMap<String, u32> = HashMap::new();
    reading.list(root.find("jwt"), |reading, node| {
        let issuer = issuer(node, reading)?;
        if let Some(first) = places.insert(issuer.issuer.clone(), node.at.line) {
            reading.fault(node.at, format!("the same issuer as on line {first}"));
        }
        Some(issuer)
    })
}

fn issuer(node: &Node, reading: &mut Reading<'_>) -> Option<Issuer> {
    let section = Section::open(node, ISSUER, reading);
    let issuer = section.require("issuer", reading, text);
    let audience = audience(&section, reading);
    let jwks = section.must("jwks", reading).and_then(|node| jwks(node, reading));
    let algorithms = algorithms(&section, reading);
    let id_claim = section.read("id_claim", reading, text).unwrap_or_else(|| "sub".into());
    let groups_claim =
        section.read("groups_claim", reading, text).unwrap_or_else(|| "groups".into());
    let prefix = section.read("prefix", reading, text).unwrap_or_default();
    Some(Issuer {
        issuer: issuer?,
        audience: audience?,
        jwks: jwks?,
        algorithms,
        id_claim,
        groups_claim,
        prefix,
    })
}

fn audience(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Vec<String>> {
    let node = section.must("audience", reading)?;
    if !matches!(node.value, Value::List(_)) {
        return reading.take(node, text).map(|one| vec![one]);
    }
    if node.value.is_empty_list() {
        reading.fault(node.at, "an issuer's tokens are for somebody; name at least one audience");
    }
    Some(reading.list(Some(node), |reading, node| reading.take(node, text)))
}

fn jwks(node: &Node, reading: &mut Reading<'_>) -> Option<Jwks> {
    let section = Section::open(node, JWKS, reading);
    match (section.find("file"), section.find("url")) {
        (Some(node), None) => reading.file(node).map(Jwks::File),
        (None, Some(node)) => reading.take(node, private_endpoint).map(Jwks::Url),
        _ => {
            reading.fault(node.at, "keys come from one place: `{file: …}` or `{url: …}`");
            None
        }
    }
}

fn algorithms(section: &Section<'_>, reading: &mut Reading<'_>) -> Vec<Algorithm> {
    let Some(node) = section.find("algorithms") else {
        return vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    };
    if node.value.is_empty_list() {
        reading.fault(node.at, "name at least one algorithm, or leave `algorithms` out");
    }
    reading.list(Some(node), |reading, node| reading.take(node, one_of(ALGORITHMS)))
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    #[test]
    fn a_spiffe_id_is_one_workload_or_all_below() {
        let one = |name: &str| Some(Proof::Certificate(name.into()));
        let below = |name: &str| Some(Proof::Workloads(name.into()));
        for (text, expected) in [
            ("spiffe://e.org/a", one("spiffe://e.org/a")),
            ("spiffe://e.org/ns/x/sa/y", one("spiffe://e.org/ns/x/sa/y")),
            ("spiffe://e.org/*", below("spiffe://e.org")),
            ("spiffe://e.org/ns/x/*", below("spiffe://e.org/ns/x")),
            ("spiffe://e.org", None),
            ("spiffe://e.org/", None),
            ("spiffe:///a", None),
            ("spiffe://E.org/a", None),
            ("spiffe://e.org/a*", None),
            ("spiffe://e.org/*/a", None),
            ("spiffe://e.org//*", None),
            ("spiffe://e.org/a/../b", None),
            ("spiffe://e.org/a?b", None),
            ("https://e.org/a", None),
        ] {
            let node = yaml::read(&format!("'{text}'"), "c.yaml").unwrap();
            assert_eq!(spiffe(&node).ok(), expected, "{text}");
        }
    }
}
