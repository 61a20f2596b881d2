//! What the rules read from `m.room.member`, `m.room.join_rules` and `m.room.create` events.

use serde_json::{Map, Value};

use crate::{
    pdu::Pdu,
    room_version::RoomVersion,
    switches::{Clause, on},
};

/// A user's membership of a room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Membership {
    /// In the room.
    Join,
    /// Invited to it.
    Invite,
    /// Not in the room: left, never joined, kicked, declined, or unbanned.
    Leave,
    /// Banned from it.
    Ban,
    /// Has asked for an invite.
    Knock,
    /// A value that no room version knows, or none at all.
    Unknown,
}

impl Membership {
    /// The membership that a string in `content.membership` means.
    pub fn parse(membership: &str) -> Self {
        match membership {
            "join" => Membership::Join,
            "invite" => Membership::Invite,
            "leave" => Membership::Leave,
            "ban" => Membership::Ban,
            "knock" => Membership::Knock,
            _ => Membership::Unknown,
        }
    }

    /// The membership in the `content` of an `m.room.member` event.
    pub fn in_content(content: &Map<String, Value>) -> Self {
        content.get("membership").and_then(Value::as_str).map_or(Membership::Unknown, Membership::parse)
    }

    /// The membership that a user's `m.room.member` event gives them: [`Membership::Leave`] if there is none.
    pub fn of(event: Option<&Pdu>) -> Self {
        event.map_or(Membership::Leave, |event| Membership::in_content(event.content()))
    }

    /// The word that the specification has for it; `None` for [`Membership::Unknown`].
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Membership::Join => Some("join"),
            Membership::Invite => Some("invite"),
            Membership::Leave => Some("leave"),
            Membership::Ban => Some("ban"),
            Membership::Knock => Some("knock"),
            Membership::Unknown => None,
        }
    }
}

/// Who may join a room. Whether a room version knows the rule is for the authorisation rules to say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum JoinRule {
    /// Anyone.
    Public,
    /// Those who are invited.
    Invite,
    /// Those who are invited, and anyone may ask to be. Version 7 on.
    Knock,
    /// Those who are invited or vouched for by a member. Version 8 on.
    Restricted,
    /// Both of these. Version 10 on.
    KnockRestricted,
    /// Reserved by the specification, without meaning: nobody.
    Private,
    /// A value that no room version knows, or none at all: nobody.
    Unknown,
}

impl JoinRule {
    /// The rule that a string in `content.join_rule` means.
    pub fn parse(rule: &str) -> Self {
        match rule {
            "public" => JoinRule::Public,
            "invite" => JoinRule::Invite,
            "knock" => JoinRule::Knock,
            "restricted" => JoinRule::Restricted,
            "knock_restricted" => JoinRule::KnockRestricted,
            "private" => JoinRule::Private,
            _ => JoinRule::Unknown,
        }
    }

    /// The rule of a room's `m.room.join_rules` event. Without one nobody may join: the specification names no default.
    pub fn of(event: Option<&Pdu>) -> Self {
        event
            .and_then(|event| event.content().get("join_rule"))
            .and_then(Value::as_str)
            .map_or(if on(Clause::NoJoinRules) { JoinRule::Unknown } else { JoinRule::Public }, JoinRule::parse)
    }

    /// Whether invited users may join by this rule alone in this version: `invite`, and from version 7 `knock`.
    pub(super) fn admits_invited(self, version: RoomVersion) -> bool {
        self == JoinRule::Invite || (self == JoinRule::Knock && has(version.rules().auth.knocking))
    }

    /// Whether users vouched for by a member may join in this version: from 8 `restricted`, from 10 `knock_restricted`.
    pub fn is_restricted(self, version: RoomVersion) -> bool {
        (self == JoinRule::Restricted && has(version.rules().auth.restricted_joins))
            || (self == JoinRule::KnockRestricted && has(version.rules().auth.knock_restricted))
    }

    /// Whether users may knock in this version: from 7 `knock`, from 10 `knock_restricted`.
    pub fn admits_knocks(self, version: RoomVersion) -> bool {
        (self == JoinRule::Knock && has(version.rules().auth.knocking))
            || (self == JoinRule::KnockRestricted && has(version.rules().auth.knock_restricted))
    }
}

/// Whether a version has a word.
fn has(word: bool) -> bool {
    word || !on(Clause::WordsOfVersions)
}

/// Whether `user` is a creator of the room that `create` began: to version 10 the `creator` in its content, from 11 its
/// sender, and from 12 also those in `additional_creators`.
pub fn is_creator(create: &Pdu, user: &str) -> bool {
    is_first_creator(create, user) || additional_creators(create).any(|creator| creator == user)
}

/// The creators of the room that `create` began. See [`is_creator`].
pub fn creators(create: &Pdu) -> impl Iterator<Item = &str> {
    first_creator(create).into_iter().chain(additional_creators(create))
}

/// Whether `user` is the one who may join right after the create event: not an additional creator.
pub(super) fn is_first_creator(create: &Pdu, user: &str) -> bool {
    first_creator(create) == Some(user)
}

fn first_creator(create: &Pdu) -> Option<&str> {
    if create.version().rules().auth.creator_in_content && on(Clause::CreatorInContent) {
        create.content().get("creator").and_then(Value::as_str)
    } else {
        Some(create.sender())
    }
}

fn additional_creators(create: &Pdu) -> impl Iterator<Item = &str> {
    let known = create.version().rules().auth.privileged_creators && on(Clause::PrivilegedCreators);
    let list = if known { create.content().get("additional_creators") } else { None };
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
