//! Every key that can be configured, documented here and nowhere else: the sample file, the list of known keys and the
//! names of environment variables follow from this page.
//!
//! A line reads `key: type = default, "example in TOML"`; the example is shown where there is no default to show.

// Brackets name sections of the file here, as the sample shows them.
#![allow(rustdoc::broken_intra_doc_links)]

use super::value::{
    Count, HttpUrl, Listen, LogFormat, LogLevel, Network, Raw, RegistrationMode, Secret, ServerName, TurnUri, Value,
};
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// A section of the file.
pub(crate) struct Section {
    /// Its name in brackets.
    pub(crate) name: &'static str,
    /// Its documentation, line by line.
    pub(crate) doc: &'static [&'static str],
    /// Its keys in order.
    pub(crate) keys: &'static [Key],
}

/// A key of a section.
pub(crate) struct Key {
    /// `section.key`.
    pub(crate) path: &'static str,
    /// The name within the section.
    pub(crate) name: &'static str,
    /// Its documentation, line by line.
    pub(crate) doc: &'static [&'static str],
    /// A value in TOML.
    pub(crate) example: &'static str,
}

macro_rules! sections {
    ($( $(#[doc = $section_doc:literal])+ $section:ident: $Section:ident {
        $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $example:literal; )+
    } )+) => {
        /// Everything that the operator decides.
        #[derive(Debug, Clone, Default)]
        pub(crate) struct Settings {
            $( $(#[doc = $section_doc])+ pub(crate) $section: $Section, )+
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone)]
            pub(crate) struct $Section {
                $( $(#[doc = $doc])+ pub(crate) $key: $type, )+
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $key: $default, )+ }
                }
            }
        )+

        /// All sections, in the order of the sample.
        pub(crate) const SECTIONS: &[Section] = &[ $( Section {
            name: stringify!($section),
            doc: &[$($section_doc),+],
            keys: &[ $( Key {
                path: concat!(stringify!($section), ".", stringify!($key)),
                name: stringify!($key),
                doc: &[$($doc),+],
                example: $example,
            } ),+ ],
        } ),+ ];

        impl Settings {
            /// Sets the key at `path` (`section.key`).
            ///
            /// # Errors
            /// Why the value is wrong and what would be right; nothing is changed then.
            pub(crate) fn set(&mut self, path: &str, raw: &Raw<'_>) -> Result<(), String> {
                match path {
                    $( $( concat!(stringify!($section), ".", stringify!($key)) => self.$section.$key = Value::read(raw)?, )+ )+
                    _ => return Err("is not a key".to_owned()),
                }
                Ok(())
            }

            /// The value at `path` in TOML, if there is one and it may be shown.
            pub(crate) fn shown(&self, path: &str) -> Option<String> {
                match path {
                    $( $( concat!(stringify!($section), ".", stringify!($key)) => self.$section.$key.to_toml(), )+ )+
                    _ => None,
                }
            }
        }
    };
}

/// A list of one address.
macro_rules! listen {
    ($text:literal) => {
        vec![Listen($text.to_owned())]
    };
}

/// A proxy on this machine.
fn loopback() -> Vec<Network> {
    let v4 = IpNet::from(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));
    vec![Network(v4), Network(IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)))]
}

sections! {
    /// The server itself.
    server: Server {
        /// The name in the ids of your users and rooms, for ever: @alice:NAME. Other servers find this one through it.
        /// Default: the name that the data directory was made with; for a new one, this machine's full host name, or
        /// "localhost" where it has none.
        name: Option<ServerName> = None, "\"example.org\"";
        /// Where everything is kept: the database, the socket for `causeway user`, the name.
        /// Default: /var/lib/causeway for root, ~/.local/share/causeway for others.
        data_dir: Option<PathBuf> = None, "\"/var/lib/causeway\"";
    }

    /// Where clients (the apps of your users) come in.
    client: Client {
        /// Addresses to listen on. Plain HTTP, meant for a reverse proxy with TLS on the same machine, unless `tls` is on.
        /// An address that federation.listen names too serves both.
        listen: Vec<Listen> = listen!("127.0.0.1:8008"), "\"127.0.0.1:8008\"";
        /// Speak TLS on these addresses, with the certificate of the section [tls].
        tls: bool = false, "false";
        /// The URL at which clients reach the server, published under /.well-known/matrix/client so that users need to
        /// type no more than the server's name. Nothing is published by default.
        public_url: Option<HttpUrl> = None, "\"https://matrix.example.org\"";
        /// Proxies whose X-Forwarded-For header is believed; addresses or ranges. Behind a proxy that is not listed
        /// here, all clients look like one and share its limits.
        trusted_proxies: Vec<Network> = loopback(), "[\"127.0.0.0/8\", \"::1/128\"]";
    }

    /// How this server and others reach each other.
    federation: Federation {
        /// Addresses to listen on; an empty list turns federation off. It is off too as long as `tls` is on and there
        /// is no certificate.
        listen: Vec<Listen> = listen!("[::]:8448"), "\"[::]:8448\"";
        /// Speak TLS, with the certificate of the section [tls]. Turn it off behind a proxy that does.
        tls: bool = true, "true";
        /// Host and port at which other servers reach this one, published under /.well-known/matrix/server.
        /// Nothing is published by default; other servers then try the server's name, port 8448.
        public_address: Option<ServerName> = None, "\"matrix.example.org:443\"";
        /// Files with certificates (PEM) that are trusted for other servers, beside the system's.
        extra_ca_files: Vec<PathBuf> = Vec::new(), "[\"/etc/causeway/test-ca.pem\"]";
        /// Whether to connect to loopback and private addresses when another server, or anyone else, names them.
        allow_private_addresses: bool = false, "false";
    }

    /// The certificate, for whichever listener speaks TLS. Both files are read again when they change.
    tls: Tls {
        /// The certificate and those that lead to a known authority (PEM).
        certificate: Option<PathBuf> = None, "\"/etc/causeway/fullchain.pem\"";
        /// Its private key (PEM).
        key: Option<PathBuf> = None, "\"/etc/causeway/privkey.pem\"";
    }

    /// Who may make an account.
    registration: Registration {
        /// "open": anyone; "token": whoever knows `token`; "closed": nobody but you, with `causeway user create`.
        mode: RegistrationMode = RegistrationMode::Closed, "\"closed\"";
        /// The token of mode "token".
        token: Option<Secret> = None, "\"a long random string\"";
        /// The secret of /_synapse/admin/v1/register, with which tools make accounts. Off by default.
        shared_secret: Option<Secret> = None, "\"another long random string\"";
    }

    /// Limits on how often anyone may do what costs or can be guessed.
    rate_limits: RateLimits {
        /// false lifts all of them, that on logins included: for tests and benchmarks only.
        enabled: bool = true, "true";
        /// How many events (messages, reactions, state) one user may send at once, after a pause.
        message_burst: Count = Count(100), "100";
        /// How many they may send in each minute from then on.
        messages_per_minute: Count = Count(600), "600";
        /// How many rooms one user may join or knock on at once, after a pause.
        join_burst: Count = Count(100), "100";
        /// How many in each minute from then on.
        joins_per_minute: Count = Count(60), "60";
        /// How many rooms one user may make at once, after a pause.
        room_burst: Count = Count(50), "50";
        /// How many in each minute from then on.
        rooms_per_minute: Count = Count(30), "30";
        /// How many invites one user may send at once, after a pause.
        invite_burst: Count = Count(200), "200";
        /// How many in each minute from then on.
        invites_per_minute: Count = Count(60), "60";
        /// How many accounts may be registered from one address at once, after a pause.
        registration_burst: Count = Count(20), "20";
        /// How many in each minute from then on.
        registrations_per_minute: Count = Count(6), "6";
    }

    /// TURN servers, which carry calls between clients that cannot reach each other.
    turn: Turn {
        /// Their URIs.
        uris: Vec<TurnUri> = Vec::new(), "[\"turn:turn.example.org?transport=udp\"]";
        /// The secret that this server shares with them (coturn: static-auth-secret).
        shared_secret: Option<Secret> = None, "\"yet another long random string\"";
        /// For how long the credentials given to a client last, in seconds.
        ttl_seconds: u64 = 3600, "3600";
    }

    /// The database, an embedded RocksDB in the data directory.
    storage: Storage {
        /// Whether what was acknowledged survives a loss of power. Without it the last moments may be lost then (not if
        /// the program alone dies).
        sync: bool = true, "true";
        /// How much memory may hold what was read from the database, in MiB. It fills with use; more makes a server
        /// with large rooms answer faster.
        cache_mib: u64 = 64, "64";
    }

    /// What is logged, to standard error.
    log: Log {
        /// error, warn, info, debug or trace; or by module: "info,federation=debug,services::sync=trace".
        level: LogLevel = LogLevel("info".to_owned()), "\"info\"";
        /// "text" for people, "json" for machines.
        format: LogFormat = LogFormat::Text, "\"text\"";
    }

    /// Figures for Prometheus.
    metrics: Metrics {
        /// Addresses at which /metrics and /health are served, over plain HTTP and to anyone who reaches them. Off by
        /// default.
        listen: Vec<Listen> = Vec::new(), "[\"127.0.0.1:9100\"]";
    }
}
