//! `causeway-state auth`.

use serde_json::{Value, json};
use state_res::{auth::rule_numbers, room_version::RoomVersion};

use crate::support::{ALICE, BOB, CAROL, Duel, Room, answer, complaint};

fn auth(file: &Value, id: &str) -> Value {
    let verdict = answer(&["auth", "-", id], file);
    for of in ["by_auth_events", "by_state"] {
        let verdict = &verdict[of];
        let version: RoomVersion = file["room_version"].as_str().unwrap().parse().unwrap();
        let rule = verdict["rule"].as_str().unwrap();
        assert!(rule_numbers(version).any(|number| number == rule), "{version} has no rule {rule}");
        assert!(!verdict["because"].as_str().unwrap().is_empty());
        assert_eq!(verdict.as_object().unwrap().len(), 4);
    }
    verdict
}

/// The number that the specification of each version gives to a rule.
fn by_version(
    version: RoomVersion,
    to_5: &'static str,
    six_and_7: &'static str,
    to_11: &'static str,
    twelve: &'static str,
) -> &'static str {
    match version.number() {
        ..=5 => to_5,
        6 | 7 => six_and_7,
        8..=11 => to_11,
        _ => twelve,
    }
}

/// What is allowed says by which rule, and which events were looked at.
#[test]
fn allowed() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let file = duel.file();
        let [create, alice, power, rules, bob] = duel.common.as_slice() else { panic!("five") };

        let verdict = auth(&file, create);
        assert_eq!(verdict["by_auth_events"]["allowed"], true);
        assert_eq!(verdict["by_auth_events"]["rule"], if version == RoomVersion::V11 { "1.4" } else { "1.5" });
        assert_eq!(verdict["by_auth_events"]["deciding_events"], json!([]));

        let verdict = auth(&file, alice);
        assert_eq!(verdict["by_auth_events"]["rule"], by_version(version, "5.2.1", "4.2.1", "4.3.1", "5.3.1"));
        assert_eq!(verdict["by_auth_events"]["deciding_events"], json!([create]));

        let verdict = auth(&file, bob);
        assert_eq!(verdict["by_auth_events"]["allowed"], true);
        assert_eq!(verdict["by_auth_events"]["rule"], by_version(version, "5.2.5", "4.2.5", "4.3.6", "5.3.6"));
        assert_eq!(verdict["by_auth_events"]["deciding_events"], json!([create, rules]));
        // In the resolution Bob is in the room already, which the rule of public rooms does not ask for.
        assert_eq!(verdict["by_state"]["deciding_events"], json!([create, bob, rules]));

        let verdict = auth(&file, &duel.carol_is_banned);
        assert_eq!(verdict["by_auth_events"]["rule"], by_version(version, "5.5.2", "4.5.2", "4.6.2", "5.6.2"));
        assert_eq!(verdict["by_auth_events"]["deciding_events"], json!([create, alice, power]));

        let verdict = auth(&file, &duel.topic_of_bob);
        let last = rule_numbers(version).last().unwrap();
        for of in ["by_auth_events", "by_state"] {
            assert_eq!(verdict[of]["allowed"], true);
            assert_eq!(verdict[of]["rule"], last);
            assert_eq!(verdict[of]["deciding_events"], json!([create, bob, power]));
        }
    }
}

/// Allowed by its own auth events, and not by the state.
#[test]
fn allowed_then_not() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let verdict = auth(&duel.file(), &duel.carol_joins);
        assert_eq!(verdict["by_auth_events"]["allowed"], true);
        assert_eq!(verdict["by_state"]["allowed"], false);
        assert_eq!(verdict["by_state"]["rule"], by_version(version, "5.2.3", "4.2.3", "4.3.3", "5.3.3"));
        assert_eq!(verdict["by_state"]["deciding_events"], json!([duel.common[0], duel.carol_is_banned]));
        assert!(verdict["by_state"]["because"].as_str().unwrap().contains("banned"));
        // Of no states the state is empty: only a create event is allowed.
        let verdict = auth(&duel.room.file(&[]), &duel.carol_joins);
        assert_eq!(verdict["by_state"]["rule"], if version == RoomVersion::V12 { "2" } else { "2.4" });
        assert_eq!(verdict["by_state"]["deciding_events"], json!([]));
    }
}

/// The rules on `auth_events`: a duplicate, one that does not belong, a rejected one, no create event.
#[test]
fn what_is_cited() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let mut room = duel.room;
        let [create, alice, power, _, bob] = duel.common.as_slice() else { panic!("five") };
        let number = |rule: usize| if version == RoomVersion::V12 { format!("3.{rule}") } else { format!("2.{rule}") };
        let last = duel.topic_of_alice.as_str();
        let mut name =
            |sender: &str, auth: &[&str]| room.add("m.room.name", Some(""), sender, json!({}), &[last], auth);
        let twice = name(BOB, &[bob, power, power]);
        let unexpected = name(BOB, &[bob, power, alice]);
        let carols = name(CAROL, &[power, &duel.carol_is_banned]);
        let mut cites_rejected = |rejected: &str| {
            let joined = json!({ "membership": "join" });
            let member = room.add("m.room.member", Some("@d:c"), "@d:c", joined, &[last], &[rejected]);
            room.add("m.room.name", Some(""), "@d:c", json!({}), &[last], &[&member, power])
        };
        let after_rejected = cites_rejected(power);
        let file = room.file(&[]);
        for (id, rule) in [(&twice, number(1)), (&unexpected, number(2)), (&after_rejected, number(3))] {
            let verdict = &auth(&file, id)["by_auth_events"];
            assert_eq!(verdict["allowed"], false, "{version}");
            assert_eq!(verdict["rule"], rule, "{version}");
            assert!(verdict["deciding_events"].as_array().unwrap().contains(&json!(power)));
            let _ = create;
        }
        assert_eq!(auth(&file, &carols)["by_auth_events"]["rule"], by_version(version, "6", "5", "5", "6"));
    }
}

/// No create event: from the list, or in version 12 from the room id.
#[test]
fn no_create_event() {
    for version in RoomVersion::ALL {
        let mut room = Room::new(version, false);
        let mut event = json!({
            "type": "m.room.member", "state_key": BOB, "sender": BOB, "content": { "membership": "join" }, "depth": 2,
            "origin_server_ts": 2, "prev_events": [], "auth_events": [], "event_id": "$bob:b",
            "room_id": if version == RoomVersion::V12 { format!("!{}", "A".repeat(43)) } else { "!room:a".to_owned() },
        });
        if version > RoomVersion::V2 {
            event.as_object_mut().unwrap().remove("event_id");
        }
        let id = room.push(event);
        let verdict = &auth(&room.file(&[]), &id)["by_auth_events"];
        assert_eq!(verdict["allowed"], false);
        assert_eq!(verdict["rule"], if version == RoomVersion::V12 { "2" } else { "2.4" });
    }
    let _ = ALICE;
}

/// In room version 12 no event is allowed, in whatever state, unless the room's create event was accepted.
// clause: A2.1
#[test]
fn rejected_create_event() {
    let joined = || json!({ "membership": "join" });
    for (member, value, rule) in [
        ("prev_events", json!(["$x"]), "1.1"),
        ("room_id", json!("!room:a"), "1.2"),
        ("content", json!({ "room_version": "1000" }), "1.3"),
        ("content", json!({ "additional_creators": ["bob"] }), "1.4"),
    ] {
        let mut room = Room::new(RoomVersion::V12, false);
        let mut create = room.events.remove(0);
        create[member] = value;
        room.ids.clear();
        let create = room.push(create);
        room.room_id = format!("!{}", &create[1..]);
        let alice = room.add("m.room.member", Some(ALICE), ALICE, joined(), &[&create], &[]);
        let name = room.add("m.room.name", Some(""), ALICE, json!({ "name": "x" }), &[&alice], &[&alice]);
        let both = [create.as_str(), &alice];
        for states in [&[&both[..]][..], &[&both[..], &[&create, &alice, &name]]] {
            let file = room.file(states);
            assert_eq!(auth(&file, &create)["by_auth_events"]["rule"], rule);
            for id in [&alice, &name] {
                let verdict = auth(&file, id);
                for of in ["by_auth_events", "by_state"] {
                    assert_eq!(verdict[of]["allowed"], false, "{rule}, {of}");
                    assert_eq!(verdict[of]["rule"], "2", "{rule}, {of}");
                    assert!(verdict[of]["deciding_events"].as_array().unwrap().contains(&json!(create)));
                }
            }
        }
    }
}

/// A create event is in no state at the create event's place if it has another state key or none: rule 1 does not mind, and nobody can
/// do anything in its room.
// clause: A2.1
#[test]
fn create_event_at_another_place() {
    for version in RoomVersion::ALL {
        for state_key in [json!("x"), json!(ALICE), Value::Null] {
            let mut room = Room::new(version, false);
            let mut create = room.events.remove(0);
            let object = create.as_object_mut().unwrap();
            object.remove("state_key");
            if !state_key.is_null() {
                object.insert("state_key".to_owned(), state_key.clone());
            }
            room.ids.clear();
            let create = room.push(create);
            if version.rules().create_event_is_room_id {
                room.room_id = format!("!{}", &create[1..]);
            }
            let alice = room.add("m.room.member", Some(ALICE), ALICE, json!({ "membership": "join" }), &[&create], &[]);
            let states: &[&[&str]] = if state_key.is_null() { &[&[&alice]] } else { &[&[&create, &alice]] };
            let file = room.file(states);
            let what = format!("version {version}, state key {state_key}");
            assert_eq!(auth(&file, &create)["by_auth_events"]["allowed"], true, "{what}");
            let verdict = auth(&file, &alice);
            // Before version 12 it is not what belongs into the auth events either.
            let rules = if version < RoomVersion::V12 { ("2.2", "2.4") } else { ("2", "2") };
            assert_eq!(verdict["by_auth_events"]["rule"], rules.0, "{what}: {verdict}");
            assert_eq!(verdict["by_state"]["rule"], rules.1, "{what}: {verdict}");
            assert_eq!(
                (&verdict["by_auth_events"]["allowed"], &verdict["by_state"]["allowed"]),
                (&json!(false), &json!(false))
            );
        }
    }
}

/// A state of another room allows nothing: before version 12 its create event would be an auth event of another room.
#[test]
fn state_of_another_room() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let mut room = duel.room;
        let mut create = room.events[0].clone();
        create["origin_server_ts"] = json!(5);
        if version < RoomVersion::V12 {
            create["room_id"] = json!("!other:a");
        }
        if version <= RoomVersion::V2 {
            create["event_id"] = json!("$other:a");
        }
        let other = room.push(create);
        let verdict = auth(&room.file(&[&[&other]]), &duel.carol_joins);
        assert_eq!(verdict["by_auth_events"]["allowed"], true);
        assert_eq!(verdict["by_state"]["allowed"], false);
        assert_eq!(verdict["by_state"]["rule"], if version == RoomVersion::V12 { "2" } else { "2.5" });
    }
}

/// What cites a rejected event is rejected, and what cites that, in every version; the state alone has its own mind.
#[test]
fn rejected_events_reject() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let mut room = duel.room;
        let [create, alice, power, rules, _] = duel.common.as_slice() else { panic!("five") };
        let last = duel.topic_of_alice.as_str();
        // Bob may not: his level is below what he gives.
        let mut users = json!({ BOB: 90 });
        if version < RoomVersion::V12 {
            users[ALICE] = json!(100);
        }
        let coup = json!({ "users": users });
        let bob = duel.common[4].as_str();
        let coup = room.add("m.room.power_levels", Some(""), BOB, coup, &[last], &[power, bob]);
        let dora = "@dora:d";
        let joined = json!({ "membership": "join" });
        let join = room.add("m.room.member", Some(dora), dora, joined, &[&coup], &[&coup, rules]);
        let topic = room.add("m.room.topic", Some(""), dora, json!({ "topic": "" }), &[&join], &[power, &join]);
        let states = [create.as_str(), alice, power, rules];
        let file = room.file(&[&states]);
        let rejected = if version == RoomVersion::V12 { "3.3" } else { "2.3" };
        let new_level = by_version(version, "10.7.1", "9.7.1", "9.7.1", "10.10.1");
        let new_level = match version {
            RoomVersion::V10 | RoomVersion::V11 => "9.9.1",
            _ => new_level,
        };
        assert_eq!(auth(&file, &coup)["by_auth_events"]["rule"], new_level, "{version}");
        for id in [&join, &topic] {
            let verdict = auth(&file, id);
            assert_eq!(verdict["by_auth_events"]["allowed"], false, "{version}");
            assert_eq!(verdict["by_auth_events"]["rule"], rejected, "{version}");
        }
        // In this state the room is public, so that the rules let her join, whatever her event cites.
        assert_eq!(auth(&file, &join)["by_state"]["allowed"], true, "{version}");
        assert_eq!(auth(&file, &topic)["by_state"]["allowed"], false, "{version}");
    }
}

/// A chain of thousands of auth events takes neither stack nor time.
#[test]
fn long_chains() {
    let mut room = Room::new(RoomVersion::V11, false);
    let create = room.ids[0].clone();
    let joined = json!({ "membership": "join" });
    let alice = room.add("m.room.member", Some(ALICE), ALICE, joined, &[&create], &[]);
    let first = json!({ "users": { ALICE: 100 } });
    let mut levels = room.add("m.room.power_levels", Some(""), ALICE, first, &[&alice], &[&alice]);
    let earlier = levels.clone();
    for ban in 0..3_000 {
        let content = json!({ "users": { ALICE: 100 }, "ban": ban % 100 });
        levels = room.add("m.room.power_levels", Some(""), ALICE, content, &[&levels], &[&alice, &levels]);
    }
    let file = room.file(&[&[&create, &alice, &levels], &[&create, &alice, &earlier]]);
    let verdict = auth(&file, &levels);
    assert_eq!(verdict["by_auth_events"]["allowed"], true);
    assert_eq!(verdict["by_state"]["deciding_events"], json!([create, alice, levels]));
}

/// An event that is not there, and an auth chain with a hole.
#[test]
fn broken() {
    let duel = Duel::new(RoomVersion::V10, false);
    let mut file = duel.file();
    let complaint_about = |file: &Value, id: &str| complaint(&["auth", "-", id], &serde_json::to_vec(file).unwrap());
    // The place is the list of events, wherever in the file that is.
    let column = serde_json::to_string(&file).unwrap().find("\"events\":").unwrap() + "\"events\":".len() + 1;
    for (id, told) in
        [("$nobody", "has no event with the id $nobody"), ("nobody", "ids begin with `$`"), ("", "EVENT_ID is empty")]
    {
        let complaint = complaint_about(&file, id);
        assert!(complaint.contains(&format!("standard input:1:{column}: events: ")), "{complaint}");
        assert!(complaint.contains(told), "{complaint}");
    }
    let power = &duel.common[2];
    file["state_sets"] = json!([]);
    file["events"].as_array_mut().unwrap().remove(duel.room.index(power));
    let complaint = complaint_about(&file, &duel.topic_of_bob);
    assert!(complaint.contains("events[6].auth_events[1]") && complaint.contains(power.as_str()), "{complaint}");
}
