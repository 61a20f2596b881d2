//! `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`: one push rule.

use crate::frame::*;
use serde_json::Value;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((kind, rule_id)): Path<(String, String)>,
) -> Result<Reply<Value>> {
    Ok(Reply(app.push.rule(&session.user_id, &kind, &rule_id)?))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/pushrules/global/{kind}/{rule_id}", get(handle))
}
