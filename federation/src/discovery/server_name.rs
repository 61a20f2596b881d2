//! Server names by their grammar.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::ids::MAX_SERVER_NAME_BYTES;

/// A server name, taken apart (appendices, "Server Name"). Names that differ in case are different names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName {
    text: String,
    host: Host,
    port: Option<u16>,
}

/// The host of a server name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IP literal.
    Ip(IpAddr),
    /// A DNS name, as it was written.
    Dns(String),
}

/// Why a text is not a server name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a server name: {because}")]
pub struct ServerNameError {
    /// The text, cut to a readable length.
    pub name: String,
    /// What is wrong with it.
    pub because: &'static str,
}

impl ServerName {
    /// Takes a server name apart.
    ///
    /// # Errors
    ///
    /// [`ServerNameError`] if it does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, ServerNameError> {
        let bad = |because| ServerNameError { name: text.chars().take(MAX_SERVER_NAME_BYTES).collect(), because };
        if text.len() > MAX_SERVER_NAME_BYTES {
            return Err(bad("it is longer than 255 bytes"));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']').ok_or_else(|| bad("the bracket is not closed"))?;
                let address =
                    address.parse::<Ipv6Addr>().map_err(|_| bad("there is no IPv6 address in the brackets"))?;
                let port = match rest.strip_prefix(':') {
                    None if rest.is_empty() => None,
                    None => return Err(bad("only a port can follow the bracket")),
                    Some(port) => Some(port),
                };
                (Host::Ip(address.into()), port)
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                if host.is_empty() {
                    return Err(bad("it has no host"));
                }
                if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.') {
                    return Err(bad("a host has letters, digits, hyphens and dots only"));
                }
                let host = match host.parse::<Ipv4Addr>() {
                    Ok(address) => Host::Ip(address.into()),
                    Err(_) => Host::Dns(host.to_owned()),
                };
                (host, port)
            }
        };
        let port = port.map(parse_port).transpose().map_err(bad)?;
        Ok(Self { text: text.to_owned(), host, port })
    }

    /// The whole name, as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, if the name has one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for ServerName {
    type Err = ServerNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_port(port: &str) -> Result<u16, &'static str> {
    const NOT_A_PORT: &str = "a port is a number of one to five digits, up to 65535";
    if port.is_empty() || port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NOT_A_PORT);
    }
    port.parse().map_err(|_| NOT_A_PORT)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_specification() {
        let dns = |name: &str| Host::Dns(name.to_owned());
        let ip = |address: &str| Host::Ip(address.parse().unwrap());
        for (text, host, port) in [
            ("matrix.org", dns("matrix.org"), None),
            ("matrix.org:8888", dns("matrix.org"), Some(8888)),
            ("1.2.3.4", ip("1.2.3.4"), None),
            ("1.2.3.4:1234", ip("1.2.3.4"), Some(1234)),
            ("[1234:5678::abcd]", ip("1234:5678::abcd"), None),
            ("[1234:5678::abcd]:5678", ip("1234:5678::abcd"), Some(5678)),
            ("MATRIX.org", dns("MATRIX.org"), None),
            ("localhost", dns("localhost"), None),
            ("example.org:08448", dns("example.org"), Some(8448)),
        ] {
            let name = ServerName::parse(text).unwrap();
            assert_eq!((name.host(), name.port(), name.as_str()), (&host, port, text));
        }
    }

    #[test]
    fn what_is_not_a_server_name() {
        for text in [
            "",
            ":8448",
            "a:b",
            "a:",
            "a:123456",
            "a:65536",
            "a:+1",
            "a:1:2",
            "a b",
            "a/b",
            "a_b",
            "ä.example",
            "a@b",
            "[::1",
            "::1",
            "[::1]8448",
            "[::1]:",
            "[1.2.3.4]",
            "[]",
            "[fe80::1%eth0]",
            "a\nb",
            "a\0",
        ] {
            assert!(ServerName::parse(text).is_err(), "{text:?}");
        }
        assert!(ServerName::parse(&"a".repeat(255)).is_ok());
        assert!(ServerName::parse(&"a".repeat(256)).is_err());
    }
}
