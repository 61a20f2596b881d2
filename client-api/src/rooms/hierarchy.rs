//! `GET /_matrix/client/v1/rooms/{roomId}/hierarchy`: the rooms in a space.

use crate::frame::*;
use services::peers::{HierarchyRequest, MAX_HIERARCHY_PAGE};
use std::num::NonZeroUsize;

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    suggested_only: bool,
    limit: Option<NonZeroUsize>,
    max_depth: Option<usize>,
    from: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path(room_id): Path<RoomId>,
    Query(parameters): Query<Parameters>,
) -> Result<impl axum::response::IntoResponse> {
    let request = HierarchyRequest {
        user_id: &session.user_id,
        room_id: &room_id,
        suggested_only: parameters.suggested_only,
        limit: parameters.limit.map_or(MAX_HIERARCHY_PAGE, NonZeroUsize::get),
        max_depth: parameters.max_depth,
        from: parameters.from.as_deref(),
    };
    Ok(Reply(app.peers.hierarchy(&request).await?))
}

pub(crate) fn route(router: Router) -> Router {
    V1.at(router, "/rooms/{room_id}/hierarchy", get(handle))
}
