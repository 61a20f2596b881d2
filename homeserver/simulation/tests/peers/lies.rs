//! Servers that lie about a room's state. Somebody has to be believed about what we have not seen; what they say must not do harm that lasts.

use crate::scene::{BOB, CAROL, DAN, Scene};
use crate::told::{ALICE, History, LIES, VERSIONS, answer, ids, message, paged, whole, with_another_topic};
use http::Method;
use serde_json::{Value, json};
use simulation::Network;
use std::sync::atomic::Ordering;

// clause: P5
/// Whoever hands on an event of somebody else, and says what the state before it is, can keep it from us no longer than until its sender
/// hands it on.
#[test]
fn a_state_told_wrongly_condemns_no_event() {
    for version in VERSIONS {
        for (what, is_told) in LIES {
            let network = Network::new(91, 1);
            network
                .run(async {
                    let scene = Scene::begin(&network, version).await;
                    let room = scene.room().await;
                    let (other, mut theirs) = scene.dans_peer(&room).await;
                    let told = json!({ "pdu_ids": ids(&theirs.state, is_told), "auth_chain_ids": [] });
                    let first = other.event(&mut theirs, DAN, "m.room.message", None, message("first"));
                    let second = other.event(&mut theirs, DAN, "m.room.message", None, message("second"));
                    scene.peer.script(move |asked| match &asked.path {
                        path if path.contains("/get_missing_events/") => answer(json!({ "events": [] })),
                        path if path.contains("/state_ids/") => answer(told.clone()),
                        _ => None,
                    });
                    let case = format!("version {version}, {what} told");
                    scene.send(&[&second]).await.expect_err(&case);
                    assert!(scene.shown(&room, &second).await.is_none(), "{case}");

                    let third = other.event(&mut theirs, DAN, "m.room.message", None, message("third"));
                    let sent = [first, second, third];
                    let said = other.send(scene.server().name(), &sent).await.unwrap();
                    assert!(said.values().all(Option::is_none), "{case}: {said:?}");
                    for event in &sent {
                        assert!(scene.shown(&room, event).await.is_some(), "{case}");
                    }
                })
                .unwrap();
        }
    }
}

// clause: P5
/// Whoever names our newest event and one that nobody has, and says what the state after them is, cannot say what the room's state is.
#[test]
fn a_state_told_beside_our_own_does_not_replace_it() {
    for version in VERSIONS {
        let network = Network::new(95, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let mut room = scene.room().await;
                // Bob, of level 50, is made an ordinary member.
                let old = room.state.clone();
                let users = if version == "12" { json!({}) } else { json!({ ALICE: 100 }) };
                scene.act(&mut room, Method::PUT, "state/m.room.power_levels", json!({ "users": users })).await;
                let get = async |path: &str| {
                    scene.call(Method::GET, &format!("/rooms/{}/{path}", room.id), Value::Null).await.unwrap()
                };
                let (levels, members) = (get("state/m.room.power_levels").await, get("joined_members").await);

                let lies = [
                    ids(&old, |_| true),
                    ids(&room.state, |kind| kind != "m.room.power_levels"),
                    room.state.iter().filter(|((_, key), _)| key != ALICE).map(|(_, id)| id.clone()).collect(),
                ];
                for (nth, told) in lies.into_iter().enumerate() {
                    let mut beside = room.clone();
                    let invented = scene.peer.sign(
                        room.version,
                        scene.peer.draft(&room, BOB, "m.room.message", None, message(&format!("unseen {nth}"))),
                    );
                    beside.tips.push(invented.id.clone());
                    beside.depth += 2;
                    let told = json!({ "pdu_ids": told, "auth_chain_ids": [] });
                    scene.peer.script(move |asked| match &asked.path {
                        path if path.contains("/get_missing_events/") => answer(json!({ "events": [] })),
                        path if path.contains("/state_ids/") => answer(told.clone()),
                        _ => None,
                    });
                    let said = scene.peer.event(&mut beside, BOB, "m.room.message", None, message("hello"));
                    // Whether it is taken or not: what was settled stands.
                    let _ = scene.send(&[&said]).await;
                    scene.peer.no_script();
                    assert_eq!(get("state/m.room.power_levels").await, levels, "version {version}, lie {nth}");
                    assert_eq!(get("joined_members").await, members, "version {version}, lie {nth}");
                    let mut his = beside.clone();
                    his.state.clone_from(&old);
                    let topic = scene.peer.draft(&his, BOB, "m.room.topic", Some(""), json!({ "topic": "mine" }));
                    let topic = scene.peer.sign(room.version, topic);
                    let _ = scene.send(&[&topic]).await;
                    let path = format!("/rooms/{}/state/m.room.topic", room.id);
                    assert!(scene.call(Method::GET, &path, Value::Null).await.is_err(), "version {version}, lie {nth}");
                }
            })
            .unwrap();
    }
}

// clause: P3, P5
/// History that comes with a state that cannot have been there is left out, and comes when somebody tells the truth. What was known of the
/// room's present stands.
#[test]
fn history_told_wrongly_does_no_lasting_harm() {
    for version in VERSIONS {
        for (what, is_told) in LIES {
            let network = Network::new(92, 1);
            network
                .run(async {
                    let case = format!("version {version}, {what} told");
                    let scene = Scene::begin(&network, version).await;
                    let mut history = History::new(&scene.peer, version);
                    history.script(&scene.peer, |_| true, whole);
                    let room = history.room.id.clone();
                    scene.call(Method::POST, &format!("/join/{room}?via=peer.example"), json!({})).await.unwrap();

                    let asked = history.script(&scene.peer, is_told, whole);
                    assert_eq!(paged(&scene, &room).await.len(), 1, "{case}");
                    assert!(asked.load(Ordering::Relaxed) > 0, "{case}");

                    // It tells the truth, but of the topic's event it shows a copy with another content.
                    history.script(&scene.peer, |_| true, with_another_topic);
                    let found = paged(&scene, &room).await;
                    let all = history.events.iter().rev().map(|(event, _)| json!(event.id));
                    assert!(found.iter().skip(1).map(|event| event["event_id"].clone()).eq(all), "{case}: {found:#?}");
                    let topic = found.iter().find(|event| event["type"] == "m.room.topic").unwrap();
                    assert_eq!(topic["content"], json!({ "topic": "carrots" }), "{case}");
                    let path = format!("/rooms/{room}/state/m.room.topic");
                    assert_eq!(
                        scene.call(Method::GET, &path, Value::Null).await.unwrap()["topic"],
                        "carrots",
                        "{case}"
                    );

                    // And what cites the levels of now is allowed.
                    let next = history.add(&scene.peer, "m.room.message", None, message("next"));
                    scene.send(&[&next]).await.unwrap_or_else(|because| panic!("{case}: {because}"));
                    assert!(scene.shown(&history.room, &next).await.is_some(), "{case}");
                })
                .unwrap();
        }
    }
}

// clause: P5
/// Who tells a state without some members, in a room that would not let them in again, throws nobody out.
#[test]
fn members_who_are_not_told_of_stay() {
    for version in VERSIONS {
        let network = Network::new(101, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let mut room = scene.room().await;
                let (other, mut theirs) = scene.dans_peer(&room).await;
                let rule =
                    scene.act(&mut room, Method::PUT, "state/m.room.join_rules", json!({ "join_rule": "invite" }));
                theirs.follow(&rule.await);
                let path = format!("/rooms/{}/joined_members", room.id);
                let members = scene.call(Method::GET, &path, Value::Null).await.unwrap();
                assert_eq!(members["joined"].as_object().unwrap().len(), 4);

                let mut beside = room.clone();
                let unseen = scene.peer.draft(&room, CAROL, "m.room.message", None, message("unseen"));
                beside.tips = vec![scene.peer.sign(room.version, unseen).id];
                // The rule that closed the room is told, and all were in it by then.
                let keeps = |kind: &str, key: &str| key == CAROL || kind != "m.room.member";
                let told = room.state.iter().filter(|((kind, key), _)| keeps(kind, key)).map(|(_, id)| id.clone());
                let told = json!({ "pdu_ids": told.collect::<Vec<_>>(), "auth_chain_ids": [] });
                scene.peer.script(move |asked| match &asked.path {
                    path if path.contains("/get_missing_events/") => answer(json!({ "events": [] })),
                    path if path.contains("/state_ids/") => answer(told.clone()),
                    _ => None,
                });
                let said = scene.peer.event(&mut beside, CAROL, "m.room.message", None, message("hello"));
                let _ = scene.send(&[&said]).await;
                let now = scene.call(Method::GET, &path, Value::Null).await.unwrap();
                assert_eq!(now, members, "version {version}");
                let said = other.event(&mut theirs, DAN, "m.room.message", None, message("still here"));
                other.send(scene.server().name(), std::slice::from_ref(&said)).await.unwrap();
                assert!(scene.shown(&room, &said).await.is_some(), "version {version}");
            })
            .unwrap();
    }
}
