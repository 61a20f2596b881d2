//! Power levels: who may do what.

use std::fmt;

use serde_json::{Map, Value};

use super::{
    level::{MAPS, exact},
    views::is_creator,
};
use crate::{
    pdu::Pdu,
    room_version::{PowerLevelFormat, RoomVersion},
    switches::{Clause, on},
};

/// The power that the creator has while there is no `m.room.power_levels` event (to version 11).
const CREATOR_LEVEL: i64 = 100;
/// The largest level that versions with strict numbers know: 2⁵³ − 1, the limit of canonical JSON.
const LEVEL_MAX: i64 = (1 << 53) - 1;

/// A user's power.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PowerLevel {
    /// As the `m.room.power_levels` event or its defaults say.
    Finite(i64),
    /// A creator's, from version 12.
    Infinite,
}

impl PowerLevel {
    /// Whether this power suffices where `level` is required.
    pub fn reaches(self, level: i64) -> bool {
        self >= PowerLevel::Finite(level)
    }
}

impl fmt::Display for PowerLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PowerLevel::Finite(level) => level.fmt(f),
            PowerLevel::Infinite => f.write_str("infinite"),
        }
    }
}

/// A single level of an `m.room.power_levels` event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// What users have who are not in `users`.
    UsersDefault,
    /// What message events require that are not in `events`.
    EventsDefault,
    /// What state events require that are not in `events`.
    StateDefault,
    /// What banning requires.
    Ban,
    /// What redacting others' events requires.
    Redact,
    /// What kicking requires.
    Kick,
    /// What inviting requires.
    Invite,
}

impl Level {
    /// All of them, in the order in which the rules list them.
    pub const ALL: [Level; 7] = [
        Level::UsersDefault,
        Level::EventsDefault,
        Level::StateDefault,
        Level::Ban,
        Level::Redact,
        Level::Kick,
        Level::Invite,
    ];

    /// The property of `content` that holds it.
    pub fn property(self) -> &'static str {
        match self {
            Level::UsersDefault => "users_default",
            Level::EventsDefault => "events_default",
            Level::StateDefault => "state_default",
            Level::Ban => "ban",
            Level::Redact => "redact",
            Level::Kick => "kick",
            Level::Invite => "invite",
        }
    }

    /// What it is where the property, or the whole event, is absent.
    pub fn default(self) -> i64 {
        match self {
            Level::UsersDefault | Level::EventsDefault | Level::Invite => 0,
            Level::StateDefault | Level::Ban | Level::Redact | Level::Kick if on(Clause::DefaultLevels) => 50,
            _ => 0,
        }
    }
}

/// A level that is not written as the room version wants it: which one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the level `{property}` in `m.room.power_levels` is not {}", .expected)]
pub struct Malformed {
    property: String,
    expected: &'static str,
}

impl Malformed {
    fn new(property: impl Into<String>, expected: &'static str) -> Self {
        Malformed { property: property.into(), expected }
    }
}

/// The power levels of a room: its `m.room.power_levels` event, or the defaults where it has none, and its creators'
/// privilege. Reads only what is asked for.
#[derive(Clone, Copy, Debug)]
pub struct PowerLevels<'a> {
    create: Option<&'a Pdu>,
    event: Option<&'a Pdu>,
}

impl<'a> PowerLevels<'a> {
    /// The power levels of the room that `create` began and whose state has this `m.room.power_levels` event.
    pub fn new(create: &'a Pdu, power_levels: Option<&'a Pdu>) -> Self {
        PowerLevels { create: Some(create), event: power_levels }
    }

    /// The same where nothing tells who began the room.
    pub fn without_create(power_levels: Option<&'a Pdu>) -> Self {
        PowerLevels { create: None, event: power_levels }
    }

    /// The power of a user.
    ///
    /// # Errors
    /// When the level that decides it is malformed.
    pub fn user(&self, user: &str) -> Result<PowerLevel, Malformed> {
        let created = self.create.is_some_and(|create| is_creator(create, user));
        if created && self.create.is_some_and(|create| create.version().rules().auth.privileged_creators) {
            return Ok(PowerLevel::Infinite);
        }
        if self.event.is_none() {
            let level = if created && on(Clause::UserLevels) { CREATOR_LEVEL } else { Level::UsersDefault.default() };
            return Ok(PowerLevel::Finite(level));
        }
        let own = readable(self.entry("users", user))?;
        own.map_or_else(|| self.level(Level::UsersDefault), Ok).map(PowerLevel::Finite)
    }

    /// The level required for sending an event of this type: the *required power level*.
    ///
    /// # Errors
    /// When the level that decides it is malformed.
    pub fn event(&self, event_type: &str, is_state: bool) -> Result<i64, Malformed> {
        if let Some(level) = readable(self.entry("events", event_type))? {
            return Ok(level);
        }
        self.level(if is_state { Level::StateDefault } else { Level::EventsDefault })
    }

    /// The level required for a kind of notification, such as `room`: 50 if the event does not say.
    ///
    /// # Errors
    /// When the level is malformed.
    pub fn notification(&self, kind: &str) -> Result<i64, Malformed> {
        Ok(self.entry("notifications", kind)?.unwrap_or(50))
    }

    /// One of the single levels.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn level(&self, level: Level) -> Result<i64, Malformed> {
        let property = level.property();
        let given = self.event.and_then(|event| Some((event, event.content().get(property)?)));
        let given = given
            .map(|(event, value)| parse(event.version(), &exact(event, value, &[property]), || property.to_owned()));
        Ok(readable(given.transpose())?.unwrap_or_else(|| level.default()))
    }

    /// An entry of `users`, `events` or `notifications`, `None` if it is absent.
    fn entry(&self, property: &str, key: &str) -> Result<Option<i64>, Malformed> {
        let Some(event) = self.event else { return Ok(None) };
        let Some(value) = event.content().get(property) else { return Ok(None) };
        let map = value.as_object().ok_or_else(|| Malformed::new(property, "an object"))?;
        let Some(value) = map.get(key) else { return Ok(None) };
        parse_entry(event.version(), &exact(event, value, &[property, key]), property, key).map(Some)
    }
}

/// A level that decides something.
fn readable(level: Result<Option<i64>, Malformed>) -> Result<Option<i64>, Malformed> {
    if on(Clause::UnreadableLevels) { level } else { Ok(level.unwrap_or_default()) }
}

/// The property that has a level which no double can hold, in versions 1 to 5 ("`m.room.power_levels` events accept values as
/// floats"): one that is a number in `content` and nothing in `exact`. Later versions have no such numbers.
pub(super) fn beyond_doubles(content: &Map<String, Value>, exact: &Map<String, Value>) -> Option<String> {
    let is_beyond = |value: Option<&Value>, exact: Option<&Value>| {
        value.is_some_and(Value::is_number) && exact.is_some_and(Value::is_null)
    };
    let singles = Level::ALL.into_iter().map(Level::property);
    if let Some(property) = singles.into_iter().find(|name| is_beyond(content.get(*name), exact.get(*name))) {
        return Some(property.to_owned());
    }
    MAPS.into_iter().find_map(|property| {
        let (map, exact) = (content.get(property)?.as_object()?, exact.get(property)?.as_object()?);
        let (key, _) = map.iter().find(|(key, value)| is_beyond(Some(value), exact.get(*key)))?;
        Some(format!("{property}.{key}"))
    })
}

/// A single level as `content` has it, `None` if it is absent.
pub(super) fn single(
    version: RoomVersion,
    content: &Map<String, Value>,
    level: Level,
) -> Result<Option<i64>, Malformed> {
    let property = level.property();
    content.get(property).map(|value| parse(version, value, || property.to_owned())).transpose()
}

/// The value of an entry of `users`, `events` or `notifications`.
pub(super) fn parse_entry(version: RoomVersion, value: &Value, property: &str, key: &str) -> Result<i64, Malformed> {
    parse(version, value, || format!("{property}.{key}"))
}

/// All entries of `users`, `events` or `notifications`; none if the property is absent.
pub(super) fn entries<'a>(
    version: RoomVersion,
    content: &'a Map<String, Value>,
    property: &str,
) -> Result<Vec<(&'a str, i64)>, Malformed> {
    let Some(value) = content.get(property) else { return Ok(Vec::new()) };
    let map = value.as_object().ok_or_else(|| Malformed::new(property, "an object"))?;
    map.iter().map(|(key, value)| Ok((key.as_str(), parse_entry(version, value, property, key)?))).collect()
}

/// A level from JSON, as the version has it:
/// - from 10 an integer;
/// - to 9 also a string that is one ("`m.room.power_levels` events accept values as strings"), with zeros before it,
///   a sign and white space around it;
/// - to 5 also a float, cut at the point ("`m.room.power_levels` events accept values as floats").
///
/// Numbers that are not integers of 64 bits come here as [`exact`] has them. Integers beyond 64 bits, which only versions 1 to 5 can
/// express, count as the largest or smallest of 64 bits.
fn parse(version: RoomVersion, value: &Value, name: impl Fn() -> String) -> Result<i64, Malformed> {
    let format = if on(Clause::LevelSpellings) { version.rules().auth.power_levels } else { PowerLevelFormat::Integer };
    let strict_numbers = format != PowerLevelFormat::IntegerStringOrFloat;
    let parsed = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) if format != PowerLevelFormat::Integer => parse_text(text.trim()),
        _ => None,
    };
    parsed.filter(|level| !strict_numbers || (-LEVEL_MAX..=LEVEL_MAX).contains(level)).ok_or_else(|| {
        let expected = match format {
            PowerLevelFormat::Integer => "an integer",
            PowerLevelFormat::IntegerOrString => "an integer or a string that is one",
            PowerLevelFormat::IntegerStringOrFloat => "a number or a string that is an integer",
        };
        Malformed::new(name(), expected)
    })
}

fn parse_text(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // The digits are right, so what is left to fail is the size.
    Some(text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX }))
}
