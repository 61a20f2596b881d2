//! `GET /rooms/{roomId}/context/{eventId}`: what stands around an event, and how paging goes on from there.

use crate::actions::fields;
use crate::filters::encoded;
use crate::server::{Login, Server, with_server};
use serde_json::{Value, json};

/// Event ids of all pages from `from` on, in the order of paging.
async fn paged(server: &Server, who: &Login, room: &str, dir: &str, from: &str, filter: &str) -> Vec<String> {
    let (mut found, mut from) = (Vec::new(), format!("&from={from}"));
    loop {
        let page = server.room_get(who, room, &format!("messages?dir={dir}&limit=7{from}{filter}")).await.ok();
        found.extend(fields(&page["chunk"], "event_id"));
        let Some(end) = page["end"].as_str() else { return found };
        from = format!("&from={end}");
    }
}

/// A room's events as the context of `event` and the pages from its tokens tell them, oldest first.
async fn joined_up(server: &Server, who: &Login, room: &str, event: &str, limit: usize, filter: &str) -> Vec<String> {
    let context = server.room_get(who, room, &format!("context/{event}?limit={limit}{filter}")).await.ok();
    let (before, after) = (fields(&context["events_before"], "event_id"), fields(&context["events_after"], "event_id"));
    assert!(before.len() + after.len() <= limit, "{limit}: {context}");
    let token = |name: &str| context[name].as_str().unwrap().to_owned();
    let mut all = before;
    all.extend(paged(server, who, room, "b", &token("start"), filter).await);
    all.reverse();
    all.push(event.to_owned());
    all.extend(after);
    all.extend(paged(server, who, room, "f", &token("end"), filter).await);
    all
}

#[test]
fn a_context_and_the_pages_around_it_are_the_whole_room() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let mut said = Vec::new();
        for number in 0..10 {
            said.push(server.say(&alice, &room, &number.to_string()).await);
        }
        let all = paged(&server, &alice, &room, "f", "", "").await;
        assert!(all.ends_with(&said) && all.len() > said.len());
        for event in &all {
            for limit in [0, 1, 2, 3, 8, 12, 50] {
                assert_eq!(joined_up(&server, &alice, &room, event, limit, "").await, all, "{limit} around {event}");
            }
        }
        let messages = format!("&filter={}", encoded(&json!({ "types": ["m.room.message"] })));
        for event in &said {
            for limit in [1, 8, 50] {
                assert_eq!(joined_up(&server, &alice, &room, event, limit, &messages).await, said, "{limit}");
            }
        }
        // At the end of the room as it is now, too, what is said later comes next.
        let context = server.room_get(&alice, &room, &format!("context/{}?limit=50", said[4])).await.ok();
        let later = server.say(&alice, &room, "later").await;
        assert_eq!(paged(&server, &alice, &room, "f", context["end"].as_str().unwrap(), "").await, [later]);
    });
}

#[test]
fn the_filter_of_a_context_is_for_all_but_the_event_itself() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let said = server.say(&alice, &room, "x").await;
        server.set_state(&alice, &room, "m.room.name", json!({ "name": "n" })).await.ok();
        let context = async |filter: Value| {
            let path = format!("context/{said}?limit=50&filter={}", encoded(&filter));
            let context = server.room_get(&alice, &room, &path).await.ok();
            assert_eq!(context["event"]["event_id"], json!(said));
            ["events_before", "events_after", "state"].map(|part| fields(&context[part], "type"))
        };
        let name = vec!["m.room.name".to_owned()];
        assert_eq!(context(json!({ "types": ["m.room.name"] })).await, [vec![], name.clone(), name]);
        for none in [json!({ "rooms": [] }), json!({ "not_rooms": [room] }), json!({ "rooms": ["!other:example.org"] })]
        {
            assert_eq!(context(none).await, [vec![], vec![], Vec::<String>::new()]);
        }
        let [before, after, state] = context(json!({ "rooms": [room] })).await;
        assert!(!before.is_empty() && !after.is_empty() && state.len() > 4, "{before:?} {after:?} {state:?}");
    });
}
