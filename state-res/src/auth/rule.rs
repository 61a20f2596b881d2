//! The rules by number.
//!
//! Each room version numbers its rules anew. The code names a rule by what it says; this table gives the number that
//! the specification of each version prints before it, which is what a [`Refusal`](super::Refusal) carries.
//!
//! The number in front is that of the clause in docs/spec/4-authorisation.md, one for all versions.
//!
//! Two numbers differ from the source text of version 12, which is numbered by hand there and by the list where it is
//! displayed: "any event in `auth_events` has a `room_id` which does not match" is displayed as 3.4 (5 in the source),
//! and the last rule for power levels as 10.11 (a second 10 in the source). The displayed numbers are used.

use crate::room_version::RoomVersion;

/// Groups of versions with the same numbering, the columns of the table below.
const COLUMNS: usize = 8;

fn column(version: RoomVersion) -> usize {
    match version {
        RoomVersion::V1 | RoomVersion::V2 => 0,
        RoomVersion::V3 | RoomVersion::V4 | RoomVersion::V5 => 1,
        RoomVersion::V6 => 2,
        RoomVersion::V7 => 3,
        RoomVersion::V8 | RoomVersion::V9 => 4,
        RoomVersion::V10 => 5,
        RoomVersion::V11 => 6,
        RoomVersion::V12 => 7,
    }
}

macro_rules! rules {
    ($(#[doc = $says:literal] $name:ident $clause:literal [$($number:literal)*])*) => {
        /// An authorisation rule, named by what it says.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub(crate) enum Rule {
            $(#[doc = $says] $name,)*
        }

        impl Rule {
            /// Every rule, in the order of the specification.
            pub(crate) const ALL: &[Rule] = &[$(Rule::$name,)*];

            /// What the rule says, in short.
            pub(crate) fn says(self) -> &'static str {
                match self {
                    $(Rule::$name => $says.trim_ascii(),)*
                }
            }

            fn numbers(self) -> [&'static str; COLUMNS] {
                match self {
                    $(Rule::$name => [$($number),*],)*
                }
            }

            /// The clause of docs/spec/4-authorisation.md that has it, the same for all versions.
            pub(crate) const fn clause(self) -> &'static str {
                match self {
                    $(Rule::$name => $clause,)*
                }
            }
        }
    };
}

impl Rule {
    /// The rule's number in this version; empty if the version does not have it.
    pub(crate) fn number(self, version: RoomVersion) -> &'static str {
        self.numbers()[column(version)]
    }

    /// Whether the rule says what an event's content has to look like, whoever sends it.
    pub(crate) fn is_of_content(self) -> bool {
        use Rule::{MemberMalformed, PowerCreators, PowerMaps, PowerScalars, PowerUsers};
        matches!(self, MemberMalformed | PowerScalars | PowerMaps | PowerUsers | PowerCreators)
    }
}

/// The numbers of all the rules of a version, in the order of its specification.
pub fn rule_numbers(version: RoomVersion) -> impl Iterator<Item = &'static str> {
    Rule::ALL.iter().map(move |rule| rule.number(version)).filter(|number| !number.is_empty())
}

/// The clause of docs/spec/4-authorisation.md that has the rule which a version gives this number; `None` if the version has no
/// such rule.
pub fn rule_clause(version: RoomVersion, number: &str) -> Option<&'static str> {
    let rule = Rule::ALL.iter().find(|rule| !number.is_empty() && rule.number(version) == number)?;
    Some(rule.clause())
}

rules! {
    // 1, 2         3 to 5     6          7          8, 9       10         11         12
    /// An `m.room.create` event with `prev_events` is rejected.
    CreatePrevEvents "A1.1" ["1.1" "1.1" "1.1" "1.1" "1.1" "1.1" "1.1" "1.1"]
    /// The create event's `room_id` is of the sender's domain.
    CreateRoomIdDomain "A1.2" ["1.2" "1.2" "1.2" "1.2" "1.2" "1.2" "1.2" ""]
    /// A create event has no `room_id` of its own.
    CreateRoomIdPresent "A1.3" ["" "" "" "" "" "" "" "1.2"]
    /// `content.room_version`, if present, is a recognised version.
    CreateRoomVersion "A1.4" ["1.3" "1.3" "1.3" "1.3" "1.3" "1.3" "1.3" "1.3"]
    /// `content` has a `creator`.
    CreateCreator "A1.5" ["1.4" "1.4" "1.4" "1.4" "1.4" "1.4" "" ""]
    /// `additional_creators`, if present, is a list of user ids.
    CreateAdditionalCreators "A1.6" ["" "" "" "" "" "" "" "1.4"]
    /// Any other create event is allowed.
    CreateAllow "A1.7" ["1.5" "1.5" "1.5" "1.5" "1.5" "1.5" "1.4" "1.5"]
    /// The `room_id` is that of an accepted create event.
    RoomIdOfCreate "A2.1" ["" "" "" "" "" "" "" "2"]
    /// No two auth events of one type and state key.
    AuthDuplicate "A3.1" ["2.1" "2.1" "2.1" "2.1" "2.1" "2.1" "2.1" "3.1"]
    /// Only auth events that the selection algorithm names.
    AuthUnexpected "A3.2" ["2.2" "2.2" "2.2" "2.2" "2.2" "2.2" "2.2" "3.2"]
    /// No auth event that was itself rejected.
    AuthRejected "A3.3" ["2.3" "2.3" "2.3" "2.3" "2.3" "2.3" "2.3" "3.3"]
    /// The create event is among the auth events.
    AuthNoCreate "A3.4" ["2.4" "2.4" "2.4" "2.4" "2.4" "2.4" "2.4" ""]
    /// Auth events are of the same room.
    AuthOtherRoom "A3.5" ["2.5" "2.5" "2.5" "2.5" "2.5" "2.5" "2.5" "3.4"]
    /// With `m.federate` false, only senders of the create event's domain.
    Federate "A4.1" ["3" "3" "3" "3" "3" "3" "3" "4"]
    /// An `m.room.aliases` event without `state_key` is rejected.
    AliasesStateKey "A5.1" ["4.1" "4.1" "" "" "" "" "" ""]
    /// The sender's domain is the `state_key`.
    AliasesDomain "A5.2" ["4.2" "4.2" "" "" "" "" "" ""]
    /// Any other aliases event is allowed.
    AliasesAllow "A5.3" ["4.3" "4.3" "" "" "" "" "" ""]
    /// An `m.room.member` event has a `state_key` and a `membership`.
    MemberMalformed "A6.1" ["5.1" "5.1" "4.1" "4.1" "4.1" "4.1" "4.1" "5.1"]
    /// The server of `join_authorised_via_users_server` has signed.
    MemberAuthoriserSignature "A6.2" ["" "" "" "" "4.2.1" "4.2.1" "4.2.1" "5.2.1"]
    /// Join: the creator right after the create event, allow.
    JoinCreator "A7.1" ["5.2.1" "5.2.1" "4.2.1" "4.2.1" "4.3.1" "4.3.1" "4.3.1" "5.3.1"]
    /// Join: the sender is the `state_key`.
    JoinSender "A7.2" ["5.2.2" "5.2.2" "4.2.2" "4.2.2" "4.3.2" "4.3.2" "4.3.2" "5.3.2"]
    /// Join: the sender is not banned.
    JoinBanned "A7.3" ["5.2.3" "5.2.3" "4.2.3" "4.2.3" "4.3.3" "4.3.3" "4.3.3" "5.3.3"]
    /// Join: rule `invite` (from version 7 also `knock`) and invited or joined, allow.
    JoinInvited "A7.4" ["5.2.4" "5.2.4" "4.2.4" "4.2.4" "4.3.4" "4.3.4" "4.3.4" "5.3.4"]
    /// Join: rule `restricted` and invited or joined, allow.
    JoinRestrictedMember "A7.5" ["" "" "" "" "4.3.5.1" "4.3.5.1" "4.3.5.1" "5.3.5.1"]
    /// Join: rule `restricted` and the authorising user may not invite or is not joined, reject.
    JoinRestrictedAuthoriser "A7.6" ["" "" "" "" "4.3.5.2" "4.3.5.2" "4.3.5.2" "5.3.5.2"]
    /// Join: rule `restricted`, otherwise allow.
    JoinRestrictedAllow "A7.7" ["" "" "" "" "4.3.5.3" "4.3.5.3" "4.3.5.3" "5.3.5.3"]
    /// Join: rule `public`, allow.
    JoinPublic "A7.8" ["5.2.5" "5.2.5" "4.2.5" "4.2.5" "4.3.6" "4.3.6" "4.3.6" "5.3.6"]
    /// Join: otherwise reject.
    JoinOtherwise "A7.9" ["5.2.6" "5.2.6" "4.2.6" "4.2.6" "4.3.7" "4.3.7" "4.3.7" "5.3.7"]
    /// Third-party invite: the target is not banned.
    ThirdPartyBanned "A8.1" ["5.3.1.1" "5.3.1.1" "4.3.1.1" "4.3.1.1" "4.4.1.1" "4.4.1.1" "4.4.1.1" "5.4.1.1"]
    /// Third-party invite: there is a `signed` object.
    ThirdPartyNoSigned "A8.2" ["5.3.1.2" "5.3.1.2" "4.3.1.2" "4.3.1.2" "4.4.1.2" "4.4.1.2" "4.4.1.2" "5.4.1.2"]
    /// Third-party invite: `signed` has `mxid` and `token`.
    ThirdPartyNoToken "A8.3" ["5.3.1.3" "5.3.1.3" "4.3.1.3" "4.3.1.3" "4.4.1.3" "4.4.1.3" "4.4.1.3" "5.4.1.3"]
    /// Third-party invite: `mxid` is the `state_key`.
    ThirdPartyMxid "A8.4" ["5.3.1.4" "5.3.1.4" "4.3.1.4" "4.3.1.4" "4.4.1.4" "4.4.1.4" "4.4.1.4" "5.4.1.4"]
    /// Third-party invite: the state has an `m.room.third_party_invite` event for the token.
    ThirdPartyNoEvent "A8.5" ["5.3.1.5" "5.3.1.5" "4.3.1.5" "4.3.1.5" "4.4.1.5" "4.4.1.5" "4.4.1.5" "5.4.1.5"]
    /// Third-party invite: that event's sender is this event's.
    ThirdPartySender "A8.6" ["5.3.1.6" "5.3.1.6" "4.3.1.6" "4.3.1.6" "4.4.1.6" "4.4.1.6" "4.4.1.6" "5.4.1.6"]
    /// Third-party invite: a signature matches one of its keys, allow.
    ThirdPartySignature "A8.7" ["5.3.1.7" "5.3.1.7" "4.3.1.7" "4.3.1.7" "4.4.1.7" "4.4.1.7" "4.4.1.7" "5.4.1.7"]
    /// Third-party invite: otherwise reject.
    ThirdPartyOtherwise "A8.8" ["5.3.1.8" "5.3.1.8" "4.3.1.8" "4.3.1.8" "4.4.1.8" "4.4.1.8" "4.4.1.8" "5.4.1.8"]
    /// Invite: the sender is joined.
    InviteSenderNotJoined "A9.1" ["5.3.2" "5.3.2" "4.3.2" "4.3.2" "4.4.2" "4.4.2" "4.4.2" "5.4.2"]
    /// Invite: the target is neither joined nor banned.
    InviteTarget "A9.2" ["5.3.3" "5.3.3" "4.3.3" "4.3.3" "4.4.3" "4.4.3" "4.4.3" "5.4.3"]
    /// Invite: the sender has the invite level, allow.
    InviteLevel "A9.3" ["5.3.4" "5.3.4" "4.3.4" "4.3.4" "4.4.4" "4.4.4" "4.4.4" "5.4.4"]
    /// Invite: otherwise reject.
    InviteOtherwise "A9.4" ["5.3.5" "5.3.5" "4.3.5" "4.3.5" "4.4.5" "4.4.5" "4.4.5" "5.4.5"]
    /// Leave: of oneself, if and only if invited or joined (from version 7 also knocking).
    LeaveSelf "A10.1" ["5.4.1" "5.4.1" "4.4.1" "4.4.1" "4.5.1" "4.5.1" "4.5.1" "5.5.1"]
    /// Leave: the sender is joined.
    LeaveSenderNotJoined "A10.2" ["5.4.2" "5.4.2" "4.4.2" "4.4.2" "4.5.2" "4.5.2" "4.5.2" "5.5.2"]
    /// Leave: whoever lifts a ban has the ban level.
    LeaveUnban "A10.3" ["5.4.3" "5.4.3" "4.4.3" "4.4.3" "4.5.3" "4.5.3" "4.5.3" "5.5.3"]
    /// Leave: the sender has the kick level and more power than the target, allow.
    LeaveKick "A10.4" ["5.4.4" "5.4.4" "4.4.4" "4.4.4" "4.5.4" "4.5.4" "4.5.4" "5.5.4"]
    /// Leave: otherwise reject.
    LeaveOtherwise "A10.5" ["5.4.5" "5.4.5" "4.4.5" "4.4.5" "4.5.5" "4.5.5" "4.5.5" "5.5.5"]
    /// Ban: the sender is joined.
    BanSenderNotJoined "A11.1" ["5.5.1" "5.5.1" "4.5.1" "4.5.1" "4.6.1" "4.6.1" "4.6.1" "5.6.1"]
    /// Ban: the sender has the ban level and more power than the target, allow.
    BanLevel "A11.2" ["5.5.2" "5.5.2" "4.5.2" "4.5.2" "4.6.2" "4.6.2" "4.6.2" "5.6.2"]
    /// Ban: otherwise reject.
    BanOtherwise "A11.3" ["5.5.3" "5.5.3" "4.5.3" "4.5.3" "4.6.3" "4.6.3" "4.6.3" "5.6.3"]
    /// Knock: the join rule is `knock` (from version 10 also `knock_restricted`).
    KnockAdmitted "A12.1" ["" "" "" "4.6.1" "4.7.1" "4.7.1" "4.7.1" "5.7.1"]
    /// Knock: the sender is the `state_key`.
    KnockSender "A12.2" ["" "" "" "4.6.2" "4.7.2" "4.7.2" "4.7.2" "5.7.2"]
    /// Knock: the sender is not banned, invited or joined, allow.
    KnockMembership "A12.3" ["" "" "" "4.6.3" "4.7.3" "4.7.3" "4.7.3" "5.7.3"]
    /// Knock: otherwise reject.
    KnockOtherwise "A12.4" ["" "" "" "4.6.4" "4.7.4" "4.7.4" "4.7.4" "5.7.4"]
    /// Any other membership is rejected.
    MembershipUnknown "A13.1" ["5.6" "5.6" "4.6" "4.7" "4.8" "4.8" "4.8" "5.8"]
    /// The sender is joined.
    SenderNotJoined "A14.1" ["6" "6" "5" "5" "5" "5" "5" "6"]
    /// `m.room.third_party_invite`: if and only if the sender has the invite level.
    ThirdPartyInviteLevel "A15.1" ["7.1" "7.1" "6.1" "6.1" "6.1" "6.1" "6.1" "7.1"]
    /// The sender has the level that the event type requires.
    RequiredLevel "A16.1" ["8" "8" "7" "7" "7" "7" "7" "8"]
    /// A `state_key` that starts with `@` is the sender.
    StateKeyOfOther "A17.1" ["9" "9" "8" "8" "8" "8" "8" "9"]
    /// Power levels: the single levels are integers.
    PowerScalars "A18.1" ["" "" "" "" "" "9.1" "9.1" "10.1"]
    /// Power levels: `events` and `notifications` are objects of integers.
    PowerMaps "A18.2" ["" "" "" "" "" "9.2" "9.2" "10.2"]
    /// Power levels: `users` is an object of levels by user id.
    PowerUsers "A18.3" ["10.1" "10.1" "9.1" "9.1" "9.1" "9.3" "9.3" "10.3"]
    /// Power levels: `users` names no creator.
    PowerCreators "A18.4" ["" "" "" "" "" "" "" "10.4"]
    /// Power levels: allowed when there are none yet.
    PowerFirst "A18.5" ["10.2" "10.2" "9.2" "9.2" "9.2" "9.4" "9.4" "10.5"]
    /// Power levels: a single level above the sender's is not altered.
    PowerScalarCurrent "A18.6" ["10.3.1" "10.3.1" "9.3.1" "9.3.1" "9.3.1" "9.5.1" "9.5.1" "10.6.1"]
    /// Power levels: no single level is set above the sender's.
    PowerScalarNew "A18.7" ["10.3.2" "10.3.2" "9.3.2" "9.3.2" "9.3.2" "9.5.2" "9.5.2" "10.6.2"]
    /// Power levels: no entry of `events` (from version 6 also `notifications`) above the sender's is changed or removed.
    PowerEventsCurrent "A18.8" ["10.4.1" "10.4.1" "9.4.1" "9.4.1" "9.4.1" "9.6.1" "9.6.1" "10.7.1"]
    /// Power levels: no entry of `events` (from version 6 also `notifications`) is set above the sender's.
    PowerEventsNew "A18.9" ["10.5.1" "10.5.1" "9.5.1" "9.5.1" "9.5.1" "9.7.1" "9.7.1" "10.8.1"]
    /// Power levels: no other user's entry at or above the sender's is changed or removed.
    PowerUsersCurrent "A18.10" ["10.6.1" "10.6.1" "9.6.1" "9.6.1" "9.6.1" "9.8.1" "9.8.1" "10.9.1"]
    /// Power levels: no entry of `users` is set above the sender's.
    PowerUsersNew "A18.11" ["10.7.1" "10.7.1" "9.7.1" "9.7.1" "9.7.1" "9.9.1" "9.9.1" "10.10.1"]
    /// Power levels: otherwise allow.
    PowerAllow "A18.12" ["10.8" "10.8" "9.8" "9.8" "9.8" "9.10" "9.10" "10.11"]
    /// Redaction: the sender has the redact level, allow.
    RedactLevel "A19.1" ["11.1" "" "" "" "" "" "" ""]
    /// Redaction: both event ids are of one domain, allow.
    RedactDomain "A19.2" ["11.2" "" "" "" "" "" "" ""]
    /// Redaction: otherwise reject.
    RedactOtherwise "A19.3" ["11.3" "" "" "" "" "" "" ""]
    /// Whatever no rule before decided is allowed.
    Allow "A20.1" ["12" "11" "10" "10" "10" "10" "10" "11"]
}
