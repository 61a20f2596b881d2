//! What a key can hold: one trait that reads a value from TOML or from text (environment and flags), and the types.

use ipnet::IpNet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;
use toml::de::DeValue;

/// A value as a source gives it.
pub(crate) enum Raw<'a> {
    /// From the environment or a flag.
    Text(&'a str),
    /// From a file.
    Toml(&'a DeValue<'a>),
}

/// Something that a key can hold.
pub(crate) trait Value: Sized {
    /// What a right value is, as the end of the sentence "this must be …".
    fn expected() -> String;

    /// Reads from text.
    ///
    /// # Errors
    /// A sentence without a subject that says why the text is wrong: "is not …".
    fn from_text(text: &str) -> Result<Self, String>;

    /// Reads from a file; a TOML string unless the type says otherwise.
    ///
    /// # Errors
    /// As [`Value::from_text`].
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) => Self::from_text(text),
            other => Err(not_expected::<Self>(&describe(other))),
        }
    }

    /// This value in TOML, for the sample; nothing where no value is the default.
    fn to_toml(&self) -> Option<String>;

    /// Reads from either.
    ///
    /// # Errors
    /// As [`Value::from_text`].
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        match raw {
            Raw::Text(text) => Self::from_text(text),
            Raw::Toml(value) => Self::from_toml(value),
        }
    }
}

fn not_expected<T: Value>(what: &str) -> String {
    format!("{what} is wrong here: this must be {}", T::expected())
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quote(text),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => format!("the date {value}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Text as a TOML basic string.
pub(crate) fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Value for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| not_expected::<Self>(&quote(text)))
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Boolean(value) => Ok(*value),
            other => Err(not_expected::<Self>(&describe(other))),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for u64 {
    fn expected() -> String {
        "a whole number, 0 or more".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| not_expected::<Self>(&quote(text)))
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Integer(number) => {
                u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| not_expected::<Self>(&describe(value)))
            }
            other => Err(not_expected::<Self>(&describe(other))),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// How many of something: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u32);

impl Value for Count {
    fn expected() -> String {
        format!("a whole number from 1 to {}", u32::MAX)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(0) | Err(_) => Err(not_expected::<Self>(&quote(text))),
            Ok(number) => Ok(Self(number)),
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Integer(number) => match u32::from_str_radix(number.as_str(), number.radix()) {
                Ok(0) | Err(_) => Err(not_expected::<Self>(&describe(value))),
                Ok(number) => Ok(Self(number)),
            },
            other => Err(not_expected::<Self>(&describe(other))),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

impl Value for PathBuf {
    fn expected() -> String {
        "a path, in quotes".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err(not_expected::<Self>("an empty string")) } else { Ok(Self::from(text)) }
    }

    fn to_toml(&self) -> Option<String> {
        Some(quote(&self.to_string_lossy()))
    }
}

/// Optional keys: an empty text (an environment variable that is set but empty) means not given.
impl<T: Value> Value for Option<T> {
    fn expected() -> String {
        T::expected()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::from_text(text).map(Some) }
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        T::from_toml(value).map(Some)
    }

    fn to_toml(&self) -> Option<String> {
        self.as_ref().and_then(Value::to_toml)
    }
}

/// Lists: in text separated by commas; in TOML an array, or a single value for a list of one.
impl<T: Value> Value for Vec<T> {
    fn expected() -> String {
        format!("a list, each entry {}", T::expected())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        all_right(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(T::from_text))
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Array(entries) => all_right(entries.iter().map(|entry| T::from_toml(entry.get_ref()))),
            DeValue::Table(_) => Err(not_expected::<Self>("a table")),
            single => T::from_toml(single).map(|entry| vec![entry]),
        }
    }

    fn to_toml(&self) -> Option<String> {
        let entries: Vec<String> = self.iter().filter_map(Value::to_toml).collect();
        Some(format!("[{}]", entries.join(", ")))
    }
}

/// The entries of a list, or what is wrong with each that is.
fn all_right<T>(entries: impl Iterator<Item = Result<T, String>>) -> Result<Vec<T>, String> {
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Ok(entry) => right.push(entry),
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(right) } else { Err(wrong.join("; ")) }
}

/// A string that must not appear in logs or errors.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

impl Value for Secret {
    fn expected() -> String {
        "a string, in quotes".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err(not_expected::<Self>("an empty string")) } else { Ok(Self(text.to_owned())) }
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::String(text) => Self::from_text(text),
            // Not `describe`: it would print what may be a secret given as a number.
            _ => Err(not_expected::<Self>("what is given")),
        }
    }

    fn to_toml(&self) -> Option<String> {
        None
    }
}

/// Types that are a checked string: the name, what it must be, and the check.
macro_rules! checked_text {
    ($( $(#[$doc:meta])* $name:ident, $expected:literal, $check:expr; )*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) String);

        impl Value for $name {
            fn expected() -> String {
                $expected.to_owned()
            }

            fn from_text(text: &str) -> Result<Self, String> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(not_expected::<Self>(&quote(text))) }
            }

            fn to_toml(&self) -> Option<String> {
                Some(quote(&self.0))
            }
        }
    )* };
}

checked_text! {
    /// A server name (appendices, "Server Name").
    ServerName,
    "a server name: a host name or IP address, and a port if it is not 8448, such as \"example.org\" or \"localhost:8448\"",
    is_server_name;
    /// An address to listen on.
    Listen,
    "an address and a port, such as \"127.0.0.1:8008\", \"[::]:8008\" or \"localhost:8008\"",
    is_listen_address;
    /// An HTTP or HTTPS base URL.
    HttpUrl,
    "a URL that begins with https:// or http://, such as \"https://matrix.example.org\"",
    is_http_url;
    /// A TURN or STUN URI (RFC 7065, RFC 7064).
    TurnUri,
    "a TURN URI, such as \"turn:turn.example.org?transport=udp\" or \"turns:turn.example.org\"",
    |text| ["turn:", "turns:", "stun:", "stuns:"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    /// Directives of what is logged.
    LogLevel,
    "error, warn, info, debug or trace, or a list of levels by module, such as \"info,federation=debug\"",
    is_log_level;
}

impl Listen {
    /// The addresses that it names; `localhost` may name two.
    ///
    /// # Errors
    /// If it names none.
    // A name of this machine, looked up before there is a world to look it up in.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(self.0.to_socket_addrs()?.collect())
    }
}

/// Types that are one of a few words.
macro_rules! choice {
    ($( $(#[$doc:meta])* $name:ident { $( $(#[$vdoc:meta])* $variant:ident = $word:literal ),* } )*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $( $(#[$vdoc])* $variant ),* }

        impl $name {
            const WORDS: &'static [&'static str] = &[$($word),*];
        }

        impl Value for $name {
            fn expected() -> String {
                let quoted: Vec<String> = Self::WORDS.iter().map(|word| quote(word)).collect();
                format!("one of {}", quoted.join(", "))
            }

            fn from_text(text: &str) -> Result<Self, String> {
                match text {
                    $( $word => Ok(Self::$variant), )*
                    _ => {
                        let hint = super::nearest(text, Self::WORDS.iter().copied());
                        Err(not_expected::<Self>(&quote(text)) + &hint.map(|word| format!(" (did you mean {}?)", quote(word))).unwrap_or_default())
                    }
                }
            }

            fn to_toml(&self) -> Option<String> {
                Some(quote(match self { $( Self::$variant => $word ),* }))
            }
        }
    )* };
}

choice! {
    /// Who may make an account.
    RegistrationMode {
        /// Anyone.
        Open = "open",
        /// Holders of a token.
        Token = "token",
        /// Nobody but the administrator.
        Closed = "closed"
    }
    /// What log lines look like.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json"
    }
}

/// An address or a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Network(pub(crate) IpNet);

impl Value for Network {
    fn expected() -> String {
        "an IP address or a range of them, such as \"127.0.0.1\" or \"10.0.0.0/8\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        IpNet::from_str(text)
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map(Self)
            .map_err(|_| not_expected::<Self>(&quote(text)))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quote(&self.0.to_string()))
    }
}

/// The longest server name that leaves room for anything in a user id of 255 bytes (appendices, "User Identifiers").
const MAX_SERVER_NAME: usize = 230;

fn is_server_name(text: &str) -> bool {
    if text.len() > MAX_SERVER_NAME {
        return false;
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match port.strip_prefix(':') {
            Some(port) => return is_port(port),
            None => return port.is_empty(),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
        && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn is_listen_address(text: &str) -> bool {
    if text.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    // Colons in what is left would be an IPv6 address without brackets.
    !host.is_empty()
        && host.bytes().any(|byte| byte.is_ascii_alphabetic())
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
        && is_port(port)
}

fn is_http_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn is_log_level(text: &str) -> bool {
    // A word alone may also be a module to log everything of; whoever means that can say so, and a misspelt level is far more likely.
    let is_clear = |directive: &str| {
        directive.contains(['=', '['])
            || !directive.is_empty() && directive.parse::<tracing_subscriber::filter::LevelFilter>().is_ok()
    };
    text.split(',').map(str::trim).all(is_clear) && tracing_subscriber::EnvFilter::builder().parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn log_levels_are_levels_or_say_of_what() {
        for right in ["info", "WARN", "off", "info,federation=debug", "services=trace, warn", "[sync]=debug"] {
            assert!(is_log_level(right), "{right}");
        }
        for wrong in ["", "loud", "inof", "info,", "info,federation", "services=loud"] {
            assert!(!is_log_level(wrong), "{wrong}");
        }
    }

    #[test]
    fn server_names_follow_the_grammar() {
        for right in ["example.org", "localhost:8448", "1.2.3.4", "1.2.3.4:80", "[::1]", "[2001:db8::1]:8448", "a-b.c"]
        {
            assert!(ServerName::from_text(right).is_ok(), "{right}");
        }
        for wrong in
            ["", "exa mple.org", "https://example.org", "example.org:", "example.org:70000", "[::1", "::1", "a_b"]
        {
            assert!(ServerName::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn listen_addresses_need_a_host_and_a_port() {
        for right in ["127.0.0.1:8008", "[::]:8448", "localhost:0"] {
            assert!(Listen::from_text(right).is_ok(), "{right}");
        }
        for wrong in ["8008", ":8008", "127.0.0.1", "::1:8008", "localhost:99999", "http://localhost:80"] {
            assert!(Listen::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_split_at_commas_and_one_value_is_a_list_of_one() {
        let paths = Vec::<PathBuf>::from_text("/a.pem, /b.pem").unwrap();
        assert_eq!(paths, [PathBuf::from("/a.pem"), PathBuf::from("/b.pem")]);
        assert_eq!(Vec::<PathBuf>::from_text("/a.pem").unwrap().len(), 1);
        assert_eq!(Vec::<PathBuf>::from_text("").unwrap().len(), 0);
    }

    #[test]
    fn every_wrong_entry_of_a_list_is_named() {
        let wrong = Vec::<Network>::from_text("10.0.0.0/8,nonsense,10.9.8.7,rubbish").unwrap_err();
        assert!(wrong.contains("nonsense") && wrong.contains("rubbish") && !wrong.contains("10.9.8.7"), "{wrong}");
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret("hunter2".to_owned())), "…");
    }

    #[test]
    fn networks_are_ranges_or_single_addresses() {
        let single = Network::from_text("127.0.0.1").unwrap();
        assert!(single.0.contains(&"127.0.0.1".parse::<IpAddr>().unwrap()));
        assert!(!single.0.contains(&"127.0.0.2".parse::<IpAddr>().unwrap()));
        assert!(Network::from_text("10.0.0.0/8").unwrap().0.contains(&"10.9.8.7".parse::<IpAddr>().unwrap()));
        assert!(Network::from_text("example.org").is_err());
    }
}
