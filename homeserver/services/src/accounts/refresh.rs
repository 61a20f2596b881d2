//! Client-server API, "Refreshing access tokens".

use super::{
    Accounts, DeviceRecord, MAX_COMMIT_ATTEMPTS, TokenHash, commit,
    record::{self, device_key},
    sessions::RefreshRecord,
};
use crate::{Error, Result, limits, rooms::user_topic, tables};
use serde::Serialize;
use state_res::ids::UserKey;
use std::net::IpAddr;
use storage::Batch;

/// What `/refresh` gives.
#[derive(Debug, Clone, Serialize)]
pub struct Refreshed {
    /// The new access token.
    pub access_token: String,
    /// The refresh token for the next time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Lifetime of the access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
}

impl Accounts {
    /// Changes a refresh token for a new pair. The old one stays valid until one of the new is used, so that a client
    /// that never got the answer can ask again; then the pair that was lost ends.
    ///
    /// # Errors
    ///
    /// 401 `M_UNKNOWN_TOKEN`, 429.
    pub async fn refresh(&self, token: &str, address: IpAddr) -> Result<Refreshed> {
        self.limits.take(&limits::REFRESH_BY_ADDRESS, &limits::of_address(address))?;
        let hash = TokenHash::of(token);
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let snapshot = self.store.snapshot();
            let Some(row) = record::read::<RefreshRecord>(&snapshot, tables::REFRESH_TOKENS, &hash.0)? else {
                return Err(Error::unknown_token("The refresh token is not known, or has been used.", false));
            };
            let row = row.value;
            let user = UserKey::of(&row.user_id);
            let Some(device) = DeviceRecord::read(&snapshot, user, &row.device_id)? else {
                return Err(Error::unknown_token("The device of the refresh token is gone.", false));
            };
            let key = device_key(user, &row.device_id);
            let mut batch = Batch::with_random_id(&self.world);
            batch.require_version(tables::DEVICES, &key, device.version);
            let mut record = device.value;
            let mut ended = Vec::new();
            if let Some((access, refresh)) = row.changed_for {
                // The pair of an earlier try was lost.
                batch.delete(tables::ACCESS_TOKENS, &access.0).delete(tables::REFRESH_TOKENS, &refresh.0);
                record.access_tokens.retain(|token| *token != access);
                record.refresh_tokens.retain(|token| *token != refresh);
                ended.push(access);
            }
            // Using this token shows that it arrived: the ones before it end.
            for earlier in record.refresh_tokens.extract_if(.., |token| *token != hash) {
                batch.delete(tables::REFRESH_TOKENS, &earlier.0);
            }
            let made = self.add_tokens(&mut batch, &row.user_id, &mut record, true, Some(hash));
            let pair = (TokenHash::of(&made.access), TokenHash::of(made.refresh.as_deref().unwrap_or_default()));
            // Of the access tokens, the one in use and the new one remain.
            while record.access_tokens.len() > 2 {
                let oldest = record.access_tokens.remove(0);
                batch.delete(tables::ACCESS_TOKENS, &oldest.0);
                ended.push(oldest);
            }
            let row = RefreshRecord { changed_for: Some(pair), ..row };
            batch.put(tables::REFRESH_TOKENS, &hash.0, &record::to_bytes(&row));
            batch.put(tables::DEVICES, &key, &record.to_bytes());
            if !ended.is_empty() {
                batch.topic(user_topic(user));
            }
            if commit(&self.store, batch).await?.is_some() {
                self.sessions.forget(&ended);
                return Ok(Refreshed {
                    access_token: made.access,
                    refresh_token: made.refresh,
                    expires_in_ms: made.expires_in_ms,
                });
            }
        }
        Err(Error::contended())
    }
}
