//! Who is told of a hold?

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;

use super::operator::Operator;
use super::scalar::{boolean, one_of, text};
use super::secret::secret;
use super::section::{Reading, Section};
use super::url::{origin_of, webhook};
use super::yaml::{Node, Value};

pub(super) const NOTIFY: &[&str] = &["url", "secret", "format", "arguments"];

/// The most webhooks that are told.
const MAX_WEBHOOKS: usize = 32;
/// The shortest key that signs, in bytes (Standard Webhooks, "Signature scheme").
const MIN_KEY_BYTES: usize = 24;
/// What a secret begins with that is base64.
const ENCODED: &str = "whsec_";

/// Somebody who is told of holds, by a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// Where it goes.
    pub url: WebhookUrl,
    /// What it is signed with; only Slack's own need none.
    pub secret: Option<SigningKey>,
    /// Its body.
    pub format: NotifyFormat,
    /// Whether the call's arguments are sent, and to people what else the agent wrote of it.
    pub arguments: bool,
}

/// The body of a webhook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NotifyFormat {
    /// An event as Standard Webhooks has it, for machines.
    #[default]
    Standard,
    /// A message for Slack, and what reads the same.
    Slack,
}

/// Where a webhook goes: `https`, or plain on this machine. Who knows the path of one can often
/// write there, so that only its origin is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Uri);

impl WebhookUrl {
    /// All of it, for the one place that connects.
    pub const fn expose(&self) -> &Uri {
        &self.0
    }

    /// One that the config would refuse, to see that the connector does as well.
    #[cfg(test)]
    pub(crate) const fn unchecked(url: Uri) -> Self {
        Self(url)
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&origin_of(&self.0))
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({self}/…)")
    }
}

/// What webhooks are signed with. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Arc<[u8]>);

impl SigningKey {
    /// The key itself, for the one place that signs.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    // `whsec_` and base64, or the bytes as they are.
    fn of(secret: &str) -> Result<Self, String> {
        let key = match secret.strip_prefix(ENCODED) {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| "what follows `whsec_` in the secret is not base64")?,
            None => secret.as_bytes().to_vec(),
        };
        if key.len() < MIN_KEY_BYTES {
            return Err(format!(
                "the secret is shorter than {MIN_KEY_BYTES} bytes; \
                 make one with `echo whsec_$(openssl rand -base64 32)`"
            ));
        }
        Ok(Self(key.into()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

pub(super) fn webhooks(
    root: &Section<'_>,
    operator: &Operator,
    reading: &mut Reading<'_>,
) -> Vec<Notify> {
    let webhooks = reading.list(root.find("notify"), |reading, node| notify(node, reading));
    if webhooks.len() > MAX_WEBHOOKS {
        reading.fault(root.place("notify"), format!("name at most {MAX_WEBHOOKS} webhooks"));
    }
    if !webhooks.is_empty() && operator.url.is_none() && operator.listen.ip().is_unspecified() {
        reading.fault(
            root.place("notify"),
            "what is sent has a link to the page; say in `operator.url` how people get there",
        );
    }
    webhooks
}

fn notify(node: &Node, reading: &mut Reading<'_>) -> Option<Notify> {
    const FORMATS: &[(&str, NotifyFormat)] =
        &[("standard", NotifyFormat::Standard), ("slack", NotifyFormat::Slack)];
    let section = Section::open(node, NOTIFY, reading);
    let url = section.must("url", reading).and_then(|node| url(node, reading));
    let format = match section.find("format") {
        Some(node) => reading.take(node, one_of(FORMATS)),
        None => Some(NotifyFormat::default()),
    };
    let key = section.find("secret").map(|node| key(node, reading));
    if key.is_none() && format == Some(NotifyFormat::Standard) && !section.was_meant("secret") {
        reading.fault(section.at, "`secret` is missing; only `format: slack` goes without");
        return None;
    }
    let arguments = section.read("arguments", reading, boolean).unwrap_or(false);
    let secret = match key {
        Some(key) => Some(key?),
        None => None,
    };
    Some(Notify { url: url?, secret, format: format?, arguments })
}

// In the open, or by reference where knowing it is enough to write there.
fn url(node: &Node, reading: &mut Reading<'_>) -> Option<WebhookUrl> {
    if !matches!(node.value, Value::Map(_)) {
        return reading.take(node, |node| webhook(&text(node)?)).map(WebhookUrl);
    }
    let referred = secret(node, reading)?;
    if !reading.with_secrets {
        // Nothing is sent where secrets are not read.
        return Some(WebhookUrl(Uri::from_static("https://unread.invalid/")));
    }
    reading.take(node, |_| webhook(referred.expose())).map(WebhookUrl)
}

fn key(node: &Node, reading: &mut Reading<'_>) -> Option<SigningKey> {
    let secret = secret(node, reading)?;
    reading.take(node, |_| SigningKey::of(secret.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_base64_after_its_prefix_and_raw_without() {
        // The example of the Standard Webhooks libraries.
        let known = SigningKey::of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(hex::encode(known.expose()), "31f290f6bf06298aab4f08d43c3f082cf648a362da2da4b0");
        let raw = "k7Qw9ZpL2mXv4RtYk7Qw9ZpL";
        assert_eq!(SigningKey::of(raw).unwrap().expose(), raw.as_bytes());
        for bad in ["k7Qw9ZpL2mXv4RtYk7Qw9Zp", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa==", "whsec_é"]
        {
            assert!(SigningKey::of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_origin_of_a_webhook_is_shown() {
        let url = WebhookUrl(webhook("https://hooks.example.com/T0/hunter2?sig=hunter2").unwrap());
        assert_eq!(url.to_string(), "https://hooks.example.com");
        assert_eq!(format!("{url:?}"), "WebhookUrl(https://hooks.example.com/…)");
    }
}
