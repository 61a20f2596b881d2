//! Names: parts of user ids, room ids and aliases (appendices, "Identifier Grammar").

pub use state_res::ids::{
    is_valid_server_name as is_server_name, is_valid_user_id as is_user_id, localpart_of, server_of,
};

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

/// Whether `id` has the form of an event id.
#[must_use]
pub fn is_event_id(id: &str) -> bool {
    id.len() <= 255 && id.len() > 1 && id.starts_with('$') && !id.contains('\0')
}
