//! `GET /_matrix/client/v3/capabilities`: what this server lets its users do.

use crate::frame::*;

const CAPABILITIES: &[u8] = br#"{"capabilities":{"m.change_password":{"enabled":true},"m.room_versions":{"default":"12","available":{"1":"stable","2":"stable","3":"stable","4":"stable","5":"stable","6":"stable","7":"stable","8":"stable","9":"stable","10":"stable","11":"stable","12":"stable"}},"m.profile_fields":{"enabled":true},"m.set_displayname":{"enabled":true},"m.set_avatar_url":{"enabled":true},"m.3pid_changes":{"enabled":false},"m.get_login_token":{"enabled":false},"m.forget_forced_upon_leave":{"enabled":false}}}"#;

async fn handle(_: Authenticated) -> RawReply {
    RawReply(bytes::Bytes::from_static(CAPABILITIES))
}

pub(crate) fn routes(router: Router) -> Router {
    V3.at(router, "/capabilities", get(handle))
}
