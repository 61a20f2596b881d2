//! Rooms that are refused: with status 2, the place, and the reason.

use serde_json::{Value, json};
use state_res::{canonical_json::MAX_NESTING, room_version::RoomVersion};

use crate::support::{Duel, Room, complaint, run};

/// Everything that reads a room refuses this, saying all of these.
fn refused(input: &[u8], parts: &[&str]) {
    for arguments in [&["resolve", "-"][..], &["auth", "-", "$x"], &["graph", "-"]] {
        let complaint = complaint(arguments, input);
        for part in parts {
            assert!(complaint.contains(part), "{part}: {complaint}");
        }
    }
}

#[test]
fn texts() {
    for (input, parts) in [
        (&b""[..], &["standard input:1:", "not JSON"][..]),
        (b"\xff", &["standard input:1:1", "UTF-8"]),
        (b"{\n  \"room_version\": \"\xc3\x28\"}", &["standard input:2:20", "UTF-8"]),
        (b"\xef\xbb\xbf{}", &["standard input:1:1", "not JSON"]),
        (b"{\"room_version\": \"12\",\n\n \"events\": [}", &["standard input:3:13", "not JSON"]),
        (b"{\"room_version\": \"12\", \"events\": [], \"state_sets\": []} x", &["standard input:1:", "not JSON"]),
        (b"[]", &["must be an object, not an array"]),
        (b"null", &["must be an object, not null"]),
        (b"{}", &["has no `room_version`"]),
        (b"{\"room_version\": 12}", &["standard input:1:18: room_version: must be a string, not a number"]),
        (b"{\"room_version\": \"13\"}", &["standard input:1:18: room_version", "\"13\" is not known"]),
        (b"{\"room_version\": \"\\ud800\"}", &["room_version"]),
        (b"{\"room_version\": \"1\",\n \"x\\ud800\": 2}", &["standard input:2:10: unexpected end of hex escape"]),
        (b"{\"room_version\": \"1\"}", &["has no `events`"]),
        (b"{\"room_version\": \"1\", \"events\": {}}", &["events: must be an array, not an object"]),
        (b"{\"room_version\": \"1\", \"events\": [7]}", &["events[0]", "must be a JSON object"]),
        (b"{\"room_version\": \"1\", \"events\": [], \"state_sets\": 1}", &["state_sets: must be an array"]),
        (b"{\"room_version\": \"1\", \"events\": [], \"state_sets\": [{}]}", &["state_sets[0]: must be an array"]),
        (
            b"{\"room_version\": \"1\", \"events\": [], \"state_sets\": [[],[1]]}",
            &["state_sets[1][0]: must be a string"],
        ),
        (
            b"{\"room_version\": \"1\", \"events\": [], \"state_sets\": [[\n\"$x:y\"]]}",
            &["standard input:2:1: state_sets[0][0]: $x:y is not among the events"],
        ),
    ] {
        refused(input, parts);
    }
    let deep = format!("{{\"room_version\": \"1\", \"events\": [{}{}]}}", "[".repeat(100_000), "]".repeat(100_000));
    refused(deep.as_bytes(), &["events[0]", "nested too deeply"]);
    let complaint = complaint(&["resolve", "-"], b"{\"room_version\": \"1\", \"events\": []}");
    assert!(complaint.contains("has no `state_sets`"), "{complaint}");
}

/// Every member of an event: absent, or of another type.
#[test]
fn events() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let good = duel.file();
        let mut needed = vec!["type", "sender", "content", "prev_events", "auth_events", "room_id"];
        needed.push(if version == RoomVersion::V1 { "depth" } else { "origin_server_ts" });
        if version <= RoomVersion::V2 {
            needed.push("event_id");
        }
        for member in &needed {
            let mut file = good.clone();
            file["events"][3].as_object_mut().unwrap().remove(*member);
            refused(&serde_json::to_vec(&file).unwrap(), &["events[3]", &format!("`{member}` is missing")]);
        }
        for member in
            needed.iter().chain(&["hashes", "signatures", "state_key", "unsigned", "depth", "origin_server_ts"])
        {
            let mut file = good.clone();
            file["events"][3][*member] = json!(true);
            let text = serde_json::to_string_pretty(&file).unwrap();
            // The line in which it is, counted in the text as it was sent.
            let path = format!("events[3].{member}: must be ");
            refused(text.as_bytes(), &[&path]);
            let position = complaint(&["resolve", "-"], text.as_bytes());
            let line: usize = position.split(':').nth(2).unwrap().parse().unwrap();
            let line = text.lines().nth(line - 1).unwrap();
            assert!(line.trim().starts_with(&format!("\"{member}\": true")), "{line}");
        }
        for (member, value) in [
            ("sender", json!("alice")),
            ("prev_events", json!([1])),
            ("auth_events", json!([["$x:y"]])),
            ("hashes", json!({ "sha256": 1 })),
            ("signatures", json!({ "a": { "ed25519:1": 1 } })),
            ("depth", json!("1")),
            ("prev_events", Value::Array(vec![duel.room.references(&["$x:y"])[0].clone(); 21])),
            ("auth_events", Value::Array(vec![duel.room.references(&["$x:y"])[0].clone(); 11])),
            ("type", json!("x".repeat(256))),
            ("state_key", json!("x".repeat(256))),
        ] {
            let mut file = good.clone();
            file["events"][3][member] = value;
            refused(&serde_json::to_vec(&file).unwrap(), &[&format!("events[3].{member}")]);
        }
        let mut file = good.clone();
        file["events"][3]["content"] = json!({ "x": "x".repeat(65_536) });
        refused(&serde_json::to_vec(&file).unwrap(), &["events[3]", "65536"]);
        if version >= RoomVersion::V6 {
            let mut file = good.clone();
            file["events"][3]["content"]["x"] = json!(1.5);
            refused(&serde_json::to_vec(&file).unwrap(), &["events[3]", "1.5"]);
        }
    }
}

/// Two events of one id that are not the same; possible without breaking SHA-256 where ids are read, and where redaction
/// removes what differs.
#[test]
fn one_id_for_two_events() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let mut file = duel.file();
        let mut other = file["events"][7].clone();
        other["content"]["topic"] = json!("another");
        file["events"].as_array_mut().unwrap().push(other);
        refused(&serde_json::to_vec(&file).unwrap(), &["events[9]: has the id of events[7]"]);
    }
}

/// States with two events for one place, the same twice, and a message.
#[test]
fn states() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let mut room: Room = duel.room;
        let message = room.add("m.room.message", None, crate::support::BOB, json!({}), &[&duel.carol_joins], &[]);
        let (join, ban) = (duel.carol_joins.as_str(), duel.carol_is_banned.as_str());
        for (set, parts) in [
            (&[join, ban][..], &["state_sets[1][1]", "second event of type m.room.member", "state_sets[1][0]"][..]),
            (&[join, &message], &["state_sets[1][1]", "is not a state event"]),
            (&["$gone:a"], &["state_sets[1][0]", "is not among the events"]),
        ] {
            refused(&serde_json::to_vec(&room.file(&[&[], set])).unwrap(), parts);
        }
    }
}

/// The line and the column are those of the member, the element or the signature that is wrong, not of the event.
#[test]
fn places() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let reference = |id: &str| duel.room.references(&[id])[0].clone();
        let after = |others: usize, wrong: &Value| {
            let mut list = vec![reference("$x:y"); others];
            list.push(wrong.clone());
            Value::Array(list)
        };
        let is_too_deep = (0..MAX_NESTING - 2).fold(json!("x"), |inner, _| json!([inner]));
        // What is wrong, in what member it is put and how, and what is said of it.
        let mut cases: Vec<(Value, &str, Value, &str)> = Vec::new();
        let mut case = |wrong: Value, member, value: Value, told| cases.push((wrong, member, value, told));
        let wrong = json!("x".repeat(256));
        case(wrong.clone(), "type", wrong, "events[3].type: has 256 bytes");
        case(json!("mark"), "sender", json!("mark"), "events[3].sender: is not a user id");
        case(json!({ "mark": 0 }), "hashes", json!({ "mark": 0 }), "events[3].hashes: `sha256` is missing");
        case(json!(["mark"]), "hashes", json!({ "sha256": ["mark"] }), "events[3].hashes.sha256: must be a string");
        let wrong = json!({ "mark": 1 });
        case(wrong.clone(), "prev_events", after(2, &wrong), "events[3].prev_events[2]: must be a");
        let wrong = json!([["mark"]]);
        case(wrong.clone(), "auth_events", after(1, &wrong), "events[3].auth_events[1]: must be a");
        let wrong = reference("mark");
        case(wrong.clone(), "prev_events", after(20, &wrong), "events[3].prev_events[20]: lists more than the 20");
        case(wrong.clone(), "auth_events", after(10, &wrong), "events[3].auth_events[10]: lists more than the 10");
        let wrong = reference("mark:a");
        case(wrong.clone(), "prev_events", after(4, &wrong), "events[3].prev_events[4]: must be an event id");
        let wrong = reference(&"$".repeat(260));
        case(wrong.clone(), "auth_events", after(3, &wrong), "events[3].auth_events[3]: has 260 bytes");
        let signatures = json!({ "a": { "k": "x" }, "b": ["mark"] });
        case(json!(["mark"]), "signatures", signatures, "events[3].signatures.b: must be an object");
        let signatures = json!({ "a": { "k": "x", "l": ["mark"] } });
        case(json!(["mark"]), "signatures", signatures, "events[3].signatures.a.l: must be a string");
        case(json!(["mark"]), "content", json!({ "x": [["\\\"["], [is_too_deep, ["mark"]]] }), "");
        if version >= RoomVersion::V6 {
            let told = "events[3].content.y[1].a.b: the number 9.25 is not an integer";
            case(json!(9.25), "content", json!({ "y": [0, { "a.b": 9.25 }] }), told);
            case(json!(1u64 << 60), "z", json!(1u64 << 60), "events[3].z: the integer 1152921504606846976 is outside");
        }
        for (wrong, member, value, told) in cases {
            let mut file = duel.file();
            file["events"][3][member] = value;
            // What is in `unsigned` may be any number.
            file["events"][3]["unsigned"] = json!({ "a": 9.5 });
            let text = serde_json::to_string(&file).unwrap();
            if told.is_empty() {
                // The event, its content and two arrays in it are four levels, the second of these arrays touching the others.
                let at = text.find(&"[".repeat(MAX_NESTING - 2)).unwrap() + MAX_NESTING - 3;
                refused(text.as_bytes(), &[&format!("standard input:1:{}: events[3]: nested too deeply", at + 1)]);
                continue;
            }
            let at = text.find(&wrong.to_string()).unwrap();
            refused(text.as_bytes(), &[&format!("standard input:1:{}: {told}", at + 1)]);
        }
    }
}

/// An event that an event cites and the file lacks: the place is the citation.
#[test]
fn places_of_citations() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let mut file = duel.file();
        let power = &duel.common[2];
        file["events"].as_array_mut().unwrap().remove(duel.room.index(power));
        file["state_sets"] = json!([]);
        let text = serde_json::to_string_pretty(&file).unwrap();
        let told = complaint(&["auth", "-", &duel.topic_of_bob], text.as_bytes());
        let mut place = told.split(':').skip(2);
        let line: usize = place.next().unwrap().parse().unwrap();
        let column: usize = place.next().unwrap().parse().unwrap();
        let there = &text.lines().nth(line - 1).unwrap()[column - 1..];
        if version <= RoomVersion::V2 {
            assert_eq!(there, "[");
            assert!(text.lines().nth(line).unwrap().contains(power.as_str()));
        } else {
            assert!(there.contains(power.as_str()), "{told}: {there}");
        }
    }
}

/// A state with an event of another room.
#[test]
fn states_of_several_rooms() {
    let duel = Duel::new(RoomVersion::V1, false);
    let join = duel.carol_joins.as_str();
    let mut file = duel.room.file(&[&[], &[join]]);
    let events = file["events"].as_array_mut().unwrap();
    let mut other = events.iter().find(|event| event["event_id"] == *join).unwrap().clone();
    other["room_id"] = json!("!other:a");
    other["event_id"] = json!("$other:a");
    events.push(other);
    file["state_sets"] = json!([[join], ["$other:a"]]);
    refused(&serde_json::to_vec(&file).unwrap(), &["state_sets[1][0]", "is of another room"]);
}

/// The command line.
#[test]
fn command_line() {
    for (arguments, parts) in [
        (&[][..], &["a command is missing", "usage:"][..]),
        (&["dance"], &["no command `dance`", "usage:"]),
        (&["resolve"], &["`resolve` needs FILE", "usage: causeway-state resolve"]),
        (&["resolve", "a", "b"], &["`b`"]),
        (&["resolve", "-", "--key", "x"], &["no option --key"]),
        (&["resolve", "-", "--keys"], &["--keys needs a value"]),
        (&["resolve", "-", "--keys", "x", "--keys=y"], &["--keys is given twice"]),
        (&["resolve", "-", "--keys", "-"], &["FILE and --keys cannot both be standard input"]),
        (&["auth", "-"], &["`auth` needs EVENT_ID"]),
        (&["event", "-"], &["--room-version"]),
        (&["graph", "-", "--format", "png"], &["--format must be dot or svg"]),
        (&["graph", "-", "--format", "dot", "--out", "x"], &["--out"]),
        (&["graph", "-", "--auth", "x"], &["--auth must be"]),
        (&["resolve", "/nowhere/at all"], &["/nowhere/at all: "]),
        (&["resolve", "/"], &["/: "]),
        (&["resolve", "-", "--keys", "/nowhere/at all"], &["/nowhere/at all: "]),
        (&["help", "dance"], &["no command `dance`"]),
    ] {
        let complaint = complaint(arguments, b"{}");
        for part in parts {
            assert!(complaint.contains(part), "{part}: {complaint}");
        }
    }
}

/// Whatever is cut off or overwritten, the program answers or refuses: nothing else happens.
#[test]
fn damaged_files() {
    let good = serde_json::to_vec(&Duel::new(RoomVersion::V12, true).file()).unwrap();
    let step = good.len() / 120;
    for at in (0..good.len()).step_by(step) {
        let mut damaged = good.clone();
        damaged[at] = b"\"\\{}[],:0x\0\xff"[at / step % 12];
        for input in [&good[..at], &damaged] {
            let output = run(&["resolve", "-"], input);
            match output.status.code() {
                Some(0) => assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok()),
                Some(2) => assert!(output.stdout.is_empty() && !output.stderr.is_empty()),
                other => panic!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
            }
        }
    }
}
