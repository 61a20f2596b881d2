//! `DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`: removes a rule of the user's own.

use crate::frame::*;

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((kind, rule_id)): Path<(String, String)>,
) -> Result<EmptyReply> {
    app.push.remove_rule(&session.user_id, &kind, &rule_id).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/pushrules/global/{kind}/{rule_id}", delete(handle))
}
