//! `GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`: one piece of state: its content or, with
//! `format=event`, the whole event. The state key may be left out for the empty one, with or without the slash.

use crate::frame::*;

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    format: Format,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Content,
    Event,
}

async fn with_key(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((room_id, event_type, state_key)): Path<(RoomId, String, String)>,
    Query(parameters): Query<Parameters>,
) -> Result<RawReply> {
    let whole = matches!(parameters.format, Format::Event);
    let (user_id, device_id) = (&session.user_id, &session.device_id);
    let json = app.peers.state_event(user_id, device_id, &room_id, &event_type, &state_key, whole)?;
    Ok(RawReply(json.into()))
}

async fn without_key(
    state: State<App>,
    session: Authenticated,
    Path((room_id, event_type)): Path<(RoomId, String)>,
    parameters: Query<Parameters>,
) -> Result<RawReply> {
    with_key(state, session, Path((room_id, event_type, String::new())), parameters).await
}

pub(crate) fn route(router: Router) -> Router {
    let router = V3.at(router, "/rooms/{room_id}/state/{event_type}/{state_key}", get(with_key));
    let router = V3.at(router, "/rooms/{room_id}/state/{event_type}/", get(without_key));
    V3.at(router, "/rooms/{room_id}/state/{event_type}", get(without_key))
}
