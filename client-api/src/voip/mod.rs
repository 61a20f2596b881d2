//! `GET /_matrix/client/v3/voip/turnServer`: how to reach the TURN servers; `{}` where none is configured.

use crate::frame::*;
use serde_json::{Map, Value};

async fn handle(State(app): State<App>, Authenticated(session): Authenticated) -> Result<Reply<Map<String, Value>>> {
    Ok(Reply(app.turn_credentials(&session.user_id)))
}

pub(crate) fn routes(router: Router) -> Router {
    V3.at(router, "/voip/turnServer", get(handle))
}
