//! When typing ends: for other servers, and for clients of a server that was restarted meanwhile.

use crate::server::{Login, Server};
use net::simulated::{Certificate, Host, Simulation};
use serde_json::{Value, json};
use services::{Config, config::RegistrationMode};
use std::time::Duration;
use storage::{Faults, Store};

/// A server on `disk`, which other servers can reach.
fn start(host: &Host, disk: &Faults) -> Server {
    let mut config = Config::new(host.name());
    config.registration.mode = RegistrationMode::Open;
    config.rate_limits_enabled = false;
    let store = Store::open_memory(&services::tables::SCHEMA, host.world(), disk.clone());
    let server = Server::start(config, host.world(), store);
    host.serve(8448, Certificate::of(host.name()), federation::inbound::router(server.services.inbound()));
    server.services.start_federation();
    server
}

async fn types(server: &Server, who: &Login, room: &str, timeout: u64) {
    let path = format!("/rooms/{room}/typing/{}", who.user_id);
    server.put(&path, &who.token, json!({ "typing": true, "timeout": timeout })).await.ok();
}

/// A sync's token, and who it says is typing.
async fn typing(server: &Server, who: &Login, room: &str, since: &str) -> (String, Value) {
    let sync = server.get(&format!("/sync?since={since}"), &who.token).await.ok();
    let events = sync["rooms"]["join"][room]["ephemeral"]["events"].as_array().cloned().unwrap_or_default();
    let typing = events.into_iter().find(|event| event["type"] == "m.typing");
    let users = typing.map_or(Value::Null, |event| event["content"]["user_ids"].clone());
    (sync["next_batch"].as_str().unwrap().to_owned(), users)
}

#[test]
fn other_servers_learn_that_typing_ended_by_time_or_by_a_message() {
    let simulation = Simulation::new(5);
    let (one, two) = (simulation.host("one.example"), simulation.host("two.example"));
    simulation
        .run(async {
            let (a, b) = (start(&one, &Faults::none()), start(&two, &Faults::none()));
            let (alice, bob) = (a.user("alice").await, b.user("bob").await);
            let room = a.public_room(&alice).await;
            b.post(&format!("/join/{room}?via=one.example"), &bob.token, json!({})).await.ok();
            a.wait(Duration::from_secs(5)).await;
            for how in ["time", "message"] {
                let (since, _) = typing(&b, &bob, &room, "").await;
                types(&a, &alice, &room, 6_000).await;
                a.wait(Duration::from_secs(3)).await;
                let (since, users) = typing(&b, &bob, &room, &since).await;
                assert_eq!(users, json!([alice.user_id]), "{how}");
                if how == "message" {
                    a.say(&alice, &room, "said").await;
                    a.wait(Duration::from_secs(2)).await;
                } else {
                    a.wait(Duration::from_secs(5)).await;
                }
                assert_eq!(typing(&b, &bob, &room, &since).await.1, json!([]), "{how}");
            }
        })
        .unwrap();
}

#[test]
fn who_typed_when_the_server_ended_is_not_shown_typing_for_ever() {
    let simulation = Simulation::new(6);
    let (host, disk) = (simulation.host("one.example"), Faults::none());
    simulation
        .run(async {
            let server = start(&host, &disk);
            let (alice, bob) = (server.user("alice").await, server.user("bob").await);
            let room = server.public_room(&alice).await;
            server.join(&bob, &room).await;
            types(&server, &bob, &room, 30_000).await;
            let (since, users) = typing(&server, &alice, &room, "").await;
            assert_eq!(users, json!([bob.user_id]));
            server.wait(Duration::from_secs(1)).await;
            host.crash();
            drop(server);
            let server = start(&host, &disk);
            let (since, users) = typing(&server, &alice, &room, &since).await;
            assert_eq!(users, json!([]));
            // Once is enough.
            assert_eq!(typing(&server, &alice, &room, &since).await.1, Value::Null);
        })
        .unwrap();
}
