//! Which addresses outbound connections may go to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Which addresses the operator allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard {
    pub(crate) allow_private_addresses: bool,
}

impl Guard {
    /// What kind of address this is, if connections must not go there.
    pub(crate) fn refuses(self, address: IpAddr) -> Option<&'static str> {
        if self.allow_private_addresses { None } else { not_public(address) }
    }
}

/// The IPv4 blocks of the IANA special-purpose registry (RFC 6890 and its successors) that are not global, and multicast.
const NOT_PUBLIC_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "an address of \"this network\""),
    (v4(10, 0, 0, 0, 8), "a private address"),
    (v4(100, 64, 0, 0, 10), "a shared address behind a provider's NAT"),
    (v4(127, 0, 0, 0, 8), "a loopback address"),
    (v4(169, 254, 0, 0, 16), "a link-local address"),
    (v4(172, 16, 0, 0, 12), "a private address"),
    (v4(192, 0, 0, 0, 24), "an address reserved for protocols"),
    (v4(192, 0, 2, 0, 24), "an address for documentation"),
    (v4(192, 88, 99, 0, 24), "a 6to4 relay address"),
    (v4(192, 168, 0, 0, 16), "a private address"),
    (v4(198, 18, 0, 0, 15), "an address for benchmarks"),
    (v4(198, 51, 100, 0, 24), "an address for documentation"),
    (v4(203, 0, 113, 0, 24), "an address for documentation"),
    (v4(224, 0, 0, 0, 4), "a multicast address"),
    (v4(240, 0, 0, 0, 4), "a reserved or broadcast address"),
];

/// Of IPv6, `2000::/3` is what is given out for global use; these blocks within it are not.
const NOT_PUBLIC_V6: &[(Ipv6Net, &str)] = &[
    (v6(0x2001, 0, 23), "an address reserved for protocols (Teredo, ORCHID, benchmarks)"),
    (v6(0x2001, 0xdb8, 32), "an address for documentation"),
    (v6(0x3fff, 0, 20), "an address for documentation"),
];

const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 16);
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
const UNIQUE_LOCAL: Ipv6Net = v6(0xfc00, 0, 7);
const LINK_LOCAL: Ipv6Net = v6(0xfe80, 0, 10);

fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => not_public_v4(address),
        IpAddr::V6(address) => not_public_v6(address),
    }
}

fn not_public_v4(address: Ipv4Addr) -> Option<&'static str> {
    NOT_PUBLIC_V4.iter().find(|(block, _)| block.contains(&address)).map(|(_, kind)| *kind)
}

fn not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    // Addresses that carry an IPv4 address lead there.
    if let Some(inner) = address.to_ipv4_mapped() {
        return not_public_v4(inner);
    }
    let [_, first, second, .., second_last, last] = address.segments();
    if NAT64.contains(&address) {
        return not_public_v4(join(second_last, last));
    }
    if SIX_TO_FOUR.contains(&address) {
        return not_public_v4(join(first, second));
    }
    if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if UNIQUE_LOCAL.contains(&address) {
        Some("a private address")
    } else if LINK_LOCAL.contains(&address) {
        Some("a link-local address")
    } else if !GLOBAL_V6.contains(&address) {
        Some("not an address for global use")
    } else {
        NOT_PUBLIC_V6.iter().find(|(block, _)| block.contains(&address)).map(|(_, kind)| *kind)
    }
}

fn join(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: u16, second: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STRICT: Guard = Guard { allow_private_addresses: false };

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert!(STRICT.refuses(address.parse().unwrap()).is_some(), "{address} should be refused");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2001:200::1",
            "2002:101:101::1",
            "2606:4700:4700::1111",
            "2a00:1450::1",
        ] {
            assert_eq!(STRICT.refuses(address.parse().unwrap()), None, "{address} should be allowed");
        }
    }

    #[test]
    fn the_operator_can_allow_them() {
        let open = Guard { allow_private_addresses: true };
        for address in ["127.0.0.1", "::1", "10.0.0.1", "fd00::1"] {
            assert_eq!(open.refuses(address.parse().unwrap()), None);
        }
    }
}
