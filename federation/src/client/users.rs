//! Users: profiles, devices, keys, OpenID.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Client, Path, Request, RequestError, TIMEOUT, events::body};
use crate::{
    ids::server_of,
    limits::{MAX_EVENTS_ANSWER, MAX_LISTING_ANSWER},
    types::{ClaimedKeys, DeviceKeyRequest, KeyClaimRequest, UserDevices, UserKeys},
};

const V1: &str = "/_matrix/federation/v1";

impl Client {
    /// `GET /query/profile`: a user's profile, or one field of it.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn profile(
        &self,
        destination: &str,
        user_id: &str,
        field: Option<&str>,
    ) -> Result<Map<String, Value>, RequestError> {
        let path =
            Path::new(V1).segment("query").segment("profile").query("user_id", user_id).maybe_query("field", field);
        self.request(destination, Request::get(path)).await?.json()
    }

    /// `POST /user/keys/query`: identity keys and cross-signing keys. Members for users of other servers are dropped.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn user_keys(&self, destination: &str, request: &DeviceKeyRequest) -> Result<UserKeys, RequestError> {
        let path = Path::new(V1).segment("user").segment("keys").segment("query");
        let request =
            Request::post(path, body(&json!({ "device_keys": request }))).timeout(TIMEOUT).limit(MAX_EVENTS_ANSWER);
        let mut keys: UserKeys = self.request(destination, request).await?.json_of_values()?;
        keys.device_keys.retain(|user, _| server_of(user) == Some(destination));
        keys.master_keys.retain(|user, _| server_of(user) == Some(destination));
        keys.self_signing_keys.retain(|user, _| server_of(user) == Some(destination));
        Ok(keys)
    }

    /// `POST /user/keys/claim`: one-time keys. Members for users of other servers are dropped.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn claim_keys(&self, destination: &str, request: &KeyClaimRequest) -> Result<ClaimedKeys, RequestError> {
        let path = Path::new(V1).segment("user").segment("keys").segment("claim");
        let request = Request::post(path, body(&json!({ "one_time_keys": request }))).limit(MAX_EVENTS_ANSWER);
        let mut keys: ClaimedKeys = self.request(destination, request).await?.json_of_values()?;
        keys.one_time_keys.retain(|user, _| server_of(user) == Some(destination));
        Ok(keys)
    }

    /// `GET /user/devices`: a user's devices, keys and the number of the latest update.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn user_devices(&self, destination: &str, user_id: &str) -> Result<UserDevices, RequestError> {
        let path = Path::new(V1).segment("user").segment("devices").segment(user_id);
        let answer = self.request(destination, Request::get(path).limit(MAX_LISTING_ANSWER)).await?;
        let devices: UserDevices = answer.json_of_values()?;
        if devices.user_id == user_id { Ok(devices) } else { Err(answer.malformed("it is about another user")) }
    }

    /// `GET /openid/userinfo`: the user of `destination` who made this token. Not signed.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; also if the peer names a user of another server.
    pub async fn openid_user(&self, destination: &str, access_token: &str) -> Result<String, RequestError> {
        #[derive(Deserialize)]
        struct Body {
            sub: String,
        }
        let path = Path::new(V1).segment("openid").segment("userinfo").query("access_token", access_token);
        let answer = self.request(destination, Request::get(path).unsigned()).await?;
        let user = answer.json::<Body>()?.sub;
        if server_of(&user) == Some(destination) {
            Ok(user)
        } else {
            Err(answer.malformed("the user is not of the server that was asked"))
        }
    }
}
