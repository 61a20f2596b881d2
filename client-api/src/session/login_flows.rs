//! `GET /_matrix/client/v3/login`: how one can sign in.

use crate::frame::*;

async fn handle() -> RawReply {
    RawReply(bytes::Bytes::from_static(br#"{"flows":[{"type":"m.login.password"}]}"#))
}

pub(crate) fn route(router: Router) -> Router {
    V3.at(router, "/login", get(handle))
}
