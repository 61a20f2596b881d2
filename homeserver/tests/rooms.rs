//! `causeway room …` beside a running server and without one.
// A process is tested from outside, in the real world.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use common::{Response, Server, causeway, finish, run, stderr, stdout};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

fn room(data_dir: &Path, arguments: &[&str]) -> Output {
    finish(causeway().arg("room").args(arguments).arg("--data-dir").arg(data_dir))
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output)
}

fn fails(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", stdout(output));
    stderr(output)
}

/// What the message of this number says: text that does not compress away.
fn text(nth: usize) -> String {
    let mut state = nth as u64 + 1;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (state >> 59) as u8 % 26)
    };
    (0..4_000).map(|_| letter()).collect()
}

/// Whether a file of the database has a piece of what the message of this number says.
fn is_on_disk(data_dir: &Path, nth: usize) -> bool {
    /// So long that chance does not repeat it, and so short that compression leaves some as they are.
    const PIECE: usize = 16;
    let text = text(nth);
    let pieces: HashSet<&[u8]> = text.as_bytes().windows(PIECE).collect();
    let files = std::fs::read_dir(data_dir.join("store")).unwrap();
    files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).any(|bytes| {
        // A file's bytes are looked at where they are letters, as most are not.
        let mut runs = bytes.split(|byte| !byte.is_ascii_lowercase());
        runs.any(|run| run.windows(PIECE).any(|piece| pieces.contains(piece)))
    })
}

/// Alice, signed in on a running server.
struct Alice {
    server: Server,
    token: String,
}

impl Alice {
    fn on(data_dir: &Path) -> Self {
        let server = Server::start(data_dir, |_| {});
        let mut login = server.login("alice", "correct horse");
        if login.status != 200 {
            let create = ["user", "create", "alice", "--password", "correct horse", "--data-dir"];
            succeeds(&finish(causeway().args(create).arg(data_dir)));
            login = server.login("alice", "correct horse");
        }
        let token = format!("Bearer {}", login.json()["access_token"].as_str().unwrap());
        Self { server, token }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Response {
        let path = format!("/_matrix/client/v3{path}");
        self.server.ask(method, &path, &[("Authorization", &self.token)], body)
    }

    /// A room with some messages.
    fn room(&self, messages: usize) -> String {
        let room = self.ask("POST", "/createRoom", &json!({ "preset": "public_chat" })).json()["room_id"]
            .as_str()
            .unwrap()
            .to_owned();
        for nth in 0..messages {
            let body = json!({ "msgtype": "m.text", "body": text(nth) });
            assert_eq!(self.ask("PUT", &format!("/rooms/{room}/send/m.room.message/{nth}"), &body).status, 200);
        }
        room
    }

    fn knows(&self, room: &str) -> bool {
        self.ask("GET", &format!("/rooms/{room}/state"), &Value::Null).status == 200
    }
}

#[test]
fn the_help_teaches() {
    let help = stdout(&run(&["room", "purge", "--help"]));
    for part in ["--keep-days <DAYS>", "--all", "Examples:", "causeway room purge '!abc:example.org' --keep-days 180"] {
        assert!(help.contains(part), "{part} is not in\n{help}");
    }
    let neither = run(&["room", "purge", "!abc:example.org"]);
    assert_eq!(neither.status.code(), Some(2));
    assert!(stderr(&neither).contains("--keep-days <DAYS>|--all"), "{}", stderr(&neither));
    let both = run(&["room", "purge", "!abc:example.org", "--all", "--keep-days", "3"]);
    assert_eq!(both.status.code(), Some(2));
    let alias = run(&["room", "purge", "#abc:example.org", "--all"]);
    assert!(fails(&alias).contains("is no room id"), "{}", stderr(&alias));
}

#[test]
fn rooms_are_purged_beside_a_running_server() {
    let folder = TempDir::new().unwrap();
    let alice = Alice::on(folder.path());
    let id = alice.room(3);

    let said = succeeds(&room(folder.path(), &["purge", &id, "--keep-days", "1"]));
    assert!(said.contains(&format!("No event of {id} is older than 1 day: nothing is deleted.")), "{said}");
    let unknown = fails(&room(folder.path(), &["purge", "!nowhere:test.example", "--all"]));
    assert!(unknown.contains("This server knows no room !nowhere:test.example"), "{unknown}");
    let unknown = fails(&room(folder.path(), &["purge", "!nowhere:test.example", "--keep-days", "1"]));
    assert!(unknown.contains("This server knows no room !nowhere:test.example"), "{unknown}");

    let refused = fails(&room(folder.path(), &["purge", &id, "--all"]));
    assert!(refused.contains("@alice:test.example is in this room"), "{refused}");
    assert!(alice.knows(&id));
    assert_eq!(alice.ask("POST", &format!("/rooms/{id}/leave"), &json!({})).status, 200);
    let said = succeeds(&room(folder.path(), &["purge", &id, "--all"]));
    assert!(said.starts_with(&format!("{id} is deleted, with ")), "{said}");
    assert!(!alice.knows(&id));
    assert_eq!(alice.ask("POST", &format!("/join/{id}"), &json!({})).status, 404);
    // Alice's client goes on, and so does the server.
    assert_eq!(alice.ask("GET", "/sync?timeout=0", &Value::Null).status, 200);
    assert!(alice.knows(&alice.room(1)));
    let again = fails(&room(folder.path(), &["purge", &id, "--all"]));
    assert!(again.contains("This server knows no room"), "{again}");

    // What the database's log of the last writes still has of it is gone with the next start.
    drop(alice);
    let alice = Alice::on(folder.path());
    assert!(!is_on_disk(folder.path(), 2));
    assert!(is_on_disk(folder.path(), 0));
    drop(alice);
}

#[test]
fn rooms_are_purged_without_a_running_server() {
    let folder = TempDir::new().unwrap();
    let alice = Alice::on(folder.path());
    let (left, kept) = (alice.room(40), alice.room(2));
    assert_eq!(alice.ask("POST", &format!("/rooms/{left}/leave"), &json!({})).status, 200);
    drop(alice);

    let refused = fails(&room(folder.path(), &["purge", &kept, "--all"]));
    assert!(refused.contains("@alice:test.example is in this room"), "{refused}");
    assert!(is_on_disk(folder.path(), 5));
    let said = succeeds(&room(folder.path(), &["purge", &left, "--all"]));
    assert!(!is_on_disk(folder.path(), 5));
    assert!(is_on_disk(folder.path(), 1));
    // Six make the room, or some more.
    let events: u32 = said.split_once("deleted, with ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!((47..60).contains(&events), "{said}");
    assert!(said.contains(" of disk space are given back; events and states now take "), "{said}");

    let alice = Alice::on(folder.path());
    assert!(alice.knows(&kept));
    assert!(!alice.knows(&left));
    assert_eq!(alice.ask("GET", "/sync?timeout=0", &Value::Null).status, 200);
}
