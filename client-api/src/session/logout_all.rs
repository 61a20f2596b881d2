//! `POST /_matrix/client/v3/logout/all`: ends every session of the user; all their devices go.

use crate::frame::*;

async fn handle(State(app): State<App>, Authenticated(session): Authenticated) -> Result<EmptyReply> {
    app.accounts.logout_all(&session.user_id).await?;
    Ok(EmptyReply)
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/logout/all", post(handle))
}
