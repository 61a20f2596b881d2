//! `causeway-state graph`.

use serde_json::{Value, json};
use state_res::room_version::RoomVersion;

use crate::support::{ALICE, CAROL, Duel, Room, answer, complaint, run};

fn text(arguments: &[&str], file: &Value) -> String {
    let output = run(arguments, &serde_json::to_vec(file).unwrap());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The duel, and a name that Carol may not set.
fn room(version: RoomVersion) -> (Duel, String) {
    let mut duel = Duel::new(version, false);
    let (last, power, join) = (duel.topic_of_bob.clone(), duel.common[2].clone(), duel.carol_joins.clone());
    let content = json!({ "name": "<script>&\"\u{1}" });
    let rejected = duel.room.add("m.room.name", Some(""), CAROL, content, &[&last], &[&power, &join]);
    (duel, rejected)
}

/// Elements are closed in the order in which they were opened, and nothing stands for itself that must not.
fn assert_well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        let (text, tag) = rest.split_at(at);
        assert!(!text.contains('>') || open.last() == Some(&"style"), "{text}");
        let (tag, after) = tag.split_once('>').expect("a tag ends");
        rest = after;
        let tag = tag.trim_start_matches('<');
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(xml.chars().all(|c| c == '\n' || u32::from(c) >= 0x20), "control characters");
    for (at, _) in xml.match_indices('&') {
        let entity = &xml[at..xml[at..].find(';').unwrap() + at];
        assert!(["&amp", "&lt", "&gt", "&quot"].contains(&entity), "{entity}");
    }
}

/// What is said to be marked is marked, on the right events.
#[test]
fn marks() {
    for version in RoomVersion::ALL {
        let (duel, rejected) = room(version);
        let svg = text(&["graph", "-", "--format=svg"], &duel.room.file(&duel.states().each_ref().map(Vec::as_slice)));
        assert_well_formed(&svg);
        assert_eq!(svg.matches("<g><title>").count(), duel.room.events.len());
        let class_of = |id: &str| {
            let from = svg.split(&format!("<g><title>{id}\n")).nth(1).expect("each event is there with its whole id");
            from.split("class=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
        };
        assert_eq!(class_of(&duel.common[0]), "node agreed");
        assert_eq!(class_of(&duel.carol_is_banned), "node chosen");
        assert_eq!(class_of(&duel.carol_joins), "node not-chosen");
        assert_eq!(class_of(&duel.topic_of_alice), "node chosen extremity");
        // What only a rejected event follows is an extremity still.
        assert_eq!(class_of(&duel.topic_of_bob), "node not-chosen extremity");
        assert_eq!(class_of(&rejected), "node rejected");
        assert!(svg.contains("rejected by rule "));
        assert!(svg.contains("&lt;script&gt;&amp;&quot;"));

        let dot = text(&["graph", "-"], &duel.file());
        assert!(dot.starts_with("digraph room {") && dot.ends_with("}\n"));
        assert_eq!(dot.matches(" [label=").count(), duel.room.events.len());
        let edges = duel.room.events.iter().map(|event| event["prev_events"].as_array().unwrap().len()).sum::<usize>();
        assert_eq!(dot.lines().filter(|line| line.contains("->") && !line.contains("dashed")).count(), edges);
        for line in dot.lines() {
            let quotes = line.replace("\\\\", "").replace("\\\"", "").matches('"').count();
            assert_eq!(quotes % 2, 0, "{line}");
        }
    }
}

/// Whose auth events are drawn is for the reader to choose.
#[test]
fn auth_events() {
    let (duel, _) = room(RoomVersion::V10);
    let dashed = |choice: &str| {
        let dot = text(&["graph", "-", "--auth", choice], &duel.file());
        dot.lines().filter(|line| line.contains("->") && line.contains("dashed")).count()
    };
    let all = duel.room.events.iter().map(|event| event["auth_events"].as_array().unwrap().len()).sum::<usize>();
    assert_eq!(dashed("all"), all);
    assert_eq!(dashed("none"), 0);
    assert!((1..all).contains(&dashed("some")));
}

/// Both files at once.
#[test]
fn written_to_files() {
    let (duel, _) = room(RoomVersion::V12);
    let prefix = format!("{}/{}-graph", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let names = answer(&["graph", "-", "--out", &prefix], &duel.file());
    assert_eq!(names, json!({ "dot": format!("{prefix}.dot"), "svg": format!("{prefix}.svg") }));
    assert_eq!(std::fs::read_to_string(format!("{prefix}.dot")).unwrap(), text(&["graph", "-"], &duel.file()));
    assert_well_formed(&std::fs::read_to_string(format!("{prefix}.svg")).unwrap());
    let complaint = complaint(&["graph", "-", "--out", "/nowhere/x"], &serde_json::to_vec(&duel.file()).unwrap());
    assert!(complaint.contains("/nowhere/x.dot"), "{complaint}");
}

/// Events that others name and the file lacks are drawn with dashed frames, once each, and what cannot be told is said.
#[test]
fn missing_events() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, false);
        let mut file = duel.file();
        let (power, bob) = (&duel.common[2], &duel.common[4]);
        for set in file["state_sets"].as_array_mut().unwrap() {
            set.as_array_mut().unwrap().retain(|id| id != power && id != bob);
        }
        let missing = [duel.room.index(power), duel.room.index(bob)];
        let mut at = 0..;
        file["events"].as_array_mut().unwrap().retain(|_| !missing.contains(&at.next().unwrap()));

        let svg = text(&["graph", "-", "--format", "svg"], &file);
        assert_well_formed(&svg);
        assert_eq!(svg.matches("<g><title>").count(), duel.room.events.len());
        for id in [power, bob] {
            let node = svg.split(&format!("<g><title>{id}\n")).nth(1).unwrap();
            assert_eq!(node.split("class=\"").nth(1).unwrap().split('"').next(), Some("node missing"), "{version}");
        }
        // What cites them, directly or not, is neither accepted nor rejected for all that is known.
        assert!(svg.contains("? auth events missing"), "{version}");
        assert!(!svg.contains("rejected by rule"), "{version}");
        let is_unknown = svg.contains("the resolution is not known: ");
        assert_eq!(is_unknown, version > RoomVersion::V1, "{version}");
        assert!(svg.contains("node disputed\" x=\"24\""), "the legend");
        assert_eq!(svg.matches("? not in all states").count(), if is_unknown { 4 } else { 0 }, "{version}");

        let dot = text(&["graph", "-", "--auth", "all"], &file);
        let auth = duel.room.events.iter().enumerate().filter(|(at, _)| !missing.contains(at));
        let auth: usize = auth.map(|(_, event)| event["auth_events"].as_array().unwrap().len()).sum();
        let is_dashed = |line: &&str| line.contains("->") && line.contains("dashed");
        assert_eq!(dot.lines().filter(is_dashed).count(), auth, "{version}");
    }
    // In version 12 the create event is named by room ids alone.
    let duel = Duel::new(RoomVersion::V12, false);
    let mut file = duel.room.file(&[]);
    file["events"].as_array_mut().unwrap().remove(0);
    let svg = text(&["graph", "-", "--format", "svg"], &file);
    assert_eq!(svg.matches("? create event missing").count(), duel.room.events.len() - 1);
    assert!(!svg.contains("rejected by rule"));
}

/// Of more events than are wanted those are drawn that say most, and the picture says so.
#[test]
fn many_events() {
    let mut duel = Duel::new(RoomVersion::V11, false);
    let states = duel.states().map(|state| state.into_iter().map(str::to_owned).collect::<Vec<String>>());
    let mut last = duel.topic_of_alice.clone();
    for _ in 0..12_000 {
        last = duel.room.add("m.room.message", None, crate::support::BOB, json!({}), &[&last], &[&duel.common[4]]);
    }
    let states = states.each_ref().map(|state| state.iter().map(String::as_str).collect::<Vec<&str>>());
    let file = duel.room.file(&states.each_ref().map(Vec::as_slice));
    let nodes = |svg: &str| svg.matches("<g><title>").count();
    let svg = text(&["graph", "-", "--format", "svg"], &file);
    assert_eq!(nodes(&svg), duel.room.events.len());

    let svg = text(&["graph", "-", "--format", "svg", "--max-events", "11"], &file);
    assert_well_formed(&svg);
    assert_eq!(nodes(&svg), 11);
    assert!(svg.contains("11 events drawn") && svg.contains("12009 events"), "{}", &svg[..3_000]);
    assert!(svg.contains("… 1 earlier not drawn"));
    // The conflict, the extremities, what all states have, and the last message but one.
    for id in duel.common.iter().chain([&duel.carol_joins, &duel.carol_is_banned, &duel.topic_of_bob, &last]) {
        assert!(svg.contains(&format!("<g><title>{id}\n")), "{id}");
    }
    assert!(complaint(&["graph", "-", "--max-events", "x"], b"{}").contains("--max-events must be a number"));
}

/// A part of a room without states; an empty one; one of cycles; one whose auth events are missing: drawn as far as known.
#[test]
fn odd_rooms() {
    let duel = Duel::new(RoomVersion::V11, false);
    let mut file = duel.file();
    file.as_object_mut().unwrap().remove("state_sets");
    file["events"].as_array_mut().unwrap().drain(..3);
    let svg = text(&["graph", "-", "--format", "svg"], &file);
    assert_well_formed(&svg);
    assert!(svg.contains("? auth events missing") && svg.contains("node missing\" x"));

    let empty = json!({ "room_version": "1", "events": [] });
    assert_well_formed(&text(&["graph", "-", "--format", "svg"], &empty));

    let mut room = Room::new(RoomVersion::V1, false);
    room.add("m", None, CAROL, json!({}), &["$e2:c", "$e1:c"], &["$e2:c"]);
    room.add("m", None, CAROL, json!({}), &["$e1:c"], &["$e1:c"]);
    assert_well_formed(&text(&["graph", "-", "--format", "svg", "--auth", "all"], &room.file(&[])));
}

/// Graphviz writes XML with what it is given, and XML cannot hold every character.
#[test]
fn pictures_hold_what_xml_can() {
    let mut room = Room::new(RoomVersion::V10, false);
    let create = room.ids[0].clone();
    let odd = "t\u{1}\u{1b}\u{fffe}\u{ffff}\0";
    room.add(odd, None, ALICE, json!({ "body": odd }), &[&create], &[]);
    room.add("x", Some(odd), ALICE, json!({}), &[&create], &[]);
    for format in ["dot", "svg"] {
        let output = run(&["graph", "-", "--format", format], &serde_json::to_vec(&room.file(&[])).unwrap());
        let picture = String::from_utf8(output.stdout).unwrap();
        let odd = picture.chars().find(|character| {
            matches!(character, '\u{fffe}' | '\u{ffff}') || (*character < ' ' && !matches!(character, '\n' | '\t'))
        });
        assert_eq!(odd, None, "{format}");
    }
}

/// What would turn the direction of a picture's text is not in it.
#[test]
fn nothing_turns_the_text() {
    let mut room = Room::new(RoomVersion::V12, false);
    let create = room.ids[0].clone();
    room.add("m.room.message", None, ALICE, json!({ "body": "\u{202e}evil\u{2066}\u{200f}" }), &[&create], &[]);
    for format in ["dot", "svg"] {
        let output = run(&["graph", "-", "--format", format], &serde_json::to_vec(&room.file(&[])).unwrap());
        let picture = String::from_utf8(output.stdout).unwrap();
        assert!(picture.contains("␣evil␣␣"), "{format}: {picture}");
        assert!(!picture.contains(['\u{202e}', '\u{2066}', '\u{200f}']), "{format}: {picture}");
    }
}
