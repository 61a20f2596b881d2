//! `/.well-known/matrix/server`: fetched, checked, remembered.

use std::{num::NonZeroUsize, time::Duration};

use http::{HeaderValue, StatusCode, Uri, header};
use lru::LruCache;
use net::{OutboundRequest, Redirects, World};
use parking_lot::Mutex;
use serde::Deserialize;

use super::{cache_control::freshness, server_name::ServerName};

/// How long an answer is kept that does not say how long (the specification's recommendation).
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest that an answer is kept, whatever it says (the specification's recommendation).
pub const MAX_VALIDITY: Duration = Duration::from_secs(48 * 60 * 60);

/// The shortest that an answer is kept, whatever it says: a server is not asked before every request to it.
pub const MIN_VALIDITY: Duration = Duration::from_secs(5 * 60);

/// How long the first failure is kept; each further one in a row is kept twice as long.
pub const FIRST_FAILURE_VALIDITY: Duration = Duration::from_secs(60);

/// The longest that a failure is kept (the specification's recommendation).
pub const MAX_FAILURE_VALIDITY: Duration = Duration::from_secs(60 * 60);

/// The largest answer that is read.
pub const MAX_BYTES: usize = 50 * 1024;

/// The most redirects that are followed.
pub const MAX_REDIRECTS: u8 = 10;

/// How long the web server has to begin its answer, and then again to end it. Many servers have none, so this is short.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// How many hosts are remembered; beyond, those asked for least recently are asked again.
pub(super) const MAX_HOSTS: usize = 4096;

/// An unreachable server's answer is asked for again before its time if it is older than this: the server may have moved.
const RECHECK_AFTER: Duration = Duration::from_secs(5 * 60);

/// What is known about hosts' delegations.
pub(crate) struct WellKnown {
    world: World,
    port: u16,
    known: Mutex<LruCache<String, Entry>>,
}

/// What a host says about where its server is.
#[derive(Clone, Debug)]
pub(crate) struct Delegation {
    /// Where it is; nothing if the host gave no valid answer.
    pub(crate) to: Option<ServerName>,
    /// How long this is true.
    pub(crate) valid_for: Duration,
}

struct Entry {
    to: Option<ServerName>,
    /// When `to` was said. For a delegation that outlives failures to ask again, that is when it was last said.
    said: Duration,
    fetched: Duration,
    expires: Duration,
    failures: u32,
}

/// What came back, and what to make of it.
enum Fetched {
    Valid(ServerName, Duration),
    /// The host answers, and it does not delegate.
    Invalid(String),
    /// The host does not answer: it may delegate.
    Unknown(String),
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "m.server")]
    server: String,
}

impl WellKnown {
    pub(crate) fn new(world: World, port: u16) -> Self {
        let capacity = NonZeroUsize::new(MAX_HOSTS).unwrap_or(NonZeroUsize::MIN);
        Self { world, port, known: Mutex::new(LruCache::new(capacity)) }
    }

    /// What this host delegates to, from memory or asked for.
    pub(crate) async fn delegation(&self, host: &str) -> Delegation {
        let host = host.to_ascii_lowercase();
        if let Some(entry) = self.known.lock().get(&host)
            && entry.expires > self.world.monotonic()
        {
            return Delegation { to: entry.to.clone(), valid_for: entry.expires - self.world.monotonic() };
        }
        let fetched = self.fetch(&host).await;
        let now = self.world.monotonic();
        let mut known = self.known.lock();
        let entry = next_entry(known.peek(&host), fetched, now, &host);
        let delegation = Delegation { to: entry.to.clone(), valid_for: entry.expires.saturating_sub(now) };
        known.put(host, entry);
        delegation
    }

    /// Requests to where this host delegates have failed: it is asked again soon.
    pub(crate) fn doubt(&self, host: &str) {
        let now = self.world.monotonic();
        if let Some(entry) = self.known.lock().peek_mut(&host.to_ascii_lowercase())
            && entry.to.is_some()
            && now.saturating_sub(entry.fetched) > RECHECK_AFTER
        {
            entry.expires = now;
        }
    }

    async fn fetch(&self, host: &str) -> Fetched {
        let authority = if self.port == 443 { host.to_owned() } else { format!("{host}:{}", self.port) };
        let uri =
            Uri::builder().scheme("https").authority(authority).path_and_query("/.well-known/matrix/server").build();
        let uri = match uri {
            Ok(uri) => uri,
            Err(error) => return Fetched::Invalid(error.to_string()),
        };
        let request = OutboundRequest::get(uri)
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
            .timeout(TIMEOUT)
            .body_timeout(TIMEOUT)
            .redirects(Redirects::Follow(MAX_REDIRECTS));
        let answer = match self.world.http().send(request).await {
            Ok(answer) => answer,
            Err(error) => return Fetched::Unknown(error.to_string()),
        };
        let status = answer.status;
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Fetched::Unknown(format!("it answers {status}"));
        }
        if status != StatusCode::OK {
            return Fetched::Invalid(format!("it answers {status}"));
        }
        let fresh = freshness(&answer.headers, self.world.now());
        let body = match answer.bytes(MAX_BYTES).await {
            Ok(body) => body,
            Err(error @ net::SendError::BodyTooLarge { .. }) => return Fetched::Invalid(error.to_string()),
            Err(error) => return Fetched::Unknown(error.to_string()),
        };
        let server = match serde_json::from_slice::<Body>(&body) {
            Ok(body) => body.server,
            Err(error) => return Fetched::Invalid(format!("its JSON has no text `m.server`: {error}")),
        };
        match ServerName::parse(&server) {
            Ok(server) => Fetched::Valid(server, fresh.unwrap_or(DEFAULT_VALIDITY).clamp(MIN_VALIDITY, MAX_VALIDITY)),
            Err(error) => Fetched::Invalid(error.to_string()),
        }
    }
}

fn next_entry(before: Option<&Entry>, fetched: Fetched, now: Duration, host: &str) -> Entry {
    let failures = before.map_or(0, |entry| entry.failures);
    match fetched {
        Fetched::Valid(to, valid_for) => {
            Entry { to: Some(to), said: now, fetched: now, expires: now + valid_for, failures: 0 }
        }
        Fetched::Invalid(because) => {
            tracing::debug!(host, because, "no valid answer at /.well-known/matrix/server");
            Entry {
                to: None,
                said: now,
                fetched: now,
                expires: now + failure_validity(failures),
                failures: failures + 1,
            }
        }
        Fetched::Unknown(because) => {
            tracing::debug!(host, because, "no answer at /.well-known/matrix/server");
            // A web server that is down for a while does not take the delegation back.
            let kept = before.filter(|entry| entry.to.is_some() && now.saturating_sub(entry.said) < MAX_VALIDITY);
            Entry {
                to: kept.and_then(|entry| entry.to.clone()),
                said: kept.map_or(now, |entry| entry.said),
                fetched: now,
                expires: now + failure_validity(failures),
                failures: failures + 1,
            }
        }
    }
}

/// How long a failure is kept after this many before it.
fn failure_validity(failures: u32) -> Duration {
    FIRST_FAILURE_VALIDITY.saturating_mul(2_u32.saturating_pow(failures)).min(MAX_FAILURE_VALIDITY)
}
