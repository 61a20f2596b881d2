//! Where the answer goes: a program that could not give it does not end as one that has.

use std::{
    fs::File,
    path::Path,
    process::{Command, Output, Stdio},
};

use state_res::room_version::RoomVersion;

use crate::support::{Duel, file};

/// Runs the program, by way of a shell, with this redirection.
fn run(arguments: &[&str], redirection: &str) -> Output {
    let script = format!("exec \"$0\" \"$@\" {redirection}");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_causeway-state")]).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn what_cannot_be_written_is_no_success() {
    let duel = Duel::new(RoomVersion::V10, false);
    let room = file("output-room.json", &serde_json::to_vec(&duel.file()).unwrap());
    let event = file("output-event.json", &serde_json::to_vec(&duel.room.events[0]).unwrap());
    let (room, event) = (room.to_str().unwrap(), event.to_str().unwrap());
    let prefix = format!("{room}.picture");
    let commands: [&[&str]; 9] = [
        &["resolve", room],
        &["auth", room, &duel.room.ids[1]],
        &["event", event, "--room-version", "10"],
        &["graph", room],
        &["graph", room, "--format", "svg"],
        &["graph", room, "--out", &prefix],
        &["help"],
        &["resolve", "--help"],
        &["--version"],
    ];
    for arguments in commands {
        // Closed, full, and not open for writing; then with standard error closed too, which is no reason to be content.
        for redirection in [">&-", ">/dev/full", "1</dev/null", ">&- 2>&-", "<&- >&-"] {
            let output = run(arguments, redirection);
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{arguments:?} {redirection}: {told}");
            assert!(output.stdout.is_empty());
            if !redirection.contains("2>") {
                assert!(
                    told.starts_with("causeway-state: the answer could not be written to standard output: "),
                    "{told}"
                );
                assert_eq!(told.lines().count(), 1, "{told}");
            }
        }
        // Nobody reads it, and that is what was asked for.
        for redirection in [">/dev/null", "1<>/dev/null"] {
            let output = run(arguments, redirection);
            assert_eq!(output.status.code(), Some(0), "{arguments:?} {redirection}");
            assert!(output.stderr.is_empty());
        }
    }
    // What is broken is broken, wherever the answer would have gone.
    for redirection in [">&-", ">/dev/full"] {
        assert_eq!(run(&["resolve", "absent.json"], redirection).status.code(), Some(2));
    }
    assert!(Path::new(&format!("{prefix}.dot")).exists());
}

/// A reader that has gone does not get a broken answer unnoticed.
#[test]
fn a_pipe_that_nobody_reads() {
    let duel = Duel::new(RoomVersion::V12, false);
    let room = file("output-pipe.json", &serde_json::to_vec(&duel.file()).unwrap());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway-state"));
    command.arg("resolve").stdin(File::open(room).unwrap()).arg("-").stdout(writer).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}
