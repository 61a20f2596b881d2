//! A room's state as a room of another version can hold it.
//!
//! Events of versions 1 to 5 have numbers of any kind; later versions know only the integers of canonical JSON. Levels may also be strings to
//! version 9. What the new version cannot hold becomes what comes nearest to it: to leave such an event out would be worse, when it is the one
//! that encrypts the room or that keeps a server out.

use serde_json::{Map, Value, json};
use state_res::auth::{Level, PowerLevel, PowerLevels};
use state_res::canonical_json::MAX_INTEGER;
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;

/// The maps of levels in the content of `m.room.power_levels`.
const MAPS: [&str; 3] = ["users", "events", "notifications"];

/// Content for an event of `version`: where that has integers only, other numbers are cut at the point, and at the largest and smallest integers
/// of canonical JSON.
pub(super) fn content(mut content: Map<String, Value>, version: RoomVersion) -> Map<String, Value> {
    if version.rules().strict_canonical_json {
        content.values_mut().for_each(make_integers);
    }
    content
}

/// Content of `m.room.power_levels` for a room of `version`: the levels of the room that `create` began, as numbers, and none above
/// `most`. Levels that cannot be read are left out.
pub(super) fn power_levels(create: &Pdu, levels: &Pdu, version: RoomVersion, most: Option<i64>) -> Map<String, Value> {
    let view = PowerLevels::new(create, Some(levels));
    let most = most.unwrap_or(i64::MAX);
    let mut content = content(levels.content().clone(), version);
    for level in Level::ALL {
        put(&mut content, level.property(), || Some(view.level(level).ok()?.min(most)), version);
    }
    for map in MAPS {
        let Some(entries) = content.get_mut(map).and_then(Value::as_object_mut) else {
            content.remove(map);
            continue;
        };
        for key in entries.keys().cloned().collect::<Vec<_>>() {
            let level = || match map {
                "users" => match view.user(&key).ok()? {
                    PowerLevel::Finite(level) => Some(level),
                    PowerLevel::Infinite => None,
                },
                "events" => view.event(&key, false).ok(),
                _ => view.notification(&key).ok(),
            };
            put(entries, &key, || Some(level()?.min(most)), version);
        }
    }
    content
}

/// Replaces a level that is there.
fn put(content: &mut Map<String, Value>, key: &str, level: impl FnOnce() -> Option<i64>, version: RoomVersion) {
    if !content.contains_key(key) {
        return;
    }
    match level() {
        Some(level) if version.rules().strict_canonical_json => {
            content.insert(key.to_owned(), json!(level.clamp(-MAX_INTEGER, MAX_INTEGER)))
        }
        Some(level) => content.insert(key.to_owned(), json!(level)),
        None => content.remove(key),
    };
}

fn make_integers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            // A double is cut at the point, and at the ends of 64 bits.
            let integer = number.as_i64().or_else(|| number.as_f64().map(|float| float as i64));
            *value = json!(integer.unwrap_or(MAX_INTEGER).clamp(-MAX_INTEGER, MAX_INTEGER));
        }
        Value::Array(items) => items.iter_mut().for_each(make_integers),
        Value::Object(members) => members.values_mut().for_each(make_integers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
