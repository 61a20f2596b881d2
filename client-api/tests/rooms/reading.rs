//! Receipts, read markers, typing, as others see them in `/sync`.

use crate::server::{Login, Server, with_server};
use serde_json::{Value, json};
use std::time::Duration;

/// The content of an ephemeral event in a whole sync.
async fn ephemeral(server: &Server, who: &Login, room: &str, kind: &str) -> Value {
    let sync = server.get("/sync", &who.token).await.ok();
    let events = sync["rooms"]["join"][room]["ephemeral"]["events"].as_array().cloned().unwrap_or_default();
    events.into_iter().find(|event| event["type"] == kind).map_or(Value::Null, |event| event["content"].clone())
}

#[test]
fn receipts_are_seen_by_others_unless_private_and_never_go_back() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let (first, second) = (server.say(&alice, &room, "1").await, server.say(&alice, &room, "2").await);
        let read = async |who: &Login, kind: &str, event: &str, body: Value| {
            server.post(&format!("/rooms/{room}/receipt/{kind}/{event}"), &who.token, body).await
        };
        read(&carol, "m.read", &first, json!({})).await.error(403, "M_FORBIDDEN");
        read(&bob, "m.else", &first, json!({})).await.error(400, "M_INVALID_PARAM");
        read(&bob, "m.read", "$nothing", json!({})).await.error(404, "M_NOT_FOUND");
        read(&bob, "m.read", &second, json!({})).await.ok();
        read(&bob, "m.read", &first, json!({})).await.ok();
        read(&bob, "m.read.private", &first, json!({})).await.ok();
        let seen = ephemeral(&server, &alice, &room, "m.receipt").await;
        assert!(seen[&second]["m.read"][&bob.user_id]["ts"].is_i64(), "{seen}");
        assert_eq!(seen.get(&first), None, "{seen}");
        let own = ephemeral(&server, &bob, &room, "m.receipt").await;
        assert!(own[&first]["m.read.private"][&bob.user_id]["ts"].is_i64(), "{own}");
    });
}

#[test]
fn receipts_of_threads_stay_in_their_thread() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let root = server.say(&alice, &room, "root").await;
        let plain = server.say(&alice, &room, "plain").await;
        let related = async |id: &str, kind: &str, to: &str| {
            let content = json!({ "body": "x", "m.relates_to": { "rel_type": kind, "event_id": to, "key": "x" } });
            server.send_as(&alice, &room, "m.x", id, content).await.event_id()
        };
        let reply = related("1", "m.thread", &root).await;
        let reaction = related("2", "m.annotation", &reply).await;
        let read = async |kind: &str, event: &str, thread: Value| {
            let path = format!("/rooms/{room}/receipt/{kind}/{event}");
            server.post(&path, &alice.token, json!({ "thread_id": thread })).await
        };
        for (event, thread) in [
            (&root, "main"),
            (&root, root.as_str()),
            (&plain, "main"),
            (&reply, root.as_str()),
            (&reaction, root.as_str()),
        ] {
            read("m.read", event, json!(thread)).await.ok();
        }
        for (event, thread) in [
            (&reply, json!("main")),
            (&plain, json!(root)),
            (&plain, json!(plain.clone() + "x")),
            (&plain, json!("")),
            (&plain, json!(1)),
        ] {
            read("m.read", event, thread).await.error(400, "M_INVALID_PARAM");
        }
        // Whoever sends an event names its thread, in any length.
        let long = format!("${}", "x".repeat(5000));
        let stray = related("3", "m.thread", &long).await;
        read("m.read", &stray, json!(long)).await.error(400, "M_INVALID_PARAM");
        read("m.fully_read", &plain, json!("main")).await.error(400, "M_INVALID_PARAM");
        let seen = ephemeral(&server, &alice, &room, "m.receipt").await;
        assert_eq!(seen[&plain]["m.read"][&alice.user_id]["thread_id"], "main");
        assert_eq!(seen[&reaction]["m.read"][&alice.user_id]["thread_id"], json!(root));
    });
}

#[test]
fn read_markers_are_all_set_or_none() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let (first, second) = (server.say(&alice, &room, "1").await, server.say(&alice, &room, "2").await);
        let path = format!("/rooms/{room}/read_markers");
        let marker = format!("/user/{}/rooms/{room}/account_data/m.fully_read", alice.user_id);
        let wrong = json!({ "m.fully_read": first, "m.read": "$nothing" });
        server.post(&path, &alice.token, wrong).await.error(404, "M_NOT_FOUND");
        server.get(&marker, &alice.token).await.error(404, "M_NOT_FOUND");
        server.post(&path, &alice.token, json!({ "m.fully_read": "x" })).await.error(400, "M_INVALID_PARAM");
        server.post(&path, &alice.token, json!({})).await.ok();
        server.post(&path, &alice.token, json!({ "m.fully_read": second, "m.read": first })).await.ok();
        assert_eq!(server.get(&marker, &alice.token).await.ok(), json!({ "event_id": second }));
        let back = format!("/rooms/{room}/receipt/m.fully_read/{first}");
        server.post(&back, &alice.token, json!({})).await.ok();
        assert_eq!(server.get(&marker, &alice.token).await.ok(), json!({ "event_id": second }));
        let seen = ephemeral(&server, &alice, &room, "m.receipt").await;
        assert!(seen[&first]["m.read"][&alice.user_id].is_object(), "{seen}");
        let sync = server.get("/sync", &alice.token).await.ok();
        let data = &sync["rooms"]["join"][&room]["account_data"]["events"];
        assert_eq!(data[0], json!({ "type": "m.fully_read", "content": { "event_id": second } }));
    });
}

#[test]
fn typing_is_one_s_own_and_ends() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        let path = format!("/rooms/{room}/typing/{}", bob.user_id);
        let typing = json!({ "typing": true, "timeout": 5_000 });
        server.put(&path, &alice.token, typing.clone()).await.error(403, "M_FORBIDDEN");
        server.put(&path, &bob.token, typing.clone()).await.error(403, "M_FORBIDDEN");
        server.join(&bob, &room).await;
        server.put(&path, &bob.token, json!({})).await.error(400, "M_BAD_JSON");
        server.put(&path, &bob.token, typing.clone()).await.ok();
        let users = json!({ "user_ids": [bob.user_id] });
        assert_eq!(ephemeral(&server, &alice, &room, "m.typing").await, users);
        server.wait(Duration::from_secs(6)).await;
        assert_eq!(ephemeral(&server, &alice, &room, "m.typing").await, Value::Null);
        server.put(&path, &bob.token, typing).await.ok();
        let since = server.get("/sync", &alice.token).await.ok()["next_batch"].as_str().unwrap().to_owned();
        server.put(&path, &bob.token, json!({ "typing": false })).await.ok();
        let sync = server.get(&format!("/sync?timeout=30000&since={since}"), &alice.token).await.ok();
        let events = &sync["rooms"]["join"][&room]["ephemeral"]["events"];
        assert_eq!(events[0], json!({ "type": "m.typing", "content": { "user_ids": [] } }));
    });
}

/// Whoever leaves, or is made to, types no more; others learn it at once.
#[test]
fn typing_ends_with_the_membership() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        for (index, how) in ["leave", "kick", "ban"].into_iter().enumerate() {
            let bob = server.user(&format!("bob{index}")).await;
            let room = server.public_room(&alice).await;
            server.join(&bob, &room).await;
            let path = format!("/rooms/{room}/typing/{}", bob.user_id);
            server.put(&path, &bob.token, json!({ "typing": true, "timeout": 60_000 })).await.ok();
            assert_eq!(ephemeral(&server, &alice, &room, "m.typing").await, json!({ "user_ids": [bob.user_id] }));
            let since = server.get("/sync", &alice.token).await.ok()["next_batch"].as_str().unwrap().to_owned();
            match how {
                "leave" => server.leave(&bob, &room).await,
                other => drop(server.act(&alice, other, &room, &bob).await.ok()),
            }
            let sync = server.get(&format!("/sync?since={since}"), &alice.token).await.ok();
            let events = &sync["rooms"]["join"][&room]["ephemeral"]["events"];
            assert_eq!(events[0], json!({ "type": "m.typing", "content": { "user_ids": [] } }), "{how}: {sync}");
        }
    });
}
