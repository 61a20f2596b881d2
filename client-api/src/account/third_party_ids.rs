//! `GET /_matrix/client/v3/account/3pid`: the user's third-party identifiers. This server keeps none
//! (`m.3pid_changes` is off), so that the list is empty.

use crate::frame::*;

#[derive(Serialize)]
struct Response {
    threepids: [(); 0],
}

async fn handle(_: Authenticated) -> Reply<Response> {
    Reply(Response { threepids: [] })
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/account/3pid", get(handle))
}
