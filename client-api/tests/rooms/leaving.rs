//! What `/sync` and the endpoints of a room show to who has left, was never let in, or has just come.

use crate::actions::fields;
use crate::server::{Login, Server, with_server};
use serde_json::{Value, json};

async fn token(server: &Server, who: &Login) -> String {
    server.get("/sync", &who.token).await.ok()["next_batch"].as_str().unwrap().to_owned()
}

/// Every form of a sync in which a room that was left is shown.
fn forms(since: &str) -> [String; 5] {
    let archived = "filter=%7B%22room%22:%7B%22include_leave%22:true%7D%7D";
    [
        format!("/sync?since={since}"),
        format!("/sync?since={since}&use_state_after=true"),
        format!("/sync?since={since}&full_state=true"),
        format!("/sync?{archived}"),
        format!("/sync?{archived}&use_state_after=true"),
    ]
}

fn state(room: &Value) -> &Value {
    room.get("state").or_else(|| room.get("state_after")).map(|state| &state["events"]).unwrap()
}

#[test]
fn who_was_only_invited_learns_nothing_of_the_room_by_turning_it_down() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        for how in ["leave", "kick", "ban"] {
            let room = server.room(&alice, json!({ "name": "secret name", "topic": "secret topic" })).await;
            server.act(&alice, "invite", &room, &bob).await.ok();
            let since = token(&server, &bob).await;
            server.set_state(&alice, &room, "m.room.topic/", json!({ "topic": "secret too" })).await.ok();
            server.act(&alice, "invite", &room, &carol).await.ok();
            server.say(&alice, &room, "secret-message").await;
            match how {
                "leave" => server.leave(&bob, &room).await,
                other => drop(server.act(&alice, other, &room, &bob).await.ok()),
            }
            for form in forms(&since) {
                let sync = server.get(&form, &bob.token).await.ok();
                let left = &sync["rooms"]["leave"][&room];
                assert_eq!(*state(left), json!([]), "{how} {form}");
                let timeline = left["timeline"]["events"].as_array().unwrap();
                assert_eq!(timeline.len(), 1, "{how} {form}: {left}");
                assert_eq!(timeline[0]["state_key"], json!(bob.user_id));
                assert!(!left.to_string().contains("secret"), "{how} {form}: {left}");
            }
            for path in ["state", "members", "messages?dir=b", "initialSync"] {
                server.room_get(&bob, &room, path).await.error(403, "M_FORBIDDEN");
            }
        }
    });
}

#[test]
fn who_left_sees_the_room_as_it_was_then_whatever_came_after() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        for after in ["nothing", "invite", "ban"] {
            let room = server.public_room(&alice).await;
            let before = token(&server, &bob).await;
            server.join(&bob, &room).await;
            let since = token(&server, &bob).await;
            server.set_state(&alice, &room, "m.room.topic/", json!({ "topic": "seen" })).await.ok();
            server.leave(&bob, &room).await;
            server.set_state(&alice, &room, "m.room.topic/", json!({ "topic": "secret" })).await.ok();
            server.say(&alice, &room, "secret-message").await;
            match after {
                "invite" => {
                    server.act(&alice, "invite", &room, &bob).await.ok();
                    server.leave(&bob, &room).await;
                }
                "ban" => drop(server.act(&alice, "ban", &room, &bob).await.ok()),
                _ => {}
            }
            for form in forms(&since) {
                let sync = server.get(&form, &bob.token).await.ok();
                let left = &sync["rooms"]["leave"][&room];
                assert!(left.to_string().contains("seen"), "{after} {form}: {left}");
                assert!(!left.to_string().contains("secret"), "{after} {form}: {left}");
                let last = left["timeline"]["events"].as_array().unwrap().last().unwrap();
                assert_eq!(last["state_key"], json!(bob.user_id), "{after} {form}: {left}");
            }
            // Who came and went between two syncs has the whole room to learn.
            let sync = server.get(&format!("/sync?since={before}"), &bob.token).await.ok();
            let left = &sync["rooms"]["leave"][&room];
            let mut kinds = fields(state(left), "type");
            kinds.extend(fields(&left["timeline"]["events"], "type"));
            assert!(kinds.contains(&"m.room.create".to_owned()), "{after}: {left}");
            for path in ["state", "state/m.room.topic/", "initialSync"] {
                let told = server.room_get(&bob, &room, path).await.ok().to_string();
                assert!(told.contains("seen") && !told.contains("secret"), "{after} {path}: {told}");
            }
            let members = server.room_get(&bob, &room, "members").await.ok();
            let own =
                members["chunk"].as_array().unwrap().iter().find(|one| one["state_key"] == json!(bob.user_id)).unwrap();
            assert_eq!(own["content"]["membership"], "leave", "{after}");
        }
    });
}

/// A member event may have followed the join before the client syncs; it has the whole room to learn all the same.
#[test]
fn a_room_is_new_to_a_client_also_if_the_user_s_name_changed_since_they_joined() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let encryption = json!({ "type": "m.room.encryption", "content": { "algorithm": "m.megolm.v1.aes-sha2" } });
        let room = server.room(&alice, json!({ "preset": "public_chat", "initial_state": [encryption] })).await;
        for number in 0..30 {
            server.say(&alice, &room, &number.to_string()).await;
        }
        let since = token(&server, &bob).await;
        server.join(&bob, &room).await;
        let name = format!("/profile/{}/displayname", bob.user_id);
        server.put(&name, &bob.token, json!({ "displayname": "Bob" })).await.ok();
        for form in ["", "&use_state_after=true"] {
            let sync = server.get(&format!("/sync?since={since}{form}"), &bob.token).await.ok();
            let joined = &sync["rooms"]["join"][&room];
            let kinds = fields(state(joined), "type");
            for kind in ["m.room.create", "m.room.encryption", "m.room.power_levels"] {
                assert!(kinds.contains(&kind.to_owned()), "{kind} in {kinds:?}");
            }
            assert_eq!(joined["summary"]["m.joined_member_count"], 2);
            assert_eq!(joined["timeline"]["events"].as_array().unwrap().len(), 20);
        }
        // To a client that knew the room, a new name is one event, and nothing is told again.
        let since = token(&server, &bob).await;
        server.put(&name, &bob.token, json!({ "displayname": "Robert" })).await.ok();
        let sync = server.get(&format!("/sync?since={since}"), &bob.token).await.ok();
        let joined = &sync["rooms"]["join"][&room];
        assert_eq!(joined["timeline"]["events"].as_array().unwrap().len(), 1);
        assert_eq!((state(joined), joined.get("ephemeral")), (&json!([]), None));
    });
}

/// "Rooms which have been forgotten will never appear in the response to the /sync API, until the user re-joins, is re-invited, or
/// knocks."
#[test]
fn a_forgotten_room_is_told_of_again_once_the_user_has_been_back() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        for (back, end) in [
            ("join", "leave"),
            ("join", "kick"),
            ("join", "ban"),
            ("invite", "kick"),
            ("invite", "leave"),
            ("knock", "kick"),
        ] {
            let room = server.public_room(&alice).await;
            server.join(&bob, &room).await;
            server.leave(&bob, &room).await;
            let since = token(&server, &bob).await;
            server.post(&format!("/rooms/{room}/forget"), &bob.token, json!({})).await.ok();
            server.act(&alice, "ban", &room, &bob).await.ok();
            let hidden = server.get(&format!("/sync?since={since}"), &bob.token).await.ok();
            assert_eq!(hidden["rooms"]["leave"][&room], Value::Null, "{back} {end}");
            server.act(&alice, "unban", &room, &bob).await.ok();
            match back {
                "join" => server.join(&bob, &room).await,
                "invite" => drop(server.act(&alice, "invite", &room, &bob).await.ok()),
                _ => {
                    server.set_state(&alice, &room, "m.room.join_rules/", json!({ "join_rule": "knock" })).await.ok();
                    server.post(&format!("/knock/{room}"), &bob.token, json!({})).await.ok();
                }
            }
            let since = token(&server, &bob).await;
            match end {
                "leave" => server.leave(&bob, &room).await,
                other => drop(server.act(&alice, other, &room, &bob).await.ok()),
            }
            let told = server.get(&format!("/sync?since={since}"), &bob.token).await.ok();
            let left = &told["rooms"]["leave"][&room];
            let last = left["timeline"]["events"].as_array().and_then(|events| events.last());
            assert_eq!(last.map(|event| &event["state_key"]), Some(&json!(bob.user_id)), "{back} {end}: {told}");
        }
    });
}

/// Another device of theirs knows the room still.
#[test]
fn a_room_that_was_left_and_forgotten_at_once_leaves_every_device() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        for end in ["leave", "kick", "invite"] {
            let room = server.public_room(&alice).await;
            match end {
                "invite" => drop(server.act(&alice, "invite", &room, &bob).await.ok()),
                _ => server.join(&bob, &room).await,
            }
            let since = token(&server, &bob).await;
            match end {
                "kick" => drop(server.act(&alice, "kick", &room, &bob).await.ok()),
                _ => server.leave(&bob, &room).await,
            }
            server.post(&format!("/rooms/{room}/forget"), &bob.token, json!({})).await.ok();
            let told = server.get(&format!("/sync?since={since}"), &bob.token).await.ok();
            let left = &told["rooms"]["leave"][&room];
            assert_eq!(left["timeline"]["events"], json!([]), "{end}: {told}");
            let since = told["next_batch"].as_str().unwrap();
            let told = server.get(&format!("/sync?since={since}&full_state=true"), &bob.token).await.ok();
            assert_eq!(told["rooms"]["leave"][&room], Value::Null, "{end}");
        }
    });
}
