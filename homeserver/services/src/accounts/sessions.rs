//! Sessions: a device with its tokens (client-server API, "Using access tokens", "Relationship between access tokens
//! and devices").

use super::{
    Accounts, DeviceRecord, MAX_COMMIT_ATTEMPTS, TokenHash, commit, names,
    record::{self, device_key},
    tokens,
};
use crate::{Error, Result, devices, rooms::user_topic, tables};
use lru::LruCache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use state_res::ids::UserKey;
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use storage::{Batch, Class, Snapshot, Store};

/// How long an access token lasts that came with a refresh token. Others last until they are logged out.
const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// "Last seen" of a device is written at most this often.
const LAST_SEEN_INTERVAL: Duration = Duration::from_secs(2 * 60);
/// Sessions kept in memory.
const MAX_CACHED_SESSIONS: usize = 16_384;
const CACHE_SHARDS: usize = 16;
/// Devices of one account.
const MAX_DEVICES: usize = 4_096;

/// A device that has shown a valid access token.
#[derive(Debug)]
pub struct Session {
    /// Whose it is.
    pub user_id: Arc<str>,
    /// The key of `user_id`.
    pub user: UserKey,
    /// Which of the user's devices it is.
    pub device_id: Arc<str>,
    /// The token that was shown.
    pub token: TokenHash,
    expires_at: Option<u64>,
    last_seen: AtomicU64,
    /// A position at which it had not been ended.
    valid_at: AtomicU64,
    /// Up to where its device has received its to-device messages, so that none is left; 0 where that is not known.
    pub(crate) received: AtomicU64,
}

impl Session {
    /// Refuses requests that name another user where they must name the token's own.
    ///
    /// # Errors
    ///
    /// 403 `M_FORBIDDEN`.
    pub fn must_be(&self, user_id: &str) -> Result<()> {
        if *self.user_id == *user_id {
            return Ok(());
        }
        Err(Error::forbidden("The access token belongs to another user than the one in the path."))
    }

    /// Refuses to go on with a request that outlived its token. One that a refresh has replaced may finish what it began.
    ///
    /// # Errors
    ///
    /// 401 `M_UNKNOWN_TOKEN`.
    pub fn must_last(&self, store: &Store) -> Result<()> {
        // Whoever ends a session names its user's topic.
        if store.untouched_since(user_topic(self.user)) <= self.valid_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        let snapshot = store.snapshot();
        let lasts = snapshot.contains(tables::ACCESS_TOKENS, &self.token.0)?
            || (self.expires_at.is_some()
                && snapshot.contains(tables::DEVICES, &device_key(self.user, &self.device_id))?);
        if !lasts {
            return Err(unknown());
        }
        self.valid_at.fetch_max(snapshot.position(), Ordering::Relaxed);
        Ok(())
    }
}

/// What `/login` and `/register` give.
#[derive(Debug, Clone, Serialize)]
pub struct NewSession {
    /// The account.
    pub user_id: String,
    /// The device.
    pub device_id: String,
    /// Shown once; only its hash is kept.
    pub access_token: String,
    /// If the client asked for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Lifetime of the access token, where it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    /// Deprecated, but some clients still read it.
    pub home_server: String,
}

/// What a client says about the device it signs in with.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceRequest {
    pub(crate) device_id: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) refresh_token: bool,
}

impl DeviceRequest {
    pub(crate) fn check(&self) -> Result<()> {
        self.device_id.as_deref().map_or(Ok(()), names::check_device_id)?;
        self.display_name.as_deref().map_or(Ok(()), names::check_device_name)
    }
}

/// A row of `ACCESS_TOKENS`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AccessRecord {
    pub(super) user_id: String,
    pub(super) device_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<u64>,
    /// The refresh token that it came from, until it is first used: until then that one stays valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replaces: Option<TokenHash>,
}

/// A row of `REFRESH_TOKENS`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RefreshRecord {
    pub(super) user_id: String,
    pub(super) device_id: String,
    /// The tokens that it was changed for, while neither has been used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) changed_for: Option<(TokenHash, TokenHash)>,
}

/// Tokens just made, and what the batch must write for them.
pub(super) struct NewTokens {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) expires_in_ms: Option<u64>,
}

impl Accounts {
    /// The session of an access token. Costs a hash and a look into memory, except the first time.
    ///
    /// # Errors
    ///
    /// 401 `M_UNKNOWN_TOKEN`, with `soft_logout` if the token has merely expired.
    pub async fn authenticate(&self, token: &str, address: IpAddr) -> Result<Arc<Session>> {
        let hash = TokenHash::of(token);
        let session = match self.sessions.get(&hash) {
            Some(session) => session,
            None => self.load_session(hash).await?,
        };
        let now = self.world.now().millis();
        if session.expires_at.is_some_and(|at| now >= at) {
            return Err(Error::unknown_token("The access token has expired; refresh it or sign in again.", true));
        }
        self.seen(&session, now, address);
        Ok(session)
    }

    /// Ends the session that `session` belongs to: its device goes, with all its tokens.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub async fn logout(&self, session: &Session) -> Result<()> {
        self.devices.remove(&session.user_id, &[session.device_id.to_string()]).await
    }

    /// Ends every session of the user.
    ///
    /// # Errors
    ///
    /// 500 if the store fails.
    pub async fn logout_all(&self, user_id: &str) -> Result<()> {
        self.devices.remove_all_except(user_id, None).await
    }

    /// Adds to `batch` what makes a session of the account: device, tokens. The caller adds the account's precondition,
    /// and tells the session cache of the access tokens that end (the second value) once it is committed.
    pub(super) fn add_session(
        &self,
        batch: &mut Batch,
        snapshot: &Snapshot,
        user_id: &str,
        request: &DeviceRequest,
    ) -> Result<(NewSession, Vec<TokenHash>)> {
        let user = UserKey::of(user_id);
        let device_id = request.device_id.clone().unwrap_or_else(|| tokens::new_device_id(&self.world));
        let existing = DeviceRecord::read(snapshot, user, &device_id)?;
        let key = device_key(user, &device_id);
        let mut device = match existing {
            Some(existing) => {
                // A known device keeps its name; its former tokens end.
                batch.require_version(tables::DEVICES, &key, existing.version);
                devices::end_tokens(batch, user, &existing.value);
                devices::changed(batch, user_id);
                existing.value
            }
            None => {
                if snapshot.scan_prefix(tables::DEVICES, user.as_bytes()).take(MAX_DEVICES).count() >= MAX_DEVICES {
                    return Err(Error::forbidden(format!(
                        "The account has {MAX_DEVICES} devices, which is the most it can have; sign some out first."
                    )));
                }
                if is_cross_signing_key(snapshot, user, &device_id)? {
                    return Err(Error::forbidden("`device_id` must not be one of your cross-signing keys."));
                }
                batch.require_absent(tables::DEVICES, &key);
                devices::added(batch, snapshot, user_id, &device_id)?;
                DeviceRecord {
                    device_id: device_id.clone(),
                    display_name: request.display_name.clone(),
                    created_at: self.world.now().millis(),
                    access_tokens: Vec::new(),
                    refresh_tokens: Vec::new(),
                }
            }
        };
        let ended = std::mem::take(&mut device.access_tokens);
        device.refresh_tokens.clear();
        let made = self.add_tokens(batch, user_id, &mut device, request.refresh_token, None);
        batch.put(tables::DEVICES, &key, &device.to_bytes());
        let session = NewSession {
            user_id: user_id.to_owned(),
            device_id,
            access_token: made.access,
            refresh_token: made.refresh,
            expires_in_ms: made.expires_in_ms,
            home_server: self.config.server_name.clone(),
        };
        Ok((session, ended))
    }

    /// Makes tokens for `device`, in its record and in `batch`.
    pub(super) fn add_tokens(
        &self,
        batch: &mut Batch,
        user_id: &str,
        device: &mut DeviceRecord,
        with_refresh: bool,
        replaces: Option<TokenHash>,
    ) -> NewTokens {
        let access = tokens::new_access_token(&self.world);
        let hash = TokenHash::of(&access);
        let expires_at = with_refresh.then(|| self.world.now().plus(ACCESS_TOKEN_LIFETIME).millis());
        let row =
            AccessRecord { user_id: user_id.to_owned(), device_id: device.device_id.clone(), expires_at, replaces };
        batch.put(tables::ACCESS_TOKENS, &hash.0, &record::to_bytes(&row));
        device.access_tokens.push(hash);
        let refresh = with_refresh.then(|| tokens::new_refresh_token(&self.world));
        if let Some(refresh) = &refresh {
            let hash = TokenHash::of(refresh);
            let row =
                RefreshRecord { user_id: user_id.to_owned(), device_id: device.device_id.clone(), changed_for: None };
            batch.put(tables::REFRESH_TOKENS, &hash.0, &record::to_bytes(&row));
            device.refresh_tokens.push(hash);
        }
        let expires_in_ms = with_refresh.then(|| u64::try_from(ACCESS_TOKEN_LIFETIME.as_millis()).unwrap_or(u64::MAX));
        NewTokens { access, refresh, expires_in_ms }
    }

    async fn load_session(&self, hash: TokenHash) -> Result<Arc<Session>> {
        let epoch = self.sessions.epoch();
        let mut snapshot = self.store.snapshot();
        let mut row = access_row(&snapshot, &hash)?;
        if row.replaces.is_some() {
            self.prove(hash, &row).await?;
            snapshot = self.store.snapshot();
            row = access_row(&snapshot, &hash)?;
        }
        let user = UserKey::of(&row.user_id);
        let seen = devices::last_seen(&snapshot, user, &row.device_id)?;
        let session = Arc::new(Session {
            user,
            user_id: row.user_id.into(),
            device_id: row.device_id.into(),
            token: hash,
            expires_at: row.expires_at,
            last_seen: AtomicU64::new(seen.map_or(0, |seen| seen.ts)),
            valid_at: AtomicU64::new(snapshot.position()),
            received: AtomicU64::new(0),
        });
        self.sessions.insert(hash, session.clone(), epoch);
        Ok(session)
    }

    /// "Refreshing access tokens": the first use of a token from `/refresh` shows that it has arrived, so that the
    /// tokens before it end.
    async fn prove(&self, hash: TokenHash, row: &AccessRecord) -> Result<()> {
        let user = UserKey::of(&row.user_id);
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let Some(device) = DeviceRecord::read(&snapshot, user, &row.device_id)? else { return Err(unknown()) };
            let mut current = access_row(&snapshot, &hash)?;
            let Some(replaced) = current.replaces.take() else { return Ok(()) };
            let mut batch = Batch::with_random_id(&self.world);
            let key = device_key(user, &row.device_id);
            batch.require_version(tables::DEVICES, &key, device.version);
            let mut record = device.value;
            // Both lists are in the order in which the tokens were made.
            let before = record.access_tokens.iter().position(|token| *token == hash).unwrap_or(0);
            let ended: Vec<_> = record.access_tokens.drain(..before).collect();
            for token in &ended {
                batch.topic(user_topic(user)).delete(tables::ACCESS_TOKENS, &token.0);
            }
            let through = record.refresh_tokens.iter().position(|token| *token == replaced).map_or(0, |at| at + 1);
            for token in record.refresh_tokens.drain(..through) {
                batch.delete(tables::REFRESH_TOKENS, &token.0);
            }
            batch.put(tables::ACCESS_TOKENS, &hash.0, &record::to_bytes(&current));
            batch.put(tables::DEVICES, &key, &record.to_bytes());
            if commit(&self.store, batch).await?.is_some() {
                self.sessions.forget(&ended);
                return Ok(());
            }
        }
        Err(Error::contended())
    }

    /// Notes that the device was used; in the background, and not every time.
    fn seen(&self, session: &Session, now: u64, address: IpAddr) {
        let before = session.last_seen.load(Ordering::Relaxed);
        let interval = u64::try_from(LAST_SEEN_INTERVAL.as_millis()).unwrap_or(u64::MAX);
        if now.saturating_sub(before) < interval
            || session.last_seen.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let mut batch = Batch::with_random_id(&self.world);
        let key = device_key(session.user, &session.device_id);
        // Not for a device that has just been removed.
        match DeviceRecord::read(&self.store.snapshot(), session.user, &session.device_id) {
            Ok(Some(device)) => batch.require_version(tables::DEVICES, &key, device.version),
            Ok(None) | Err(_) => return,
        };
        let row = devices::LastSeen { ts: now, address: (!address.is_unspecified()).then_some(address) };
        batch.class(Class::Logged).put(tables::LAST_SEEN, &key, &record::to_bytes(&row));
        let store = self.store.clone();
        self.world.spawn("last seen", async move {
            if let Err(error) = commit(&store, batch).await {
                tracing::debug!(%error, "\"last seen\" of a device was not written");
            }
        });
    }
}

/// Keys of devices and cross-signing keys share one namespace, in which signatures name them.
fn is_cross_signing_key(snapshot: &Snapshot, user: UserKey, device_id: &str) -> Result<bool> {
    for row in snapshot.scan_prefix(tables::CROSS_SIGNING_KEYS, user.as_bytes()) {
        let key: serde_json::Value = record::from_bytes(tables::CROSS_SIGNING_KEYS, &row?.1)?;
        let ids = key["keys"].as_object().into_iter().flat_map(serde_json::Map::keys);
        if ids.filter_map(|id| id.split_once(':')).any(|(_, id)| id == device_id) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn access_row(snapshot: &Snapshot, hash: &TokenHash) -> Result<AccessRecord> {
    let row = record::read::<AccessRecord>(snapshot, tables::ACCESS_TOKENS, &hash.0)?;
    row.map(|row| row.value).ok_or_else(unknown)
}

fn unknown() -> Error {
    Error::unknown_token("The access token is not known, or has been logged out.", false)
}

/// Sessions in memory, by token.
pub(crate) struct SessionCache {
    shards: Vec<Mutex<LruCache<TokenHash, Arc<Session>>>>,
    /// Counts removals: what was read before one must not be inserted after it.
    epoch: AtomicU64,
}

impl Default for SessionCache {
    fn default() -> Self {
        // `unbounded` because `new` would allocate for the most there can be; `insert` keeps the bound.
        Self {
            shards: (0..CACHE_SHARDS).map(|_| Mutex::new(LruCache::unbounded())).collect(),
            epoch: AtomicU64::new(0),
        }
    }
}

impl SessionCache {
    /// Drops the sessions of these tokens. Call it after the batch that ends them is committed.
    pub(crate) fn forget(&self, tokens: &[TokenHash]) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        for token in tokens {
            self.shard(token).lock().pop(token);
        }
    }

    fn get(&self, token: &TokenHash) -> Option<Arc<Session>> {
        self.shard(token).lock().get(token).cloned()
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Keeps a session that was read since `epoch`, unless some session has ended in between.
    fn insert(&self, token: TokenHash, session: Arc<Session>, epoch: u64) {
        let mut shard = self.shard(&token).lock();
        if self.epoch() == epoch {
            shard.put(token, session);
            if shard.len() > MAX_CACHED_SESSIONS / CACHE_SHARDS {
                shard.pop_lru();
            }
        }
    }

    fn shard(&self, token: &TokenHash) -> &Mutex<LruCache<TokenHash, Arc<Session>>> {
        &self.shards[usize::from(token.0[0]) % CACHE_SHARDS]
    }
}
