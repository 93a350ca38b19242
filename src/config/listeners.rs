//! Who can reach the gate, and by which name?

use std::net::SocketAddr;
use std::path::PathBuf;

use super::agents::{Agent, Issuer, Proof};
use super::scalar::text;
use super::section::{Reading, Section};
use super::servers::{Identity, identity};
use super::yaml::Node;

pub(super) const TLS: &[&str] = &["certificate", "key", "client_ca"];

/// TLS toward agents. Paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Our certificate chain and its key.
    pub identity: Identity,
    /// Who signs agents' certificates; none is asked for if `None`.
    pub client_ca: Option<PathBuf>,
}

/// Both listeners' default ports, on loopback.
pub(super) const AGENTS_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8700);
pub(super) const OPERATOR_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8701);

pub(super) fn tls(root: &Section<'_>, reading: &mut Reading<'_>) -> Option<Tls> {
    let section = root.open_at("tls", TLS, reading)?;
    let client_ca = section.find("client_ca").and_then(|node| reading.file(node));
    section.must("certificate", reading)?;
    section.must("key", reading)?;
    Some(Tls { identity: identity(&section, reading)?, client_ca })
}

/// A host name or address without port, in lower case: a `Host` that is ours.
pub(super) fn host(node: &Node) -> Result<String, String> {
    let name = text(node)?.to_ascii_lowercase();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_address = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    if name.len() > 253 || !(is_address || name.bytes().all(plain)) {
        return Err("expected a host name without port, such as `gate.example.com`".into());
    }
    Ok(name)
}

/// An origin as browsers send it (RFC 6454, section 6.2).
pub(super) fn origin(node: &Node) -> Result<String, String> {
    const HOW: &str =
        "expected an origin such as `https://app.example.com`; `*` and `null` are not";
    let origin = text(node)?.to_ascii_lowercase();
    let (scheme, rest) = origin.split_once("://").ok_or(HOW)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b);
    if !matches!(scheme, "http" | "https") || rest.is_empty() || !rest.bytes().all(plain) {
        return Err(HOW.into());
    }
    Ok(origin)
}

/// Holds who may call against who can reach the listeners.
pub(super) fn guard(
    root: &Section<'_>,
    listeners: [SocketAddr; 2],
    tls: Option<&Tls>,
    agents: &[Agent],
    issuers: &[Issuer],
    reading: &mut Reading<'_>,
) {
    let [listen, operator] = listeners;
    if listen == operator && listen.port() != 0 {
        reading.fault(root.place("operator"), "agents and operators need different listeners");
    }
    let anonymous = agents.iter().any(|agent| agent.proof == Proof::Anonymous);
    let proven = agents.iter().any(|agent| agent.proof != Proof::Anonymous) || !issuers.is_empty();
    // Where an entry is there but broken, that has been told, and this would mislead.
    let named = ["agents", "jwt"].iter().any(|key| match root.find(key) {
        Some(node) => !node.value.is_empty_list(),
        None => root.was_meant(key),
    });
    if !named {
        reading.fault(root.at, "nobody may call; name somebody in `agents` or `jwt`");
    } else if !agents.is_empty() && !listen.ip().is_loopback() && !proven {
        reading.fault(
            root.place("listen"),
            "whoever reaches this address could call; \
             give `agents` credentials or listen on 127.0.0.1",
        );
    }
    if anonymous {
        for (key, address) in [("listen", listen), ("operator", operator)] {
            if !address.ip().is_loopback() {
                reading.fault(
                    root.place(key),
                    "an anonymous agent is for loopback only; \
                     listen on 127.0.0.1 or give the agent a `token`",
                );
            }
        }
    }
    let by_certificate = agents
        .iter()
        .any(|agent| matches!(agent.proof, Proof::Certificate(_) | Proof::Workloads(_)));
    if by_certificate && tls.is_none_or(|tls| tls.client_ca.is_none()) {
        reading.fault(
            root.place("agents"),
            "an agent's `certificate` is only seen with `tls.client_ca`",
        );
    }
}
