//! What a filter does to the events of `/sync` and `/messages`, and what is bundled into them.

use crate::server::{Login, Server, with_server};
use serde_json::{Value, json};

pub(crate) fn encoded(json: &Value) -> String {
    json.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// The timeline of a room in a sync from the beginning.
async fn timeline(server: &Server, who: &Login, room: &str, filter: &Value) -> Vec<Value> {
    let sync = server.get(&format!("/sync?filter={}", encoded(filter)), &who.token).await.ok();
    sync["rooms"]["join"][room]["timeline"]["events"].as_array().unwrap().clone()
}

#[test]
fn event_format_and_event_fields_shape_the_events_of_a_sync() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let content = json!({ "body": "b", "msgtype": "m.text", "m.x": { "deep": 1, "other": 2 } });
        let event_id = server.send_as(&alice, &room, "m.room.message", "1", content.clone()).await.event_id();

        let federation = timeline(&server, &alice, &room, &json!({ "event_format": "federation" })).await;
        let last = federation.last().unwrap();
        assert_eq!(last["content"], content);
        for member in ["auth_events", "prev_events", "hashes", "signatures", "depth", "origin_server_ts"] {
            assert!(!last[member].is_null(), "{member} in {last}");
        }
        assert!(last["signatures"]["example.org"].is_object());

        let fields = json!({ "event_fields": ["event_id", "content.body", "content.m\\.x.deep", "nothing.here"] });
        let cut = timeline(&server, &alice, &room, &fields).await;
        assert_eq!(
            *cut.last().unwrap(),
            json!({ "event_id": event_id, "content": { "body": "b", "m.x": { "deep": 1 } } })
        );
        let both = json!({ "event_format": "federation", "event_fields": ["depth"] });
        let last = timeline(&server, &alice, &room, &both).await.pop().unwrap();
        assert_eq!(last.as_object().unwrap().keys().collect::<Vec<_>>(), ["depth"]);
        // A stored filter does the same, and state is cut down too.
        let id = server
            .post(&format!("/user/{}/filter", alice.user_id), &alice.token, json!({ "event_fields": ["type"] }))
            .await
            .ok();
        let path = format!("/sync?full_state=true&filter={}", id["filter_id"].as_str().unwrap());
        let sync = server.get(&path, &alice.token).await.ok();
        let part = &sync["rooms"]["join"][&room];
        for event in
            part["state"]["events"].as_array().unwrap().iter().chain(part["timeline"]["events"].as_array().unwrap())
        {
            assert_eq!(event.as_object().unwrap().keys().collect::<Vec<_>>(), ["type"]);
        }
    });
}

#[test]
fn related_by_finds_events_that_others_relate_to() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let (first, second) = (server.say(&alice, &room, "1").await, server.say(&alice, &room, "2").await);
        server.say(&alice, &room, "3").await;
        let relate = async |who: &Login, kind: &str, to: &str| {
            let content = json!({ "body": kind, "m.relates_to": { "rel_type": kind, "event_id": to } });
            server.send_as(who, &room, "m.x", kind, content).await.event_id()
        };
        relate(&bob, "m.thread", &first).await;
        let gone = relate(&alice, "m.reference", &second).await;
        let found = async |filter: Value| -> Vec<String> {
            let path = format!("messages?dir=b&limit=50&filter={}", encoded(&filter));
            let page = server.room_get(&alice, &room, &path).await.ok();
            let chunk = crate::actions::fields(&page["chunk"], "event_id");
            let synced = timeline(&server, &alice, &room, &json!({ "room": { "timeline": filter } })).await;
            let mut synced = crate::actions::fields(&Value::Array(synced), "event_id");
            synced.reverse();
            assert_eq!(chunk, synced);
            chunk
        };
        assert_eq!(found(json!({ "related_by_rel_types": ["m.thread"] })).await, vec![first.clone()]);
        assert_eq!(
            found(json!({ "related_by_rel_types": ["m.thread", "m.reference"] })).await,
            [second.clone(), first.clone()]
        );
        assert_eq!(found(json!({ "related_by_senders": [bob.user_id] })).await, vec![first.clone()]);
        let both = json!({ "related_by_senders": [bob.user_id], "related_by_rel_types": ["m.reference"] });
        assert_eq!(found(both).await, Vec::<String>::new());
        server.put(&format!("/rooms/{room}/redact/{gone}/1"), &alice.token, json!({})).await.ok();
        assert_eq!(found(json!({ "related_by_rel_types": ["m.reference"] })).await, Vec::<String>::new());
    });
}

#[test]
fn the_latest_event_of_a_thread_carries_what_relates_to_it() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let root = server.say(&alice, &room, "root").await;
        let related = async |who: &Login, id: &str, kind: &str, to: &str| {
            let content = json!({
                "body": id, "msgtype": "m.text", "m.relates_to": { "rel_type": kind, "event_id": to },
                "m.new_content": { "body": id, "msgtype": "m.text" },
            });
            server.send_as(who, &room, "m.room.message", id, content).await.event_id()
        };
        let reply = related(&alice, "reply", "m.thread", &root).await;
        let edit = related(&alice, "edit", "m.replace", &reply).await;
        let reference = related(&bob, "reference", "m.reference", &reply).await;
        let bundle = async |who: &Login| {
            let event = server.room_get(who, &room, &format!("event/{root}")).await.ok();
            event["unsigned"]["m.relations"]["m.thread"].clone()
        };
        let thread = bundle(&bob).await;
        assert_eq!((&thread["latest_event"]["event_id"], &thread["count"]), (&json!(reply), &json!(1)));
        let nested = &thread["latest_event"]["unsigned"]["m.relations"];
        assert_eq!(nested["m.replace"]["event_id"], json!(edit));
        assert_eq!(nested["m.reference"]["chunk"], json!([{ "event_id": reference }]));
        assert!(thread["latest_event"]["unsigned"]["age"].is_number());
        // What ignored users say is neither shown nor counted.
        let other = related(&bob, "other", "m.thread", &root).await;
        assert_eq!(bundle(&alice).await["latest_event"]["event_id"], json!(other));
        let path = format!("/user/{}/account_data/m.ignored_user_list", alice.user_id);
        server.put(&path, &alice.token, json!({ "ignored_users": { bob.user_id.clone(): {} } })).await.ok();
        let thread = bundle(&alice).await;
        assert_eq!((&thread["latest_event"]["event_id"], &thread["count"]), (&json!(reply), &json!(1)));
    });
}

#[test]
fn rooms_are_left_out_of_each_part_of_a_sync_and_of_messages() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let rooms = [server.public_room(&alice).await, server.public_room(&alice).await];
        for room in &rooms {
            let said = server.say(&alice, room, "x").await;
            server.put(&format!("/user/{}/rooms/{room}/tags/u.x", alice.user_id), &alice.token, json!({})).await.ok();
            server.post(&format!("/rooms/{room}/receipt/m.read/{said}"), &alice.token, json!({})).await.ok();
        }
        let parts = ["timeline", "state", "account_data", "ephemeral"];
        // Which of these parts tell anything of each room.
        let told = async |filter: Value| {
            let sync =
                server.get(&format!("/sync?full_state=true&filter={}", encoded(&filter)), &alice.token).await.ok();
            rooms.each_ref().map(|room| {
                let of_room = sync["rooms"]["join"][room].clone();
                let has = |part: &&str| of_room[part]["events"].as_array().is_some_and(|events| !events.is_empty());
                parts.into_iter().filter(has).collect::<Vec<_>>()
            })
        };
        // One event, so that there is state before it.
        let with = |part: &str, filter: Value| {
            let mut whole = json!({ "room": { "timeline": { "limit": 1 } } });
            for (name, value) in filter.as_object().unwrap() {
                whole["room"][part][name] = value.clone();
            }
            whole
        };
        assert_eq!(told(with("timeline", json!({}))).await, [parts.to_vec(), parts.to_vec()]);
        for part in parts {
            let others: Vec<&str> = parts.into_iter().filter(|other| *other != part).collect();
            for filter in [json!({ "rooms": [rooms[1]] }), json!({ "not_rooms": [rooms[0]] })] {
                assert_eq!(told(with(part, filter)).await, [others.clone(), parts.to_vec()], "{part}");
            }
            for filter in [json!({ "rooms": [] }), json!({ "rooms": rooms, "not_rooms": rooms })] {
                assert_eq!(told(with(part, filter)).await, [others.clone(), others.clone()], "{part}");
            }
        }
        let page = async |filter: Value, dir: &str| {
            let path = format!("messages?dir={dir}&limit=3&filter={}", encoded(&filter));
            server.room_get(&alice, &rooms[0], &path).await.ok()
        };
        for dir in ["b", "f"] {
            for filter in [json!({ "rooms": [] }), json!({ "rooms": [rooms[1]] }), json!({ "not_rooms": [rooms[0]] })] {
                let page = page(filter, dir).await;
                assert_eq!((&page["chunk"], page.get("end")), (&json!([]), None));
            }
            for filter in [json!({ "rooms": [rooms[0]] }), json!({ "not_rooms": [rooms[1]] })] {
                assert_eq!(page(filter, dir).await["chunk"].as_array().unwrap().len(), 3);
            }
        }
    });
}
