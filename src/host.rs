//! Are we called by a name of ours?
//!
//! DNS rebinding makes a browser send its user's requests here under a name the attacker owns. An
//! address literal cannot be rebound, nor can `localhost`; any other name has to be configured.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::request::Parts;
use http::uri::Authority;
use http::{Version, header};

/// Whether the request names its host once, and by a name of ours.
pub fn is_ours(head: &Parts, configured: &[String]) -> bool {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    // A request line in absolute form overrides `Host` (RFC 9112, 3.2.2), and in HTTP/2
    // `:authority` takes its place: where both are there, let them agree.
    let target = head.uri.authority().map(Authority::as_str);
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        (None, None) if head.version == Version::HTTP_2 => target,
        _ => None,
    };
    host.is_some_and(|host| {
        target.is_none_or(|target| target.eq_ignore_ascii_case(host)) && names_us(host, configured)
    })
}

/// Whether a browser's origin is a page of this very machine.
pub fn is_local_origin(origin: &str) -> bool {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let Some(Ok(authority)) = rest.map(str::parse::<Authority>) else { return false };
    !origin.contains('@') && matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]")
}

fn names_us(host: &str, configured: &[String]) -> bool {
    if host.contains('@') {
        return false;
    }
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let six = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok()
        || six.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        || configured.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn c08_only_addresses_localhost_and_configured_names_are_ours() {
        let configured = ["gate.pods.example".to_owned()];
        for (host, ours) in [
            ("127.0.0.1:8701", true),
            ("10.1.2.3", true),
            ("[::1]:8701", true),
            ("localhost", true),
            ("LOCALHOST:8701", true),
            ("gate.pods.example", true),
            ("Gate.Pods.Example:8701", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("evil.gate.pods.example", false),
            ("gate.pods.example.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evil.example@127.0.0.1", false),
            ("0x7f.1", false),
            ("[::1", false),
            ("", false),
        ] {
            assert_eq!(names_us(host, &configured), ours, "{host}");
        }
    }

    #[test]
    fn the_host_stands_there_once_and_agrees_with_the_target() {
        for (target, hosts, ours) in [
            ("/metrics", &["localhost"][..], true),
            ("/metrics", &[], false),
            ("/metrics", &["localhost", "localhost"], false),
            ("http://localhost/metrics", &["localhost"], true),
            ("http://evil.example/metrics", &["localhost"], false),
            ("http://localhost/metrics", &["evil.example"], false),
        ] {
            let mut request = Request::get(target);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            let head = request.body(()).unwrap().into_parts().0;
            assert_eq!(is_ours(&head, &[]), ours, "{target} {hosts:?}");
        }
    }

    #[test]
    fn c09_only_pages_of_this_machine_are_local() {
        for (origin, local) in [
            ("http://localhost", true),
            ("http://localhost:6274", true),
            ("https://127.0.0.1:3000", true),
            ("http://[::1]:3000", true),
            ("null", false),
            ("", false),
            ("http://localhost.evil", false),
            ("http://evil.localhost", false),
            ("http://127.0.0.1.evil.example", false),
            ("http://localhost@evil.example", false),
            ("http://evil.example/http://localhost", false),
            ("ftp://localhost", false),
            ("file://", false),
        ] {
            assert_eq!(is_local_origin(origin), local, "{origin}");
        }
    }
}
