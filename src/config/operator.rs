//! Where do people sign, and how do they sign in?

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;

use super::listeners::OPERATOR_LISTEN;
use super::reviewers::name_or_group;
use super::scalar::{listener, text, within};
use super::secret::{Secret, secret};
use super::section::{Reading, Section};
use super::url::{endpoint, is_private, origin_of, private_endpoint};
use super::yaml::Node;

pub(super) const OPERATOR: &[&str] = &["listen", "url", "oidc", "session"];
pub(super) const OIDC: &[&str] =
    &["issuer", "client_id", "client_secret", "id_claim", "groups_claim", "scopes", "allow"];

/// The most names of people and groups who may come in.
const MAX_ALLOWED: usize = 1000;
/// The most scopes that are asked for.
const MAX_SCOPES: usize = 32;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The listener of those who operate and sign: pages, API, metrics, probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How people reach it: scheme, host and port, without a slash at the end.
    pub url: Option<String>,
    /// Whom people sign in with.
    pub oidc: Option<Oidc>,
    /// How long a sign-in lasts.
    pub session: Duration,
}

impl Default for Operator {
    fn default() -> Self {
        Self { listen: OPERATOR_LISTEN, url: None, oidc: None, session: DAY / 2 }
    }
}

impl Operator {
    /// How people reach it, where it is bound here; links begin with this, without a slash.
    pub fn url_at(&self, bound: SocketAddr) -> String {
        self.url.clone().unwrap_or_else(|| format!("http://{bound}"))
    }

    /// The host in `url`: browsers name it, so the listener has to know it.
    pub fn host(&self) -> Option<String> {
        let url: Uri = self.url.as_ref()?.parse().ok()?;
        url.host().map(str::to_owned)
    }
}

/// Whom people sign in with (OpenID Connect Core 1.0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// The issuer, as it writes itself: `https`, or plain on this machine.
    pub issuer: String,
    /// What it calls us.
    pub client_id: String,
    /// What we prove that with; a public client has none.
    pub client_secret: Option<Secret>,
    /// The claim that names a person; an `email` counts only if it is verified.
    pub id_claim: String,
    /// The claim that lists their groups.
    pub groups_claim: String,
    /// What we ask to be told; `openid` is among them.
    pub scopes: Vec<String>,
    /// Who of them may come in: `ann@example.com`, `group:payments`; all of them, if empty.
    pub allow: BTreeSet<String>,
}

pub(super) fn operator(root: &Section<'_>, reading: &mut Reading<'_>) -> Operator {
    let default = Operator::default();
    let Some(section) = root.open_at("operator", OPERATOR, reading) else { return default };
    let listen = section.read("listen", reading, listener).unwrap_or(default.listen);
    let url = section.read("url", reading, public_url);
    let oidc = section.find("oidc").and_then(|node| oidc(node, reading));
    let private = url.as_ref().map_or(listen.ip().is_loopback(), is_private);
    if oidc.is_some() && !private && (url.is_some() || !section.was_meant("url")) {
        reading.fault(
            section.place("url"),
            "whoever listens on the way could sign in as others; \
             with `oidc`, say in `url` how people get here by `https`",
        );
    }
    let named = match root.find("reviewers") {
        Some(node) => !node.value.is_empty_list(),
        None => root.was_meant("reviewers"),
    };
    if !named && !section.was_meant("oidc") && !listen.ip().is_loopback() {
        reading.fault(
            section.place("listen"),
            "whoever reaches this address could sign; name somebody in `reviewers` or \
             `operator.oidc`, or listen on 127.0.0.1",
        );
    }
    let session = section.read("session", reading, within(MINUTE..=DAY * 30));
    let url = url.map(|url| origin_of(&url));
    Operator { listen, url, oidc, session: session.unwrap_or(default.session) }
}

// The pages are at the root of their host, so that no other page there gets their cookies.
fn public_url(node: &Node) -> Result<Uri, String> {
    let url = endpoint(node)?;
    if url.path() == "/" {
        return Ok(url);
    }
    Err("people reach this at the root of a host, such as `https://review.example.com`".into())
}

fn oidc(node: &Node, reading: &mut Reading<'_>) -> Option<Oidc> {
    let section = Section::open(node, OIDC, reading);
    // Kept as it is written: what a token says must be the same to the letter.
    let issuer = section.require("issuer", reading, |node| {
        private_endpoint(node)?;
        text(node)
    });
    let client_id = section.require("client_id", reading, text);
    let client_secret = section.find("client_secret").map(|node| secret(node, reading));
    let id_claim = section.read("id_claim", reading, text).unwrap_or_else(|| "email".into());
    let groups_claim =
        section.read("groups_claim", reading, text).unwrap_or_else(|| "groups".into());
    let scopes = scopes(&section, reading);
    let allow = allow(&section, reading);
    let client_secret = match client_secret {
        Some(secret) => Some(secret?),
        None => None,
    };
    Some(Oidc {
        issuer: issuer?,
        client_id: client_id?,
        client_secret,
        id_claim,
        groups_claim,
        scopes,
        allow,
    })
}

fn scopes(section: &Section<'_>, reading: &mut Reading<'_>) -> Vec<String> {
    let Some(node) = section.find("scopes") else {
        return ["openid", "email", "profile"].map(str::to_owned).into();
    };
    let before = reading.problems.len();
    let scopes = reading.list(Some(node), |reading, node| reading.take(node, scope));
    if before != reading.problems.len() {
        return scopes;
    }
    if !scopes.iter().any(|scope| scope == "openid") {
        reading.fault(node.at, "without `openid` among the scopes nobody is told who signs in");
    }
    if scopes.len() > MAX_SCOPES {
        reading.fault(node.at, format!("ask for at most {MAX_SCOPES} scopes"));
    }
    scopes
}

fn allow(section: &Section<'_>, reading: &mut Reading<'_>) -> BTreeSet<String> {
    let Some(node) = section.find("allow") else { return BTreeSet::new() };
    let names = reading.list(Some(node), |reading, node| reading.take(node, name_or_group));
    // Nobody is not everybody.
    if node.value.is_empty_list() || names.len() > MAX_ALLOWED {
        let fault = format!("name 1 to {MAX_ALLOWED}, or leave `allow` out to let all of them in");
        reading.fault(node.at, fault);
    }
    names.into_iter().collect()
}

// RFC 6749, section 3.3.
fn scope(node: &Node) -> Result<String, String> {
    let scope = text(node)?;
    if scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
        return Ok(scope);
    }
    Err("a scope is one word, such as `openid`".into())
}
