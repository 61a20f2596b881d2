//! `GET /_matrix/client/versions`: the releases of the specification that this server speaks.
//!
//! Every one without a gap: older clients refuse a server that lists only new ones.

use crate::frame::*;

const VERSIONS: &[u8] = br#"{"versions":["v1.1","v1.2","v1.3","v1.4","v1.5","v1.6","v1.7","v1.8","v1.9","v1.10","v1.11","v1.12","v1.13","v1.14","v1.15","v1.16","v1.17","v1.18","v1.19"],"unstable_features":{"org.matrix.e2e_cross_signing":true,"uk.tcpip.msc4133.stable":true}}"#;

async fn handle() -> RawReply {
    RawReply(bytes::Bytes::from_static(VERSIONS))
}

pub(crate) fn route(router: Router) -> Router {
    router.route("/_matrix/client/versions", get(handle))
}
