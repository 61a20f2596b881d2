//! The same rubbish thrown at every endpoint: nothing may answer 500, and every error is a Matrix error.

use anyhow::{Context, Result};
use reqwest::Method;

use super::{Case, Report, Scene, Who};

/// Endpoints that read a body, with ids in their paths.
const TARGETS: [(&str, &str); 38] = [
    ("POST", "/_matrix/client/v3/login"),
    ("POST", "/_matrix/client/v3/register"),
    ("POST", "/_matrix/client/v3/createRoom"),
    ("POST", "/_matrix/client/v3/join/{room}"),
    ("POST", "/_matrix/client/v3/rooms/{room}/invite"),
    ("POST", "/_matrix/client/v3/rooms/{room}/kick"),
    ("POST", "/_matrix/client/v3/rooms/{room}/ban"),
    ("POST", "/_matrix/client/v3/rooms/{room}/unban"),
    ("PUT", "/_matrix/client/v3/rooms/{room}/send/m.room.message/rubbish"),
    ("PUT", "/_matrix/client/v3/rooms/{room}/state/m.room.name/"),
    ("PUT", "/_matrix/client/v3/rooms/{room}/state/m.room.power_levels/"),
    ("PUT", "/_matrix/client/v3/rooms/{room}/state/m.room.member/{owner}"),
    ("PUT", "/_matrix/client/v3/rooms/{room}/state/m.room.join_rules/"),
    ("PUT", "/_matrix/client/v3/rooms/{room}/redact/$unknown/rubbish"),
    ("PUT", "/_matrix/client/v3/rooms/{room}/typing/{owner}"),
    ("POST", "/_matrix/client/v3/rooms/{room}/receipt/m.read/$unknown"),
    ("POST", "/_matrix/client/v3/rooms/{room}/read_markers"),
    ("POST", "/_matrix/client/v3/keys/upload"),
    ("POST", "/_matrix/client/v3/keys/query"),
    ("POST", "/_matrix/client/v3/keys/claim"),
    ("POST", "/_matrix/client/v3/keys/device_signing/upload"),
    ("POST", "/_matrix/client/v3/keys/signatures/upload"),
    ("PUT", "/_matrix/client/v3/sendToDevice/m.test/rubbish"),
    ("POST", "/_matrix/client/v3/room_keys/version"),
    ("PUT", "/_matrix/client/v3/room_keys/keys?version=1"),
    ("PUT", "/_matrix/client/v3/room_keys/keys/{room}/session?version=1"),
    ("POST", "/_matrix/client/v3/user/{owner}/filter"),
    ("PUT", "/_matrix/client/v3/profile/{owner}/displayname"),
    ("PUT", "/_matrix/client/v3/profile/{owner}/avatar_url"),
    ("PUT", "/_matrix/client/v3/devices/{device}"),
    ("POST", "/_matrix/client/v3/delete_devices"),
    ("POST", "/_matrix/client/v3/account/password"),
    ("POST", "/_matrix/client/v3/account/deactivate"),
    ("PUT", "/_matrix/client/v3/directory/room/%23rubbish:{server}"),
    ("POST", "/_matrix/client/v3/publicRooms"),
    ("POST", "/_matrix/client/v3/user_directory/search"),
    ("PUT", "/_matrix/client/v3/pushrules/global/override/rubbish"),
    ("PUT", "/_matrix/client/v3/user/{owner}/account_data/m.rubbish"),
];

/// Bodies that are wrong everywhere: none is an object of a shape that an endpoint takes.
const BODIES: [&[u8]; 12] = [
    b"{",
    b"[]",
    b"null",
    b"true",
    b"17",
    b"\"text\"",
    b"{\"a\":}",
    b"{\"a\":1}}",
    b"\xff\xfe\x00",
    b"{\"\xc0\xaf\":1}",
    b"{'a':1}",
    b"NaN",
];

pub(super) async fn throw(scene: &Scene, report: &mut Report) -> Result<()> {
    for (method, path) in TARGETS {
        for body in BODIES {
            let case = Case {
                what: "rubbish",
                who: Who::Owner,
                method: Method::from_bytes(method.as_bytes())?,
                path: path.to_owned(),
                body: Some(body.to_vec()),
                right: Vec::new(),
            };
            report.requests += 1;
            let answer = scene.answer(&case).await.with_context(|| format!("{method} {path} {:?}", text(body)))?;
            let code = answer.errcode();
            // `M_UNRECOGNIZED` would be an endpoint that is not there.
            if !(400..500).contains(&answer.status) || code.is_empty() || code == "M_UNRECOGNIZED" {
                let said = text(&answer.body);
                report.failures.push(format!("{method} {path} with {:?} gave {} {said}", text(body), answer.status));
            }
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned()
}
