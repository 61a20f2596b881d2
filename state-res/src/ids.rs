//! Fixed-size keys for the strings that name things, and the grammar of those strings.
//!
//! An event id, room id, user id or server name becomes 128 bits of SHA-256 over its kind and its text. Two servers, or two
//! processes, compute the same key without asking a store. The text itself is written beside what it first names; whoever
//! stores both refuses a mismatch.

use std::fmt;

use sha2::{Digest, Sha256};

/// The longest user id, room id, event id, event type and state key, in bytes (client-server API, "Size limits").
pub const MAX_ID_BYTES: usize = 255;

/// The order of the bytes, compared as one number: maps by key are what resolving a state spends most on.
macro_rules! ordered_by_bytes {
    ($name:ident) => {
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
    };
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident, $tag:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; 16]);

        ordered_by_bytes!($name);

        impl $name {
            /// The key of this identifier: the first 128 bits of SHA-256 over a byte for the kind and the text.
            #[must_use]
            pub fn of(text: &str) -> Self {
                let digest = Sha256::new().chain_update([$tag]).chain_update(text.as_bytes()).finalize();
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&digest[..16]);
                Self(bytes)
            }

            /// A key from the bytes that [`Self::as_bytes`] gave.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes of the key.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), Hex(&self.0))
            }
        }
    };
}

key! {
    /// The key of an event id.
    EventKey, b'e'
}
key! {
    /// The key of a room id.
    RoomKey, b'r'
}
key! {
    /// The key of a user id.
    UserKey, b'u'
}
key! {
    /// The key of a server name.
    ServerKey, b's'
}

/// The key of a pair (event type, state key): a place in a room's state.
///
/// The first four bytes depend on the type alone, so that all places of one type are neighbours.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateKeyId([u8; 16]);

ordered_by_bytes!(StateKeyId);

/// How many leading bytes of a [`StateKeyId`] depend on the event type alone.
pub const TYPE_PREFIX_BYTES: usize = 4;

impl StateKeyId {
    /// The key of this event type and state key: four bytes of SHA-256 over the type, then twelve of SHA-256 over the type
    /// and the state key, the type preceded by its length.
    #[must_use]
    pub fn of(event_type: &str, state_key: &str) -> Self {
        let mut bytes = [0; 16];
        bytes[..TYPE_PREFIX_BYTES].copy_from_slice(&Self::type_prefix(event_type));
        let digest = Sha256::new()
            .chain_update((event_type.len() as u64).to_be_bytes())
            .chain_update(event_type.as_bytes())
            .chain_update(state_key.as_bytes())
            .finalize();
        bytes[TYPE_PREFIX_BYTES..].copy_from_slice(&digest[..16 - TYPE_PREFIX_BYTES]);
        Self(bytes)
    }

    /// The bytes with which the keys of all places of this event type begin.
    #[must_use]
    pub fn type_prefix(event_type: &str) -> [u8; TYPE_PREFIX_BYTES] {
        let digest = Sha256::digest(event_type.as_bytes());
        let mut bytes = [0; TYPE_PREFIX_BYTES];
        bytes.copy_from_slice(&digest[..TYPE_PREFIX_BYTES]);
        bytes
    }

    /// A key from the bytes that [`Self::as_bytes`] gave.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for StateKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateKeyId({})", Hex(&self.0))
    }
}

/// The server name in a user id, room id, event id or alias: what follows the first colon. `None` without a colon.
///
/// A server name may itself contain colons (a port, an IPv6 literal); a localpart may not.
#[must_use]
pub fn server_of(id: &str) -> Option<&str> {
    id.split_once(':').map(|(_, server)| server)
}

/// The localpart of an identifier of the form sigil, localpart, colon, server name. `None` if it has no colon.
#[must_use]
pub fn localpart_of(id: &str) -> Option<&str> {
    let (front, _) = id.split_once(':')?;
    let mut chars = front.chars();
    chars.next()?;
    Some(chars.as_str())
}

/// Whether a server must accept this user id in an event (appendices, "User Identifiers" and "Historical User IDs"): at
/// most 255 bytes, `@`, a localpart of any code points but `:` and NUL (it may be empty), `:`, a server name.
#[must_use]
pub fn is_valid_user_id(id: &str) -> bool {
    id.len() <= MAX_ID_BYTES
        && id
            .strip_prefix('@')
            .and_then(|rest| rest.split_once(':'))
            .is_some_and(|(localpart, server)| !localpart.contains('\0') && is_valid_server_name(server))
}

/// Whether new users may get this user id (appendices, "User Identifiers"): as [`is_valid_user_id`], and the localpart not
/// empty and made of `a-z`, `0-9`, `.`, `_`, `=`, `-`, `/` and `+` only.
#[must_use]
pub fn is_compliant_user_id(id: &str) -> bool {
    is_valid_user_id(id)
        && localpart_of(id).is_some_and(|localpart| {
            !localpart.is_empty()
                && localpart
                    .bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'=' | b'-' | b'/' | b'+'))
        })
}

/// Whether this is a server name by the grammar of the appendices ("Server Name"): a host name, IPv4 address or bracketed
/// IPv6 address, and optionally a colon and a port of one to five digits.
#[must_use]
pub fn is_valid_server_name(name: &str) -> bool {
    let (host_is_valid, rest) = if let Some(after) = name.strip_prefix('[') {
        let Some((address, rest)) = after.split_once(']') else {
            return false;
        };
        let valid = (2..=45).contains(&address.len())
            && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
        (valid, rest)
    } else {
        let end = name.find(':').unwrap_or(name.len());
        let (host, rest) = name.split_at(end);
        let valid = (1..=255).contains(&host.len())
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        (valid, rest)
    };
    let port_is_valid = match rest.strip_prefix(':') {
        Some(port) => (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()),
        None => rest.is_empty(),
    };
    host_is_valid && port_is_valid
}

/// Bytes written as hexadecimal digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn keys_depend_on_kind_and_text() {
        assert_ne!(EventKey::of("a").as_bytes(), RoomKey::of("a").as_bytes());
        assert_ne!(EventKey::of("a"), EventKey::of("b"));
        assert_eq!(EventKey::from_bytes(*EventKey::of("a").as_bytes()), EventKey::of("a"));
        // These bytes are on disk: a change here needs a migration. SHA-256("ea") begins so.
        assert_eq!(format!("{:?}", EventKey::of("a")), "EventKey(8405ae6de3ebde2abffb2531d437a163)");
    }

    #[test]
    fn state_keys_of_one_type_share_their_prefix_and_do_not_run_together() {
        let a = StateKeyId::of("m.room.member", "@a:x");
        let b = StateKeyId::of("m.room.member", "@b:x");
        assert_eq!(a.as_bytes()[..4], b.as_bytes()[..4]);
        assert_eq!(a.as_bytes()[..4], StateKeyId::type_prefix("m.room.member"));
        assert_ne!(a, b);
        assert_ne!(StateKeyId::of("ab", "c").as_bytes()[4..], StateKeyId::of("a", "bc").as_bytes()[4..]);
    }

    /// Appendices, "Server Name": its examples, and near misses.
    // clause: E2.6
    #[test]
    fn server_names() {
        for good in [
            "matrix.org",
            "matrix.org:8888",
            "1.2.3.4",
            "1.2.3.4:1234",
            "[1234:5678::abcd]",
            "[1234:5678::abcd]:5678",
            "UPPER-case.example",
        ] {
            assert!(is_valid_server_name(good), "{good}");
        }
        for bad in ["", ":80", "a:", "a:123456", "a:8x", "a b", "[::1", "[::1]x", "[]", "a_b", "é.org", "a:1:2"] {
            assert!(!is_valid_server_name(bad), "{bad}");
        }
    }

    /// Appendices, "Historical User IDs": servers accept what they would not hand out.
    // clause: E2.6
    #[test]
    fn user_ids() {
        for good in ["@a:x", "@:x", "@ü b\n:x.org:80", "@A:[::1]:1"] {
            assert!(is_valid_user_id(good), "{good}");
        }
        for bad in ["a:x", "@a", "@a:", "@a\0:x", "@a:b:c", "", "@"] {
            assert!(!is_valid_user_id(bad), "{bad}");
        }
        assert!(!is_valid_user_id(&format!("@{}:x", "a".repeat(253))));
        assert!(is_valid_user_id(&format!("@{}:x", "a".repeat(252))));
        assert!(is_compliant_user_id("@a-z_0.=/+:x"));
        assert!(!is_compliant_user_id("@A:x"));
        assert!(!is_compliant_user_id("@:x"));
        assert_eq!(server_of("@a:x:1"), Some("x:1"));
        assert_eq!(localpart_of("@a:x:1"), Some("a"));
    }
}
