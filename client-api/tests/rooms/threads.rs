//! `GET /rooms/{roomId}/threads`.

use crate::actions::fields;
use crate::server::{Login, Server, with_server};
use serde_json::{Value, json};

async fn reply(server: &Server, who: &Login, room: &str, root: &str, id: &str) -> String {
    let content =
        json!({ "body": id, "msgtype": "m.text", "m.relates_to": { "rel_type": "m.thread", "event_id": root } });
    server.send_as(who, room, "m.room.message", id, content).await.event_id()
}

async fn threads(server: &Server, who: &Login, room: &str, query: &str) -> Value {
    server.get(&format!("/_matrix/client/v1/rooms/{room}/threads{query}"), &who.token).await.ok()
}

#[test]
fn threads_are_listed_by_their_latest_event_page_by_page() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let mut roots = Vec::new();
        for number in 0..5 {
            let root = server.say(&alice, &room, &format!("root-{number}")).await;
            reply(&server, &alice, &room, &root, &format!("first-{number}")).await;
            roots.push(root);
        }
        server.say(&alice, &room, "no-thread").await;
        // 1 and 3 get a new event each, so that they come first.
        reply(&server, &bob, &room, &roots[3], "again-3").await;
        let latest = reply(&server, &bob, &room, &roots[1], "again-1").await;
        let expected: Vec<String> = [1, 3, 4, 2, 0].map(|index| roots[index].clone()).to_vec();

        let all = threads(&server, &alice, &room, "").await;
        assert_eq!(fields(&all["chunk"], "event_id"), expected);
        assert_eq!(all.get("next_batch"), None);
        let thread = &all["chunk"][0]["unsigned"]["m.relations"]["m.thread"];
        assert_eq!((&thread["count"], &thread["latest_event"]["event_id"]), (&json!(2), &json!(latest)));
        let taken_part = threads(&server, &bob, &room, "?include=participated").await;
        assert_eq!(fields(&taken_part["chunk"], "event_id"), expected[..2]);

        for limit in 1..5 {
            let (mut found, mut query) = (Vec::new(), format!("?limit={limit}"));
            loop {
                let page = threads(&server, &bob, &room, &query).await;
                let chunk = fields(&page["chunk"], "event_id");
                assert!(chunk.len() <= limit);
                found.extend(chunk);
                let Some(next) = page["next_batch"].as_str() else { break };
                query = format!("?limit={limit}&from={next}");
            }
            assert_eq!(found, expected, "by {limit}");
        }
    });
}

#[test]
fn threads_show_what_the_user_may_and_wants_to_see() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        let room = server
            .room(
                &alice,
                json!({ "preset": "public_chat", "initial_state": [
            { "type": "m.room.history_visibility", "content": { "history_visibility": "joined" } },
        ] }),
            )
            .await;
        let path = format!("/_matrix/client/v1/rooms/{room}/threads");
        let early = server.say(&alice, &room, "early").await;
        reply(&server, &alice, &room, &early, "1").await;
        server.get(&path, &bob.token).await.error(403, "M_FORBIDDEN");
        server.join(&bob, &room).await;
        assert_eq!(threads(&server, &bob, &room, "").await["chunk"], json!([]));
        let late = server.say(&alice, &room, "late").await;
        let only = reply(&server, &alice, &room, &late, "2").await;
        assert_eq!(fields(&threads(&server, &bob, &room, "").await["chunk"], "event_id"), vec![late.clone()]);
        // A thread all of whose events are gone is none.
        server.put(&format!("/rooms/{room}/redact/{only}/x"), &alice.token, json!({})).await.ok();
        assert_eq!(threads(&server, &bob, &room, "").await["chunk"], json!([]));
        // The root of an ignored user is shown without its content, their answers not at all.
        server.join(&carol, &room).await;
        let ignored = server.say(&carol, &room, "ignored").await;
        reply(&server, &carol, &room, &ignored, "3").await;
        let data = format!("/user/{}/account_data/m.ignored_user_list", bob.user_id);
        server.put(&data, &bob.token, json!({ "ignored_users": { carol.user_id.clone(): {} } })).await.ok();
        assert_eq!(threads(&server, &bob, &room, "").await["chunk"], json!([]));
        reply(&server, &alice, &room, &ignored, "4").await;
        let chunk = threads(&server, &bob, &room, "").await["chunk"].clone();
        assert_eq!((fields(&chunk, "event_id"), &chunk[0]["content"]), (vec![ignored], &json!({})));
        for bad in ["?from=x", "?limit=0", "?limit=x", "?include=some"] {
            server.get(&format!("{path}{bad}"), &bob.token).await.error(400, "M_INVALID_PARAM");
        }
    });
}

/// "When a parent event is redacted, the child events which pointed to that parent remain."
#[test]
fn what_refers_to_a_redacted_event_stays_bundled_but_for_its_edits() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        for version in ["10", "12"] {
            let room = server.room(&alice, json!({ "room_version": version })).await;
            let root = server.say(&alice, &room, "root").await;
            reply(&server, &alice, &room, &root, "1").await;
            let latest = reply(&server, &alice, &room, &root, "2").await;
            for rel_type in ["m.reference", "m.replace"] {
                let relates = json!({ "rel_type": rel_type, "event_id": root });
                let content = json!({ "body": "x", "msgtype": "m.text", "m.relates_to": relates, "m.new_content": { "body": "y" } });
                server.send_as(&alice, &room, "m.room.message", rel_type, content).await.event_id();
            }
            let relations = async || {
                let event = server.room_get(&alice, &room, &format!("event/{root}")).await.ok();
                event["unsigned"]["m.relations"].clone()
            };
            let mut whole = relations().await;
            assert!(whole["m.replace"].is_object(), "{whole}");
            server.put(&format!("/rooms/{room}/redact/{root}/x"), &alice.token, json!({})).await.ok();
            whole.as_object_mut().unwrap().remove("m.replace");
            assert_eq!(relations().await, whole, "version {version}");
            let listed = threads(&server, &alice, &room, "").await["chunk"][0]["unsigned"]["m.relations"].clone();
            assert_eq!(
                (&listed["m.thread"]["count"], &listed["m.thread"]["latest_event"]["event_id"]),
                (&json!(2), &json!(latest))
            );
        }
    });
}

/// "Threaded read receipts": an event is in the thread of what it relates to, over at most three hops.
#[test]
fn what_relates_to_an_event_of_a_thread_counts_as_unread_in_that_thread() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let refer = async |to: &str, id: &str| {
            let content = json!({ "body": id, "msgtype": "m.text", "m.relates_to": { "rel_type": "m.reference", "event_id": to } });
            server.send_as(&alice, &room, "m.room.message", id, content).await.event_id()
        };
        let counts = async || {
            let filter = json!({ "room": { "timeline": { "unread_thread_notifications": true } } }).to_string();
            let filter = filter.replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
            let answer = server.get(&format!("/sync?filter={filter}"), &bob.token).await.ok();
            let joined = &answer["rooms"]["join"][&room];
            let threads = joined["unread_thread_notifications"].as_object().cloned().unwrap_or_default();
            let threads =
                threads.into_iter().map(|(root, counts)| (root, counts["notification_count"].as_u64().unwrap()));
            (joined["unread_notifications"]["notification_count"].as_u64().unwrap(), threads.collect::<Vec<_>>())
        };
        let receipt = async |event: &str, thread: &str| {
            let path = format!("/rooms/{room}/receipt/m.read/{event}");
            server.post(&path, &bob.token, json!({ "thread_id": thread })).await
        };
        let root = server.say(&alice, &room, "root").await;
        receipt(&root, "main").await.ok();
        let in_thread = reply(&server, &alice, &room, &root, "in-thread").await;
        let one = refer(&in_thread, "one").await;
        assert_eq!(counts().await, (0, vec![(root.clone(), 2)]));
        let two = refer(&one, "two").await;
        let three = refer(&two, "three").await;
        assert_eq!(counts().await, (0, vec![(root.clone(), 4)]));
        // What refers to the root by anything but m.thread is in the main timeline, and so is what is too far away.
        refer(&root, "to-root").await;
        refer(&three, "four").await;
        assert_eq!(counts().await, (2, vec![(root.clone(), 4)]));
        // Where a receipt may say that something was read is where it was counted.
        receipt(&two, "main").await.error(400, "M_INVALID_PARAM");
        receipt(&two, &root).await.ok();
        assert_eq!(counts().await, (2, vec![(root.clone(), 1)]));
    });
}

/// "Validity of replacement events".
#[test]
fn only_valid_edits_are_bundled() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let edit_of = |event: &str, new: Option<Value>| {
            let mut content = json!({ "body": "*", "msgtype": "m.text", "m.relates_to": { "rel_type": "m.replace", "event_id": event } });
            if let Some(new) = new {
                content["m.new_content"] = new;
            }
            content
        };
        let text = || Some(json!({ "body": "new", "msgtype": "m.text" }));
        let bundled = async |event: &str| {
            let event = server.get(&format!("/rooms/{room}/event/{event}"), &bob.token).await.ok();
            event["unsigned"]["m.relations"]["m.replace"]["event_id"].as_str().map(str::to_owned)
        };
        let original = server.say(&alice, &room, "original").await;
        let edit = server.send_as(&alice, &room, "m.room.message", "edit", edit_of(&original, text())).await.event_id();
        assert_eq!(bundled(&original).await, Some(edit.clone()));
        let again = server.send_as(&alice, &room, "m.room.message", "again", edit_of(&edit, text())).await;
        again.event_id();
        assert_eq!(bundled(&edit).await, None, "an edit of an edit");

        let invalid = [
            ("without new content", &alice, "m.room.message", None),
            ("new content that is none", &alice, "m.room.message", Some(json!("new"))),
            ("of another type", &alice, "org.example.x", text()),
            ("encrypted", &alice, "m.room.encrypted", None),
            ("of another sender", &bob, "m.room.message", text()),
        ];
        for (number, (what, who, kind, new)) in invalid.into_iter().enumerate() {
            let original = server.say(&alice, &room, &format!("original-{number}")).await;
            let content = edit_of(&original, new);
            server.send_as(who, &room, kind, &format!("invalid-{number}"), content).await.event_id();
            assert_eq!(bundled(&original).await, None, "{what}");
        }
        let original = server.say(&alice, &room, "original-state").await;
        let path = format!("/rooms/{room}/state/m.room.message/x");
        server.put(&path, &alice.token, edit_of(&original, text())).await.ok();
        assert_eq!(bundled(&original).await, None, "a state event");

        // The new content of what is encrypted is where no server sees it.
        let cipher = json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x" });
        let original = server.send_as(&alice, &room, "m.room.encrypted", "cipher", cipher).await.event_id();
        let edit = server.send_as(&alice, &room, "m.room.encrypted", "cipher-edit", edit_of(&original, None)).await;
        assert_eq!(bundled(&original).await, Some(edit.event_id()));
    });
}
