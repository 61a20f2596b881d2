//! `GET` and `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`: what a rule does.

use crate::frame::*;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Request {
    actions: Vec<Value>,
}

async fn read(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((kind, rule_id)): Path<(String, String)>,
) -> Result<Reply<Value>> {
    let rule = app.push.rule(&session.user_id, &kind, &rule_id)?;
    Ok(Reply(json!({ "actions": rule["actions"] })))
}

async fn set(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((kind, rule_id)): Path<(String, String)>,
    Json(request): Json<Request>,
) -> Result<EmptyReply> {
    app.push.set_actions(&session.user_id, &kind, &rule_id, &request.actions).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/pushrules/global/{kind}/{rule_id}/actions", get(read).put(set))
}
