//! `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`: adds or replaces a rule of the user's own.

use crate::frame::*;
use services::push::RuleChange;

#[derive(Deserialize)]
struct Parameters {
    before: Option<String>,
    after: Option<String>,
}

async fn handle(
    State(app): State<App>,
    Authenticated(session): Authenticated,
    Path((kind, rule_id)): Path<(String, String)>,
    Query(parameters): Query<Parameters>,
    Json(change): Json<RuleChange>,
) -> Result<EmptyReply> {
    let (before, after) = (parameters.before.as_deref(), parameters.after.as_deref());
    app.push.put_rule(&session.user_id, &kind, &rule_id, change, before, after).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/pushrules/global/{kind}/{rule_id}", put(handle))
}
