//! Where do we never connect to?
//!
//! To link-local addresses and the metadata services of clouds, which hand credentials to whoever
//! asks, and to addresses of nobody in particular. Loopback is allowed: a sidecar's tools live
//! there. An address is judged when the config is read, and again each time that a name led to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const METADATA: &str =
    "this is where a cloud hands out the machine's credentials; refused";
const LINK_LOCAL: &str = "link-local addresses are refused; machines' credentials live there";
const NOBODY: &str = "nobody in particular has this address; write the server's own";

/// Why an address is never connected to, whatever name led there; `None` if it may be.
pub fn forbidden_address(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => forbidden_v4(inner),
            None => forbidden_v6(address),
        },
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [169, 254, ..] => Some(LINK_LOCAL),
        // Alibaba Cloud, Azure's wire server, Oracle Cloud.
        [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => Some(METADATA),
        [0, ..] | [224..=239, ..] | [255, 255, 255, 255] => Some(NOBODY),
        _ => None,
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0xfe80..=0xfebf, ..] => Some(LINK_LOCAL),
        // AWS and Google Cloud.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => {
            Some(METADATA)
        }
        [0, 0, 0, 0, 0, 0, 0, 0] | [0xff00..=0xffff, ..] => Some(NOBODY),
        _ => None,
    }
}

// IPv4-mapped and -compatible (RFC 4291, 2.5.5), translated (RFC 6052; RFC 2765) and 6to4.
pub(super) fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d07_some_addresses_are_forbidden_however_written() {
        for (address, forbidden) in [
            ("169.254.169.254", true),
            ("169.254.0.1", true),
            ("169.254.170.2", true),
            ("100.100.100.200", true),
            ("168.63.129.16", true),
            ("192.0.0.192", true),
            ("fe80::1", true),
            ("febf::1", true),
            ("fd00:ec2::254", true),
            ("fd20:ce::254", true),
            ("::ffff:169.254.169.254", true),
            ("::ffff:a9fe:a9fe", true),
            ("::169.254.169.254", true),
            ("64:ff9b::169.254.169.254", true),
            ("2002:a9fe:a9fe::1", true),
            ("::ffff:0:169.254.169.254", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("ff02::1", true),
            ("0.0.0.0", true),
            ("::", true),
            ("::ffff:0.0.0.0", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("10.0.0.1", false),
            ("169.253.255.255", false),
            ("169.255.0.0", false),
            ("fec0::1", false),
            ("fd00:ec2::253", false),
            ("2001:db8::1", false),
        ] {
            let reason = forbidden_address(address.parse().unwrap());
            assert_eq!(reason.is_some(), forbidden, "{address}");
        }
    }
}
