//! Client-server API, "Client Config", "Room Tagging" and "Filtering".

use crate::server::{PASSWORD, password_auth, with_server};
use futures::future::join_all;
use serde_json::json;
use services::accounts::account_data::{Item, all, changes, of_room};
use state_res::ids::{RoomKey, UserKey};

const USER: &str = "/user/@alice:example.org";

#[test]
fn what_is_kept_as_text_can_be_read_by_all() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        for path in ["account_data/m.x", "rooms/!r:x/account_data/m.x", "filter"] {
            let method = if path == "filter" { http::Method::POST } else { http::Method::PUT };
            let path = format!("/user/{}/{path}", alice.user_id);
            for body in [r#"{"a":["\ud800"]}"#, r#"{"a":1e999}"#, r#"{"\udc00":1}"#] {
                server.send(method.clone(), &path, Some(&alice.token), body).await.error(400, "M_NOT_JSON");
            }
            server.send(method, &path, Some(&alice.token), r#"{"a":["\ud83d\ude00",1e300]}"#).await.ok();
        }
    });
}

#[test]
fn push_rules_are_account_data_also_while_they_are_the_defaults() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let path = format!("/user/{}/account_data/m.push_rules", alice.user_id);
        let rules = server.get("/pushrules/", &alice.token).await.ok();
        assert_eq!(server.get(&path, &alice.token).await.ok(), rules);
        let rule = json!({ "actions": ["notify"], "pattern": "x" });
        server.put("/pushrules/global/content/mine", &alice.token, rule).await.ok();
        let changed = server.get(&path, &alice.token).await.ok();
        assert_eq!(changed, server.get("/pushrules/", &alice.token).await.ok());
        assert_ne!(changed, rules);
        for kind in ["override", "content", "room", "sender", "underride"] {
            assert!(rules["global"][kind].is_array() && changed["global"][kind].is_array(), "{kind}");
        }
    });
}

#[test]
fn a_push_rule_is_placed_again_and_a_refused_placement_changes_nothing() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let put = async |name: &str, query: &str| {
            let rule = json!({ "actions": [], "pattern": "x" });
            server.put(&format!("/pushrules/global/content/{name}{query}"), &alice.token, rule).await
        };
        let order = async || {
            let rules = server.get("/pushrules/global/", &alice.token).await.ok();
            let own = rules["content"].as_array().unwrap().iter().filter(|rule| rule["default"] == false);
            own.map(|rule| rule["rule_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for name in ["r1", "r0", "r2"] {
            put(name, "").await.ok();
        }
        assert_eq!(order().await, ["r2", "r0", "r1"]);
        let off = json!({ "enabled": false });
        server.put("/pushrules/global/content/r0/enabled", &alice.token, off).await.ok();
        put("r0", "?after=r1").await.ok();
        assert_eq!(order().await, ["r2", "r1", "r0"]);
        let enabled = server.get("/pushrules/global/content/r0/enabled", &alice.token).await.ok();
        assert_eq!(enabled, json!({ "enabled": false }));
        put("r2", "?before=r0").await.ok();
        assert_eq!(order().await, ["r1", "r2", "r0"]);
        put("r0", "?after=none").await.error(404, "M_NOT_FOUND");
        put("r0", "?before=r0").await.error(400, "M_INVALID_PARAM");
        put("r1", "?after=r1").await.error(400, "M_INVALID_PARAM");
        put("r2", "?after=.m.rule.contains_user_name").await.error(400, "M_INVALID_PARAM");
        assert_eq!(order().await, ["r1", "r2", "r0"]);
    });
}

#[test]
fn account_data_is_kept_as_sent_per_room_and_type() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let global = format!("{USER}/account_data/org.example.x");
        let room = format!("{USER}/rooms/!r:example.org/account_data/org.example.x");
        server.get(&global, &alice.token).await.error(404, "M_NOT_FOUND");
        server.put(&global, &alice.token, json!({ "a": 1.5, "b": [null] })).await.ok();
        server.get(&room, &alice.token).await.error(404, "M_NOT_FOUND");
        server.put(&room, &alice.token, json!({ "c": "\u{0}" })).await.ok();
        assert_eq!(server.get(&global, &alice.token).await.ok(), json!({ "a": 1.5, "b": [null] }));
        assert_eq!(server.get(&room, &alice.token).await.ok(), json!({ "c": "\u{0}" }));
        server.put(&global, &alice.token, json!({})).await.ok();
        assert_eq!(server.get(&global, &alice.token).await.ok(), json!({}));
        server.get(&global, &bob.token).await.error(403, "M_FORBIDDEN");
        server.put(&global, &bob.token, json!({})).await.error(403, "M_FORBIDDEN");
        for managed in ["m.fully_read", "m.push_rules"] {
            server
                .put(&format!("{USER}/account_data/{managed}"), &alice.token, json!({}))
                .await
                .error(405, "M_BAD_JSON");
            let path = format!("{USER}/rooms/!r:x/account_data/{managed}");
            server.put(&path, &alice.token, json!({})).await.error(405, "M_BAD_JSON");
        }
        server
            .put(&format!("{USER}/rooms/room/account_data/x"), &alice.token, json!({}))
            .await
            .error(400, "M_INVALID_PARAM");
        let long = format!("{USER}/account_data/{}", "x".repeat(300));
        server.put(&long, &alice.token, json!({})).await.error(400, "M_INVALID_PARAM");
        server.put(&global, &alice.token, json!([])).await.error(400, "M_BAD_JSON");
        server.send(http::Method::PUT, &global, Some(&alice.token), r#"{"a":"#).await.error(400, "M_NOT_JSON");
        let big = json!({ "x": "x".repeat(600_000) });
        server.put(&global, &alice.token, big).await.error(413, "M_TOO_LARGE");
    });
}

#[test]
fn the_index_gives_each_changed_piece_once_at_its_last_change() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let user = UserKey::of(&alice.user_id);
        let put = async |kind: &str, number: u64| {
            let path = format!("{USER}/account_data/{kind}");
            server.put(&path, &alice.token, json!({ "n": number })).await.ok();
            server.services.store.position()
        };
        let start = server.services.store.position();
        put("a", 1).await;
        let middle = put("b", 2).await;
        let room = format!("{USER}/rooms/!r:x/account_data/a");
        server.put(&room, &alice.token, json!({ "n": 3 })).await.ok();
        let end = put("a", 4).await;
        let snapshot = server.services.store.snapshot();
        let shown = |items: Vec<Item>| -> Vec<(Option<String>, String, String)> {
            items
                .into_iter()
                .map(|item| (item.room_id, item.kind, String::from_utf8(item.content.to_vec()).unwrap()))
                .collect()
        };
        let piece = |room: Option<&str>, kind: &str, number| {
            (room.map(str::to_owned), kind.to_owned(), format!(r#"{{"n":{number}}}"#))
        };
        let after = shown(changes(&snapshot, user, start, end).unwrap());
        assert_eq!(after, [piece(None, "b", 2), piece(Some("!r:x"), "a", 3), piece(None, "a", 4)]);
        let after = shown(changes(&snapshot, user, middle, end).unwrap());
        assert_eq!(after, [piece(Some("!r:x"), "a", 3), piece(None, "a", 4)]);
        assert_eq!(shown(changes(&snapshot, user, middle, end - 1).unwrap()), [piece(Some("!r:x"), "a", 3)]);
        assert!(changes(&snapshot, user, end, u64::MAX).unwrap().is_empty());
        assert_eq!(
            shown(all(&snapshot, user).unwrap()),
            [piece(None, "a", 4), piece(None, "b", 2), piece(Some("!r:x"), "a", 3)]
        );
        assert_eq!(shown(of_room(&snapshot, user, RoomKey::of("!r:x")).unwrap()), [piece(Some("!r:x"), "a", 3)]);
    });
}

#[test]
fn writes_of_one_piece_at_once_leave_one_change() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let start = server.services.store.position();
        let path = format!("{USER}/account_data/x");
        let puts = (0..10).map(|number| server.put(&path, &alice.token, json!({ "n": number })));
        for answer in join_all(puts).await {
            answer.ok();
        }
        let snapshot = server.services.store.snapshot();
        let changed = changes(&snapshot, UserKey::of(&alice.user_id), start, u64::MAX).unwrap();
        assert_eq!(changed.len(), 1);
        assert_eq!(
            server.get(&path, &alice.token).await.ok(),
            serde_json::from_slice::<serde_json::Value>(&changed[0].content).unwrap()
        );
    });
}

#[test]
fn a_change_wakes_the_user() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let topic = |user_id: &str| services::rooms::user_topic(UserKey::of(user_id));
        let mut hers = server.services.store.subscribe(&[topic(&alice.user_id)]);
        let mut his = server.services.store.subscribe(&[topic(&bob.user_id)]);
        server.put(&format!("{USER}/account_data/x"), &alice.token, json!({})).await.ok();
        let second = std::time::Duration::from_secs(1);
        let world = &server.services.world;
        assert!(world.timeout(second, hers.changed()).await.is_ok());
        assert!(world.timeout(second, his.changed()).await.is_err());
    });
}

#[test]
fn erasure_takes_account_data_along() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        for number in 0..300 {
            server.put(&format!("{USER}/account_data/t{number}"), &alice.token, json!({})).await.ok();
        }
        let auth = password_auth("", "alice", PASSWORD);
        let mut request = json!({ "auth": auth, "erase": true });
        request["auth"].as_object_mut().unwrap().remove("session");
        server.post("/account/deactivate", &alice.token, request).await.ok();
        let (snapshot, user) = (server.services.store.snapshot(), UserKey::of(&alice.user_id));
        assert!(all(&snapshot, user).unwrap().is_empty());
        assert!(changes(&snapshot, user, 0, u64::MAX).unwrap().is_empty());
    });
}

#[test]
fn tags_are_the_content_of_m_tag() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let tags = format!("{USER}/rooms/!r:example.org/tags");
        assert_eq!(server.get(&tags, &alice.token).await.ok(), json!({ "tags": {} }));
        server.put(&format!("{tags}/m.favourite"), &alice.token, json!({ "order": 0.25 })).await.ok();
        server.put(&format!("{tags}/u.W%C3%B6rk%2Fx"), &alice.token, json!({})).await.ok();
        let expected = json!({ "tags": { "m.favourite": { "order": 0.25 }, "u.Wörk/x": {} } });
        assert_eq!(server.get(&tags, &alice.token).await.ok(), expected);
        let data = format!("{USER}/rooms/!r:example.org/account_data/m.tag");
        assert_eq!(server.get(&data, &alice.token).await.ok(), expected);
        server.delete(&format!("{tags}/m.favourite"), &alice.token, json!({})).await.ok();
        server.delete(&format!("{tags}/m.favourite"), &alice.token, json!({})).await.ok();
        assert_eq!(server.get(&tags, &alice.token).await.ok(), json!({ "tags": { "u.Wörk/x": {} } }));
        for order in [json!(1.5), json!(-1), json!("0.5")] {
            server.put(&format!("{tags}/x"), &alice.token, json!({ "order": order })).await.error(400, "M_BAD_JSON");
        }
        server.put(&format!("{tags}/{}", "x".repeat(300)), &alice.token, json!({})).await.error(400, "M_INVALID_PARAM");
        server.put(&format!("{tags}/x"), &bob.token, json!({})).await.error(403, "M_FORBIDDEN");
        server.get(&tags, &bob.token).await.error(403, "M_FORBIDDEN");
    });
}

#[test]
fn tags_given_at_once_all_stay() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let paths: Vec<_> = (0..8).map(|number| format!("{USER}/rooms/!r:x/tags/u.{number}")).collect();
        for answer in join_all(paths.iter().map(|path| server.put(path, &alice.token, json!({})))).await {
            answer.ok();
        }
        let tags = server.get(&format!("{USER}/rooms/!r:x/tags"), &alice.token).await.ok();
        assert_eq!(tags["tags"].as_object().unwrap().len(), 8, "{tags}");
    });
}

#[test]
fn filters_are_kept_as_uploaded() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let path = format!("{USER}/filter");
        let filter = json!({ "room": { "timeline": { "limit": 10, "org.example": 1 } }, "unknown": true });
        let id = server.post(&path, &alice.token, filter.clone()).await.ok()["filter_id"].as_str().unwrap().to_owned();
        assert!(!id.starts_with('{') && !id.is_empty());
        assert_eq!(server.get(&format!("{path}/{id}"), &alice.token).await.ok(), filter);
        server.post(&path, &alice.token, json!({})).await.ok();
        server.get(&format!("{path}/nope"), &alice.token).await.error(404, "M_NOT_FOUND");
        server.get(&format!("{path}/{id}"), &bob.token).await.error(403, "M_FORBIDDEN");
        server.get(&format!("/user/@bob:example.org/filter/{id}"), &bob.token).await.error(404, "M_NOT_FOUND");
        for wrong in [
            json!({ "room": { "state": { "limit": 0 } } }),
            json!({ "room": { "timeline": { "limit": -1 } } }),
            json!({ "room": { "rooms": ["not a room id"] } }),
            json!({ "presence": { "senders": ["alice"] } }),
            json!({ "event_format": "xml" }),
            json!({ "event_fields": "content" }),
            json!({ "room": [] }),
        ] {
            server.post(&path, &alice.token, wrong).await.error(400, "M_BAD_JSON");
        }
    });
}
