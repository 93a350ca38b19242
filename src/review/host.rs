//! Is this page called by a name of ours?
//!
//! DNS rebinding makes a browser send its user's requests here under a name the attacker owns. An
//! address literal cannot be rebound, nor can `localhost`; any other name has to be configured.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::uri::Authority;
use http::{Request, header};

/// Whether the request names its host once, and by a name of ours.
pub(super) fn is_ours<B>(request: &Request<B>, configured: &[String]) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    // A request line in absolute form overrides `Host` (RFC 9112, 3.2.2): let them agree.
    let target = request.uri().authority().map(Authority::as_str);
    host.to_str().is_ok_and(|host| {
        target.is_none_or(|target| target.eq_ignore_ascii_case(host)) && names_us(host, configured)
    })
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
            assert_eq!(is_ours(&request.body(()).unwrap(), &[]), ours, "{target} {hosts:?}");
        }
    }
}
