//! What a peer cannot do to a room: bring another room's events into it, hold up the events of others, have the server say it took what it lost.

use crate::scene::{BOB, Scene};
use http::Method;
use serde_json::{Value, json};
use simulation::{Network, PeerEvent, PeerRoom, Scripted};
use std::time::Duration;
use storage::Fault;

fn message(body: &str) -> Value {
    json!({ "msgtype": "m.text", "body": body })
}

/// An event of a peer's that follows one which nobody has.
fn after_the_unknown(peer: &simulation::Peer, room: &PeerRoom, sender: &str) -> PeerEvent {
    let mut draft = peer.draft(room, sender, "m.room.message", None, message("what came before is lost"));
    let unknown = "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned();
    draft.insert("prev_events".into(), peer.references(room.version, &[unknown]));
    peer.sign(room.version, draft)
}

#[test]
fn another_rooms_events_never_stand_in_a_room() {
    for version in ["3", "10", "12"] {
        let network = Network::new(71, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let secret = scene.empty_room(json!({ "preset": "private_chat", "topic": "a secret" })).await;
                let theirs = scene.call(Method::GET, &format!("/rooms/{secret}/state"), Value::Null).await.unwrap();
                let foreign: Vec<String> = ["m.room.topic", "m.room.power_levels"]
                    .iter()
                    .filter_map(|kind| theirs.as_array()?.iter().find(|event| event["type"] == **kind))
                    .map(|event| event["event_id"].as_str().unwrap().to_owned())
                    .collect();
                assert_eq!(foreign.len(), 2);

                let room = scene.room().await;
                let path = format!("/rooms/{}/state/m.room.power_levels", room.id);
                let levels = || scene.call(Method::GET, &path, Value::Null);
                let before = levels().await.unwrap();
                let event = after_the_unknown(&scene.peer, &room, BOB);
                scene.peer.show(&event);
                let mut state: Vec<String> = room.state.values().cloned().collect();
                state.retain(|id| Some(id.as_str()) != room.state_id("m.room.power_levels", ""));
                state.extend(foreign.iter().cloned());
                scene.peer.show_state_before(&event.id, state);
                scene.send(&[&event]).await.unwrap_err();

                let told = scene.peer.client().state(scene.server().name(), &room.id, &event.id).await;
                let told =
                    told.map(|state| state.pdus.iter().map(|pdu| pdu.parse::<Value>().unwrap()).collect::<Vec<_>>());
                assert!(told.is_err() || !format!("{told:?}").contains("a secret"), "version {version}: {told:?}");
                scene
                    .call(Method::GET, &format!("/rooms/{}/state/m.room.topic", room.id), Value::Null)
                    .await
                    .unwrap_err();
                assert_eq!(levels().await.unwrap(), before, "version {version}");
                scene.call(Method::GET, "/sync", Value::Null).await.unwrap();
                scene
                    .call(Method::PUT, &format!("/rooms/{}/state/m.room.topic", room.id), json!({ "topic": "ours" }))
                    .await
                    .unwrap();
            })
            .unwrap();
    }
}

#[test]
fn a_slow_peer_holds_up_nobody_elses_events_and_a_stranger_learns_nothing() {
    let network = Network::new(72, 1);
    network
        .run(async {
            let scene = Scene::begin(&network, "10").await;
            let mut room = scene.room().await;
            let stranger = network.peer("stranger.example");
            stranger.script(|asked| {
                asked
                    .path
                    .contains("get_missing_events")
                    .then(|| Scripted { after: Duration::from_secs(20), answer: None })
            });
            let mut theirs = room.clone();
            theirs.state.retain(|(kind, _), _| kind != "m.room.member");
            let made_up = after_the_unknown(&stranger, &theirs, "@eve:stranger.example");
            let body = json!({ "pdus": [made_up.json], "edus": [] });
            let slow = stranger.send_body(scene.server().name(), body);
            let fast = async {
                network.wait(Duration::from_secs(2)).await;
                let event = scene.peer.event(&mut room, BOB, "m.room.message", None, message("meanwhile"));
                let before = scene.peer.world().now();
                scene.send(&[&event]).await.unwrap();
                let took = scene.peer.world().now().millis() - before.millis();
                assert!(took < 5_000, "it took {took} ms");
                assert!(scene.shown(&room, &event).await.is_some());
            };
            let (answer, ()) = futures::join!(slow, fast);
            assert!(answer.unwrap().get(&made_up.id).is_none_or(Option::is_some));
            let asked = stranger.asked();
            let asked: Vec<_> = asked.iter().filter(|asked| asked.path.contains("get_missing_events")).collect();
            assert!(!asked.is_empty());
            assert!(asked.iter().all(|asked| asked.body["earliest_events"] == json!([])), "{asked:?}");
        })
        .unwrap();
}

#[test]
fn events_that_could_not_be_written_are_not_answered_as_taken() {
    let network = Network::new(73, 1);
    network
        .run(async {
            let scene = Scene::begin(&network, "10").await;
            let mut room = scene.room().await;
            let event = scene.peer.event(&mut room, BOB, "m.room.message", None, message("kept"));
            scene.server().disk().fail_write(1, Fault::NotApplied);
            let refused = scene.peer.send(scene.server().name(), std::slice::from_ref(&event)).await.unwrap_err();
            assert_eq!(refused.peer().map(|peer| peer.status), Some(500), "{refused}");
            // Started again, the server takes it when it comes again.
            scene.server().crash();
            scene.server().start().await.unwrap();
            scene.send(&[&event]).await.unwrap();
            assert!(scene.shown(&room, &event).await.is_some());
        })
        .unwrap();
}
