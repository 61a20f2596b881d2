//! Rooms looked at from outside a sync: summaries, `initialSync`, rooms shared with someone, notifications.

use crate::actions::fields;
use crate::server::{Login, Server, with_server};
use serde_json::{Value, json};

async fn summary(server: &Server, who: &Login, room: &str) -> crate::server::Answer {
    let room = room.replace('#', "%23");
    server.get(&format!("/_matrix/client/v1/room_summary/{room}"), &who.token).await
}

#[test]
fn a_summary_is_for_who_may_see_or_join_the_room() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let make = async |body: Value| server.room(&alice, body).await;
        let open = make(json!({
            "preset": "public_chat", "name": "Open", "topic": "t", "room_alias_name": "open", "room_version": "11",
            "creation_content": { "type": "m.space" },
            "initial_state": [{ "type": "m.room.encryption", "content": { "algorithm": "m.megolm.v1.aes-sha2" } }],
        }))
        .await;
        for name in [open.as_str(), "#open:example.org"] {
            let answer = summary(&server, &bob, name).await.ok();
            let expected = json!({
                "room_id": open, "name": "Open", "topic": "t", "canonical_alias": "#open:example.org",
                "join_rule": "public", "num_joined_members": 1, "world_readable": false, "guest_can_join": false,
                "room_type": "m.space", "room_version": "11", "encryption": "m.megolm.v1.aes-sha2",
            });
            assert_eq!(answer, expected);
        }
        assert_eq!(summary(&server, &alice, &open).await.ok()["membership"], "join");
        let closed = make(json!({})).await;
        summary(&server, &bob, &closed).await.error(404, "M_NOT_FOUND");
        server.act(&alice, "invite", &closed, &bob).await.ok();
        assert_eq!(summary(&server, &bob, &closed).await.ok()["membership"], "invite");
        let restricted = make(json!({ "initial_state": [{
            "type": "m.room.join_rules",
            "content": { "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": open }] },
        }] }))
        .await;
        summary(&server, &bob, &restricted).await.error(404, "M_NOT_FOUND");
        server.join(&bob, &open).await;
        let answer = summary(&server, &bob, &restricted).await.ok();
        assert_eq!((&answer["allowed_room_ids"], answer.get("membership")), (&json!([open]), None));
        server.act(&alice, "ban", &open, &bob).await.ok();
        summary(&server, &bob, &open).await.error(404, "M_NOT_FOUND");
        for missing in ["!nothing:example.org", "#nothing:example.org"] {
            summary(&server, &bob, missing).await.error(404, "M_NOT_FOUND");
        }
        summary(&server, &bob, "nonsense").await.error(400, "M_INVALID_PARAM");
        server.ask(&format!("/_matrix/client/v1/room_summary/{open}")).await.error(401, "M_MISSING_TOKEN");
    });
}

#[test]
fn an_initial_sync_of_a_room_tells_what_is_there() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        for number in 0..30 {
            server.say(&alice, &room, &number.to_string()).await;
        }
        let tag = format!("/user/{}/rooms/{room}/tags/u.x", alice.user_id);
        server.put(&tag, &alice.token, json!({})).await.ok();
        server.room_get(&bob, &room, "initialSync").await.error(403, "M_FORBIDDEN");
        let told = server.room_get(&alice, &room, "initialSync").await.ok();
        assert_eq!(
            (&told["room_id"], &told["membership"], &told["visibility"]),
            (&json!(room), &json!("join"), &json!("private"))
        );
        let bodies: Vec<String> = told["messages"]["chunk"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["content"]["body"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(bodies, (10..30).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(told["account_data"], json!([{ "type": "m.tag", "content": { "tags": { "u.x": {} } } }]));
        assert!(fields(&told["state"], "type").contains(&"m.room.create".to_owned()));
        let before = format!("messages?dir=b&limit=1&from={}", told["messages"]["start"].as_str().unwrap());
        let page = server.room_get(&alice, &room, &before).await.ok();
        assert_eq!(page["chunk"][0]["content"]["body"], "9");
        // What comes after the end is what came after the answer.
        let after = format!("messages?dir=f&from={}", told["messages"]["end"].as_str().unwrap());
        server.say(&alice, &room, "later").await;
        assert_eq!(server.room_get(&alice, &room, &after).await.ok()["chunk"][0]["content"]["body"], "later");
    });
}

#[test]
fn mutual_rooms_are_those_that_both_are_joined_to() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let path = format!("/_matrix/client/v1/mutual_rooms?user_id={}", bob.user_id);
        let (shared, left, only) =
            (server.public_room(&alice).await, server.public_room(&alice).await, server.public_room(&alice).await);
        server.join(&bob, &shared).await;
        server.join(&bob, &left).await;
        server.leave(&bob, &left).await;
        server.act(&alice, "invite", &only, &bob).await.ok();
        let answer = server.get(&path, &alice.token).await.ok();
        assert_eq!(answer, json!({ "joined": [shared], "count": 1 }));
        let nobody = path.replace("@bob:example.org", "@nobody:other.org");
        assert_eq!(server.get(&nobody, &alice.token).await.ok(), json!({ "joined": [], "count": 0 }));
        for (bad, errcode) in [
            (path.replace("@bob:example.org", &alice.user_id), "M_INVALID_PARAM"),
            (path.replace("@bob:example.org", "bob"), "M_INVALID_PARAM"),
            (format!("{path}&from=x"), "M_INVALID_PARAM"),
            ("/_matrix/client/v1/mutual_rooms".to_owned(), "M_MISSING_PARAM"),
        ] {
            server.get(&bad, &alice.token).await.error(400, errcode);
        }
    });
}

#[test]
fn notifications_are_what_the_rules_notify_of_in_all_rooms() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let rooms = [server.public_room(&alice).await, server.public_room(&alice).await];
        server.say(&alice, &rooms[0], "before-bob-came").await;
        let mut said = Vec::new();
        for room in &rooms {
            server.join(&bob, room).await;
        }
        for number in 0..6 {
            let room = &rooms[number % 2];
            let mentioned: &[&str] = if number == 3 { &[&bob.user_id] } else { &[] };
            let content = json!({ "body": "x", "msgtype": "m.text", "m.mentions": { "user_ids": mentioned } });
            said.push(server.send_as(&alice, room, "m.room.message", &number.to_string(), content).await.event_id());
            server.say(&bob, room, &format!("own-{number}")).await;
        }
        server.send_as(&alice, &rooms[0], "m.x", "quiet", json!({})).await.ok();
        let list = async |query: &str| server.get(&format!("/notifications{query}"), &bob.token).await.ok();
        let ids = |page: &Value| -> Vec<String> {
            page["notifications"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["event"]["event_id"].as_str().unwrap().to_owned())
                .collect()
        };
        let newest_first: Vec<String> = said.iter().rev().cloned().collect();
        let all = list("").await;
        assert_eq!(ids(&all), newest_first);
        let one = &all["notifications"][0];
        assert_eq!(one["room_id"], json!(rooms[1]));
        assert!(one["actions"].as_array().unwrap().contains(&json!("notify")), "{one}");
        assert!(one["ts"].is_i64() && one["event"].get("room_id").is_none());
        assert_eq!(all.get("next_token"), None);
        let (mut found, mut query) = (Vec::new(), "?limit=2".to_owned());
        loop {
            let page = list(&query).await;
            found.extend(ids(&page));
            let Some(next) = page["next_token"].as_str() else { break };
            query = format!("?limit=2&from={next}");
        }
        assert_eq!(found, newest_first);
        assert_eq!(ids(&list("?only=highlight").await), [said[3].clone()]);
        // Reading marks them, in the room where it is done.
        server.post(&format!("/rooms/{}/receipt/m.read/{}", rooms[0], said[2]), &bob.token, json!({})).await.ok();
        let read: Vec<bool> = list("").await["notifications"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["read"].as_bool().unwrap())
            .collect();
        assert_eq!(read, [false, false, false, true, false, true]);
        server.get("/notifications?from=x", &bob.token).await.error(400, "M_INVALID_PARAM");
        server.leave(&bob, &rooms[1]).await;
        assert_eq!(ids(&list("").await), [said[4].clone(), said[2].clone(), said[0].clone()]);
    });
}

/// A new name is one more member event, and no new join.
#[test]
fn what_was_said_before_somebody_joined_is_not_counted_when_their_name_changes() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        for text in ["before", "before-too"] {
            server.say(&alice, &room, text).await;
        }
        server.join(&bob, &room).await;
        for (index, name) in ["Bob", "Robert"].into_iter().enumerate() {
            let path = format!("/profile/{}/displayname", bob.user_id);
            server.put(&path, &bob.token, json!({ "displayname": name })).await.ok();
            let sync = server.get("/sync", &bob.token).await.ok();
            let unread = &sync["rooms"]["join"][&room]["unread_notifications"];
            assert_eq!(unread["notification_count"], json!(index), "{name}");
            let notifications = server.get("/notifications", &bob.token).await.ok();
            assert_eq!(notifications["notifications"].as_array().unwrap().len(), index, "{name}");
            server.say(&alice, &room, &format!("after-{name}")).await;
        }
    });
}
