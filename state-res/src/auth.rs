//! Authorisation rules of every room version: may this event be in the room, given this state?
//!
//! The rules are those of the room versions' pages, section "Authorisation rules". Each one is named in the code by
//! what it says; [`Refusal::rule`] gives the number that the page of the event's room version prints before it.
//!
//! A received event is checked three times (server-server API, "Checks performed on receipt of a PDU"): against its own
//! auth events ([`check_auth_events`], then [`check`] with those events as the state), against the state before it, and
//! against the current state of the room. Signatures come before all of that; the one rule that concerns them is
//! [`check_authoriser_signature`].
//!
//! # Where the specification leaves a choice
//!
//! - A level that cannot be read counts as refusing whatever depends on it. To version 9 a *first*
//!   `m.room.power_levels` event may hold such levels outside `users`, for rule 10.2 (9.2) allows it.
//! - A single level (`ban`, `state_default`, …) that is absent counts as its default when one is added or removed: "power
//!   levels are inferred from defaults when not explicitly supplied". An absent entry of `events`, `notifications` or
//!   `users` counts as absent.
//! - An absent `users` property is no error in rule 10.1 (9.1, 9.3, 10.3): the event's schema does not require it.
//! - Without `m.room.join_rules` nobody but the creator can join: the specification names no default.
//! - `m.federate` keeps servers out only if it is exactly `false`.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

use crate::{
    pdu::Pdu,
    room_version::{AuthRules, RoomVersion},
};

mod auth_events;
mod create;
mod level;
mod member;
mod power_levels;
mod power_rules;
mod rule;
mod selection;
mod switches;
mod third_party;
mod views;

#[cfg(feature = "rule-switches")]
pub use self::switches::{counting_rules, without_rule};
pub use self::{
    auth_events::{Cited, check_auth_events, check_authoriser_signature},
    power_levels::{Level, Malformed, PowerLevel, PowerLevels},
    rule::{rule_clause, rule_numbers},
    selection::{auth_types, state_needed},
    views::{JoinRule, Membership, creators, is_creator},
};
use self::{
    rule::Rule,
    switches::{decides, on},
};

/// Why the authorisation rules do not allow an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The number of the rule that decided, as the specification of the event's room version has it, such as `5.3.4`.
    pub rule: &'static str,
    /// What was wrong, as a sentence.
    pub because: String,
    /// Whether the content is to blame, whoever had sent it and whatever the room's state.
    pub is_malformed: bool,
}

impl Refusal {
    fn by(rule: Rule, version: RoomVersion, because: impl Into<String>) -> Self {
        Self { rule: rule.number(version), because: because.into(), is_malformed: rule.is_of_content() }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "authorisation rule {}: {}", self.rule, self.because)
    }
}

impl std::error::Error for Refusal {}

/// A room state to check events against.
///
/// It answers from memory. Whoever keeps the state elsewhere reads what [`state_needed`] names before it checks, and
/// gives up when that fails: a state that could not be read is not a state without the event.
pub trait StateLookup {
    /// The event that the state has for this type and state key.
    fn get(&self, event_type: &str, state_key: &str) -> Option<Pdu>;
}

impl<S: StateLookup + ?Sized> StateLookup for &S {
    fn get(&self, event_type: &str, state_key: &str) -> Option<Pdu> {
        (**self).get(event_type, state_key)
    }
}

/// A few events, such as an event's auth events. Of two for one type and state key the first counts.
impl StateLookup for [Pdu] {
    fn get(&self, event_type: &str, state_key: &str) -> Option<Pdu> {
        self.iter().find(|event| event.state_key() == Some(state_key) && event.event_type() == event_type).cloned()
    }
}

/// A few events, such as an event's auth events. Of two for one type and state key the first counts.
impl StateLookup for Vec<Pdu> {
    fn get(&self, event_type: &str, state_key: &str) -> Option<Pdu> {
        StateLookup::get(self.as_slice(), event_type, state_key)
    }
}

impl StateLookup for BTreeMap<(String, String), Pdu> {
    fn get(&self, event_type: &str, state_key: &str) -> Option<Pdu> {
        BTreeMap::get(self, &(event_type.to_owned(), state_key.to_owned())).cloned()
    }
}

/// The rule that allows an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowed {
    /// The number of the rule that decided, as the specification of the event's room version has it, such as `5.3.4`.
    pub rule: &'static str,
    /// What that rule says, in short.
    pub says: &'static str,
}

/// Whether the rules allow `event` in a room in this state. [`decide`] tells which one does.
///
/// These are all the rules but those on the list of `auth_events` ([`check_auth_events`]) and on signatures
/// ([`check_authoriser_signature`]).
///
/// # Errors
/// The rule that does not allow the event.
pub fn check(event: &Pdu, state: &(impl StateLookup + ?Sized)) -> Result<(), Refusal> {
    deciding_rule(event, state).map(|_| ())
}

/// As [`check`]; of an allowed event, which rule allows it.
///
/// # Errors
/// The rule that does not allow the event.
pub fn decide(event: &Pdu, state: &(impl StateLookup + ?Sized)) -> Result<Allowed, Refusal> {
    let rule = deciding_rule(event, state)?;
    Ok(Allowed { rule: rule.number(event.version()), says: rule.says() })
}

fn deciding_rule(event: &Pdu, state: &(impl StateLookup + ?Sized)) -> Result<Rule, Refusal> {
    if event.event_type() == "m.room.create" {
        return create::check(event);
    }
    // `&S` is sized, so that a trait object and a concrete state take one path from here.
    let state: &dyn StateLookup = &state;
    let version = event.version();
    let Some(create) = state.get("m.room.create", "") else {
        let rule = if version.rules().auth.create_in_auth_events { Rule::AuthNoCreate } else { Rule::RoomIdOfCreate };
        return Err(Refusal::by(rule, version, "the state has no `m.room.create` event"));
    };
    Check { event, version, auth: &version.rules().auth, create, state }.run()
}

/// An event that is being checked, and against what.
struct Check<'a> {
    event: &'a Pdu,
    version: RoomVersion,
    auth: &'static AuthRules,
    create: Pdu,
    state: &'a dyn StateLookup,
}

impl Check<'_> {
    /// The rules in the order of the specification, from the one after those on `auth_events`.
    fn run(&self) -> Result<Rule, Refusal> {
        let event = self.event;
        let sender = event.sender();

        // 12: rule 2.
        self.reject_if(
            Rule::RoomIdOfCreate,
            !self.auth.create_in_auth_events && self.create.room_id() != event.room_id(),
            || format!("the room id {} is not that of the create event", event.room_id()),
        )?;

        // 1 to 11: rule 3. 12: rule 4.
        self.reject_if(Rule::Federate, self.is_kept_out(), || {
            format!("the room is not federated and {sender} is of another server than its creator")
        })?;

        // 1 to 5: rule 4.
        if self.auth.special_aliases && event.event_type() == "m.room.aliases" {
            return self.aliases();
        }

        // 1 to 5, 12: rule 5. 6 to 11: rule 4.
        if event.event_type() == "m.room.member" {
            return self.member();
        }

        // 1 to 5, 12: rule 6. 6 to 11: rule 5.
        self.reject_if(Rule::SenderNotJoined, self.membership(sender) != Membership::Join, || {
            format!("{sender} is not joined to the room")
        })?;

        let power_event = self.power_event();
        let power = PowerLevels::new(&self.create, power_event.as_ref());
        let level = |rule| power.user(sender).map_err(|malformed| self.malformed(rule, &malformed));

        // 1 to 5, 12: rule 7. 6 to 11: rule 6.
        if event.event_type() == "m.room.third_party_invite" && on(Rule::ThirdPartyInviteLevel) {
            let rule = Rule::ThirdPartyInviteLevel;
            let required = power.level(Level::Invite).map_err(|malformed| self.malformed(rule, &malformed))?;
            let level = level(rule)?;
            self.reject_if(rule, !level.reaches(required), || {
                format!("inviting requires level {required} and {sender} has {level}")
            })?;
            return Ok(rule);
        }

        // 1 to 5, 12: rule 8. 6 to 11: rule 7.
        let rule = Rule::RequiredLevel;
        let required = power.event(event.event_type(), event.is_state());
        let required = required.map_err(|malformed| self.malformed(rule, &malformed))?;
        let level = level(rule)?;
        self.reject_if(rule, !level.reaches(required), || {
            format!("`{}` requires level {required} and {sender} has {level}", event.event_type())
        })?;

        // 1 to 5, 12: rule 9. 6 to 11: rule 8.
        self.reject_if(
            Rule::StateKeyOfOther,
            event.state_key().is_some_and(|key| key.starts_with('@') && key != sender),
            || format!("the state key is another user's id than the sender's, {sender}"),
        )?;

        // 1 to 5, 12: rule 10. 6 to 11: rule 9.
        if event.event_type() == "m.room.power_levels" {
            return self.power_levels(level, power_event.as_ref());
        }

        // 1 and 2: rule 11.
        if self.auth.special_redaction && event.event_type() == "m.room.redaction" {
            return self.redaction(level, &power);
        }

        // The last rule.
        self.otherwise_allow(Rule::Allow)
    }

    /// Whether the room is for its creator's server alone and the sender is of another.
    fn is_kept_out(&self) -> bool {
        self.create.content().get("m.federate") == Some(&serde_json::Value::Bool(false))
            && crate::ids::server_of(self.event.sender()) != crate::ids::server_of(self.create.sender())
    }

    /// 1 to 5: rule 4.
    fn aliases(&self) -> Result<Rule, Refusal> {
        let state_key = self.event.state_key();
        // 4.1
        self.reject_if(Rule::AliasesStateKey, state_key.is_none(), || {
            "an `m.room.aliases` event needs a state key".to_owned()
        })?;
        // 4.2
        self.reject_if(Rule::AliasesDomain, crate::ids::server_of(self.event.sender()) != state_key, || {
            format!("the state key of `m.room.aliases` is not the server of {}", self.event.sender())
        })?;
        // 4.3
        self.otherwise_allow(Rule::AliasesAllow)
    }

    /// 1 and 2: rule 11.
    fn redaction(&self, sender: PowerLevel, power: &PowerLevels<'_>) -> Result<Rule, Refusal> {
        let required = power.level(Level::Redact);
        let required = required.map_err(|malformed| self.malformed(Rule::RedactOtherwise, &malformed))?;
        // 11.1
        if self.allows(Rule::RedactLevel, sender.reaches(required)) {
            return Ok(Rule::RedactLevel);
        }
        // 11.2
        let own = crate::ids::server_of(self.event.event_id());
        let redacted = self.event.redacts().and_then(crate::ids::server_of);
        if self.allows(Rule::RedactDomain, own.is_some() && own == redacted) {
            return Ok(Rule::RedactDomain);
        }
        // 11.3
        self.otherwise_reject(Rule::RedactOtherwise, || {
            format!("redacting another server's event requires level {required} and the sender has {sender}")
        })
    }

    fn membership(&self, user: &str) -> Membership {
        Membership::of(self.state.get("m.room.member", user).as_ref())
    }

    fn power_event(&self) -> Option<Pdu> {
        self.state.get("m.room.power_levels", "")
    }

    fn refuse(&self, rule: Rule, because: String) -> Refusal {
        Refusal::by(rule, self.version, because)
    }

    fn malformed(&self, rule: Rule, malformed: &Malformed) -> Refusal {
        self.refuse(rule, malformed.to_string())
    }

    /// A rule of the form "if …, reject".
    fn reject_if(&self, rule: Rule, holds: bool, because: impl FnOnce() -> String) -> Result<(), Refusal> {
        if decides(rule, holds) { Err(self.refuse(rule, because())) } else { Ok(()) }
    }

    /// A rule of the form "if …, allow".
    fn allows(&self, rule: Rule, holds: bool) -> bool {
        decides(rule, holds)
    }

    /// The last rule of a list that ends in "otherwise, reject".
    fn otherwise_reject(&self, rule: Rule, because: impl FnOnce() -> String) -> Result<Rule, Refusal> {
        self.reject_if(rule, true, because)?;
        Ok(rule)
    }

    /// The last rule of a list that ends in "otherwise, allow".
    fn otherwise_allow(&self, rule: Rule) -> Result<Rule, Refusal> {
        if decides(rule, true) { Ok(rule) } else { Err(self.refuse(rule, "the rule is switched off".to_owned())) }
    }
}
