//! `POST /_matrix/client/v3/logout`: ends the session of the access token; its device goes.

use crate::frame::*;

async fn handle(State(app): State<App>, Authenticated(session): Authenticated) -> Result<EmptyReply> {
    app.accounts.logout(&session).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/logout", post(handle))
}
