//! Where a request really comes from, behind proxies.

use http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies whose word counts.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    warned: AtomicBool,
}

impl Proxies {
    /// Those in these ranges.
    pub(crate) fn new(trusted: Vec<IpNet>) -> Self {
        Self { trusted, warned: AtomicBool::new(false) }
    }

    /// The client's address, and takes `X-Forwarded-For` out of the headers, so that nobody further in believes it.
    ///
    /// The header is read from its end, where the nearest proxy wrote: the first address that is not a trusted proxy's is
    /// the client's.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &mut HeaderMap) -> SocketAddr {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if !headers.contains_key(X_FORWARDED_FOR) {
            return peer;
        }
        let client = if self.trusts(peer.ip()) { self.forwarded(headers).unwrap_or(peer) } else { self.distrust(peer) };
        headers.remove(X_FORWARDED_FOR);
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|range| range.contains(&address))
    }

    fn forwarded(&self, headers: &HeaderMap) -> Option<SocketAddr> {
        let values: Vec<&str> =
            headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
        let mut nearest = None;
        for entry in values.iter().rev().flat_map(|value| value.rsplit(',')) {
            let Some(address) = parse(entry.trim()) else { break };
            nearest = Some(SocketAddr::new(address, 0));
            if !self.trusts(address) {
                break;
            }
        }
        nearest
    }

    fn distrust(&self, peer: SocketAddr) -> SocketAddr {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                proxy = %peer.ip(),
                "X-Forwarded-For is ignored, because its sender is not in client.trusted_proxies (said once)"
            );
        }
        peer
    }
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn parse(entry: &str) -> Option<IpAddr> {
    let address = entry
        .parse::<IpAddr>()
        .ok()
        .or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let proxies = Proxies::new(trusted.iter().map(|range| range.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        let client = proxies.client(SocketAddr::new(peer.parse().unwrap(), 4711), &mut headers);
        assert!(!headers.contains_key(X_FORWARDED_FOR));
        client.ip().to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(client(&["127.0.0.0/8"], "127.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&["127.0.0.0/8"], "198.51.100.1", &["203.0.113.9"]), "198.51.100.1");
        assert_eq!(client(&[], "127.0.0.1", &["203.0.113.9"]), "127.0.0.1");
    }

    #[test]
    fn what_the_client_wrote_itself_does_not_count() {
        assert_eq!(client(&["127.0.0.0/8"], "127.0.0.1", &["6.6.6.6, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&["127.0.0.0/8"], "127.0.0.1", &["6.6.6.6", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&["127.0.0.0/8"], "127.0.0.1", &["6.6.6.6, rubbish"]), "127.0.0.1");
    }

    #[test]
    fn chains_of_trusted_proxies_are_followed() {
        assert_eq!(
            client(&["127.0.0.0/8", "10.0.0.0/8"], "127.0.0.1", &["6.6.6.6, 203.0.113.9, 10.0.0.3"]),
            "203.0.113.9"
        );
        assert_eq!(client(&["::1/128"], "::1", &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(client(&["127.0.0.0/8"], "::ffff:127.0.0.1", &["203.0.113.9"]), "203.0.113.9");
    }
}
