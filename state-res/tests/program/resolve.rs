//! `causeway-state resolve`.

use serde_json::{Value, json};
use state_res::room_version::RoomVersion;

use crate::support::{ALICE, BOB, CAROL, Duel, Room, answer, complaint, file, id_of};

fn resolve(file: &Value) -> Value {
    answer(&["resolve", "-"], file)
}

/// The same room in every version, with and without hashes and signatures, whatever the order of everything.
#[test]
fn every_room_version() {
    for version in RoomVersion::ALL {
        for signed in [true, false] {
            let duel = Duel::new(version, signed);
            let expected = duel.resolution();
            let mut file = duel.file();
            assert_eq!(resolve(&file), expected, "{version}");
            for list in ["events", "state_sets"] {
                file[list].as_array_mut().unwrap().reverse();
                assert_eq!(resolve(&file), expected, "{version}, {list} reversed");
            }
            for set in file["state_sets"].as_array_mut().unwrap() {
                set.as_array_mut().unwrap().reverse();
            }
            assert_eq!(resolve(&file), expected, "{version}, sets reversed");
        }
    }
}

/// From a file too, and the array is sorted in the order of code points.
#[test]
fn from_a_file_and_sorted() {
    let mut room = Room::new(RoomVersion::V11, false);
    let create = room.ids[0].clone();
    let mut ids = vec![create.clone()];
    for key in ["b", "é", "", "B", "a\n", "a", "\u{10ffff}", "\u{ffff}"] {
        ids.push(room.add("t", Some(key), ALICE, json!({}), &[&create], &[]));
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let path = file("sorted.json", &serde_json::to_vec(&room.file(&[&ids])).unwrap());
    let entries = answer(&["resolve", path.to_str().unwrap()], &Value::Null);
    let places: Vec<(&str, &str)> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry[0].as_str().unwrap(), entry[1].as_str().unwrap()))
        .collect();
    let mut sorted = places.clone();
    sorted.sort_by_key(|(ty, key)| (ty.chars().collect::<Vec<_>>(), key.chars().collect::<Vec<_>>()));
    assert_eq!(places, sorted);
    assert_eq!(places.len(), 9);
}

/// Of no states the resolution is empty, of one it is that, of equal ones too; an empty state differs from others.
#[test]
fn few_states() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        assert_eq!(resolve(&duel.room.file(&[])), json!([]));
        assert_eq!(resolve(&duel.room.file(&[&[]])), json!([]));
        assert_eq!(resolve(&duel.room.file(&[&[], &[]])), json!([]));
        let [one, _] = duel.states();
        let own = resolve(&duel.room.file(&[&one]));
        assert_eq!(own.as_array().unwrap().len(), one.len());
        assert_eq!(resolve(&duel.room.file(&[&one, &one, &one])), own);
        // What only one state has is in conflict, and all of it is allowed.
        assert_eq!(resolve(&duel.room.file(&[&one, &[]])), own, "{version}");
    }
}

/// What the format does not know is ignored in the file; in an event it is a part of it, but `unsigned` is not.
#[test]
fn what_is_not_looked_at() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, true);
        let mut file = duel.file();
        file["comment"] = json!({ "events": [1.5e300] });
        file["keys"] = json!(null);
        for event in file["events"].as_array_mut().unwrap() {
            event["unsigned"] = json!({ "age": 1.5 });
            let id = id_of(version, event.as_object().unwrap());
            event["event_id"] = json!(id);
            // Signatures are not checked, nor the hashes.
            event["signatures"] = json!({ "nobody": { "ed25519:1": "" } });
        }
        // The same event may be there twice.
        let again = file["events"][3].clone();
        file["events"].as_array_mut().unwrap().push(again);
        assert_eq!(resolve(&file), duel.resolution(), "{version}");
    }
}

/// A state is a set: an event that it names twice is in it once.
#[test]
fn the_same_event_twice_in_a_state() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let mut file = duel.file();
        for set in file["state_sets"].as_array_mut().unwrap() {
            let again = set.as_array().unwrap().clone();
            set.as_array_mut().unwrap().extend(again);
        }
        assert_eq!(resolve(&file), duel.resolution(), "{version}");
    }
}

/// Members that no rule and no algorithm of the version looks at may be absent.
#[test]
fn absent_members() {
    for version in RoomVersion::ALL {
        let mut room = Room::new(version, false);
        let absent = if version == RoomVersion::V1 { "origin_server_ts" } else { "depth" };
        let create = room.ids[0].clone();
        let alice = room.add("m.room.member", Some(ALICE), ALICE, json!({ "membership": "join" }), &[&create], &[]);
        let mut topic = |title: &str, ts: u64| {
            room.add("m.room.topic", Some(""), ALICE, json!({ "topic": title }), &[&alice], &[&alice]);
            let mut event = room.events.pop().unwrap();
            room.ids.pop();
            event.as_object_mut().unwrap().remove(absent);
            let order = if version == RoomVersion::V1 { "depth" } else { "origin_server_ts" };
            event[order] = json!(ts);
            if version <= RoomVersion::V2 {
                event["event_id"] = json!(format!("$topic{ts}:a"));
            }
            room.push(event)
        };
        let (early, late) = (topic("early", 2_000), topic("late", 3_000));
        let file = room.file(&[&[&create, &alice, &late], &[&create, &alice, &early]]);
        assert_eq!(resolve(&file)[2], json!(["m.room.topic", "", late]), "{version}");
    }
}

/// Resolution falls back to an event's auth events for what the states lack, but not to a rejected one ("Rejected auth
/// events are deliberately excluded from use in the iterative auth checks").
#[test]
fn rejected_auth_events_do_not_count() {
    for version in RoomVersion::ALL.into_iter().filter(|version| *version >= RoomVersion::V2) {
        for (join_rule, accepted) in [("public", true), ("invite", false)] {
            let mut room = Room::new(version, false);
            let create = room.ids[0].clone();
            let alice = room.add("m.room.member", Some(ALICE), ALICE, json!({ "membership": "join" }), &[&create], &[]);
            let power = json!({ "state_default": 0 });
            let power = room.add("m.room.power_levels", Some(""), ALICE, power, &[&alice], &[&alice]);
            let rule = json!({ "join_rule": join_rule });
            let rules = room.add("m.room.join_rules", Some(""), ALICE, rule, &[&power], &[&alice, &power]);
            let carol = room.add(
                "m.room.member",
                Some(CAROL),
                CAROL,
                json!({ "membership": "join" }),
                &[&rules],
                &[&power, &rules],
            );
            let topic = room.add("m.room.topic", Some(""), CAROL, json!({ "topic": "" }), &[&carol], &[&power, &carol]);
            // Neither state has Carol's membership.
            let base = [create.as_str(), &alice, &power, &rules];
            let with_topic = [create.as_str(), &alice, &power, &rules, &topic];
            let resolved = resolve(&room.file(&[&base, &with_topic]));
            let has_topic = resolved.as_array().unwrap().iter().any(|entry| entry[2] == json!(topic));
            assert_eq!(has_topic, accepted, "{version}, {join_rule}");
        }
    }
}

/// An auth chain with a hole is refused where it matters: where states differ, and the algorithm looks at auth chains.
#[test]
fn absent_auth_events() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let mut file = duel.file();
        // Alice's join is in both states, so take something only auth chains name: make the states smaller.
        let power = &duel.common[2];
        for set in file["state_sets"].as_array_mut().unwrap() {
            set.as_array_mut().unwrap().retain(|id| id != power);
        }
        file["events"].as_array_mut().unwrap().remove(duel.room.index(power));
        if version == RoomVersion::V1 {
            resolve(&file);
        } else {
            let complaint = complaint(&["resolve", "-"], &serde_json::to_vec(&file).unwrap());
            assert!(complaint.contains("auth_events["), "{complaint}");
            assert!(complaint.contains(power.as_str()), "{complaint}");
        }
        file["state_sets"].as_array_mut().unwrap().pop();
        resolve(&file);
    }
}

/// What an event cites of another room takes no part: not as what decides, and not as what is resolved. The event that cites
/// it was rejected.
#[test]
fn auth_events_of_another_room() {
    for version in RoomVersion::ALL.into_iter().filter(|version| *version >= RoomVersion::V2) {
        let mut room = Room::new(version, false);
        let create = room.ids[0].clone();
        let joined = json!({ "membership": "join" });
        let public = json!({ "join_rule": "public" });
        // A second room, in which Bob has made himself at home.
        let mut other = Room::new(version, false);
        other.events.clear();
        other.ids.clear();
        other.room_id = "!other:b".to_owned();
        let mut other_create = room.events[0].clone();
        other_create["sender"] = json!(BOB);
        if version.rules().auth.creator_in_content {
            other_create["content"]["creator"] = json!(BOB);
        }
        if version.rules().create_event_is_room_id {
            other.room_id = format!("!{}", &other.push(other_create)[1..]);
        } else {
            other_create["room_id"] = json!(other.room_id);
            if version <= RoomVersion::V2 {
                other_create["event_id"] = json!("$other:a");
            }
            other.push(other_create);
        }
        let other_create = other.ids[0].clone();
        let bob_elsewhere = other.add("m.room.member", Some(BOB), BOB, joined.clone(), &[&other_create], &[]);

        let alice = room.add("m.room.member", Some(ALICE), ALICE, joined.clone(), &[&create], &[]);
        let rules = room.add("m.room.join_rules", Some(""), ALICE, public, &[&alice], &[&alice]);
        let levels = json!({ "state_default": 0 });
        let power = room.add("m.room.power_levels", Some(""), ALICE, levels, &[&rules], &[&alice]);
        let by_stranger = room.add("m.room.name", Some(""), BOB, json!({}), &[&power], &[&power, &bob_elsewhere]);
        room.events.extend(other.events);
        room.ids.extend(other.ids);

        let base = [create.as_str(), &alice, &rules, &power];
        let with = |event: &str| resolve(&room.file(&[&base, &[&base[..], &[event]].concat()]));
        // Nobody but the other room says that Bob is joined.
        let plain = resolve(&room.file(&[&base]));
        assert_eq!(with(&by_stranger), plain, "{version}: another room's member");
        let verdict = answer(&["auth", "-", &by_stranger], &room.file(&[&base]));
        let rule = if version == RoomVersion::V12 { "3.4" } else { "2.5" };
        assert_eq!(verdict["by_auth_events"]["rule"], rule, "{version}");
    }
}

/// In room version 12 no event cites the create event, and it must be there all the same.
#[test]
fn absent_create_event() {
    let duel = Duel::new(RoomVersion::V12, false);
    let mut file = duel.file();
    file["events"].as_array_mut().unwrap().remove(0);
    for set in file["state_sets"].as_array_mut().unwrap() {
        set.as_array_mut().unwrap().remove(0);
    }
    let complaint = complaint(&["resolve", "-"], &serde_json::to_vec(&file).unwrap());
    assert!(complaint.contains("the create event of !"), "{complaint}");
}

/// Room versions 1 and 2 let senders choose ids, so auth events can form a cycle. It ends, and in version 2, which falls
/// back to auth events, nothing that is in one counts.
#[test]
fn cycles_end() {
    for version in [RoomVersion::V1, RoomVersion::V2] {
        let mut room = Room::new(version, false);
        let create = room.ids[0].clone();
        let joined = json!({ "membership": "join" });
        let alice = room.add("m.room.member", Some(ALICE), ALICE, joined.clone(), &[&create], &[]);
        // The ids that the next two events will have.
        let (power, bob) = ("$e2:a", "$e3:b");
        assert_eq!(
            room.add("m.room.power_levels", Some(""), ALICE, json!({}), &[&alice], &[&alice, bob, power]),
            power
        );
        assert_eq!(room.add("m.room.member", Some(BOB), BOB, joined, &[power], &[power, bob]), bob);
        let states: [&[&str]; 2] = [&[&create, &alice, power], &[&create, &alice, bob]];
        let resolved = resolve(&room.file(&states));
        assert!(resolved.as_array().unwrap().len() >= 2, "{resolved}");
        let verdict = answer(&["auth", "-", bob], &room.file(&states));
        assert_eq!(verdict["by_auth_events"]["allowed"], false);
    }
}
