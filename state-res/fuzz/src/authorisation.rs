//! The authorisation rules: what they may depend on, and a plain reading of those for common events.

use serde_json::{Value, json};
use state_res::{
    auth::{self, Cited, StateLookup, rule_numbers, state_needed},
    pdu::Pdu,
    room_version::{EventIdFormat, PowerLevelFormat, RoomVersion},
};

use super::{
    bytes::Bytes,
    events::complete,
    rooms::{USERS, action, place, power_levels},
};

/// Bytes make a state and an event; the rest of them may be JSON, which becomes its content.
pub fn authorisation(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let version = bytes.version();
    let state = state(&mut bytes, version);
    let sender = bytes.pick(&USERS);
    let (event_type, state_key, mut content) = action(&mut bytes, sender);
    let after_create = bytes.sometimes(32);
    let state_key = if bytes.sometimes(8) { Some("@other:x".to_owned()) } else { state_key };
    if let Ok(given) = serde_json::from_slice::<Value>(bytes.rest())
        && given.is_object()
    {
        content = given;
    }
    let prev = if after_create { create_of(&state) } else { None };
    let Some(event) = make(version, &state, &event_type, state_key.as_deref(), sender, content, prev) else { return };

    let decision = auth::check(&event, &state);
    let decided = auth::decide(&event, &state);
    assert_eq!(decided.as_ref().map(|_| ()), decision.as_ref().map(|_| ()));
    let rule = decided.as_ref().map_or_else(|refusal| refusal.rule, |allowed| allowed.rule);
    assert!(rule_numbers(version).any(|number| number == rule), "version {version} has no rule {rule}");

    // Nothing counts but what the event needs, and not where it stands.
    let needed = state_needed(&event);
    let mut fewer: Vec<Pdu> =
        needed.iter().filter_map(|(event_type, state_key)| StateLookup::get(&state, event_type, state_key)).collect();
    assert_eq!(auth::check(&event, &fewer), decision, "the rest of the state counts");
    fewer.reverse();
    assert_eq!(auth::check(&event, &fewer), decision, "the order of the state counts");

    check_cited(&event, &fewer);
    check_power(version, &event, &state, decision.is_ok());
    if let Some(expected) = plainly(version, &event, &state) {
        assert_eq!(decision.is_ok(), expected, "{decision:?}");
    }
}

/// A state with some of everything.
fn state(bytes: &mut Bytes<'_>, version: RoomVersion) -> Vec<Pdu> {
    let mut content = json!({ "room_version": version.as_str(), "creator": "@alice:a" });
    match bytes.byte() {
        0..=199 => {}
        200..=219 => content["additional_creators"] = json!(["@fred:c"]),
        220..=239 => content["m.federate"] = json!(false),
        _ => content["m.federate"] = json!("false"),
    }
    let mut state = Vec::new();
    state.extend(make(version, &[], "m.room.create", Some(""), "@alice:a", content, None));
    for user in USERS {
        let membership = match bytes.byte() {
            0..=99 => "join",
            100..=139 => "leave",
            140..=169 => "ban",
            170..=199 => "invite",
            200..=219 => "knock",
            220..=223 => "other",
            _ => continue,
        };
        state.extend(make(
            version,
            &state,
            "m.room.member",
            Some(user),
            user,
            json!({ "membership": membership }),
            None,
        ));
    }
    if bytes.byte() < 200 {
        let content = Value::Object(power_levels(bytes));
        state.extend(make(version, &state, "m.room.power_levels", Some(""), "@alice:a", content, None));
    }
    if bytes.byte() < 200 {
        let rule = bytes.pick(&["public", "invite", "knock", "restricted", "knock_restricted", "private"]);
        let content = json!({ "join_rule": rule });
        state.extend(make(version, &state, "m.room.join_rules", Some(""), "@alice:a", content, None));
    }
    state
}

fn create_of(state: &[Pdu]) -> Option<&Pdu> {
    state.iter().find(|event| event.is_state_of("m.room.create", ""))
}

/// An event in the room of this state; none if its content is not for events of this version.
fn make(
    version: RoomVersion,
    state: &[Pdu],
    event_type: &str,
    state_key: Option<&str>,
    sender: &str,
    content: Value,
    prev: Option<&Pdu>,
) -> Option<Pdu> {
    let mut event = complete(version, event_type, content.as_object().cloned().unwrap_or_default());
    event.insert("sender".to_owned(), json!(sender));
    match state_key {
        Some(state_key) => event.insert("state_key".to_owned(), json!(state_key)),
        None => event.remove("state_key"),
    };
    if let Some(create) = create_of(state) {
        event.insert("room_id".to_owned(), json!(create.room_id()));
    }
    if version.rules().event_id == EventIdFormat::Sent {
        event.insert("event_id".to_owned(), json!(format!("$e{}:a", state.len())));
    }
    let prev = prev.map_or("$before:a", |event| event.event_id());
    let prev = if version.rules().references_carry_hashes() { json!([[prev, {}]]) } else { json!([prev]) };
    if event_type != "m.room.create" {
        event.insert("prev_events".to_owned(), prev);
    }
    Pdu::from_value(version, &event).ok()
}

/// The rules on the list of auth events do not depend on its order.
fn check_cited(event: &Pdu, cited: &[Pdu]) {
    let list: Vec<Cited<'_>> = cited.iter().map(|event| Cited { event, rejected: false }).collect();
    let create = create_of(cited).map(|event| Cited { event, rejected: false });
    let listed: Vec<Cited<'_>> = if event.version().rules().auth.create_in_auth_events {
        list.clone()
    } else {
        list.iter().filter(|cited| cited.event.event_type() != "m.room.create").copied().collect()
    };
    if event.event_type() != "m.room.create" && create.is_some() {
        let decision = auth::check_auth_events(event, &listed, create);
        assert!(decision.is_ok(), "what the event needs may be cited: {decision:?}");
        let mut rejected = listed.clone();
        if let Some(first) = rejected.first_mut() {
            first.rejected = true;
            assert!(auth::check_auth_events(event, &rejected, create).is_err(), "a rejected auth event counts");
            let twice: Vec<Cited<'_>> = listed.iter().chain(listed.first()).copied().collect();
            assert!(auth::check_auth_events(event, &twice, create).is_err(), "a duplicate counts");
        }
    }
}

/// Whoever may do something may do it with more power.
fn check_power(version: RoomVersion, event: &Pdu, state: &[Pdu], is_allowed: bool) {
    let Some(before) = StateLookup::get(state, "m.room.power_levels", "") else { return };
    let mut content = before.content().clone();
    // A member's power shields them: with more of it others can do less to them. So the target must be another.
    if !is_allowed || event.event_type() == "m.room.power_levels" {
        return;
    }
    let Some(users) = content.get_mut("users").and_then(Value::as_object_mut) else { return };
    users.insert(event.sender().to_owned(), json!(9_007_199_254_740_991_i64));
    let Some(more) = make(version, state, "m.room.power_levels", Some(""), "@alice:a", Value::Object(content), None)
    else {
        return;
    };
    let stronger: Vec<Pdu> = state
        .iter()
        .map(|event| if place(event) == place(&more) && event.is_state() { more.clone() } else { event.clone() })
        .collect();
    let decision = auth::check(event, &stronger);
    assert!(decision.is_ok(), "allowed, and not with more power: {decision:?}");
}

/// The rules for events of which no rule knows the type, read plainly. `None` for others, and where a level is malformed.
fn plainly(version: RoomVersion, event: &Pdu, state: &[Pdu]) -> Option<bool> {
    let known = [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.third_party_invite",
        "m.room.aliases",
        "m.room.redaction",
    ];
    if known.contains(&event.event_type()) {
        return None;
    }
    let find = |event_type: &str, state_key: &str| StateLookup::get(state, event_type, state_key);
    let create = find("m.room.create", "")?;
    let sender = event.sender();
    let server = |user: &str| user.split_once(':').map(|(_, server)| server.to_owned());
    if create.content().get("m.federate") == Some(&json!(false)) && server(sender) != server(create.sender()) {
        return Some(false);
    }
    let membership = find("m.room.member", sender);
    let membership = membership.as_ref().and_then(|event| event.content().get("membership")).and_then(Value::as_str);
    if membership != Some("join") {
        return Some(false);
    }
    if event.state_key().is_some_and(|key| key.starts_with('@') && key != sender) {
        return Some(false);
    }
    let levels = find("m.room.power_levels", "");
    let levels = levels.as_ref().map(Pdu::content);
    let read = |value: Option<&Value>, default: i64| match value {
        None => Some(default),
        Some(Value::Number(number)) if number.is_i64() => number.as_i64(),
        Some(Value::String(text)) if version.rules().auth.power_levels != PowerLevelFormat::Integer && text == "50" => {
            Some(50)
        }
        // Malformed, or of a spelling that this reading does not know.
        Some(_) => None,
    };
    let get = |name: &str| levels.and_then(|levels| levels.get(name));
    let additional = create.content().get("additional_creators").and_then(Value::as_array);
    let is_creator = version.rules().auth.privileged_creators
        && (create.sender() == sender || additional.is_some_and(|list| list.contains(&json!(sender))));
    if levels.is_none() {
        // Then `state_default` is 50 and `events_default` 0, and the creator has 100.
        return Some(!event.is_state() || is_creator || sender == create.sender());
    }
    let (default, fallback) = if event.is_state() { ("state_default", 50) } else { ("events_default", 0) };
    let own = get("events").and_then(|events| events.get(event.event_type()));
    let required = if own.is_some() { read(own, 0)? } else { read(get(default), fallback)? };
    // A creator's power is infinite, but what is required must be readable.
    if is_creator {
        return Some(true);
    }
    let own = get("users").and_then(|users| users.get(sender));
    let has = if own.is_some() { read(own, 0)? } else { read(get("users_default"), 0)? };
    Some(has >= required)
}
