//! What is shown of a room whose old history has been purged.

use crate::actions::fields;
use crate::server::{Login, Server, with_server};
use serde_json::{Value, json};
use std::time::Duration;

impl Server {
    /// Deletes all of a room's history but the newest event.
    async fn purge(&self, room: &str) {
        self.wait(Duration::from_secs(1)).await;
        self.services.rooms.purge_history(room, i64::MAX).await.unwrap();
    }

    async fn page(&self, who: &Login, room: &str, direction: &str) -> Value {
        self.room_get(who, room, &format!("messages?dir={direction}&limit=50")).await.ok()
    }
}

#[test]
fn who_left_before_the_cut_has_an_empty_history() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let (bob, carol, dan) = (server.user("bob").await, server.user("carol").await, server.user("dan").await);
        for visibility in ["shared", "invited", "joined"] {
            let room = server.public_room(&alice).await;
            server
                .set_state(&alice, &room, "m.room.history_visibility", json!({ "history_visibility": visibility }))
                .await
                .ok();
            server.join(&bob, &room).await;
            server.say(&alice, &room, "for-bob").await;
            server.leave(&bob, &room).await;
            server.act(&alice, "invite", &room, &dan).await.ok();
            server.leave(&dan, &room).await;
            server.say(&alice, &room, "not-for-bob").await;
            let newest = server.say(&alice, &room, "nor-this").await;
            assert!(fields(&server.page(&bob, &room, "b").await["chunk"], "type").len() > 3, "{visibility}");
            server.purge(&room).await;

            assert_eq!(
                fields(&server.page(&alice, &room, "b").await["chunk"], "event_id"),
                std::slice::from_ref(&newest)
            );
            for direction in ["b", "f"] {
                let mut page = server.page(&bob, &room, direction).await;
                let end = page["end"].take();
                if let Some(end) = end.as_str() {
                    // Where other servers were asked for what came before.
                    assert_eq!(page["chunk"], json!([]), "{visibility}");
                    let path = format!("messages?dir={direction}&from={end}");
                    page = server.room_get(&bob, &room, &path).await.ok();
                }
                assert_eq!((&page["chunk"], &page["end"]), (&json!([]), &Value::Null), "{visibility}: {page}");
            }
            for path in [format!("context/{newest}"), format!("event/{newest}")] {
                server.room_get(&bob, &room, &path).await.error(404, "M_NOT_FOUND");
            }
            // Neither who was never there, nor who turned an invite down, nor who wants to hear no more of it.
            for nobody in [&carol, &dan] {
                server.room_get(nobody, &room, "messages?dir=b").await.error(403, "M_FORBIDDEN");
            }
            server.post(&format!("/rooms/{room}/forget"), &bob.token, json!({})).await.ok();
            server.room_get(&bob, &room, "messages?dir=b").await.error(403, "M_FORBIDDEN");
        }
    });
}

/// State that was set before the cut is kept, but nobody knows any more what was said around it.
#[test]
fn a_state_event_before_the_cut_stands_alone() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        let topic = async |topic: &str| {
            server.set_state(&alice, &room, "m.room.topic", json!({ "topic": topic })).await.event_id()
        };
        let replaced = topic("old").await;
        let set = topic("new").await;
        server.join(&bob, &room).await;
        server.leave(&bob, &room).await;
        server.say(&alice, &room, "last").await;
        let around = async |who: &Login, event: &str, more: &str| {
            server.room_get(who, &room, &format!("context/{event}?{more}")).await
        };
        assert_ne!(around(&alice, &set, "").await.ok()["events_before"], json!([]));
        server.purge(&room).await;

        let answer = around(&alice, &set, "limit=10").await.ok();
        assert_eq!((&answer["event"]["event_id"], &answer["event"]["content"]["topic"]), (&json!(set), &json!("new")));
        assert_eq!((&answer["events_before"], &answer["events_after"]), (&json!([]), &json!([])));
        // From nowhere one can page neither way.
        assert_eq!((&answer["start"], &answer["end"]), (&Value::Null, &Value::Null));
        let state = server.room_get(&alice, &room, "state").await.ok();
        let sorted = |events: &Value| {
            let mut ids = fields(events, "event_id");
            ids.sort();
            ids
        };
        assert_eq!(sorted(&answer["state"]), sorted(&state));
        let lazy = around(&alice, &set, "filter=%7B%22lazy_load_members%22:true%7D").await.ok();
        let mut members = fields(&lazy["state"], "state_key");
        members.retain(|key| key.starts_with('@'));
        assert_eq!(members, std::slice::from_ref(&alice.user_id));

        around(&alice, &replaced, "").await.error(404, "M_NOT_FOUND");
        around(&bob, &set, "").await.error(404, "M_NOT_FOUND");
    });
}
