//! What the operator decides, as plain data. The program parses files, environment and flags into it.

use std::path::PathBuf;

/// The whole configuration that services read.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name in our user and event ids, for example `example.org` or `localhost:8448`.
    pub server_name: String,
    /// Who may register.
    pub registration: Registration,
    /// Whether rate limits apply at all.
    pub rate_limits_enabled: bool,
    /// How often anyone may do what costs others.
    pub rates: Rates,
    /// The URL at which clients reach us, published under `/.well-known/matrix/client`.
    pub public_client_url: Option<String>,
    /// `host:port` published under `/.well-known/matrix/server`.
    pub public_federation_address: Option<String>,
    /// TURN servers for calls.
    pub turn: Turn,
    /// Where the data lies, for files beside the store.
    pub data_dir: PathBuf,
}

impl Config {
    /// A configuration with every default, for a server called `server_name`.
    #[must_use]
    pub fn new(server_name: &str) -> Self {
        Self {
            server_name: server_name.to_owned(),
            registration: Registration::default(),
            rate_limits_enabled: true,
            rates: Rates::default(),
            public_client_url: None,
            public_federation_address: None,
            turn: Turn::default(),
            data_dir: PathBuf::new(),
        }
    }
}

/// How often a user, or an address, may do a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At once, after a pause.
    pub burst: u32,
    /// From then on, in a minute.
    pub per_minute: u32,
}

/// The rates that the operator sets. The defaults are such that neither a person nor a bot at its work notices them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Events that one user sends.
    pub sending: Rate,
    /// Joins and knocks of one user.
    pub joins: Rate,
    /// Rooms that one user makes.
    pub rooms: Rate,
    /// Invites that one user sends.
    pub invites: Rate,
    /// New accounts from one address.
    pub registrations: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            sending: Rate { burst: 100, per_minute: 600 },
            joins: Rate { burst: 100, per_minute: 60 },
            rooms: Rate { burst: 50, per_minute: 30 },
            invites: Rate { burst: 200, per_minute: 60 },
            registrations: Rate { burst: 20, per_minute: 6 },
        }
    }
}

/// Who may make an account.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Open to all, to holders of a token, or closed.
    pub mode: RegistrationMode,
    /// The token of mode `token`.
    pub token: Option<String>,
    /// The secret of `/_synapse/admin/v1/register`.
    pub shared_secret: Option<String>,
}

/// Values of `registration.mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RegistrationMode {
    /// Anyone, after the dummy stage.
    Open,
    /// Whoever knows the token.
    Token,
    /// Nobody but the administrator.
    #[default]
    Closed,
}

/// TURN servers handed out by `GET /voip/turnServer`.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    /// `turn:` and `turns:` URIs; empty means not configured.
    pub uris: Vec<String>,
    /// The secret shared with the TURN server for time-limited credentials.
    pub shared_secret: Option<String>,
    /// How long credentials live, in seconds.
    pub ttl_seconds: u64,
}
