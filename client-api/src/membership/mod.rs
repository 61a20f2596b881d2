//! Client-server API, "Room membership".

mod ban;
mod forget;
mod invite;
mod join;
mod join_by_id;
mod joined_rooms;
mod kick;
mod knock;
mod leave;
mod mutual_rooms;
mod unban;

use crate::frame::{App, Reply, Result, Router};
use serde_json::Value;
use services::accounts::Session;

pub(crate) fn routes(router: Router) -> Router {
    let router = ban::route(router);
    let router = forget::route(router);
    let router = invite::route(router);
    let router = join::route(router);
    let router = join_by_id::route(router);
    let router = joined_rooms::route(router);
    let router = kick::route(router);
    let router = knock::route(router);
    let router = leave::route(router);
    let router = mutual_rooms::route(router);
    unban::route(router)
}

/// Whom an action is about.
#[derive(Debug, serde::Deserialize)]
struct Target {
    user_id: String,
    reason: Option<String>,
}

/// Body of both ways to join a room.
#[derive(Debug, serde::Deserialize)]
struct Join {
    reason: Option<String>,
    third_party_signed: Option<Value>,
}

/// What joining and knocking give.
#[derive(Debug, serde::Serialize)]
struct Joined {
    room_id: String,
}

/// Joins a room by its id or alias.
async fn join_room(app: &App, session: &Session, room: &str, via: Via, request: &Join) -> Result<Reply<Joined>> {
    let (reason, signed) = (request.reason.as_deref(), request.third_party_signed.as_ref());
    let room_id = app.peers.join_room(&session.user_id, room, &via.servers(), reason, signed).await?;
    Ok(Reply(Joined { room_id }))
}

/// Servers to go through: `via`, and `server_name` as it was called before.
#[derive(Debug, serde::Deserialize)]
struct Via {
    #[serde(default)]
    via: Vec<String>,
    #[serde(default)]
    server_name: Vec<String>,
}

impl Via {
    fn servers(self) -> Vec<String> {
        let mut servers = self.via;
        servers.extend(self.server_name);
        servers
    }
}
