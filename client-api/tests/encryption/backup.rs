//! Client-server API, "Server-side key backups".

use crate::actions::text;
use crate::server::{Login, Server, with_server};
use serde_json::{Value, json};

const ALGORITHM: &str = "m.megolm_backup.v1.curve25519-aes-sha2";

async fn create(server: &Server, who: &Login, public_key: &str) -> String {
    let body = json!({ "algorithm": ALGORITHM, "auth_data": { "public_key": public_key } });
    text(&server.post("/room_keys/version", &who.token, body).await.ok()["version"])
}

fn key(verified: bool, index: u64, forwarded: u64, data: &str) -> Value {
    json!({ "is_verified": verified, "first_message_index": index, "forwarded_count": forwarded,
        "session_data": { "ciphertext": data } })
}

#[test]
fn versions_follow_one_another() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        server.get("/room_keys/version", &alice.token).await.error(404, "M_NOT_FOUND");
        let one = create(&server, &alice, "1").await;
        let two = create(&server, &alice, "2").await;
        assert_ne!(one, two);
        let latest = server.get("/room_keys/version", &alice.token).await.ok();
        assert_eq!((&latest["version"], &latest["count"]), (&json!(two), &json!(0)));
        assert_eq!(latest["auth_data"], json!({ "public_key": "2" }));
        assert_eq!(server.get(&format!("/room_keys/version/{two}"), &alice.token).await.ok(), latest);
        let path = format!("/room_keys/version/{one}");
        let body = |algorithm: &str| json!({ "algorithm": algorithm, "auth_data": { "public_key": "1b" } });
        server.put(&path, &alice.token, body(ALGORITHM)).await.ok();
        assert_eq!(server.get(&path, &alice.token).await.ok()["auth_data"], json!({ "public_key": "1b" }));
        server.put(&path, &alice.token, body("other")).await.error(400, "M_INVALID_PARAM");
        let mut other_version = body(ALGORITHM);
        other_version["version"] = json!(two);
        server.put(&path, &alice.token, other_version).await.error(400, "M_INVALID_PARAM");
        for (path, token) in
            [(&*path, &bob.token), ("/room_keys/version/99", &alice.token), ("/room_keys/version/x", &alice.token)]
        {
            server.get(path, token).await.error(404, "M_NOT_FOUND");
            server.put(path, token, body(ALGORITHM)).await.error(404, "M_NOT_FOUND");
            server.delete(path, token, json!({})).await.error(404, "M_NOT_FOUND");
        }
        // Deleting twice is fine; the one before is the latest again; its number does not come back.
        let path = format!("/room_keys/version/{two}");
        server.delete(&path, &alice.token, json!({})).await.ok();
        server.delete(&path, &alice.token, json!({})).await.ok();
        server.get(&path, &alice.token).await.error(404, "M_NOT_FOUND");
        assert_eq!(server.get("/room_keys/version", &alice.token).await.ok()["version"], json!(one));
        assert_ne!(create(&server, &alice, "3").await, two);
    });
}

#[test]
fn keys_are_stored_read_and_deleted_at_three_levels() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let version = create(&server, &alice, "1").await;
        let at = |path: &str| format!("/room_keys/keys{path}?version={version}");
        let (one, two) = ("!one:example.org", "!two:example.org");
        let single = server.put(&at(&format!("/{one}/s1")), &alice.token, key(false, 0, 0, "1")).await.ok();
        assert_eq!(single["count"], 1);
        let room = json!({ "sessions": { "s1": key(false, 0, 0, "other"), "s2": key(false, 0, 0, "2") } });
        let after = server.put(&at(&format!("/{one}")), &alice.token, room.clone()).await.ok();
        assert_eq!(after["count"], 2);
        assert_ne!(after["etag"], single["etag"]);
        let rooms = json!({ "rooms": { one: room, two: { "sessions": { "s3": key(true, 5, 1, "3") } } } });
        let after = server.put(&at(""), &alice.token, rooms.clone()).await.ok();
        assert_eq!(after["count"], 3);
        // Nothing new: the backup is as it was.
        assert_eq!(server.put(&at(""), &alice.token, rooms).await.ok(), after);
        let shown = server.get("/room_keys/version", &alice.token).await.ok();
        assert_eq!((&shown["count"], &shown["etag"]), (&after["count"], &after["etag"]));

        let all = server.get(&at(""), &alice.token).await.ok();
        assert_eq!(all["rooms"][one]["sessions"]["s1"], key(false, 0, 0, "1"));
        assert_eq!(all["rooms"][two]["sessions"], json!({ "s3": key(true, 5, 1, "3") }));
        assert_eq!(server.get(&at(&format!("/{one}")), &alice.token).await.ok(), all["rooms"][one]);
        assert_eq!(server.get(&at(&format!("/{two}/s3")), &alice.token).await.ok(), key(true, 5, 1, "3"));
        assert_eq!(server.get(&at("/!none:x"), &alice.token).await.ok(), json!({ "sessions": {} }));
        // A session whose id begins like another's is another.
        server.get(&at(&format!("/{one}/s")), &alice.token).await.error(404, "M_NOT_FOUND");

        let gone = server.delete(&at(&format!("/{one}/s1")), &alice.token, json!({})).await.ok();
        assert_eq!(gone["count"], 2);
        assert_ne!(gone["etag"], after["etag"]);
        assert_eq!(server.delete(&at(&format!("/{one}")), &alice.token, json!({})).await.ok()["count"], 1);
        assert_eq!(server.delete(&at(""), &alice.token, json!({})).await.ok()["count"], 0);
        assert_eq!(server.get(&at(""), &alice.token).await.ok(), json!({ "rooms": {} }));
    });
}

/// "Server-side key backups": verified first, then the lower index, then the lower count.
#[test]
fn the_better_key_stays() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let version = create(&server, &alice, "1").await;
        let ranked =
            [(true, 0, 0), (true, 0, 1), (true, 1, 0), (false, 0, 0), (false, 0, 2), (false, 3, 0), (false, 3, 1)];
        for (first, (verified, index, forwarded)) in ranked.iter().enumerate() {
            for (second, (other_verified, other_index, other_forwarded)) in ranked.iter().enumerate() {
                let path = format!("/room_keys/keys/!room:x/{first}-{second}?version={version}");
                let a = key(*verified, *index, *forwarded, "a");
                let b = key(*other_verified, *other_index, *other_forwarded, "b");
                let before = server.put(&path, &alice.token, a.clone()).await.ok();
                let after = server.put(&path, &alice.token, b.clone()).await.ok();
                assert_eq!(before["count"], after["count"]);
                assert_eq!(before["etag"] != after["etag"], second < first, "{a} {b}");
                let stays = if second < first { &b } else { &a };
                assert_eq!(server.get(&path, &alice.token).await.ok(), *stays);
            }
        }
    });
}

#[test]
fn keys_go_to_the_latest_version_only() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let path = "/room_keys/keys/!room:x/s?version=";
        server.put(&format!("{path}1"), &alice.token, key(true, 0, 0, "x")).await.error(404, "M_NOT_FOUND");
        let one = create(&server, &alice, "1").await;
        server.put(&format!("{path}{one}"), &alice.token, key(true, 0, 0, "x")).await.ok();
        let two = create(&server, &alice, "2").await;
        for version in [&*one, "77", "x"] {
            let refused = server.put(&format!("{path}{version}"), &alice.token, key(true, 0, 0, "x")).await;
            assert_eq!(refused.error(403, "M_WRONG_ROOM_KEYS_VERSION")["current_version"], json!(two));
        }
        // Old ones can still be read, and end with their version.
        server.get(&format!("{path}{one}"), &alice.token).await.ok();
        server.get(&format!("{path}{two}"), &alice.token).await.error(404, "M_NOT_FOUND");
        server.delete(&format!("/room_keys/version/{one}"), &alice.token, json!({})).await.ok();
        server.get(&format!("{path}{one}"), &alice.token).await.error(404, "M_NOT_FOUND");
        server.delete(&format!("{path}{one}"), &alice.token, json!({})).await.error(404, "M_NOT_FOUND");
    });
}

#[test]
fn bad_keys_are_refused_and_store_nothing() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let version = create(&server, &alice, "1").await;
        let path = format!("/room_keys/keys?version={version}");
        let rooms =
            |room: &str, session: &str, key: Value| json!({ "rooms": { room: { "sessions": { session: key } } } });
        let mut incomplete = key(true, 0, 0, "x");
        incomplete.as_object_mut().unwrap().remove("session_data");
        let mut negative = key(true, 0, 0, "x");
        negative["first_message_index"] = json!(-1);
        for (body, status, code) in [
            (rooms("room", "s", key(true, 0, 0, "x")), 400, "M_INVALID_PARAM"),
            (rooms("!room:x", "", key(true, 0, 0, "x")), 400, "M_INVALID_PARAM"),
            (rooms("!room:x", "s", incomplete), 400, "M_BAD_JSON"),
            (rooms("!room:x", "s", negative), 400, "M_BAD_JSON"),
            (rooms("!room:x", "s", key(true, 0, 0, &"x".repeat(70_000))), 413, "M_TOO_LARGE"),
            (json!({}), 400, "M_BAD_JSON"),
        ] {
            server.put(&path, &alice.token, body).await.error(status, code);
        }
        server.put("/room_keys/keys", &alice.token, json!({ "rooms": {} })).await.error(400, "M_MISSING_PARAM");
        assert_eq!(server.get(&path, &alice.token).await.ok(), json!({ "rooms": {} }));
        // Many keys at once, more than one batch takes.
        let sessions: serde_json::Map<_, _> =
            (0..300).map(|n| (format!("s{n}"), key(false, n, 0, &"x".repeat(5000)))).collect();
        let body = json!({ "rooms": { "!room:x": { "sessions": sessions } } });
        assert_eq!(server.put(&path, &alice.token, body.clone()).await.ok()["count"], 300);
        assert_eq!(server.get(&path, &alice.token).await.ok(), body);
    });
}
