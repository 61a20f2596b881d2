//! The rules for `m.room.power_levels`: rule 10 of room versions 1 to 5 and 12, rule 9 of versions 6 to 11.
//!
//! The comments give the numbers of versions 1 to 9, of versions 10 and 11, and of version 12.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    Check, Level, Malformed, PowerLevel, Refusal, is_creator,
    level::exact_content,
    power_levels::{beyond_doubles, entries, parse_entry, single},
    rule::Rule,
    switches::decides,
};
use crate::{
    ids::is_valid_user_id,
    pdu::Pdu,
    room_version::PowerLevelFormat,
    switches::{Clause, on},
};

/// An entry of a map of levels that is added, changed or removed.
struct Alteration<'a> {
    name: String,
    key: &'a str,
    current: Option<Result<i64, Malformed>>,
    new: Option<Result<i64, Malformed>>,
}

impl Check<'_> {
    /// Whether the rules allow this `m.room.power_levels` event of a sender with this power in a room that has these
    /// power levels now.
    pub(super) fn power_levels(&self, sender: PowerLevel, current: Option<&Pdu>) -> Result<Rule, Refusal> {
        let new = exact_content(self.event);
        let new = new.as_ref();

        if self.auth.power_levels == PowerLevelFormat::IntegerStringOrFloat && on(Clause::LevelsBeyondDoubles) {
            let beyond = beyond_doubles(self.event.content(), new);
            self.reject_if(Rule::PowerUsers, beyond.is_some(), || {
                format!("the level `{}` is beyond the range of a double", beyond.as_deref().unwrap_or_default())
            })?;
        }
        if self.auth.power_levels == PowerLevelFormat::Integer {
            // – / .1 / .1
            for level in Level::ALL {
                self.well_formed(Rule::PowerScalars, single(self.version, new, level))?;
            }
            // – / .2 / .2
            for property in ["events", "notifications"] {
                self.well_formed(Rule::PowerMaps, entries(self.version, new, property))?;
            }
        }
        // .1 / .3 / .3
        let users = entries(self.version, new, "users");
        self.well_formed(Rule::PowerUsers, users.clone())?;
        let users = users.unwrap_or_default();
        self.reject_if(Rule::PowerUsers, users.iter().any(|(user, _)| !is_valid_user_id(user)), || {
            "`users` has a key that is not a user id".to_owned()
        })?;
        // – / – / .4
        self.reject_if(
            Rule::PowerCreators,
            self.auth.privileged_creators && users.iter().any(|(user, _)| is_creator(&self.create, user)),
            || "`users` names a creator of the room, whose power is infinite".to_owned(),
        )?;
        // .2 / .4 / .5
        if self.allows(Rule::PowerFirst, current.is_none()) {
            return Ok(Rule::PowerFirst);
        }
        let current = current.map(exact_content).unwrap_or_default();
        let current = current.as_ref();

        // .3 / .5 / .6
        for level in Level::ALL {
            self.check_single(level, sender, current, new)?;
        }
        let mut events = self.alterations("events", current, new, Rule::PowerEventsCurrent, Rule::PowerEventsNew)?;
        if self.auth.limits_notifications {
            let (on_current, on_new) = (Rule::PowerEventsCurrent, Rule::PowerEventsNew);
            events.extend(self.alterations("notifications", current, new, on_current, on_new)?);
        }
        // .4 / .6 / .7
        for entry in &events {
            self.check_level(Rule::PowerEventsCurrent, &entry.name, entry.current.clone(), |at| !sender.reaches(at))?;
        }
        // .5 / .7 / .8
        for entry in &events {
            self.check_level(Rule::PowerEventsNew, &entry.name, entry.new.clone(), |at| !sender.reaches(at))?;
        }
        let users = self.alterations("users", current, new, Rule::PowerUsersCurrent, Rule::PowerUsersNew)?;
        // .6 / .8 / .9
        for entry in users.iter().filter(|entry| entry.key != self.event.sender()) {
            let too_high = |at| PowerLevel::Finite(at) >= sender;
            self.check_level(Rule::PowerUsersCurrent, &entry.name, entry.current.clone(), too_high)?;
        }
        // .7 / .9 / .10
        for entry in &users {
            self.check_level(Rule::PowerUsersNew, &entry.name, entry.new.clone(), |at| !sender.reaches(at))?;
        }
        // .8 / .10 / .11
        self.otherwise_allow(Rule::PowerAllow)
    }

    /// .3 / .5 / .6: a single level, if it is altered.
    fn check_single(
        &self,
        level: Level,
        sender: PowerLevel,
        current: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> Result<(), Refusal> {
        let property = level.property();
        if current.get(property) == new.get(property) {
            return Ok(());
        }
        let was = single(self.version, current, level);
        let is = single(self.version, new, level);
        if was.is_ok() && was == is {
            return Ok(());
        }
        let or_default = |level_given: Option<i64>| level_given.unwrap_or_else(|| level.default());
        // .1
        let was = Some(was.map(or_default));
        self.check_level(Rule::PowerScalarCurrent, property, was, |at| !sender.reaches(at))?;
        // .2
        let is = Some(is.map(or_default));
        self.check_level(Rule::PowerScalarNew, property, is, |at| !sender.reaches(at))
    }

    /// What differs between two maps of levels, by key. Refused under one of the rules if a map is not an object.
    fn alterations<'a>(
        &self,
        property: &str,
        current: &'a Map<String, Value>,
        new: &'a Map<String, Value>,
        on_current: Rule,
        on_new: Rule,
    ) -> Result<Vec<Alteration<'a>>, Refusal> {
        let (current, new) = (current.get(property), new.get(property));
        if current == new {
            return Ok(Vec::new());
        }
        let nothing = || None::<&Map<String, Value>>;
        let object = |value: Option<&'a Value>, rule| match value {
            None => Ok(nothing()),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) if decides(rule, true) => Err(self.refuse(rule, format!("`{property}` is not an object"))),
            Some(_) => Ok(None),
        };
        let (current, new) = (object(current, on_current)?, object(new, on_new)?);
        let keys: BTreeSet<&str> = current.into_iter().chain(new).flat_map(Map::keys).map(String::as_str).collect();
        let read = |map: Option<&Map<String, Value>>, key: &str| {
            map.and_then(|map| map.get(key)).map(|value| parse_entry(self.version, value, property, key))
        };
        let altered = keys.into_iter().filter_map(|key| {
            if current.and_then(|map| map.get(key)) == new.and_then(|map| map.get(key)) {
                return None;
            }
            let (current, new) = (read(current, key), read(new, key));
            // Of equal levels, written differently, nothing is altered; of two unreadable ones something is.
            let same = matches!((&current, &new), (Some(Ok(current)), Some(Ok(new))) if current == new);
            (!same).then(|| Alteration { name: format!("{property}.{key}"), key, current, new })
        });
        Ok(altered.collect())
    }

    /// Refuses under `rule` a level that is there and is malformed or too high.
    fn check_level(
        &self,
        rule: Rule,
        name: &str,
        level: Option<Result<i64, Malformed>>,
        too_high: impl Fn(i64) -> bool,
    ) -> Result<(), Refusal> {
        match level {
            Some(Ok(level)) => self.reject_if(rule, too_high(level), || {
                format!("the level {level} of `{name}` is not for {} to alter", self.event.sender())
            }),
            Some(Err(malformed)) => self.reject_if(rule, true, || malformed.to_string()),
            None => Ok(()),
        }
    }

    fn well_formed<T>(&self, rule: Rule, levels: Result<T, Malformed>) -> Result<(), Refusal> {
        let decides = decides(rule, levels.is_err());
        match levels {
            Err(malformed) if decides => Err(self.malformed(rule, &malformed)),
            _ => Ok(()),
        }
    }
}
