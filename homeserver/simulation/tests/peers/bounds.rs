//! What a peer cannot do to a room: bring another room's events into it, hold up the events of others, have the server say it took what it lost.

use crate::scene::{BOB, Scene, with_room};
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

/// The keys of several are asked for at the same time: one after the other they would take longer than anyone waits for an answer.
#[test]
fn events_of_several_silent_servers_hold_up_a_transaction_but_once() {
    with_room(75, "10", async |scene, mut room| {
        let mut events: Vec<PeerEvent> = (0..5)
            .map(|n| {
                let silent = scene.network.peer(&format!("silent{n}.example"));
                silent.script(|asked| {
                    asked.path.contains("/key/").then(|| Scripted { after: Duration::from_secs(3600), answer: None })
                });
                let sender = format!("@eve:{}", silent.name());
                silent.sign(room.version, silent.draft(&room, &sender, "m.room.message", None, message("hm")))
            })
            .collect();
        events.push(scene.peer.event(&mut room, BOB, "m.room.message", None, message("mine")));
        let answer = scene.peer.send(scene.server().name(), &events).await.unwrap();
        for silent in &events[..5] {
            assert!(answer[&silent.id].is_some());
        }
        assert_eq!(answer[&events[5].id], None);
    });
}

#[test]
fn a_slow_peer_holds_up_nobody_elses_events_and_a_stranger_learns_nothing() {
    with_room(72, "10", async |scene, mut room| {
        let stranger = scene.network.peer("stranger.example");
        stranger.script(|asked| {
            asked.path.contains("get_missing_events").then(|| Scripted { after: Duration::from_secs(20), answer: None })
        });
        let mut theirs = room.clone();
        theirs.state.retain(|(kind, _), _| kind != "m.room.member");
        let made_up = after_the_unknown(&stranger, &theirs, "@eve:stranger.example");
        let body = json!({ "pdus": [made_up.json], "edus": [] });
        let slow = stranger.send_body(scene.server().name(), body);
        let fast = async {
            scene.network.wait(Duration::from_secs(2)).await;
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
    });
}

/// What one room waits for holds up no other, nor keys.
#[test]
fn a_missing_event_holds_up_its_own_room_alone() {
    with_room(76, "10", async |scene, room| {
        let quick = scene.empty_room(json!({})).await;
        let mut quick = scene.peer.join(scene.server().name(), &quick, BOB).await.unwrap();
        scene.peer.script(|asked| {
            let waits = asked.path.contains("get_missing_events") || asked.path.contains("state_ids");
            waits.then(|| Scripted { after: Duration::from_secs(12), answer: None })
        });
        let stuck = after_the_unknown(&scene.peer, &room, BOB);
        let event = scene.peer.event(&mut quick, BOB, "m.room.message", None, message("here already"));
        let to_device = json!({
            "edu_type": "m.direct_to_device",
            "content": {
                "sender": BOB, "type": "m.x", "message_id": "1",
                "messages": { &scene.alice.id: { "*": { "key": "k" } } },
            },
        });
        let body = json!({ "pdus": [stuck.json, event.json], "edus": [to_device] });
        let sent = scene.peer.send_body(scene.server().name(), body);
        let meanwhile = async {
            scene.network.wait(Duration::from_secs(5)).await;
            assert!(scene.shown(&quick, &event).await.is_some());
            let sync = scene.call(Method::GET, "/sync", Value::Null).await.unwrap();
            assert_eq!(sync["to_device"]["events"][0]["content"], json!({ "key": "k" }), "{sync}");
        };
        let (answer, ()) = futures::join!(sent, meanwhile);
        let answer = answer.unwrap();
        assert_eq!((answer[&event.id].clone(), answer[&stuck.id].is_some()), (None, true));
    });
}

/// What takes longer than a sender waits goes on, and the sender's next transaction is taken meanwhile.
#[test]
fn what_a_room_waits_for_does_not_hold_up_the_next_transaction() {
    with_room(77, "10", async |scene, mut room| {
        let state: Vec<String> = room.state.values().cloned().collect();
        let unseen = scene.peer.draft(&room, BOB, "m.room.message", None, message("unseen"));
        room.follow(&scene.peer.sign(room.version, unseen));
        let event = scene.peer.event(&mut room, BOB, "m.room.message", None, message("late"));
        scene.peer.show_state_before(&event.id, state);
        scene.peer.script(|asked| {
            let after = Duration::from_secs(if asked.path.contains("state_ids") { 25 } else { 3600 });
            (asked.path.contains("get_missing_events") || asked.path.contains("state_ids"))
                .then_some(Scripted { after, answer: None })
        });
        let answer = scene.peer.send(scene.server().name(), std::slice::from_ref(&event)).await.unwrap();
        assert!(answer.is_empty(), "nothing is known of it yet: {answer:?}");
        assert!(scene.shown(&room, &event).await.is_none());
        let next = scene.empty_room(json!({})).await;
        let mut next = scene.peer.join(scene.server().name(), &next, BOB).await.unwrap();
        let other = scene.peer.event(&mut next, BOB, "m.room.message", None, message("in time"));
        scene.send(&[&other]).await.unwrap();
        assert!(scene.shown(&next, &other).await.is_some() && scene.shown(&room, &event).await.is_none());
        scene.network.wait(Duration::from_secs(30)).await;
        assert!(scene.shown(&room, &event).await.is_some());
    });
}

#[test]
fn events_that_could_not_be_written_are_not_answered_as_taken() {
    with_room(73, "10", async |scene, mut room| {
        let event = scene.peer.event(&mut room, BOB, "m.room.message", None, message("kept"));
        scene.server().disk().fail_write(1, Fault::NotApplied);
        let refused = scene.peer.send(scene.server().name(), std::slice::from_ref(&event)).await.unwrap_err();
        assert_eq!(refused.peer().map(|peer| peer.status), Some(500), "{refused}");
        // Started again, the server takes it when it comes again.
        scene.server().crash();
        scene.server().start().await.unwrap();
        scene.send(&[&event]).await.unwrap();
        assert!(scene.shown(&room, &event).await.is_some());
    });
}

#[test]
fn what_is_no_valid_event_is_refused_by_its_id() {
    for version in ["1", "3", "6", "12"] {
        with_room(74, version, async |scene, mut room| {
            let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
            // Deep, and an event like any other.
            let mut content = message("deep");
            content["deep"] = nested(100);
            let event = scene.peer.event(&mut room, BOB, "m.room.message", None, content.clone());
            scene.send(&[&event]).await.unwrap();
            assert_eq!(scene.shown(&room, &event).await.unwrap()["content"], content, "version {version}");
            // None of these is a valid event. What is right in the same transaction is taken.
            let mut good = room.clone();
            let good = scene.peer.event(&mut good, BOB, "m.room.message", None, message("good"));
            let mut wrong = Vec::new();
            for change in ["deep", "large", "parents"] {
                let right = scene
                    .peer
                    .sign(room.version, scene.peer.draft(&room, BOB, "m.room.message", None, message(change)));
                let mut event = right.clone();
                match change {
                    "deep" => event.json["content"]["deep"] = nested(300),
                    "large" => event.json["content"]["large"] = json!("a".repeat(70_000)),
                    _ => {
                        let mut draft = scene.peer.draft(&room, BOB, "m.room.message", None, message("a"));
                        let parents = vec![room.tips[0].clone(); 21];
                        draft.insert("prev_events".into(), scene.peer.references(room.version, &parents));
                        event = scene.peer.sign(room.version, draft);
                    }
                }
                wrong.push(event);
            }
            let mut pdus: Vec<Value> = wrong.iter().map(|event| Value::Object(event.json.clone())).collect();
            pdus.extend([json!({}), json!({ "room_id": 7 }), json!([1]), Value::Object(good.json.clone())]);
            let body = json!({ "pdus": pdus, "edus": [] });
            let answer = scene.peer.send_body(scene.server().name(), body).await.unwrap();
            assert_eq!(answer.get(&good.id), Some(&None), "version {version}: {answer:?}");
            for event in &wrong {
                let said = answer.get(&event.id);
                assert!(matches!(said, Some(Some(_))), "version {version}: {answer:?} about {}", event.id);
            }
            assert_eq!(answer.len(), 1 + wrong.len(), "version {version}: {answer:?}");
            assert!(scene.shown(&room, &good).await.is_some());
        });
    }
}

#[test]
fn what_stands_later_in_a_transaction_is_not_asked_for() {
    for version in ["2", "10", "12"] {
        with_room(75, version, async |scene, mut room| {
            let mut other = scene.room().await;
            let mut events = Vec::new();
            for round in 0..6 {
                // A fork, brought together by state that what follows relies on.
                let mut fork = room.clone();
                let one = scene.peer.event(&mut fork, BOB, "m.room.message", None, message("one"));
                let two = scene.peer.event(&mut room.clone(), BOB, "m.room.message", None, message("two"));
                room.tips = vec![one.id.clone(), two.id.clone()];
                room.depth += 1;
                let topic = json!({ "topic": format!("{round}") });
                let three = scene.peer.event(&mut room, BOB, "m.room.topic", Some(""), topic);
                let elsewhere = scene.peer.event(&mut other, BOB, "m.room.message", None, message("elsewhere"));
                events.extend([one, two, three, elsewhere]);
            }
            let asked = scene.peer.asked().len();
            // Latest first, and in an order without any.
            let mut shuffled: Vec<_> = events.iter().rev().cloned().collect();
            let half = shuffled.split_off(7);
            shuffled = half.into_iter().chain(shuffled).collect();
            let answer = scene.peer.send(scene.server().name(), &shuffled).await.unwrap();
            assert_eq!(answer.len(), events.len());
            assert!(answer.values().all(Option::is_none), "version {version}: {answer:?}");
            let questions: Vec<_> = scene.peer.asked().into_iter().skip(asked).map(|asked| asked.path).collect();
            assert!(
                questions.iter().all(|path| !path.contains("get_missing_events")),
                "version {version}: {questions:?}"
            );
            for event in &events {
                let place = if event.json["room_id"] == *room.id { &room } else { &other };
                assert!(scene.shown(place, event).await.is_some(), "version {version}");
            }
        });
    }
}
