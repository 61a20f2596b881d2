//! Invites across servers, and their end: withdrawn by someone in the room, or turned down, whoever is still there.

use crate::scene::{BOB, Scene};
use federation::{RawJson, types::InviteRequest};
use http::Method;
use serde_json::{Value, json};
use simulation::{Network, Peer, PeerEvent, PeerRoom, Server, User};
use std::{collections::BTreeMap, time::Duration};

/// The rooms of one kind (`join`, `invite`, `leave`) in a first sync.
async fn rooms(server: &Server, who: &User, kind: &str) -> Vec<String> {
    let sync = server.call(Method::GET, "/sync", &who.token, &Value::Null).await.unwrap();
    sync["rooms"][kind].as_object().into_iter().flatten().map(|(room, _)| room.clone()).collect()
}

#[test]
fn an_invite_that_is_withdrawn_disappears() {
    let network = Network::new(21, 2);
    network
        .run(async {
            network.start_all().await.unwrap();
            let (one, two) = (network.server(0), network.server(1));
            let (alice, bob) = (one.register("alice").await.unwrap(), two.register("bob").await.unwrap());
            for (version, end) in
                [("1", "kick"), ("6", "ban"), ("10", "kick"), ("12", "kick"), ("12", "ban"), ("12", "state")]
            {
                let body = json!({ "preset": "private_chat", "room_version": version });
                let room = one.call(Method::POST, "/createRoom", &alice.token, &body).await.unwrap();
                let room = room["room_id"].as_str().unwrap().to_owned();
                let target = json!({ "user_id": bob.id });
                one.call(Method::POST, &format!("/rooms/{room}/invite"), &alice.token, &target).await.unwrap();
                network.wait(Duration::from_secs(5)).await;
                assert_eq!(rooms(two, &bob, "invite").await, std::slice::from_ref(&room), "{version} {end}");
                let since = two.call(Method::GET, "/sync", &bob.token, &Value::Null).await.unwrap();
                let since = since["next_batch"].as_str().unwrap();
                if end == "state" {
                    let path = format!("/rooms/{room}/state/m.room.member/{}", bob.id);
                    let leave = json!({ "membership": "leave" });
                    one.call(Method::PUT, &path, &alice.token, &leave).await.unwrap();
                } else {
                    one.call(Method::POST, &format!("/rooms/{room}/{end}"), &alice.token, &target).await.unwrap();
                }
                network.wait(Duration::from_secs(5)).await;
                assert!(rooms(two, &bob, "invite").await.is_empty(), "{version} {end}");
                let forms = [("", "state", "state_after"), ("&use_state_after=true", "state_after", "state")];
                for (form, given, omitted) in forms {
                    let path = format!("/sync?since={since}{form}");
                    let sync = two.call(Method::GET, &path, &bob.token, &Value::Null).await.unwrap();
                    let left = &sync["rooms"]["leave"][&room];
                    assert_eq!(left[given]["events"], json!([]), "{version} {end}: {sync}");
                    assert!(left.get(omitted).is_none(), "{version} {end}: {sync}");
                }
                // Another one arrives as the first did.
                if end == "ban" {
                    one.call(Method::POST, &format!("/rooms/{room}/unban"), &alice.token, &target).await.unwrap();
                }
                one.call(Method::POST, &format!("/rooms/{room}/invite"), &alice.token, &target).await.unwrap();
                network.wait(Duration::from_secs(5)).await;
                assert_eq!(rooms(two, &bob, "invite").await, std::slice::from_ref(&room), "{version} {end}");
                two.call(Method::POST, &format!("/join/{room}"), &bob.token, &json!({})).await.unwrap();
                two.call(Method::POST, &format!("/rooms/{room}/leave"), &bob.token, &json!({})).await.unwrap();
            }
        })
        .unwrap();
}

/// A room of the peer's, of which nobody else holds anything, and an invite of alice to it.
async fn invite(scene: &Scene<'_>, peer: &Peer) -> (PeerRoom, PeerEvent) {
    let version = "10".parse().unwrap();
    let mut room =
        PeerRoom { id: "!burrow:peer.example".to_owned(), version, state: BTreeMap::new(), tips: Vec::new(), depth: 1 };
    let host = "@host:peer.example";
    let create = json!({ "creator": host, "room_version": "10" });
    let create = peer.event(&mut room, host, "m.room.create", Some(""), create);
    peer.event(&mut room, host, "m.room.member", Some(host), json!({ "membership": "join" }));
    let content = json!({ "membership": "invite" });
    let invite = peer.event(&mut room, host, "m.room.member", Some(&scene.alice.id), content);
    let raw = |event: &PeerEvent| RawJson::from_known(Value::Object(event.json.clone()).to_string());
    let request = InviteRequest {
        room_id: room.id.clone(),
        event_id: invite.id.clone(),
        room_version: "10".to_owned(),
        event: raw(&invite),
        invite_room_state: vec![raw(&create)],
    };
    peer.client().invite(scene.server().name(), &request).await.unwrap();
    (room, invite)
}

#[test]
fn an_invite_ends_by_the_word_of_who_knows_it_and_of_nobody_else() {
    let network = Network::new(22, 1);
    network
        .run(async {
            let scene = Scene::begin(&network, "10").await;
            let (mut room, _) = invite(&scene, &scene.peer).await;
            let invited = async || rooms(scene.server(), &scene.alice, "invite").await.len();
            assert_eq!(invited().await, 1);
            let leave = json!({ "membership": "leave" });
            // Somebody who heard of the room, but not of the invite.
            let evil = network.peer("evil.example");
            let mut blind = PeerRoom { state: BTreeMap::new(), tips: vec!["$x".into()], ..room.clone() };
            let mallory = "@mallory:evil.example";
            let forged = evil.event(&mut blind, mallory, "m.room.member", Some(&scene.alice.id), leave.clone());
            let said = evil.send(scene.server().name(), std::slice::from_ref(&forged)).await.unwrap();
            assert!(said.values().all(Option::is_some), "{said:?}");
            assert_eq!(invited().await, 1);
            // The peer's own event, brought by another; not signed; of another room; no end at all.
            let host = "@host:peer.example";
            let draft = |content: Value| scene.peer.draft(&room, host, "m.room.member", Some(&scene.alice.id), content);
            let kick = scene.peer.sign(room.version, draft(leave.clone()));
            evil.send(scene.server().name(), std::slice::from_ref(&kick)).await.unwrap();
            let mut unsigned = kick.clone();
            unsigned.json["signatures"] = json!({});
            let mut elsewhere = draft(leave);
            elsewhere.insert("room_id".into(), json!("!other:peer.example"));
            let elsewhere = scene.peer.sign(room.version, elsewhere);
            let again = scene.peer.sign(room.version, draft(json!({ "membership": "invite" })));
            for event in [unsigned, elsewhere, again] {
                scene.peer.send(scene.server().name(), &[event]).await.unwrap();
            }
            assert_eq!(invited().await, 1);
            // The right one.
            scene.send(&[&kick]).await.unwrap();
            assert_eq!(invited().await, 0);
            room.follow(&kick);
        })
        .unwrap();
}

#[test]
fn an_invite_can_be_turned_down_when_the_inviters_server_is_gone() {
    let network = Network::new(23, 1);
    network
        .run(async {
            let scene = Scene::begin(&network, "10").await;
            let (room, _) = invite(&scene, &scene.peer).await;
            scene.peer.vanish();
            let before = network.elapsed();
            scene.call(Method::POST, &format!("/rooms/{}/leave", room.id), json!({})).await.unwrap();
            assert!(network.elapsed() - before < Duration::from_secs(60));
            assert!(rooms(scene.server(), &scene.alice, "invite").await.is_empty());
        })
        .unwrap();
}

/// From room version 12 on: what an invite shows of its room is what those have signed who sent it.
#[test]
fn nobody_is_shown_what_others_are_made_to_say_of_a_room() {
    let network = Network::new(25, 2);
    network
        .run(async {
            let scene = Scene::begin(&network, "12").await;
            let mut room = scene.room().await;
            let other = network.server(1);
            let eve = other.register("eve").await.unwrap();
            let content = json!({ "membership": "invite" });
            let invite = scene.peer.event(&mut room, BOB, "m.room.member", Some(&eve.id), content);
            let create = scene.peer.shown(room.state[&("m.room.create".to_owned(), String::new())].as_str()).unwrap();
            let named = |sender: &str| {
                scene.peer.draft(&room, sender, "m.room.name", Some(""), json!({ "name": format!("by {sender}") }))
            };
            let unsigned = |mut event: PeerEvent| {
                event.json["signatures"] = json!({});
                event.json
            };
            let own = scene.peer.sign(room.version, named(BOB));
            // Alice belongs to another server, for which the peer cannot sign.
            let forged = scene.peer.sign(room.version, named(&scene.alice.id));
            let ask = async |shown: Vec<&serde_json::Map<String, Value>>| {
                let raw = |event: &serde_json::Map<String, Value>| {
                    RawJson::from_known(Value::Object(event.clone()).to_string())
                };
                let request = InviteRequest {
                    room_id: room.id.clone(),
                    event_id: invite.id.clone(),
                    room_version: "12".to_owned(),
                    event: raw(&invite.json),
                    invite_room_state: shown.into_iter().map(raw).collect(),
                };
                scene.peer.client().invite(other.name(), &request).await
            };
            let refused = ask(vec![&create, &unsigned(own.clone())]).await.unwrap_err().to_string();
            assert!(refused.contains("M_INVALID_PARAM"), "{refused}");
            assert!(rooms(other, &eve, "invite").await.is_empty());
            ask(vec![&create, &forged.json, &own.json]).await.unwrap();
            let sync = other.call(Method::GET, "/sync", &eve.token, &Value::Null).await.unwrap();
            let shown = sync["rooms"]["invite"][&room.id]["invite_state"]["events"].as_array().unwrap();
            let names: Vec<&Value> = shown
                .iter()
                .filter(|event| event["type"] == "m.room.name")
                .map(|event| &event["content"]["name"])
                .collect();
            assert_eq!(names, [&json!(format!("by {BOB}"))], "{sync}");
            assert!(shown.iter().any(|event| event["type"] == "m.room.create"), "{sync}");
        })
        .unwrap();
}

/// Who turns an invite down is rid of it at once. The room hears of it when its server is back, also after a restart of ours, unless there has
/// been another invite since.
#[test]
fn an_invite_turned_down_while_its_server_is_away_is_over_there_later() {
    for (nth, version) in ["6", "10", "12"].into_iter().enumerate() {
        for (again, restarts) in [(false, false), (false, true), (true, false)] {
            let network = Network::new(23 + nth as u64, 2);
            network
                .run(async {
                    let case = format!("version {version}, invited again: {again}, restarted: {restarts}");
                    network.start_all().await.unwrap();
                    let (one, two) = (network.server(0), network.server(1));
                    let (alice, bob) = (one.register("alice").await.unwrap(), two.register("bob").await.unwrap());
                    let body = json!({ "preset": "private_chat", "room_version": version, "invite": [bob.id] });
                    let room = one.call(Method::POST, "/createRoom", &alice.token, &body).await.unwrap();
                    let room = room["room_id"].as_str().unwrap().to_owned();
                    network.wait(Duration::from_secs(5)).await;
                    network.cut(0, 1);
                    let path = format!("/rooms/{room}/leave");
                    two.call(Method::POST, &path, &bob.token, &json!({ "reason": "no" })).await.unwrap();
                    assert!(rooms(two, &bob, "invite").await.is_empty(), "{case}");
                    if restarts {
                        two.crash();
                        two.start().await.unwrap();
                    }
                    network.wait(Duration::from_secs(60 * 60)).await;
                    network.heal_all();
                    if again {
                        let target = json!({ "user_id": bob.id, "reason": "please" });
                        one.call(Method::POST, &format!("/rooms/{room}/invite"), &alice.token, &target).await.unwrap();
                    }
                    network.wait(Duration::from_secs(20 * 60)).await;
                    let path = format!("/rooms/{room}/state/m.room.member/{}", bob.id);
                    let member = one.call(Method::GET, &path, &alice.token, &Value::Null).await.unwrap();
                    assert_eq!(member["membership"], if again { "invite" } else { "leave" }, "{case}: {member}");
                    assert_eq!(member["reason"], if again { "please" } else { "no" }, "{case}: {member}");
                    assert_eq!(rooms(two, &bob, "invite").await.len(), usize::from(again), "{case}");
                    let store = &two.services().unwrap().store;
                    assert_eq!(store.snapshot().scan_prefix(services::tables::UNTOLD, b"").count(), 0, "{case}");
                })
                .unwrap();
        }
    }
}
