//! Client-server API, "Tracking the device list for a user": who is told that whose devices changed.

use crate::actions::{identity, text};
use crate::server::{Login, PASSWORD, Server, password_auth, with_server};
use serde_json::{Value, json};

/// `changed` and `left` of a sync, and its token.
async fn lists(server: &Server, who: &Login, since: &str) -> (Vec<String>, Vec<String>, String) {
    let sync = server.sync(who, since).await;
    let list = |name: &str| -> Vec<String> {
        let users = sync["device_lists"][name].as_array();
        users.into_iter().flatten().map(text).collect()
    };
    let (changed, left) = (list("changed"), list("left"));
    // The endpoint for it says the same.
    let next = text(&sync["next_batch"]);
    let asked = server.get(&format!("/keys/changes?from={since}&to={next}"), &who.token).await.ok();
    assert_eq!(asked, json!({ "changed": changed, "left": left }));
    (changed, left, next)
}

#[test]
fn those_who_share_a_room_are_told_of_changes() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        let room = server.room(&alice).await;
        server.join(&bob, &room).await;
        let (mut a, mut b, mut c) =
            (server.sync_token(&alice).await, server.sync_token(&bob).await, server.sync_token(&carol).await);
        let expect = async |server: &Server, users: &[&str], a: &mut String, b: &mut String, c: &mut String| {
            for (who, since, sees) in [(&alice, a, true), (&bob, b, true), (&carol, c, false)] {
                let (changed, left, next) = lists(server, who, since).await;
                assert_eq!(
                    (changed, left),
                    (if sees { users.iter().map(|user| (*user).to_owned()).collect() } else { vec![] }, vec![]),
                    "{}",
                    who.user_id
                );
                *since = next;
            }
        };
        server.upload_identity(&alice).await;
        expect(&server, &[&alice.user_id], &mut a, &mut b, &mut c).await;
        // The same keys again, and one-time keys, are no news.
        server.upload_identity(&alice).await;
        server.upload(&alice, json!({ "one_time_keys": { "a:b": "c" } })).await;
        expect(&server, &[], &mut a, &mut b, &mut c).await;
        let mut other = identity(&alice);
        other["keys"]["curve25519:x"] = json!("new");
        server.upload(&alice, json!({ "device_keys": other })).await;
        expect(&server, &[&alice.user_id], &mut a, &mut b, &mut c).await;
        // A device without keys comes and goes unnoticed; one with keys does not go unnoticed.
        let second = server.login("alice").await;
        expect(&server, &[], &mut a, &mut b, &mut c).await;
        server.upload_identity(&second).await;
        expect(&server, &[&alice.user_id], &mut a, &mut b, &mut c).await;
        let path = format!("/devices/{}", second.device_id);
        let session = server.delete(&path, &alice.token, json!({})).await.challenge("m.login.password");
        server.delete(&path, &alice.token, json!({ "auth": password_auth(&session, "alice", PASSWORD) })).await.ok();
        expect(&server, &[&alice.user_id], &mut a, &mut b, &mut c).await;
        // Two changes, one mention.
        server.upload_identity(&alice).await;
        server.put(&format!("/devices/{}", alice.device_id), &alice.token, json!({ "display_name": "x" })).await.ok();
        server.upload_identity(&bob).await;
        expect(&server, &[&alice.user_id, &bob.user_id], &mut a, &mut b, &mut c).await;
        server.get("/keys/changes?from=nonsense&to=nonsense", &alice.token).await.error(400, "M_INVALID_PARAM");
    });
}

#[test]
fn joins_and_leaves_change_whom_to_track() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let (one, two) = (server.room(&alice).await, server.room(&alice).await);
        let (mut a, mut b) = (server.sync_token(&alice).await, server.sync_token(&bob).await);
        let leave = async |who: &Login, room: &str| {
            server.post(&format!("/rooms/{room}/leave"), &who.token, json!({})).await.ok();
        };
        let mut expect = async |changed: bool, left: bool| {
            for (who, since, other) in [(&alice, &mut a, &bob), (&bob, &mut b, &alice)] {
                let (seen, gone, next) = lists(&server, who, since).await;
                assert_eq!(
                    (seen.contains(&other.user_id), gone.contains(&other.user_id)),
                    (changed, left),
                    "{}",
                    who.user_id
                );
                assert!(!gone.contains(&who.user_id));
                *since = next;
            }
        };
        expect(false, false).await;
        server.join(&bob, &one).await;
        expect(true, false).await;
        server.join(&bob, &two).await;
        // A server may mention a user again who is met in one more room.
        expect(true, false).await;
        leave(&bob, &one).await;
        expect(false, false).await;
        leave(&bob, &two).await;
        expect(false, true).await;
        // In and out between two syncs: nothing to track.
        server.join(&bob, &one).await;
        leave(&bob, &one).await;
        expect(false, false).await;
        // Out and in again: bob may have missed changes of hers, or not; he must not be told to forget her.
        server.join(&bob, &one).await;
        expect(true, false).await;
        leave(&alice, &one).await;
        expect(false, true).await;
    });
}

#[test]
fn a_waiting_sync_wakes_for_a_change() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.room(&alice).await;
        server.join(&bob, &room).await;
        let since = server.sync_token(&bob).await;
        let wait = async {
            let path = format!("/sync?timeout=60000&since={since}");
            server.get(&path, &bob.token).await.ok()
        };
        let change = async {
            server.wait(std::time::Duration::from_secs(5)).await;
            server.upload_identity(&alice).await;
        };
        let started = server.services.world.monotonic();
        let (sync, ()) = futures::join!(wait, change);
        assert_eq!(sync["device_lists"]["changed"], json!([alice.user_id]));
        assert!((server.services.world.monotonic() - started).as_secs() < 30);
    });
}

#[test]
fn queries_show_what_was_uploaded_and_the_name() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let keys = server.upload_identity(&alice).await;
        server
            .put(&format!("/devices/{}", alice.device_id), &alice.token, json!({ "display_name": "phone" }))
            .await
            .ok();
        let second = server.login("alice").await;
        server.upload_identity(&second).await;
        let mut expected = keys.clone();
        expected["unsigned"] = json!({ "device_display_name": "phone" });
        let some = json!({ "device_keys": { &alice.user_id: [&alice.device_id, "NOPE"], "@nobody:example.org": [] } });
        let answer = server.post("/keys/query", &bob.token, some).await.ok();
        assert_eq!(answer["device_keys"], json!({ &alice.user_id: { &alice.device_id: expected } }));
        assert_eq!(answer["failures"], json!({}));
        let all = server.query(&bob, &[&alice.user_id]).await;
        assert_eq!(all["device_keys"][&alice.user_id].as_object().map(serde_json::Map::len), Some(2));
        let nothing: Value = json!({ "device_keys": { &bob.user_id: [] } });
        let answer = server.post("/keys/query", &bob.token, nothing).await.ok();
        assert_eq!(answer["device_keys"], json!({ &bob.user_id: {} }));
        server.post("/keys/query", &bob.token, json!({})).await.error(400, "M_BAD_JSON");
    });
}

#[test]
fn the_end_of_the_span_asked_about_counts() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        let room = server.room(&alice).await;
        server.join(&bob, &room).await;
        server.join(&carol, &room).await;
        let mut tokens = vec![server.sync_token(&bob).await];
        for who in [&alice, &carol, &alice] {
            // Each time something new.
            let mut keys = identity(who);
            keys["keys"]["curve25519:x"] = json!(tokens.len().to_string());
            server.upload(who, json!({ "device_keys": keys })).await;
            tokens.push(lists(&server, &bob, tokens.last().unwrap()).await.2);
        }
        let asked = async |from: usize, to: usize| {
            let path = format!("/keys/changes?from={}&to={}", tokens[from], tokens[to]);
            let mut changed: Vec<String> =
                server.get(&path, &bob.token).await.ok()["changed"].as_array().unwrap().iter().map(text).collect();
            changed.sort();
            changed
        };
        let (a, c) = (alice.user_id.clone(), carol.user_id.clone());
        assert_eq!(asked(0, 1).await, std::slice::from_ref(&a), "also where she changed again later");
        assert_eq!(asked(1, 2).await, std::slice::from_ref(&c));
        assert_eq!(asked(2, 3).await, std::slice::from_ref(&a));
        assert_eq!(asked(0, 2).await, [a.clone(), c.clone()]);
        assert_eq!(asked(0, 3).await, [a, c]);
        assert!(asked(3, 3).await.is_empty() && asked(3, 0).await.is_empty());
    });
}
