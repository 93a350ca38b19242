//! Which servers are behind the gate, and how are they reached?

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::scalar::{boolean, duration, duration_or_none, one_of, text};
use super::secret::secret;
use super::section::{Reading, Section};
use super::url::endpoint;
use super::yaml::{Key, Node, Value};

/// The protocol revisions of MCP that the gate speaks, oldest first.
pub const REVISIONS: [&str; 4] = ["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];

/// The most servers that one gate stands before.
pub(super) const MAX_SERVERS: usize = 1000;

pub(super) const SERVER: &[&str] = &[
    "mcp",
    "credential",
    "tls",
    "timeout",
    "idle",
    "minimum_version",
    "forward_headers",
    "required",
];
pub(super) const CREDENTIAL: &[&str] = &["header", "value"];
pub(super) const SERVER_TLS: &[&str] = &["roots", "certificate", "key"];

/// An upstream that offers tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name in paths, policy, record and metrics.
    pub name: Arc<str>,
    /// Its MCP endpoint.
    pub mcp: Uri,
    /// What the gate shows it; the agent's own credential never goes there.
    pub credential: Option<Credential>,
    /// Whom to trust there, and what to show.
    pub tls: ServerTls,
    /// How long it may take to begin its answer, and again to end one that is no stream.
    pub timeout: Duration,
    /// How long a stream of it may be silent; for ever if `None`.
    pub idle: Option<Duration>,
    /// The oldest revision that is spoken with it, one of [`REVISIONS`].
    pub minimum_version: &'static str,
    /// Headers of the agent that go on to it.
    pub forward_headers: Vec<HeaderName>,
    /// Whether the gate is not ready before its tools are known.
    pub required: bool,
}

/// A header that proves to a server who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The header's name.
    pub header: HeaderName,
    /// All of its value, marked sensitive so that nothing prints it.
    pub value: HeaderValue,
}

/// TLS toward a server. Paths of PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerTls {
    /// Who signs its certificate; the system's roots if `None`.
    pub roots: Option<PathBuf>,
    /// Our certificate chain and its key, where it asks for one.
    pub identity: Option<Identity>,
}

/// A certificate chain and its key. Paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The chain, our own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

pub(super) fn servers(
    root: &Section<'_>,
    reading: &mut Reading<'_>,
) -> BTreeMap<Arc<str>, Arc<Server>> {
    let Some(node) = root.must("servers", reading) else { return BTreeMap::new() };
    let Value::Map(entries) = &node.value else {
        reading.fault(node.at, format!("expected servers by name, found {}", node.value.kind()));
        return BTreeMap::new();
    };
    if entries.is_empty() || entries.len() > MAX_SERVERS {
        reading.fault(node.at, format!("name 1 to {MAX_SERVERS} servers"));
    }
    entries
        .iter()
        .filter_map(|(key, node)| server(key, node, reading))
        .map(|server| (Arc::clone(&server.name), Arc::new(server)))
        .collect()
}

fn server(key: &Key, node: &Node, reading: &mut Reading<'_>) -> Option<Server> {
    if !is_server_name(&key.name) {
        reading.fault(
            key.at,
            "a server's name has up to 63 of `a-z`, `0-9` and `-`, and does not begin with `-`",
        );
    }
    let section = Section::open(node, SERVER, reading);
    let mcp = section.require("mcp", reading, endpoint);
    let credential = section.find("credential").and_then(|node| credential(node, reading));
    let tls = section
        .open_at("tls", SERVER_TLS, reading)
        .map(|tls| server_tls(&tls, reading))
        .unwrap_or_default();
    if section.find("tls").is_some()
        && mcp.as_ref().is_some_and(|url| url.scheme_str() != Some("https"))
    {
        reading.fault(section.place("tls"), "`tls` has no effect: the URL is not `https`");
    }
    let timeout = section.read("timeout", reading, duration).unwrap_or(Duration::from_secs(5 * 60));
    let idle = section.read("idle", reading, duration_or_none).flatten();
    let revisions = REVISIONS.map(|revision| (revision, revision));
    let minimum_version =
        section.read("minimum_version", reading, one_of(&revisions)).unwrap_or(revisions_first());
    let forward_headers = reading
        .list(section.find("forward_headers"), |reading, node| reading.take(node, forwarded));
    let name = Arc::from(key.name.as_str());
    let mcp = mcp?;
    let required = section.read("required", reading, boolean).unwrap_or(true);
    Some(Server {
        name,
        mcp,
        credential,
        tls,
        timeout,
        idle,
        minimum_version,
        forward_headers,
        required,
    })
}

const fn revisions_first() -> &'static str {
    let [first, ..] = REVISIONS;
    first
}

/// Whether a name can stand in a path, a label and a file name as it is.
pub fn is_server_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(plain)
}

fn credential(node: &Node, reading: &mut Reading<'_>) -> Option<Credential> {
    let section = Section::open(node, CREDENTIAL, reading);
    let header = section.require("header", reading, credential_header);
    let node = section.must("value", reading)?;
    let value = secret(node, reading)?;
    let Ok(mut value) = HeaderValue::from_str(value.expose()) else {
        reading.fault(node.at, "the secret has characters that a header cannot have");
        return None;
    };
    value.set_sensitive(true);
    Some(Credential { header: header?, value })
}

fn server_tls(section: &Section<'_>, reading: &mut Reading<'_>) -> ServerTls {
    let roots = section.find("roots").and_then(|node| reading.file(node));
    ServerTls { roots, identity: identity(section, reading) }
}

/// A certificate and its key, which only make sense together.
pub(super) fn identity(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Identity> {
    match (section.find("certificate"), section.find("key")) {
        (Some(certificate), Some(key)) => {
            let (certificate, key) = (reading.file(certificate), reading.file(key));
            Some(Identity { certificate: certificate?, key: key? })
        }
        (None, None) => None,
        _ => {
            reading.fault(section.at, "`certificate` and `key` need each other");
            None
        }
    }
}

fn header_name(node: &Node) -> Result<HeaderName, String> {
    let name = text(node)?;
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| "this is not a header's name".into())
}

// Framing and routing belong to the gate; what MCP says in headers is checked against the body.
fn is_ours(name: &HeaderName) -> bool {
    const OURS: &[&str] = &[
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "accept",
        "accept-encoding",
        "expect",
        "proxy-connection",
        "last-event-id",
    ];
    OURS.contains(&name.as_str()) || name.as_str().starts_with("mcp-")
}

fn credential_header(node: &Node) -> Result<HeaderName, String> {
    let name = header_name(node)?;
    if is_ours(&name) {
        return Err("this header is the gate's own; a credential goes into another".into());
    }
    Ok(name)
}

fn forwarded(node: &Node) -> Result<HeaderName, String> {
    let name = header_name(node)?;
    if ["authorization", "proxy-authorization", "cookie"].contains(&name.as_str()) {
        return Err("an agent's credential never goes to a server; use `credential`".into());
    }
    if is_ours(&name) {
        return Err("this header is the gate's own and cannot be forwarded by name".into());
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_name_can_stand_in_a_path() {
        for (name, fits) in [
            ("crm", true),
            ("0", true),
            ("a-b", true),
            ("-a", false),
            ("", false),
            ("Crm", false),
            ("a_b", false),
            ("a/b", false),
            ("..", false),
        ] {
            assert_eq!(is_server_name(name), fits, "{name}");
        }
        assert!(is_server_name(&"a".repeat(63)));
        assert!(!is_server_name(&"a".repeat(64)));
    }
}
