//! May the gate connect there?
//!
//! Addresses that hand out a machine's own credentials, and spellings that hide which address is
//! meant, are refused: in the config here, and by the connector on the address that a name
//! resolved to ([`forbidden_address`]).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::Authority;

use super::address::{METADATA, embedded, forbidden_address};
use super::scalar;
use super::yaml::Node;

/// An absolute `http` or `https` URL without user, query or fragment.
pub(super) fn endpoint(node: &Node) -> Result<Uri, String> {
    checked(&scalar::text(node)?)
}

/// The same, for what nobody may read or change on the way: `https`, or plain on this machine.
pub(super) fn private_endpoint(node: &Node) -> Result<Uri, String> {
    private(endpoint(node)?)
}

/// Where to send something: like [`private_endpoint`], and it may have a query.
pub(super) fn webhook(text: &str) -> Result<Uri, String> {
    let (place, query) = text.split_once('?').unwrap_or((text, ""));
    checked(place)?;
    if query.contains(['#', '\\']) || !query.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("a URL here has no fragment and ASCII characters only".into());
    }
    private(text.parse().map_err(|_| "expected a URL such as `https://host/path?key=value`")?)
}

fn private(url: Uri) -> Result<Uri, String> {
    if is_private(&url) {
        return Ok(url);
    }
    Err("`https` only, lest it be read or changed on the way; plain `http` is for this machine"
        .into())
}

/// Whether nobody on the way can read or change what goes there.
pub(super) fn is_private(url: &Uri) -> bool {
    url.scheme_str() == Some("https") || is_loopback(url.host().unwrap_or_default())
}

/// Scheme, host and port of an absolute URL, without a slash at the end.
pub(super) fn origin_of(url: &Uri) -> String {
    let authority = url.authority().map(Authority::as_str).unwrap_or_default();
    format!("{}://{authority}", url.scheme_str().unwrap_or_default()).to_ascii_lowercase()
}

fn checked(text: &str) -> Result<Uri, String> {
    if text.contains(['#', '?', '\\']) || !text.is_ascii() {
        return Err("a URL here has no query, no fragment and ASCII characters only".into());
    }
    let url: Uri = text.parse().map_err(|_| "expected a URL such as `https://host/path`")?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err("expected a URL that begins with `http://` or `https://`".into());
    }
    let authority = url.authority().ok_or("the URL has no host")?;
    if authority.as_str().contains('@') {
        return Err("a URL here carries no user or password; use `credential`".into());
    }
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port != 0);
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return Err("the URL's port is not a number from 1 to 65535".into());
    }
    allowed_host(authority.host())?;
    Ok(url)
}

fn allowed_host(host: &str) -> Result<(), String> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr =
            inner.parse().map_err(|_| "the URL's host is not an IPv6 address")?;
        if embedded(address).is_some() {
            return Err("write an IPv4 address as such, not inside an IPv6 address".into());
        }
        return refuse(address.into());
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return refuse(address.into());
    }
    allowed_name(host)
}

fn allowed_name(host: &str) -> Result<(), String> {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
    if name.len() > 253 || !name.split('.').all(label) {
        return Err("the URL's host is neither a name nor an address".into());
    }
    // What a resolver may read as an IPv4 address (WHATWG URL, "ends in a number"; inet_aton).
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_hex = |rest: &str| rest.bytes().all(|b| b.is_ascii_hexdigit());
    if last.bytes().all(|b| b.is_ascii_digit()) || last.strip_prefix("0x").is_some_and(is_hex) {
        return Err("write an IPv4 address as four decimal numbers".into());
    }
    if ["metadata", "metadata.google.internal", "metadata.goog", "instance-data"]
        .contains(&name.as_str())
        || name.starts_with("instance-data.")
    {
        return Err(METADATA.into());
    }
    Ok(())
}

fn refuse(address: IpAddr) -> Result<(), String> {
    forbidden_address(address).map_or(Ok(()), |reason| Err(reason.into()))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d07_no_spelling_leads_to_a_metadata_address() {
        for (url, allowed) in [
            ("http://127.0.0.1:9000/mcp", true),
            ("https://crm.example.com/mcp", true),
            ("http://localhost:9000/mcp", true),
            ("http://[::1]:9000/mcp", true),
            ("http://10.0.0.7/mcp", true),
            ("http://crm/mcp", true),
            ("http://crm_1.svc.cluster.local./mcp", true),
            ("http://169.254.169.254/latest", false),
            ("http://169.254.0.1/", false),
            ("http://[fe80::1]/", false),
            ("http://[::ffff:169.254.169.254]/", false),
            ("http://[::ffff:127.0.0.1]/", false),
            ("http://[::ffff:a9fe:a9fe]/", false),
            ("http://[64:ff9b::a9fe:a9fe]/", false),
            ("http://[2002:a9fe:a9fe::]/", false),
            ("http://[fd00:ec2::254]/", false),
            ("http://0x7f.1/", false),
            ("http://0xa9fea9fe/", false),
            ("http://2852039166/", false),
            ("http://127.1/", false),
            ("http://0251.0376.0251.0376/", false),
            ("http://169.254.169.254./", false),
            ("http://1.2.3.0x4/", false),
            ("http://metadata.google.internal/", false),
            ("http://METADATA.google.internal./", false),
            ("http://instance-data.ec2.internal/", false),
            ("http://0.0.0.0:9000/", false),
            ("http://[::]/", false),
            ("http://100.100.100.200/", false),
            ("ftp://crm/mcp", false),
            ("file:///etc/passwd", false),
            ("/mcp", false),
            ("crm:9000", false),
            ("http://ann:pw@crm/mcp", false),
            ("http://crm/mcp?key=1", false),
            ("http://crm/mcp#x", false),
            ("http://crm:99999/mcp", false),
            ("http://crm:/mcp", false),
            ("http://crm:0/mcp", false),
            ("http://[::1]x/mcp", false),
            ("http://cr%6d/mcp", false),
            ("http://①②⑦.0.0.1/", false),
            ("http://a..b/", false),
            ("http:///mcp", false),
        ] {
            let outcome = checked(url);
            assert_eq!(outcome.is_ok(), allowed, "{url}: {outcome:?}");
        }
    }
}
