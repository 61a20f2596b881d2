//! Members of request bodies that the specification calls optional may be `null`, which says the same as leaving them out.

use crate::server::{PASSWORD, with_server};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// An endpoint, a body with its optional members, and where these are. `{n}` becomes a number of its own in each request,
/// the other braces an id of what the test has made.
type Row = (&'static str, &'static str, Value, &'static [&'static str]);

fn rows() -> Vec<Row> {
    let events = json!({ "limit": 5, "not_senders": [], "not_types": [], "senders": ["@a:b"], "types": ["*"] });
    let room_events = json!({
        "limit": 5, "not_senders": [], "not_types": [], "senders": ["@a:b"], "types": ["*"],
        "unread_thread_notifications": true, "lazy_load_members": true, "include_redundant_members": true,
        "not_rooms": [], "rooms": ["!a:b"], "contains_url": true,
    });
    let auth = json!({ "type": "m.login.dummy", "session": "x" });
    let key = json!({ "user_id": "{user}", "usage": ["master"], "keys": {}, "signatures": {} });
    vec![
        (
            "POST",
            "/account/deactivate",
            json!({ "auth": auth, "erase": true, "id_server": "x" }),
            &["auth", "erase", "id_server", "auth/type", "auth/session"],
        ),
        ("POST", "/rooms/{room}/ban", json!({ "user_id": "{other}", "reason": "r" }), &["reason"]),
        ("POST", "/rooms/{room}/unban", json!({ "user_id": "{other}", "reason": "r" }), &["reason"]),
        ("POST", "/rooms/{room}/invite", json!({ "user_id": "{other}", "reason": "r" }), &["reason"]),
        ("POST", "/rooms/{room}/kick", json!({ "user_id": "{other}", "reason": "r" }), &["reason"]),
        (
            "POST",
            "/createRoom",
            json!({
                "visibility": "private", "room_alias_name": "alias{n}", "name": "n", "topic": "t", "invite": [], "invite_3pid": [],
                "room_version": "11", "creation_content": {}, "preset": "private_chat", "is_direct": true,
                "initial_state": [{ "type": "m.x", "state_key": "", "content": {} }], "power_level_content_override": {},
            }),
            &[
                "visibility",
                "room_alias_name",
                "name",
                "topic",
                "invite",
                "invite_3pid",
                "room_version",
                "creation_content",
                "initial_state",
                "initial_state/0/state_key",
                "preset",
                "is_direct",
                "power_level_content_override",
            ],
        ),
        (
            "POST",
            "/keys/device_signing/upload",
            json!({ "master_key": key, "self_signing_key": key, "user_signing_key": key, "auth": auth }),
            &["auth", "auth/type", "auth/session"],
        ),
        ("PUT", "/devices/{device}", json!({ "display_name": "d" }), &["display_name"]),
        ("DELETE", "/devices/{device}", json!({ "auth": auth }), &["auth", "auth/type", "auth/session"]),
        ("POST", "/delete_devices", json!({ "devices": ["x"], "auth": auth }), &["auth", "auth/type", "auth/session"]),
        (
            "POST",
            "/user/{user}/filter",
            json!({
                "event_fields": ["type"], "event_format": "client", "presence": events, "account_data": events,
                "room": {
                    "not_rooms": [], "rooms": ["!a:b"], "include_leave": true, "ephemeral": room_events, "state": room_events,
                    "timeline": room_events, "account_data": room_events,
                },
            }),
            &[
                "event_fields",
                "event_format",
                "presence",
                "account_data",
                "room",
                "presence/limit",
                "presence/not_senders",
                "presence/not_types",
                "presence/senders",
                "presence/types",
                "account_data/limit",
                "account_data/types",
                "room/not_rooms",
                "room/rooms",
                "room/include_leave",
                "room/ephemeral",
                "room/state",
                "room/timeline",
                "room/account_data",
                "room/timeline/limit",
                "room/timeline/not_senders",
                "room/timeline/not_types",
                "room/timeline/senders",
                "room/timeline/types",
                "room/timeline/unread_thread_notifications",
                "room/timeline/lazy_load_members",
                "room/timeline/include_redundant_members",
                "room/timeline/not_rooms",
                "room/timeline/rooms",
                "room/timeline/contains_url",
                "room/state/not_types",
                "room/ephemeral/not_types",
            ],
        ),
        (
            "POST",
            "/rooms/{room}/join",
            json!({ "reason": "r", "third_party_signed": {} }),
            &["reason", "third_party_signed"],
        ),
        ("POST", "/join/{room}", json!({ "reason": "r", "third_party_signed": {} }), &["reason", "third_party_signed"]),
        ("POST", "/knock/{knocked}", json!({ "reason": "r" }), &["reason"]),
        ("POST", "/rooms/{room}/leave", json!({ "reason": "r" }), &["reason"]),
        (
            "POST",
            "/keys/upload",
            json!({ "device_keys": {}, "one_time_keys": {}, "fallback_keys": {} }),
            &["device_keys", "one_time_keys", "fallback_keys"],
        ),
        ("POST", "/keys/query", json!({ "timeout": 5, "device_keys": { "{user}": [] } }), &["timeout"]),
        ("POST", "/keys/claim", json!({ "timeout": 5, "one_time_keys": {} }), &["timeout"]),
        (
            "PUT",
            "/room_keys/version/{backup}",
            json!({ "algorithm": "m.a", "auth_data": {}, "version": "{backup}" }),
            &["version"],
        ),
        ("PUT", "/directory/list/room/{room}", json!({ "visibility": "public" }), &["visibility"]),
        (
            "POST",
            "/publicRooms",
            json!({
                "limit": 5, "since": "0", "filter": { "generic_search_term": "x", "room_types": ["m.space", null] },
                "include_all_networks": false, "third_party_instance_id": "x",
            }),
            &[
                "limit",
                "since",
                "filter",
                "filter/generic_search_term",
                "filter/room_types",
                "include_all_networks",
                "third_party_instance_id",
            ],
        ),
        (
            "POST",
            "/login",
            json!({
                "type": "m.login.password", "identifier": { "type": "m.id.user", "user": "alice" }, "user": "alice",
                "medium": "email", "address": "x", "password": PASSWORD, "token": "t", "device_id": "D{n}",
                "initial_device_display_name": "d", "refresh_token": true,
            }),
            &[
                "identifier",
                "user",
                "medium",
                "address",
                "token",
                "device_id",
                "initial_device_display_name",
                "refresh_token",
            ],
        ),
        (
            "POST",
            "/account/password",
            json!({ "new_password": "new password", "logout_devices": false, "auth": auth }),
            &["logout_devices", "auth", "auth/type", "auth/session"],
        ),
        (
            "PUT",
            "/pushrules/global/override/r{n}",
            json!({ "actions": [], "conditions": [{ "kind": "event_match", "key": "type", "pattern": "x" }] }),
            &["conditions", "pattern"],
        ),
        (
            "PUT",
            "/pushrules/global/content/r{n}",
            json!({ "actions": [], "conditions": [], "pattern": "x" }),
            &["conditions"],
        ),
        (
            "POST",
            "/rooms/{room}/read_markers",
            json!({ "m.fully_read": "{event}", "m.read": "{event}", "m.read.private": "{event}" }),
            &["m.fully_read", "m.read", "m.read.private"],
        ),
        ("POST", "/rooms/{room}/receipt/m.read/{event}", json!({ "thread_id": "main" }), &["thread_id"]),
        ("PUT", "/rooms/{room}/redact/{event}/{n}", json!({ "reason": "r" }), &["reason"]),
        (
            "POST",
            "/register",
            json!({
                "auth": { "type": "m.login.dummy", "session": null }, "username": "user{n}", "password": PASSWORD,
                "device_id": "D", "initial_device_display_name": "d", "inhibit_login": false, "refresh_token": false,
            }),
            &[
                "auth",
                "auth/type",
                "auth/session",
                "username",
                "device_id",
                "initial_device_display_name",
                "inhibit_login",
                "refresh_token",
            ],
        ),
        (
            "POST",
            "/rooms/{room}/upgrade",
            json!({ "new_version": "12", "additional_creators": [] }),
            &["additional_creators"],
        ),
        ("PUT", "/user/{user}/rooms/{room}/tags/u.x", json!({ "order": 0.5 }), &["order"]),
        ("PUT", "/rooms/{room}/typing/{user}", json!({ "typing": true, "timeout": 5 }), &["timeout"]),
        ("POST", "/user_directory/search", json!({ "search_term": "x", "limit": 5 }), &["limit"]),
    ]
}

/// `body` with the member at `path` null, or without it.
fn changed(body: &Value, path: &str, null: bool) -> Value {
    let mut body = body.clone();
    let (parent, name) =
        path.rsplit_once('/').map_or((String::new(), path), |(parent, name)| (format!("/{parent}"), name));
    let parent = body.pointer_mut(&parent).unwrap().as_object_mut().unwrap();
    assert!(parent.contains_key(name) || name == "pattern" || name == "conditions", "{path} in {parent:?}");
    if null {
        parent.insert(name.to_owned(), Value::Null);
    } else {
        parent.remove(name);
    }
    body
}

#[test]
fn what_is_optional_may_be_null() {
    with_server(async |server| {
        let (alice, other) = (server.user("alice").await, server.user("other").await);
        let knocked = server
            .room(
                &other,
                json!({ "initial_state": [
            { "type": "m.room.join_rules", "content": { "join_rule": "knock" } },
        ] }),
            )
            .await;
        let backup =
            server.post("/room_keys/version", &alice.token, json!({ "algorithm": "m.a", "auth_data": {} })).await;
        let backup = backup.ok()["version"].as_str().unwrap().to_owned();
        let mut number = 0;
        let mut asked = 0;
        for (method, path, body, members) in rows() {
            for member in members {
                let mut answers = Vec::new();
                // A room of its own for each request: many change what the next would find.
                for null in [true, false] {
                    number += 1;
                    // The ids of rooms say when they were made.
                    server.wait(Duration::from_millis(10)).await;
                    let room = server.public_room(&alice).await;
                    let event = server.say(&alice, &room, "x").await;
                    server.join(&other, &room).await;
                    let fill = |text: String| {
                        [
                            ("{n}", number.to_string().as_str()),
                            ("{room}", &room),
                            ("{event}", &event),
                            ("{user}", &alice.user_id),
                            ("{other}", &other.user_id),
                            ("{device}", &alice.device_id),
                            ("{backup}", &backup),
                            ("{knocked}", &knocked),
                        ]
                        .iter()
                        .fold(text, |text, (name, value)| text.replace(name, value))
                    };
                    let body = fill(changed(&body, member, null).to_string());
                    let method: Method = method.parse().unwrap();
                    let answer = server.send(method, &fill(path.to_owned()), Some(&alice.token), body).await;
                    answers.push((answer.status.as_u16(), answer.body["errcode"].clone()));
                }
                assert_eq!(answers[0], answers[1], "{method} {path} with {member} null, and without it");
                // Login without any of its two names is wrong either way, as is a password stage without its kind.
                assert_ne!(answers[0].1, "M_BAD_JSON", "{method} {path} without {member}");
                asked += 1;
            }
        }
        println!("{asked} optional members");
    });
}

#[test]
fn what_is_required_may_not_be_null() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        for (path, body, member) in [
            (format!("/rooms/{room}/invite"), json!({ "user_id": null }), "user_id"),
            (
                "/createRoom".to_owned(),
                json!({ "initial_state": [{ "type": null, "content": {} }] }),
                "initial_state[0]",
            ),
            ("/createRoom".to_owned(), json!({ "initial_state": [null] }), "initial_state[0]"),
            ("/createRoom".to_owned(), json!({ "invite": null, "name": 5 }), "name"),
        ] {
            let error = server.post(&path, &alice.token, body).await.error(400, "M_BAD_JSON");
            assert!(error["error"].as_str().unwrap().contains(member), "{error}");
        }
        let broken = server.send(Method::POST, "/createRoom", Some(&alice.token), r#"{"invite":null,"name":"x"#).await;
        broken.error(400, "M_NOT_JSON");
    });
}

#[test]
fn null_in_content_stays() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let content = json!({ "a": null, "b": { "c": null, "d": [null] } });
        let event = server.send_as(&alice, &room, "m.x", "1", content.clone()).await.event_id();
        assert_eq!(server.room_get(&alice, &room, &format!("event/{event}")).await.ok()["content"], content);
    });
}

/// Appendices, "Canonical JSON": `-0` is the integer zero.
#[test]
fn negative_zero_is_zero_in_events() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        for version in ["5", "12"] {
            let room = server.room(&alice, json!({ "room_version": version })).await;
            let path = |id: &str| format!("/rooms/{room}/send/m.x/{id}");
            let text = r#"{"a":-0,"b":[ -0 ,-0],"c":"-0, \":-0,\" x","d":-7,"e":{"f":-0}}"#;
            let sent = server.send(Method::PUT, &path("1"), Some(&alice.token), text).await.event_id();
            let content = server.room_get(&alice, &room, &format!("event/{sent}")).await.ok()["content"].clone();
            let expected = json!({ "a": 0, "b": [0, 0], "c": "-0, \":-0,\" x", "d": -7, "e": { "f": 0 } });
            assert_eq!(content, expected);
            for wrong in [r#"{"a":-00}"#, r#"{"a":-}"#, r#"{"a":--0}"#, r#"{"a":1-0}"#] {
                server.send(Method::PUT, &path("2"), Some(&alice.token), wrong).await.error(400, "M_NOT_JSON");
            }
        }
        let room = server.public_room(&alice).await;
        for wrong in [r#"{"a":-0.5}"#, r#"{"a":-0e1}"#, r#"{"a":1e-05}"#] {
            let path = format!("/rooms/{room}/send/m.x/3");
            server.send(Method::PUT, &path, Some(&alice.token), wrong).await.error(400, "M_BAD_JSON");
        }
    });
}
