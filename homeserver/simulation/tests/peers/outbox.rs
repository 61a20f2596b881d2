//! What waits for a server that is away for long is bounded, and the server misses nothing all the same.

use crate::scene::with_room;
use http::Method;
use serde_json::{Value, json};
use services::{peers::MAX_WAITING_ROWS, tables};
use simulation::{Network, Scripted, Server};
use std::{collections::BTreeSet, time::Duration};

fn waiting(at: &Server, destination: &str) -> usize {
    let prefix = storage::key::Writer::new().str(destination).finish();
    at.services().unwrap().store.snapshot().scan_prefix(tables::OUTBOX, &prefix).count()
}

#[test]
fn the_queue_of_a_server_that_is_away_is_cut_to_what_it_needs_to_find_the_rest() {
    let network = Network::new(41, 2);
    network
        .run(async {
            network.start_all().await.unwrap();
            let (one, two) = (network.server(0), network.server(1));
            let (alice, bob) = (one.register("alice").await.unwrap(), two.register("bob").await.unwrap());
            let me = two.call(Method::GET, "/account/whoami", &bob.token, &Value::Null).await.unwrap();
            let device = me["device_id"].as_str().unwrap();
            let mut rooms = Vec::new();
            for _ in 0..2 {
                let body = json!({ "preset": "public_chat" });
                let made = one.call(Method::POST, "/createRoom", &alice.token, &body).await.unwrap();
                let room = made["room_id"].as_str().unwrap().to_owned();
                let path = format!("/join/{room}?via={}", one.name());
                two.call(Method::POST, &path, &bob.token, &json!({})).await.unwrap();
                rooms.push(room);
            }
            network.wait(Duration::from_secs(30)).await;
            two.crash();
            let mut said = [BTreeSet::new(), BTreeSet::new()];
            for n in 0..MAX_WAITING_ROWS + 100 {
                let which = usize::from(n % 10 == 0);
                let path = format!("/rooms/{}/send/m.room.message/{n}", rooms[which]);
                let body = json!({ "msgtype": "m.text", "body": "?" });
                let sent = one.call(Method::PUT, &path, &alice.token, &body).await.unwrap();
                said[which].insert(sent["event_id"].as_str().unwrap().to_owned());
                if n % 300 == 0 {
                    let body = json!({ "messages": { &bob.id: { device: { "n": n } } } });
                    one.call(Method::PUT, &format!("/sendToDevice/m.test/{n}"), &alice.token, &body).await.unwrap();
                }
            }
            assert!(waiting(one, two.name()) > MAX_WAITING_ROWS, "who has been away for minutes gets everything");
            network.wait(Duration::from_secs(3 * 60 * 60)).await;
            let left = waiting(one, two.name());
            assert_eq!(left, rooms.len() + 4, "one event per room, and the to-device messages");
            two.start().await.unwrap();
            network.wait(Duration::from_secs(120)).await;
            assert_eq!(waiting(one, two.name()), 0);
            for (room, said) in rooms.iter().zip(&said) {
                let (mut shown, mut from) = (BTreeSet::new(), String::new());
                loop {
                    let path = format!("/rooms/{room}/messages?dir=b&limit=100{from}");
                    let page = two.call(Method::GET, &path, &bob.token, &Value::Null).await.unwrap();
                    let events = page["chunk"].as_array().unwrap();
                    shown.extend(events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()));
                    let Some(end) = page["end"].as_str() else { break };
                    from = format!("&from={end}");
                }
                let missing: Vec<_> = said.difference(&shown).collect();
                assert!(missing.is_empty(), "{} of {} are missing", missing.len(), said.len());
            }
            let sync = two.call(Method::GET, "/sync", &bob.token, &Value::Null).await.unwrap();
            let messages = sync["to_device"]["events"].as_array().unwrap();
            let numbers: Vec<_> = messages.iter().map(|message| message["content"]["n"].as_u64().unwrap()).collect();
            assert_eq!(numbers, [0, 300, 600, 900]);
        })
        .unwrap();
}

/// Such as a proxy gives when the homeserver behind it is being repaired.
#[test]
fn an_answer_that_no_homeserver_gives_is_none() {
    with_room(42, "11", async |scene, room| {
        scene.peer.script(|asked| {
            let answer = Some((200, json!("back soon")));
            asked.path.contains("/send/").then_some(Scripted { after: Duration::ZERO, answer })
        });
        let path = format!("/rooms/{}/send/m.room.message/1", room.id);
        let body = json!({ "msgtype": "m.text", "body": "?" });
        scene.call(Method::PUT, &path, body).await.unwrap();
        scene.network.wait(Duration::from_secs(30)).await;
        assert_eq!(waiting(scene.server(), "peer.example"), 1);
        scene.peer.no_script();
        scene.network.wait(Duration::from_secs(300)).await;
        assert_eq!(waiting(scene.server(), "peer.example"), 0);
        assert!(scene.peer.received().iter().any(|event| event["content"]["body"] == "?"));
    });
}
