//! Knocks on rooms of other servers, taking them back, and the templates that servers give for these and other memberships.

use crate::scene::{CAROL, DAN, with_room};
use http::Method;
use serde_json::{Map, Value, json};
use simulation::{Network, Server, User};
use std::time::Duration;

/// What happened is everywhere by then.
const SETTLED: Duration = Duration::from_secs(5);

async fn membership(server: &Server, by: &User, room: &str, of: &User) -> Value {
    let path = format!("/rooms/{room}/state/m.room.member/{}", of.id);
    server.call(Method::GET, &path, &by.token, &Value::Null).await.unwrap()["membership"].clone()
}

/// Also where neither the room's id names a server nor those who made the room can be reached: by the server that took the knock.
#[test]
fn a_knock_that_is_taken_back_is_over_in_the_room() {
    let network = Network::new(121, 3);
    network
        .run(async {
            network.start_all().await.unwrap();
            let (one, two, three) = (network.server(0), network.server(1), network.server(2));
            let alice = one.register("alice").await.unwrap();
            let (bob, carol) = (two.register("bob").await.unwrap(), three.register("carol").await.unwrap());
            for (version, through) in [("10", one), ("12", one), ("10", two), ("12", two)] {
                let case = format!("version {version} through {}", through.name());
                let knock =
                    json!({ "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "knock" } });
                let body = json!({ "room_version": version, "initial_state": [knock], "invite": [bob.id] });
                let room = one.call(Method::POST, "/createRoom", &alice.token, &body).await.unwrap();
                let room = room["room_id"].as_str().unwrap().to_owned();
                network.wait(SETTLED).await;
                let act = async |server: &Server, who: &User, path: &str| {
                    server.call(Method::POST, path, &who.token, &json!({})).await.unwrap();
                    network.wait(SETTLED).await;
                };
                act(two, &bob, &format!("/join/{room}")).await;
                if through.name() == two.name() {
                    network.cut(0, 2);
                }
                // A second time, too.
                for _ in 0..2 {
                    act(three, &carol, &format!("/knock/{room}?via={}", through.name())).await;
                    assert_eq!(membership(two, &bob, &room, &carol).await, "knock", "{case}");
                    act(three, &carol, &format!("/rooms/{room}/leave")).await;
                    assert_eq!(membership(two, &bob, &room, &carol).await, "leave", "{case}");
                }
                network.heal_all();
            }
        })
        .unwrap();
}

#[test]
fn templates_name_the_server_that_gives_them() {
    with_room(122, "10", async |scene, room| {
        let (server, client) = (scene.server().name(), scene.peer.client());
        let version = ["10"];
        let knock = json!([{ "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "knock" } }]);
        let closed = scene.empty_room(json!({ "initial_state": knock })).await;
        let eve = "@eve:peer.example";
        let templates = [
            (client.make_join(server, &room.id, eve, &version).await.unwrap(), eve, "join"),
            (client.make_leave(server, &room.id, CAROL).await.unwrap(), CAROL, "leave"),
            (client.make_knock(server, &closed, eve, &version).await.unwrap(), eve, "knock"),
        ];
        assert!(client.make_join(server, &room.id, DAN, &version).await.is_err());
        for (template, user, membership) in templates {
            let event: Map<String, Value> = template.event.parse().unwrap();
            for (name, value) in [("sender", user), ("state_key", user), ("type", "m.room.member"), ("origin", server)]
            {
                assert_eq!(event.get(name), Some(&json!(value)), "{name}: {event:?}");
            }
            assert_eq!(event["content"]["membership"], membership);
            assert!(event["origin_server_ts"].is_i64(), "{event:?}");
        }
    });
}
