//! The published rooms of other servers.

use super::{Peers, remote_error};
use crate::error::{Error, Result};
use crate::names;
use crate::rooms::directory::DirectoryQuery;
use federation::types::PublicRoomsRequest;
use serde_json::{Map, Value};

impl Peers {
    /// A page of another server's directory, as it answers.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for a name that is none, what the other server says, 502 if it cannot be asked.
    pub async fn public_rooms(&self, server: &str, query: DirectoryQuery) -> Result<Map<String, Value>> {
        if !names::is_server_name(server) {
            return Err(Error::invalid_param(format!("{server:?} is no server name.")));
        }
        let request = PublicRoomsRequest {
            limit: query.limit.map(|limit| limit as u64),
            since: query.since,
            search: query.search,
            room_types: query.room_types,
            ..PublicRoomsRequest::default()
        };
        self.client().public_rooms(server, &request).await.map_err(|error| remote_error(&error))
    }
}
