//! Names: parts of user ids, room ids and aliases (appendices, "Identifier Grammar").

pub use state_res::ids::{
    is_valid_server_name as is_server_name, is_valid_user_id as is_user_id, localpart_of, server_of,
};

/// Bytes of a name that a client or peer makes up: a transaction id, an event type, a message id.
pub const MAX_NAME_BYTES: usize = 255;

/// Checks a name that a client makes up; `what` says which.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for an empty one and one of more than [`MAX_NAME_BYTES`].
pub fn check_name(what: &str, name: &str) -> crate::Result<()> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(crate::Error::invalid_param(format!("The {what} must have 1 to {MAX_NAME_BYTES} bytes.")));
    }
    Ok(())
}

/// Whether `id` has the form of a room id: `!opaque:server`, or `!opaque` from version 12 on.
#[must_use]
pub fn is_room_id(id: &str) -> bool {
    id.len() <= 255 && id.len() > 1 && id.starts_with('!') && !id.contains('\0')
}

/// Whether `alias` has the form `#localpart:server`.
#[must_use]
pub fn is_room_alias(alias: &str) -> bool {
    alias.len() <= 255
        && alias.starts_with('#')
        && server_of(alias).is_some_and(is_server_name)
        && !alias.contains('\0')
}

/// Whether `uri` has the form `mxc://server/media` (client-server API, "`mxc://` URIs").
#[must_use]
pub fn is_mxc_uri(uri: &str) -> bool {
    uri.strip_prefix("mxc://").and_then(|rest| rest.split_once('/')).is_some_and(|(server, media)| {
        is_server_name(server)
            && !media.is_empty()
            && media.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

/// The thread that everything belongs to which is in no other.
pub const MAIN_THREAD: &str = "main";

/// Whether `id` can name a thread in a receipt: that of its root, an event, or [`MAIN_THREAD`].
#[must_use]
pub fn is_thread_id(id: &str) -> bool {
    id == MAIN_THREAD || is_event_id(id)
}

/// Whether `id` has the form of an event id.
#[must_use]
pub fn is_event_id(id: &str) -> bool {
    id.len() <= 255 && id.len() > 1 && id.starts_with('$') && !id.contains('\0')
}
