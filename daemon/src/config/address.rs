//! Which addresses and host names are public, and which belong to a private network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::is_in;

/// IPv4 ranges that are not public (IANA's special-purpose registries), with their prefix lengths.
const SPECIAL_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's host agent
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local, cloud metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, broadcast
];

/// Ranges within 2000::/3 that are special or embed an IPv4 address. Only 2000::/3 is allocated for public use; every address outside it
/// (loopback, mapped, NAT64, unique-local, link-local, multicast) counts as not public.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Where plain http may go: this machine and private networks.
const PRIVATE: [(IpAddr, u8); 7] = [
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10), // carrier-grade NAT, and overlay networks that use its range
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7), // unique local
];

/// Endings of host names that resolve only within a private network.
const INSIDE: [&str; 9] =
    ["localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "home.arpa"];

/// Whether an address belongs to the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|(net, bits)| is_in(address, IpAddr::V4(*net), *bits)),
        IpAddr::V6(_) => {
            let allocated = IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0));
            is_in(address, allocated, 3)
                && !SPECIAL_V6.iter().any(|(net, bits)| is_in(address, IpAddr::V6(*net), *bits))
        }
    }
}

/// Whether an address is of loopback or a private network. Other special addresses are neither that nor public: link-local ones reach whatever
/// is plugged in, and those for benchmarks and documentation are routed where an operator has no say.
pub fn is_loopback_or_private(address: IpAddr) -> bool {
    // An IPv4 address that is written as one of IPv6 leads to the same host.
    let address = address.to_canonical();
    PRIVATE.iter().any(|(net, bits)| is_in(address, *net, *bits))
}

/// Whether a host name belongs to a private network: it has no dot, or one of the endings in `INSIDE`.
pub fn is_inside(name: &str) -> bool {
    !name.contains('.')
        || INSIDE.iter().any(|ending| {
            name.strip_suffix(ending).is_some_and(|front| front.is_empty() || front.ends_with('.'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_and_private_networks_and_for_nothing_else_that_is_special() {
        let is = |address: &str| is_loopback_or_private(address.parse().unwrap());
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "10.255.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.7.7",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "::ffff:10.0.0.1",
            "fc00::1",
            "fdff::1",
        ] {
            assert!(is(address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "8.8.8.8",
            "100.128.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "172.32.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::2",
            "::ffff:8.8.8.8",
            "64:ff9b::a00:1",
            "fe80::1",
            "ff02::1",
            "2606:4700::1",
        ] {
            assert!(!is(address), "{address}");
        }
    }
}
