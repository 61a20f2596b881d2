//! `GET /_matrix/client/v3/pushrules/` and `GET /_matrix/client/v3/pushrules/global/`: all push rules.

use crate::frame::*;
use serde_json::Value;

async fn all(State(app): State<App>, Authenticated(session): Authenticated) -> Result<Reply<Value>> {
    Ok(Reply(app.push.content(&app.store.snapshot(), &session.user_id)?))
}

async fn global(State(app): State<App>, Authenticated(session): Authenticated) -> Result<Reply<Value>> {
    let mut content = app.push.content(&app.store.snapshot(), &session.user_id)?;
    Ok(Reply(content["global"].take()))
}

pub(crate) fn route(router: Router) -> Router {
    let router = V3.at(router, "/pushrules/", get(all));
    let router = V3.at(router, "/pushrules", get(all));
    let router = V3.at(router, "/pushrules/global", get(global));
    V3.at(router, "/pushrules/global/", get(global))
}
