//! Identifiers in paths, checked while they are read (appendices, "Common Identifier Format").

use serde::{Deserialize, Deserializer, de};
use services::names;
use std::ops::Deref;

macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident: $check:expr, $is:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub String);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                if $check(&text) {
                    Ok(Self(text))
                } else {
                    Err(de::Error::custom(concat!("a ", $is, " is expected there")))
                }
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }
    )*};
}

identifiers! {
    /// `!opaque:server` or `!opaque`.
    RoomId: names::is_room_id, "room id (! and at most 255 bytes)";
    /// `#localpart:server`.
    RoomAlias: names::is_room_alias, "room alias (#localpart:server, at most 255 bytes)";
    /// `$opaque` or `$opaque:server`.
    EventId: names::is_event_id, "event id ($ and at most 255 bytes)";
    /// `@localpart:server`.
    UserId: names::is_user_id, "user id (@localpart:server, at most 255 bytes)";
}
