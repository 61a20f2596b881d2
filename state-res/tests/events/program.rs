//! The program `causeway-state`.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use state_res::{hash, pdu::Pdu, room_version::RoomVersion};

use crate::generate::event_json;

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_causeway-state"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading all of it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// It prints what the library says.
#[test]
fn event() {
    for version in RoomVersion::ALL {
        let json = event_json(version, "m.room.message", None, r#"{"body":"a\nb"}"#);
        let event = Pdu::parse(version, json.as_bytes()).unwrap();
        let output = run(&["event", "-", "--room-version", version.as_str()], &json);
        assert!(output.status.success());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["canonical"], event.canonical_str());
        assert_eq!(report["content_hash"], hash::encode(&event.content_hash()));
        assert_eq!(report["reference_hash"], hash::encode(&event.reference_hash()));
        assert_eq!(report["event_id"], event.event_id());
        assert_eq!(report["redacted"], event.redacted().canonical_str());
    }
}

/// What is wrong is said in a sentence: with status 1 about the event, with 2 about the command line.
#[test]
fn errors() {
    for (arguments, input, status, sentence) in [
        (&["event", "-", "--room-version", "12"][..], "{", 1, "M_NOT_JSON"),
        (&["event", "-", "--room-version", "12"], "{}", 1, "`type` is missing"),
        (&["event", "-", "--room-version", "99"], "{}", 1, "room version \"99\" is not known"),
        (&["event", "/nowhere/at all", "--room-version", "1"], "", 1, "/nowhere/at all"),
        (&["event", "-"], "", 2, "--room-version"),
        (&["resolve", "x"], "", 2, "no command `resolve`"),
        (&[], "", 2, "usage"),
    ] {
        let output = run(arguments, input);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(sentence), "{arguments:?}: {text}");
    }
}
