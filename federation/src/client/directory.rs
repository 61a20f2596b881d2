//! Aliases, published rooms, spaces.

use serde_json::{Map, Value, json};

use super::{Client, Path, Request, RequestError, events::body};
use crate::{
    limits::MAX_LISTING_ANSWER,
    types::{AliasAnswer, Hierarchy, PublicRoomsRequest},
};

const V1: &str = "/_matrix/federation/v1";

impl Client {
    /// `GET /query/directory`: the room and the servers that an alias of `destination` stands for.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn alias(&self, destination: &str, alias: &str) -> Result<AliasAnswer, RequestError> {
        let path = Path::new(V1).segment("query").segment("directory").query("room_alias", alias);
        self.request(destination, Request::get(path)).await?.json()
    }

    /// `POST /publicRooms` if there is something to search for, else `GET /publicRooms`.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn public_rooms(
        &self,
        destination: &str,
        request: &PublicRoomsRequest,
    ) -> Result<Map<String, Value>, RequestError> {
        let path = Path::new(V1).segment("publicRooms");
        let request = if request.search.is_some() || request.room_types.is_some() {
            Request::post(path, body(&search(request)))
        } else {
            let limit = request.limit.map(|limit| limit.to_string());
            let path = path
                .maybe_query("limit", limit.as_deref())
                .maybe_query("since", request.since.as_deref())
                .maybe_query("include_all_networks", request.include_all_networks.then_some("true"))
                .maybe_query("third_party_instance_id", request.third_party_instance_id.as_deref());
            Request::get(path)
        };
        self.request(destination, request.limit(MAX_LISTING_ANSWER)).await?.json_of_values()
    }

    /// `GET /hierarchy`: a space and its children.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn hierarchy(
        &self,
        destination: &str,
        room_id: &str,
        suggested_only: bool,
    ) -> Result<Hierarchy, RequestError> {
        let path =
            Path::new(V1).segment("hierarchy").segment(room_id).query("suggested_only", &suggested_only.to_string());
        self.request(destination, Request::get(path).limit(MAX_LISTING_ANSWER)).await?.json_of_values()
    }
}

fn search(request: &PublicRoomsRequest) -> Value {
    let mut body = json!({ "filter": {}, "include_all_networks": request.include_all_networks });
    let optional = [
        ("limit", request.limit.map(Value::from)),
        ("since", request.since.clone().map(Value::from)),
        ("third_party_instance_id", request.third_party_instance_id.clone().map(Value::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    if let Some(text) = &request.search {
        body["filter"]["generic_search_term"] = text.clone().into();
    }
    if let Some(types) = &request.room_types {
        body["filter"]["room_types"] = json!(types);
    }
    body
}
