//! `causeway user …` beside a running server and without one, and registration with the shared secret.
// A process is tested from outside, in the real world.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use common::{Server, causeway, finish, stderr, stdout};
use serde_json::{Value, json};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use tempfile::TempDir;

fn user(data_dir: &Path, arguments: &[&str]) -> Output {
    finish(causeway().arg("user").args(arguments).arg("--data-dir").arg(data_dir))
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output)
}

/// The same story with and without a running server: what differs is who carries it out.
fn story(data_dir: &Path) {
    let created = user(data_dir, &["create", "alice", "--password", "correct horse", "--admin"]);
    assert!(succeeds(&created).contains("@alice:test.example"));
    succeeds(&user(data_dir, &["create", "bob", "--password", "battery staple"]));

    let again = user(data_dir, &["create", "alice", "--password", "another one"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(!stderr(&again).is_empty());
    let wrong = user(data_dir, &["create", "Al ice", "--password", "another one"]);
    assert_eq!(wrong.status.code(), Some(1));
    let elsewhere = user(data_dir, &["create", "@carol:other.example", "--password", "another one"]);
    assert_eq!(elsewhere.status.code(), Some(1));
    let nobody = user(data_dir, &["password", "carol", "--password", "another one"]);
    assert_eq!(nobody.status.code(), Some(1));

    let list = succeeds(&user(data_dir, &["list", "--json"]));
    let lines: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{list}");
    let alice = lines.iter().find(|line| line["user_id"] == "@alice:test.example").unwrap();
    assert_eq!(alice["admin"], true);
    assert_eq!(alice["deactivated"], false);

    succeeds(&user(data_dir, &["password", "alice", "--password", "changed horse"]));
    succeeds(&user(data_dir, &["deactivate", "bob"]));
    let list = succeeds(&user(data_dir, &["list"]));
    assert!(list.contains("@alice:test.example  administrator"), "{list}");
    assert!(list.contains("@bob:test.example  deactivated"), "{list}");
}

fn outcome(server: &Server) {
    assert_eq!(server.login("alice", "correct horse").status, 403, "the old password is no longer good");
    assert_eq!(server.login("alice", "changed horse").status, 200);
    assert_eq!(server.login("bob", "battery staple").status, 403);
}

#[test]
fn accounts_are_managed_beside_a_running_server() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let mode = std::fs::metadata(folder.path().join("causeway.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    story(folder.path());
    outcome(&server);
}

#[test]
fn accounts_are_managed_without_a_running_server() {
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("data");
    let missing = user(&data_dir, &["list"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("there is no directory"), "{}", stderr(&missing));
    let nameless = user(&data_dir, &["create", "root", "--password", "first of all"]);
    assert_eq!(nameless.status.code(), Some(1));
    assert!(stderr(&nameless).contains("--server-name"), "{}", stderr(&nameless));
    let first = user(&data_dir, &["create", "root", "--password", "first of all", "--server-name", "test.example"]);
    assert!(succeeds(&first).contains("@root:test.example"));
    succeeds(&user(&data_dir, &["deactivate", "root"]));
    // The name is known from now on.
    let folder = TempDir::new().unwrap();
    succeeds(&user(folder.path(), &["create", "gone", "--password", "first of all", "--server-name", "test.example"]));
    let list = succeeds(&user(folder.path(), &["list"]));
    assert_eq!(list.trim(), "@gone:test.example");

    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("server-name"), "test.example\n").unwrap();
    story(folder.path());
    outcome(&Server::start(folder.path(), |_| {}));
}

#[test]
fn a_socket_left_behind_by_a_killed_server_is_no_obstacle() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::start(folder.path(), |_| {});
    server.signal(libc::SIGKILL);
    server.wait();
    assert!(folder.path().join("causeway.sock").exists());
    succeeds(&user(folder.path(), &["create", "alice", "--password", "correct horse"]));
    let server = Server::start(folder.path(), |_| {});
    assert_eq!(server.login("alice", "correct horse").status, 200);
    succeeds(&user(folder.path(), &["create", "bob", "--password", "battery staple"]));
}

#[test]
fn a_deep_data_directory_has_a_socket_too() {
    let folder = TempDir::new().unwrap();
    let deep = folder.path().join("d".repeat(80)).join("e".repeat(80));
    let server = Server::start(&deep, |_| {});
    succeeds(&user(&deep, &["create", "alice", "--password", "correct horse"]));
    assert_eq!(server.login("alice", "correct horse").status, 200);
}

#[test]
fn the_password_can_come_from_standard_input() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let mut child = causeway()
        .args(["user", "create", "alice", "--data-dir"])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"correct horse\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(server.login("alice", "correct horse").status, 200);
    let nothing = user(folder.path(), &["create", "bob"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("there is no password"), "{}", stderr(&nothing));
}

#[test]
fn a_command_that_the_server_does_not_know_is_refused() {
    let folder = TempDir::new().unwrap();
    let _server = Server::start(folder.path(), |_| {});
    for line in ["{\"command\":\"format_disk\"}\n", "not json\n", "{\"command\":\"create_user\",\"user\":\"x\"}\n"] {
        let mut stream = std::os::unix::net::UnixStream::connect(folder.path().join("causeway.sock")).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
        let answer: Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(answer["answer"], "error", "{answer}");
    }
}

#[test]
fn commands_for_another_server_are_refused() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let refused = |output: Output| {
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(text.contains("server.name: other.example is not the name that the data in"), "{text}");
    };
    let create = ["create", "alice", "--password", "correct horse", "--server-name", "other.example"];
    refused(user(folder.path(), &create));
    refused(user(folder.path(), &["list", "--server-name", "other.example"]));
    assert_eq!(server.login("alice", "correct horse").status, 403, "nobody was made");
    drop(server);
    refused(user(folder.path(), &create));
}

#[test]
fn a_command_that_fails_leaves_no_folder_behind() {
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("deep").join("data");
    for (arguments, says) in [
        (&["create", "alice", "--password", "correct horse"][..], "--server-name"),
        (&["create", "alice", "--server-name", "test.example"], "there is no password"),
        (&["create", "al ice", "--password", "correct horse", "--server-name", "test.example"], ""),
        (
            &["create", "@alice:other.example", "--password", "correct horse", "--server-name", "test.example"],
            "not this server",
        ),
        (&["list", "--server-name", "test.example"], "there is no directory"),
    ] {
        let output = user(&data_dir, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
        assert!(!folder.path().join("deep").exists(), "{arguments:?}");
    }
    let first = ["create", "alice", "--password", "correct horse", "--server-name", "test.example"];
    succeeds(&user(&data_dir, &first));
    // A folder that is there already is not touched by a failure.
    let empty = TempDir::new().unwrap();
    assert_eq!(user(empty.path(), &first[..4]).status.code(), Some(1));
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}

/// HMAC-SHA1 as existing tools compute it, with openssl's own words: key, then fields separated by NUL.
fn mac(secret: &str, fields: &[&str]) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(fields.join("\0").as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_shared_secret_makes_accounts() {
    const PATH: &str = "/_synapse/admin/v1/register";
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), |command| {
        command.env("CAUSEWAY_REGISTRATION__SHARED_SECRET", "open sesame");
    });
    let nonce = || server.get(PATH).json()["nonce"].as_str().unwrap().to_owned();
    let register = |nonce: &str, mac: &str| {
        let body = json!({
            "nonce": nonce, "username": "alice", "password": "correct horse", "admin": false, "mac": mac,
        });
        server.ask("POST", PATH, &[], &body)
    };
    let fresh = nonce();
    let wrong = register(&fresh, &mac("close sesame", &[&fresh, "alice", "correct horse", "notadmin"]));
    assert_eq!(wrong.status, 403, "{wrong:?}");
    let fresh = nonce();
    let right = mac("open sesame", &[&fresh, "alice", "correct horse", "notadmin"]);
    let created = register(&fresh, &right);
    assert_eq!(created.status, 200, "{created:?}");
    assert_eq!(created.json()["user_id"], "@alice:test.example");
    assert!(created.json()["access_token"].is_string());
    assert_eq!(server.login("alice", "correct horse").status, 200);
    let replayed = register(&fresh, &right);
    assert_eq!(replayed.status, 400, "a nonce is good once: {replayed:?}");
}

#[test]
fn without_a_shared_secret_there_is_no_such_registration() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path(), |_| {});
    let answer = server.get("/_synapse/admin/v1/register");
    assert!(answer.status >= 400, "{answer:?}");
    assert!(answer.json()["errcode"].is_string());
}
