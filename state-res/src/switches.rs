//! Turning single clauses of docs/spec off, for tests that show that some test notices. The rules have switches of their own
//! (`auth::without_rule`), by their number in each version. Only with the feature `rule-switches`, which nothing but tests
//! enables; without it every clause is on, and the compiler knows.

#[cfg(feature = "rule-switches")]
pub(crate) use self::off::without_clause;
#[cfg(feature = "rule-switches")]
pub use self::off::{switchable, without};

macro_rules! clauses {
    ($($(#[$doc:meta])* $name:ident $id:literal)*) => {
        /// A clause that can be turned off, named by what it says.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Clause {
            $($(#[$doc])* $name,)*
        }

        #[cfg(feature = "rule-switches")]
        const IDS: &[(Clause, &str)] = &[$((Clause::$name, $id),)*];
    };
}

/// Whether a clause holds.
#[inline(always)]
pub(crate) fn on(clause: Clause) -> bool {
    #[cfg(feature = "rule-switches")]
    return off::OFF.get() != Some(clause);
    #[cfg(not(feature = "rule-switches"))]
    {
        let _ = clause;
        true
    }
}

/// Whether a clause on the format of events holds: it does not when check 1 on receipt is off as a whole.
#[inline(always)]
pub(crate) fn format(clause: Clause) -> bool {
    on(Clause::CheckFormat) && on(clause)
}

#[cfg(feature = "rule-switches")]
mod off {
    use std::cell::Cell;

    use super::{Clause, IDS};

    thread_local! {
        pub(super) static OFF: Cell<Option<Clause>> = const { Cell::new(None) };
    }

    /// The clauses that can be turned off.
    pub fn switchable() -> impl Iterator<Item = &'static str> {
        IDS.iter().map(|(_, id)| *id)
    }

    /// Runs `test` as if there were no clause of this id. Only on the calling thread. `None`, without running `test`, if it
    /// cannot be turned off.
    pub fn without<T>(id: &str, test: impl FnOnce() -> T) -> Option<T> {
        let (clause, _) = *IDS.iter().find(|(_, known)| *known == id)?;
        Some(without_clause(clause, test))
    }

    /// As [`without`].
    pub(crate) fn without_clause<T>(clause: Clause, test: impl FnOnce() -> T) -> T {
        /// Goes back to what was off before, also when the test panics.
        struct Restore(Option<Clause>);
        impl Drop for Restore {
            fn drop(&mut self) {
                OFF.set(self.0);
            }
        }

        let _restore = Restore(OFF.replace(Some(clause)));
        test()
    }
}

clauses! {
    /// Off, members stand as they came.
    MemberOrder "E1.2"
    /// Off, control characters have the long form.
    Escapes "E1.3"
    /// Off, canonical JSON has any number.
    Integers "E1.4"
    /// Off, `-0` is written as it came.
    NegativeZero "E1.5"
    /// Off, the first of several members of one name counts.
    LastMember "E1.6"
    /// Off, one level more will do (not any number: tests have a stack).
    Nesting "E1.7"
    /// Off, numbers are enforced in all versions.
    LenientNumbers "E1.8"
    /// Off, numbers are enforced in none.
    StrictNumbers "E1.9"
    /// Off, only what is spelt as an integer is one.
    WholeNumbers "E1.10"
    /// Off, the members of `signatures` may be anything.
    FieldTypes "E2.1"
    /// Off, references are ids alone in all versions.
    ReferencePairs "E2.2"
    /// Off, any number of references will do.
    ReferenceLimits "E2.3"
    /// Off, times and depths are cut at the point.
    IntegerFields "E2.4"
    /// Off, all versions have the greatest depth of version 6.
    GreatestDepth "E2.5"
    /// Off, any string is a sender.
    SenderGrammar "E2.6"
    /// Off, any string is a room id.
    RoomIdGrammar "E2.7"
    /// Off, any string is an event id of versions 1 and 2.
    EventIdGrammar "E2.8"
    /// Off, `redacts` is at the top level in all versions.
    RedactsPlace "E2.9"
    /// Off, `unsigned` is part of the event.
    UnsignedApart "E2.11"
    /// Off, create events need a room id in all versions.
    CreateWithoutRoom "E2.13"
    /// Off, any string is a reference.
    ReferenceSigil "E2.14"
    /// Off, events may be large.
    EventSize "E3.1"
    /// Off, fields may be long.
    FieldSize "E3.2"
    /// Off, texts and `unsigned` may be large.
    TextSize "E3.3"
    /// Off, the content hash covers `hashes`.
    ContentHash "E4.1"
    /// Off, the reference hash covers the whole event.
    ReferenceHash "E4.2"
    /// Off, padded Base64 is not read.
    Padding "E4.3"
    /// Off, ids of versions 1 and 2 are hashes.
    SentId "E5.1"
    /// Off, ids of version 3 are as those of version 4.
    Base64Id "E5.2"
    /// Off, ids of version 4 are as those of version 3.
    UrlSafeId "E5.3"
    /// Off, the room id has the event id's sigil too.
    RoomIdOfCreate "E5.4"
    /// Off, `unsigned` is signed.
    SignedPart "S1.1"
    /// Off, a signature removes others.
    SignaturesStay "S1.2"
    /// Off, every algorithm is taken for Ed25519.
    KnownAlgorithm "S1.3"
    /// Off, weak keys and malleable signatures will do.
    StrictSignatures "S1.4"
    /// Off, the whole event is signed.
    SignedRedacted "S2.1"
    /// Off, the sender's server need not sign.
    SenderSigns "S2.2"
    /// Off, it must sign third-party invites too.
    ThirdPartyInvites "S2.3"
    /// Off, the server in the event id need not sign.
    EventIdSigns "S2.4"
    /// Off, the server that vouches for a join need not sign.
    AuthoriserSigns "S2.5"
    /// Off, wrong signatures by known keys are passed over.
    EverySignature "S2.6"
    /// Off, all signatures are looked at.
    OthersSignatures "S2.7"
    /// Off, the content is not hashed before signing.
    HashFirst "S2.8"
    /// Off, versions 1 to 10 keep what 11 keeps at the top level.
    KeptTopLevel "R1.1"
    /// Off, nothing is kept of members.
    KeptMember "R1.2"
    /// Off, `creator` alone is kept of create events.
    KeptCreate "R1.3"
    /// Off, nothing is kept of join rules.
    KeptJoinRules "R1.4"
    /// Off, nothing is kept of power levels.
    KeptPowerLevels "R1.5"
    /// Off, nothing is kept of history visibility.
    KeptHistoryVisibility "R1.6"
    /// Off, aliases are as other types.
    KeptAliases "R1.7"
    /// Off, redactions are as other types.
    KeptRedaction "R1.8"
    /// Off, other types keep their `body`.
    KeptOther "R1.9"
    /// Off, third-party invites are as other members.
    KeptThirdPartyInvite "R1.10"
    /// Off, limits and identifiers' grammar are not looked at; a field that is missing still is.
    CheckFormat "P1"
    /// Off, signatures may be wrong.
    CheckSignatures "P2"
    /// Off, the content may be another than was hashed.
    CheckContentHash "P3"
    /// Off, the creator has no level without power levels.
    UserLevels "D1.1"
    /// Off, every level is 0 by default.
    DefaultLevels "D1.2"
    /// Off, levels are integers in all versions.
    LevelSpellings "D1.3"
    /// Off, a level that no double can hold is as others that cannot be read.
    LevelsBeyondDoubles "D1.4"
    /// Off, a level that cannot be read is as none.
    UnreadableLevels "D1.5"
    /// Off, the creator is the sender in all versions.
    CreatorInContent "D2.1"
    /// Off, creators are as others.
    PrivilegedCreators "D2.2"
    /// Off, without join rules everybody may join.
    NoJoinRules "D2.3"
    /// Off, all versions have all words.
    WordsOfVersions "D2.4"
    /// Off, the create event is selected in all versions.
    SelectCreate "D3.1"
    /// Off, power levels are not selected.
    SelectPowerLevels "D3.2"
    /// Off, the sender is not selected.
    SelectSender "D3.3"
    /// Off, the target is not selected.
    SelectTarget "D3.4"
    /// Off, join rules are not selected.
    SelectJoinRules "D3.5"
    /// Off, third-party invites are not selected.
    SelectThirdPartyInvite "D3.6"
    /// Off, who vouches for a join is not selected.
    SelectAuthoriser "D3.7"
    /// Off, one place is selected several times.
    SelectOnce "D3.8"
}
