//! `causeway-state`: what this crate makes of rooms' data, as JSON, for other programs and for looking into things.

use std::{
    io::{Read as _, Write as _},
    process::ExitCode,
};

use serde_json::json;
use state_res::{
    hash,
    pdu::{MAX_PDU_TEXT_BYTES, Pdu},
    room_version::RoomVersion,
};

const USAGE: &str = "\
usage: causeway-state event FILE --room-version VERSION

Reads an event (a PDU as servers exchange it) from FILE, or from standard input if FILE is -, and prints a JSON object:
its canonical form, content hash, reference hash, event id, and redacted form.";

/// The command line is wrong.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["event", file, "--room-version", version] | ["event", "--room-version", version, file] => {
            report(event(file, version))
        }
        ["event", ..] => usage("`event` needs a file and --room-version."),
        ["help" | "--help" | "-h"] => report(Ok(USAGE.to_owned())),
        ["--version" | "-V"] => report(Ok(format!("causeway-state {}", env!("CARGO_PKG_VERSION")))),
        [other, ..] => usage(&format!("There is no command `{other}` in this version; there is `event`.")),
        [] => usage("A command is missing."),
    }
}

/// Prints a result on standard output, or what went wrong on standard error.
fn report(result: Result<String, String>) -> ExitCode {
    match result {
        // A closed pipe is the reader's way to say that it has enough.
        Ok(text) => match writeln!(std::io::stdout(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(sentence) => {
            let _ = writeln!(std::io::stderr(), "causeway-state: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn usage(sentence: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "causeway-state: {sentence}\n{USAGE}");
    ExitCode::from(EXIT_USAGE)
}

fn event(file: &str, version: &str) -> Result<String, String> {
    let version: RoomVersion = version.parse().map_err(|error| format!("{error}"))?;
    let json = read(file).map_err(|error| format!("{file}: {error}"))?;
    let event = Pdu::parse(version, &json).map_err(|error| format!("{file}: {error} ({})", error.errcode()))?;
    let report = json!({
        "canonical": event.canonical_str(),
        "content_hash": hash::encode(&event.content_hash()),
        "content_hash_matches": event.sent_content_hash() == hash::encode(&event.content_hash()),
        "reference_hash": hash::encode(&event.reference_hash()),
        "event_id": event.event_id(),
        "room_id": event.room_id(),
        "redacted": event.redacted().canonical_str(),
    });
    serde_json::to_string_pretty(&report).map_err(|error| error.to_string())
}

fn read(file: &str) -> std::io::Result<Vec<u8>> {
    let mut json = Vec::new();
    // One byte more than an event's text may have, so that a longer one is refused as too long.
    let limit = MAX_PDU_TEXT_BYTES as u64 + 1;
    if file == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut json)?;
    } else {
        std::fs::File::open(file)?.take(limit).read_to_end(&mut json)?;
    }
    Ok(json)
}
