//! User ids (appendices, "User Identifiers") and device ids.

use crate::{Error, Result};

/// Bytes of a user id, with sigil and server name.
pub const MAX_USER_ID_BYTES: usize = 255;
/// Bytes of a device id that a client may choose.
pub const MAX_DEVICE_ID_BYTES: usize = 255;
/// Bytes of a device's display name.
pub const MAX_DEVICE_NAME_BYTES: usize = 1024;

/// The user id for a name that someone registers. Capital letters become small ones; everything else outside of the
/// grammar is refused.
///
/// # Errors
///
/// 400 `M_INVALID_USERNAME`.
pub fn new_user_id(username: &str, server_name: &str) -> Result<String> {
    let localpart = username.to_ascii_lowercase();
    if localpart.is_empty() {
        return Err(invalid_username("A user name must not be empty."));
    }
    if let Some(wrong) = localpart.chars().find(|c| !is_localpart_char(*c)) {
        return Err(invalid_username(format!(
            "A user name may contain a to z, 0 to 9 and . _ = - / +, but not {wrong:?}."
        )));
    }
    let user_id = format!("@{localpart}:{server_name}");
    if user_id.len() > MAX_USER_ID_BYTES {
        return Err(invalid_username(format!("The user id would be longer than {MAX_USER_ID_BYTES} bytes.")));
    }
    Ok(user_id)
}

/// The user id that someone means who signs in as `user`: a whole user id or a localpart. Neither grammar nor server
/// are checked; an id that is not ours simply names no account.
#[must_use]
pub fn meant_user_id(user: &str, server_name: &str) -> String {
    if user.starts_with('@') && user.contains(':') { user.to_owned() } else { format!("@{user}:{server_name}") }
}

/// The same with a localpart in small letters, if it is of our server: names are given in small letters only, and people type capital
/// ones.
#[must_use]
pub fn in_small_letters(user_id: &str, server_name: &str) -> String {
    match split_user_id(user_id) {
        Ok((localpart, server)) if server == server_name => format!("@{}:{server}", localpart.to_ascii_lowercase()),
        _ => user_id.to_owned(),
    }
}

/// The parts of a user id: localpart and server name.
///
/// # Errors
///
/// 400 `M_INVALID_PARAM` if it is none, historical ids allowed.
pub fn split_user_id(user_id: &str) -> Result<(&str, &str)> {
    let parts = user_id.strip_prefix('@').and_then(|rest| rest.split_once(':'));
    match parts {
        Some((localpart, server))
            if !server.is_empty() && user_id.len() <= MAX_USER_ID_BYTES && !user_id.contains('\0') =>
        {
            Ok((localpart, server))
        }
        _ => Err(Error::invalid_param("A user id has the form @localpart:server and at most 255 bytes.")),
    }
}

/// Checks a device id that a client chose.
///
/// # Errors
///
/// 400 `M_INVALID_PARAM`.
pub fn check_device_id(device_id: &str) -> Result<()> {
    if device_id.is_empty() || device_id.len() > MAX_DEVICE_ID_BYTES || device_id.chars().any(char::is_control) {
        return Err(Error::invalid_param(format!(
            "`device_id` must have 1 to {MAX_DEVICE_ID_BYTES} bytes and no control characters."
        )));
    }
    Ok(())
}

/// Checks a device's display name.
///
/// # Errors
///
/// 400 `M_INVALID_PARAM`.
pub fn check_device_name(name: &str) -> Result<()> {
    if name.len() > MAX_DEVICE_NAME_BYTES {
        return Err(Error::invalid_param(format!(
            "A device's display name must not be longer than {MAX_DEVICE_NAME_BYTES} bytes."
        )));
    }
    Ok(())
}

/// As much of `text` as fits into `most` bytes.
#[must_use]
pub fn beginning(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn is_localpart_char(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '=' | '-' | '/' | '+')
}

fn invalid_username(message: impl Into<String>) -> Error {
    Error::new(400, "M_INVALID_USERNAME", message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        assert_eq!(new_user_id("Alice.B", "x.org").unwrap(), "@alice.b:x.org");
        assert_eq!(new_user_id("a/b+c=d_e-f.9", "x").unwrap(), "@a/b+c=d_e-f.9:x");
        for wrong in ["", "a b", "ä", "a:b", "@a", "a\0", "a@b", &"a".repeat(250)] {
            assert_eq!(new_user_id(wrong, "x.org").unwrap_err().errcode, "M_INVALID_USERNAME", "{wrong}");
        }
    }

    #[test]
    fn historical_user_ids_can_be_split() {
        assert_eq!(split_user_id("@Ä B:x:8448").unwrap(), ("Ä B", "x:8448"));
        for wrong in ["", "@", "@a", "a:b", "@a:", &format!("@{}:x", "a".repeat(255))] {
            split_user_id(wrong).unwrap_err();
        }
    }
}
