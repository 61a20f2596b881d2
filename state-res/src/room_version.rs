//! Room versions and what differs between them.
//!
//! Code asks [`RoomVersion::rules`] about one named difference at a time and never compares version numbers, so that a new
//! version is a new row of the table below. Specification: "Room Versions" and its pages for versions 1 to 12.

use std::{fmt, str::FromStr};

use crate::{
    canonical_json::MAX_INTEGER,
    switches::{Clause, on},
};

/// A room version of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RoomVersion {
    /// Room version 1.
    V1 = 1,
    /// Room version 2: state resolution version 2.
    V2 = 2,
    /// Room version 3: an event's id is its hash.
    V3 = 3,
    /// Room version 4: URL-safe event ids.
    V4 = 4,
    /// Room version 5: signing keys' validity is enforced.
    V5 = 5,
    /// Room version 6: strict canonical JSON, several authorisation rules.
    V6 = 6,
    /// Room version 7: knocking.
    V7 = 7,
    /// Room version 8: restricted joins.
    V8 = 8,
    /// Room version 9: redaction keeps what restricted joins need.
    V9 = 9,
    /// Room version 10: integer power levels, `knock_restricted`.
    V10 = 10,
    /// Room version 11: a clearer redaction algorithm.
    V11 = 11,
    /// Room version 12: the room id is the create event's hash, creators have infinite power, state resolution 2.1.
    V12 = 12,
}

/// How an event gets its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventIdFormat {
    /// The event carries it in `event_id`; references to events are pairs of id and hash (versions 1 and 2).
    Sent,
    /// `$` and the reference hash in unpadded Base64 (version 3).
    Base64Hash,
    /// `$` and the reference hash in URL-safe unpadded Base64 (version 4 and later).
    UrlSafeBase64Hash,
}

/// Which state resolution algorithm a room uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateResolution {
    /// The algorithm of room version 1.
    V1,
    /// The algorithm of room versions 2 to 11.
    V2,
    /// The algorithm of room version 12: it starts from an empty state and adds the conflicted state subgraph.
    V2_1,
}

/// How values in `m.room.power_levels` may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerLevelFormat {
    /// Integers, strings that hold an integer, and floats, which are truncated (versions 1 to 5).
    IntegerStringOrFloat,
    /// Integers and strings that hold an integer (versions 6 to 9).
    IntegerOrString,
    /// Integers only (version 10 and later).
    Integer,
}

/// What the redaction algorithm of a room version keeps beyond what all versions keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedactionRules {
    /// Top-level `origin`, `membership` and `prev_state` are kept (versions 1 to 10).
    pub keeps_origin_membership_prev_state: bool,
    /// `aliases` of `m.room.aliases` is kept (versions 1 to 5).
    pub keeps_aliases: bool,
    /// `allow` of `m.room.join_rules` is kept (version 8 and later).
    pub keeps_join_rule_allow: bool,
    /// `join_authorised_via_users_server` of `m.room.member` is kept (version 9 and later).
    pub keeps_join_authorised: bool,
    /// `third_party_invite.signed` of `m.room.member` is kept (version 11 and later).
    pub keeps_third_party_invite_signed: bool,
    /// All of `m.room.create`'s content is kept, not `creator` alone (version 11 and later).
    pub keeps_create_content: bool,
    /// `invite` of `m.room.power_levels` is kept (version 11 and later).
    pub keeps_invite_level: bool,
    /// `redacts` in the content of `m.room.redaction` is kept (version 11 and later).
    pub keeps_content_redacts: bool,
}

/// How the authorisation rules of a room version differ from those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthRules {
    /// `m.room.aliases` has a rule of its own (versions 1 to 5, rule 4).
    pub special_aliases: bool,
    /// `m.room.redaction` has a rule of its own (versions 1 and 2, rule 11).
    pub special_redaction: bool,
    /// `m.room.create` must have `content.creator`, and that user is the creator (versions 1 to 10). Otherwise the creator
    /// is the create event's sender.
    pub creator_in_content: bool,
    /// Changes of `notifications` levels are limited like those of `events` (version 6 and later).
    pub limits_notifications: bool,
    /// Membership `knock` and join rule `knock` exist (version 7 and later).
    pub knocking: bool,
    /// Join rule `restricted` and `join_authorised_via_users_server` exist (version 8 and later).
    pub restricted_joins: bool,
    /// Join rule `knock_restricted` exists (version 10 and later).
    pub knock_restricted: bool,
    /// How values in `m.room.power_levels` may be written.
    pub power_levels: PowerLevelFormat,
    /// The create event is among the auth events of every other event (versions 1 to 11); in version 12 the room id stands
    /// for it and it must not be listed.
    pub create_in_auth_events: bool,
    /// Creators, `additional_creators` among them, have infinite power and no entry in the power levels' `users` (version
    /// 12 and later).
    pub privileged_creators: bool,
}

/// Everything in which room versions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How an event gets its identifier.
    pub event_id: EventIdFormat,
    /// Canonical JSON is enforced: integers within ±(2^53-1) and no other numbers (version 6 and later).
    pub strict_canonical_json: bool,
    /// A signing key must have been valid at the event's `origin_server_ts` (version 5 and later).
    pub enforces_key_validity: bool,
    /// The room id is `!` and the create event's hash, and the create event carries none (version 12 and later).
    pub create_event_is_room_id: bool,
    /// `redacts` of `m.room.redaction` is in the content (version 11 and later), not at the top level.
    pub redacts_in_content: bool,
    /// What redaction keeps.
    pub redaction: RedactionRules,
    /// How the authorisation rules differ.
    pub auth: AuthRules,
    /// Which state resolution algorithm applies.
    pub state_resolution: StateResolution,
}

impl Rules {
    /// Whether references to other events (`prev_events`, `auth_events`) are pairs of an event id and its hashes.
    #[must_use]
    pub const fn references_carry_hashes(&self) -> bool {
        matches!(self.event_id, EventIdFormat::Sent)
    }
}

impl RoomVersion {
    /// All room versions, oldest first.
    pub const ALL: [Self; 12] = [
        Self::V1,
        Self::V2,
        Self::V3,
        Self::V4,
        Self::V5,
        Self::V6,
        Self::V7,
        Self::V8,
        Self::V9,
        Self::V10,
        Self::V11,
        Self::V12,
    ];

    /// The version that new rooms get when nobody asks for another ("Complete list of room versions").
    pub const DEFAULT: Self = Self::V12;

    /// The rules of this version.
    #[must_use]
    pub const fn rules(self) -> &'static Rules {
        match self {
            Self::V1 => &V1,
            Self::V2 => &V2,
            Self::V3 => &V3,
            Self::V4 => &V4,
            Self::V5 => &V5,
            Self::V6 => &V6,
            Self::V7 => &V7,
            Self::V8 => &V8,
            Self::V9 => &V9,
            Self::V10 => &V10,
            Self::V11 => &V11,
            Self::V12 => &V12,
        }
    }

    /// The version's identifier, as in `content.room_version` of a create event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::V2 => "2",
            Self::V3 => "3",
            Self::V4 => "4",
            Self::V5 => "5",
            Self::V6 => "6",
            Self::V7 => "7",
            Self::V8 => "8",
            Self::V9 => "9",
            Self::V10 => "10",
            Self::V11 => "11",
            Self::V12 => "12",
        }
    }

    /// The greatest `depth` that an event may have: what is one more than it stays at it ("Event format").
    #[must_use]
    pub fn max_depth(self) -> i64 {
        let canonical = self.rules().strict_canonical_json || !on(Clause::GreatestDepth);
        if canonical { MAX_INTEGER } else { i64::MAX }
    }

    /// The version's number, 1 to 12: a compact form for storing.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The version with this number; `None` if there is none.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

const V1: Rules = Rules {
    event_id: EventIdFormat::Sent,
    strict_canonical_json: false,
    enforces_key_validity: false,
    create_event_is_room_id: false,
    redacts_in_content: false,
    redaction: RedactionRules {
        keeps_origin_membership_prev_state: true,
        keeps_aliases: true,
        keeps_join_rule_allow: false,
        keeps_join_authorised: false,
        keeps_third_party_invite_signed: false,
        keeps_create_content: false,
        keeps_invite_level: false,
        keeps_content_redacts: false,
    },
    auth: AuthRules {
        special_aliases: true,
        special_redaction: true,
        creator_in_content: true,
        limits_notifications: false,
        knocking: false,
        restricted_joins: false,
        knock_restricted: false,
        power_levels: PowerLevelFormat::IntegerStringOrFloat,
        create_in_auth_events: true,
        privileged_creators: false,
    },
    state_resolution: StateResolution::V1,
};

const V2: Rules = Rules { state_resolution: StateResolution::V2, ..V1 };

const V3: Rules =
    Rules { event_id: EventIdFormat::Base64Hash, auth: AuthRules { special_redaction: false, ..V2.auth }, ..V2 };

const V4: Rules = Rules { event_id: EventIdFormat::UrlSafeBase64Hash, ..V3 };

const V5: Rules = Rules { enforces_key_validity: true, ..V4 };

const V6: Rules = Rules {
    strict_canonical_json: true,
    redaction: RedactionRules { keeps_aliases: false, ..V5.redaction },
    auth: AuthRules {
        special_aliases: false,
        limits_notifications: true,
        power_levels: PowerLevelFormat::IntegerOrString,
        ..V5.auth
    },
    ..V5
};

const V7: Rules = Rules { auth: AuthRules { knocking: true, ..V6.auth }, ..V6 };

const V8: Rules = Rules {
    redaction: RedactionRules { keeps_join_rule_allow: true, ..V7.redaction },
    auth: AuthRules { restricted_joins: true, ..V7.auth },
    ..V7
};

const V9: Rules = Rules { redaction: RedactionRules { keeps_join_authorised: true, ..V8.redaction }, ..V8 };

const V10: Rules =
    Rules { auth: AuthRules { knock_restricted: true, power_levels: PowerLevelFormat::Integer, ..V9.auth }, ..V9 };

const V11: Rules = Rules {
    redacts_in_content: true,
    redaction: RedactionRules {
        keeps_origin_membership_prev_state: false,
        keeps_third_party_invite_signed: true,
        keeps_create_content: true,
        keeps_invite_level: true,
        keeps_content_redacts: true,
        ..V10.redaction
    },
    auth: AuthRules { creator_in_content: false, ..V10.auth },
    ..V10
};

const V12: Rules = Rules {
    create_event_is_room_id: true,
    auth: AuthRules { create_in_auth_events: false, privileged_creators: true, ..V11.auth },
    state_resolution: StateResolution::V2_1,
    ..V11
};

/// A room version that this crate does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("room version {0:?} is not known; the known ones are 1 to 12")]
pub struct UnknownRoomVersion(pub String);

impl FromStr for RoomVersion {
    type Err = UnknownRoomVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnknownRoomVersion(text.chars().take(MAX_SHOWN_CHARS).collect()))
    }
}

/// How much of an unknown version's name an error repeats: the specification's limit for such names.
const MAX_SHOWN_CHARS: usize = 32;

impl fmt::Display for RoomVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for RoomVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for RoomVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn names_and_numbers_go_both_ways() {
        for version in RoomVersion::ALL {
            assert_eq!(version.to_string().parse::<RoomVersion>().unwrap(), version);
            assert_eq!(RoomVersion::from_number(version.number()), Some(version));
            assert_eq!(
                serde_json::from_str::<RoomVersion>(&serde_json::to_string(&version).unwrap()).unwrap(),
                version
            );
        }
        for unknown in ["", "0", "13", "01", "1 ", "org.example"] {
            assert!(unknown.parse::<RoomVersion>().is_err(), "{unknown}");
        }
        assert_eq!(RoomVersion::from_number(0), None);
        assert_eq!(RoomVersion::from_number(13), None);
    }

    /// "Room Versions", feature matrix.
    #[test]
    fn feature_matrix() {
        for version in RoomVersion::ALL {
            let (number, auth) = (version.number(), &version.rules().auth);
            assert_eq!(auth.knocking, number >= 7);
            assert_eq!(auth.restricted_joins, number >= 8);
            assert_eq!(auth.knock_restricted, number >= 10);
            assert_eq!(auth.privileged_creators, number >= 12);
        }
    }
}
