//! `GET` and `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`: whether a rule is on.

use crate::frame::*;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Request {
    enabled: bool,
}

async fn read(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((kind, rule_id)): Path<(String, String)>,
) -> Result<Reply<Value>> {
    let rule = app.push.rule(&session.user_id, &kind, &rule_id)?;
    Ok(Reply(json!({ "enabled": rule["enabled"] })))
}

async fn set(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((kind, rule_id)): Path<(String, String)>,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    app.push.set_enabled(&session.user_id, &kind, &rule_id, request.enabled).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/pushrules/global/{kind}/{rule_id}/enabled", get(read).put(set))
}
