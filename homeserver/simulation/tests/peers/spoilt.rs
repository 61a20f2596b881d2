//! Copies of events with another content than their senders gave them. Of these nothing is left but what the signatures cover.

use crate::scene::{BOB, CAROL, Scene};
use http::Method;
use serde_json::{Value, json};
use simulation::{Network, Peer, PeerEvent, PeerRoom, Scripted};
use std::time::Duration;

/// What redaction keeps differs between these.
const VERSIONS: [&str; 5] = ["2", "6", "8", "10", "12"];

/// Copies with another content.
fn spoilt(events: &[PeerEvent]) -> Vec<PeerEvent> {
    let mut events = events.to_vec();
    for event in &mut events {
        let mut content = event.json["content"].clone();
        content["body"] = json!("turnips");
        event.json.insert("content".into(), content);
    }
    events
}

/// Whether a peer shows single events to who asks for them.
fn show_events(peer: &Peer, shows: bool) {
    if shows {
        return peer.no_script();
    }
    peer.script(|asked| {
        let refused = json!({ "errcode": "M_NOT_FOUND", "error": "not shown" });
        let answer = Scripted { after: Duration::ZERO, answer: Some((404, refused)) };
        asked.path.contains("/event/").then_some(answer)
    });
}

// clause: P3
/// The true copy is asked of its sender's server, and where that does not give it, takes the other's place when it comes.
#[test]
fn a_whole_copy_takes_the_place_of_a_spoilt_one() {
    for version in VERSIONS {
        for shows in [true, false] {
            let network = Network::new(94, 1);
            network
                .run(async {
                    let case = format!("version {version}, shown by its server: {shows}");
                    let scene = Scene::begin(&network, version).await;
                    let mut room = scene.room().await;
                    let (other, _) = scene.dans_peer(&room).await;
                    let said = scene.say(&mut room, "said").await;
                    let by_bob = |room: &mut PeerRoom, kind: &str, state_key: Option<&str>, content: Value| {
                        scene.peer.event(room, BOB, kind, state_key, content)
                    };
                    let relates = json!({ "rel_type": "m.annotation", "event_id": said.id, "key": "+1" });
                    let topic = by_bob(&mut room, "m.room.topic", Some(""), json!({ "topic": "carrots" }));
                    let text = by_bob(&mut room, "m.room.message", None, json!({ "body": "whole" }));
                    let reaction = by_bob(&mut room, "m.reaction", None, json!({ "m.relates_to": relates }));
                    let genuine = [topic, text, reaction];
                    show_events(&scene.peer, shows);
                    other.send(scene.server().name(), &spoilt(&genuine)).await.unwrap();
                    for event in &genuine {
                        let shown = scene.shown(&room, event).await.unwrap();
                        let expected = if shows { event.json["content"].clone() } else { json!({}) };
                        assert_eq!(shown["content"], expected, "{case}");
                    }
                    scene.send(&genuine.each_ref()).await.unwrap();
                    // A spoilt one that comes once more changes nothing.
                    other.send(scene.server().name(), &spoilt(&genuine)).await.unwrap();
                    for event in &genuine {
                        let shown = scene.shown(&room, event).await.unwrap();
                        assert_eq!(shown["content"], event.json["content"], "{case}");
                    }
                    let get = async |path: &str| {
                        scene.call(Method::GET, &format!("/rooms/{}/{path}", room.id), Value::Null).await.unwrap()
                    };
                    assert_eq!(get("state/m.room.topic").await["topic"], "carrots", "{case}");
                    let said = said.id.replace('/', "%2F");
                    let path = format!("/_matrix/client/v1/rooms/{}/relations/{said}", room.id);
                    let related = scene.call(Method::GET, &path, Value::Null).await.unwrap();
                    assert_eq!(related["chunk"][0]["event_id"], json!(genuine[2].id), "{case}: {related}");
                })
                .unwrap();
        }
    }
}

// clause: P3
/// What is refused only because its content is lost is not rejected: the true copy is judged by itself when it comes.
#[test]
fn a_spoilt_copy_condemns_no_event() {
    // Without its content, a redaction of these versions names nothing, and a join of that one nobody who vouched for it.
    for version in ["1", "2", "8"] {
        let network = Network::new(97, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let mut room = scene.room().await;
                let (other, _) = scene.dans_peer(&room).await;
                let target = scene.peer.event(&mut room, CAROL, "m.room.message", None, json!({ "body": "a slip" }));
                scene.send(&[&target]).await.unwrap();
                show_events(&scene.peer, false);
                let genuine = if version == "8" {
                    let rule = json!({ "join_rule": "restricted", "allow": [] });
                    scene.act(&mut room, Method::PUT, "state/m.room.join_rules", rule).await;
                    // Who is in the room may join again, however that is worded; this one is new to it.
                    let content = json!({ "membership": "join", "join_authorised_via_users_server": BOB });
                    scene.peer.event(
                        &mut room,
                        "@eve:peer.example",
                        "m.room.member",
                        Some("@eve:peer.example"),
                        content,
                    )
                } else {
                    let mut draft = scene.peer.draft(&room, CAROL, "m.room.redaction", None, json!({}));
                    draft.insert("redacts".into(), json!(target.id));
                    scene.peer.sign(room.version, draft)
                };
                let said = other.send(scene.server().name(), &spoilt(std::slice::from_ref(&genuine))).await.unwrap();
                assert!(said[&genuine.id].is_some(), "version {version}");
                assert!(scene.shown(&room, &genuine).await.is_none(), "version {version}");
                scene.send(&[&genuine]).await.unwrap_or_else(|because| panic!("version {version}: {because}"));
                assert!(scene.shown(&room, &genuine).await.is_some(), "version {version}");
                let shown = scene.shown(&room, &target).await.unwrap();
                assert_eq!(shown["content"] == json!({}), version != "8", "version {version}: {shown}");
            })
            .unwrap();
    }
}

// clause: P3
/// A server ACL without content would keep everybody out, its sender's server too.
#[test]
fn a_spoilt_server_acl_shuts_nobody_out() {
    for version in VERSIONS {
        for shows in [true, false] {
            let network = Network::new(98, 1);
            network
                .run(async {
                    let case = format!("version {version}, shown by its server: {shows}");
                    let scene = Scene::begin(&network, version).await;
                    let mut room = scene.room().await;
                    let (other, _) = scene.dans_peer(&room).await;
                    let users =
                        if version == "12" { json!({ BOB: 100 }) } else { json!({ BOB: 100, &scene.alice.id: 100 }) };
                    scene.act(&mut room, Method::PUT, "state/m.room.power_levels", json!({ "users": users })).await;
                    let content = json!({ "allow": ["*"], "deny": ["other.example"] });
                    let acl = scene.peer.event(&mut room, BOB, "m.room.server_acl", Some(""), content);
                    show_events(&scene.peer, shows);
                    other.send(scene.server().name(), &spoilt(std::slice::from_ref(&acl))).await.unwrap();
                    scene.send(&[&acl]).await.unwrap_or_else(|because| panic!("{case}: {because}"));
                    let text = scene.peer.event(&mut room, BOB, "m.room.message", None, json!({ "body": "in" }));
                    scene.send(&[&text]).await.unwrap_or_else(|because| panic!("{case}: {because}"));
                    let shown = scene.shown(&room, &acl).await.unwrap();
                    assert_eq!(shown["content"], acl.json["content"], "{case}");
                    let said = other.send(scene.server().name(), std::slice::from_ref(&text)).await.unwrap();
                    assert!(said[&text.id].is_some(), "{case}: {said:?}");
                })
                .unwrap();
        }
    }
}

// clause: P3, P4
/// Nor does one that is shown as an auth event condemn what cites it.
#[test]
fn a_spoilt_auth_event_condemns_nothing_that_cites_it() {
    const EVE: &str = "@eve:peer.example";
    let network = Network::new(99, 1);
    network
        .run(async {
            let scene = Scene::begin(&network, "8").await;
            let mut room = scene.room().await;
            let (other, _) = scene.dans_peer(&room).await;
            let rule = json!({ "join_rule": "restricted", "allow": [] });
            scene.act(&mut room, Method::PUT, "state/m.room.join_rules", rule).await;
            let content = json!({ "membership": "join", "join_authorised_via_users_server": BOB });
            let before: Vec<String> = room.state.values().cloned().collect();
            let join = scene.peer.event(&mut room, EVE, "m.room.member", Some(EVE), content);
            let text = scene.peer.event(&mut room, EVE, "m.room.message", None, json!({ "body": "hello" }));
            let shown = json!(spoilt(std::slice::from_ref(&join))[0].json);
            other.script(move |asked| {
                let body = match &asked.path {
                    path if path.contains("/get_missing_events/") => json!({ "events": [] }),
                    path if path.contains("/event_auth/") => json!({ "auth_chain": [shown] }),
                    path if path.contains("/event/") => {
                        json!({ "origin": "o", "origin_server_ts": 1, "pdus": [shown] })
                    }
                    path if path.contains("/state_ids/") => json!({ "pdu_ids": before, "auth_chain_ids": [] }),
                    _ => return None,
                };
                Some(Scripted { after: Duration::ZERO, answer: Some((200, body)) })
            });
            other.send(scene.server().name(), std::slice::from_ref(&text)).await.unwrap();
            assert!(scene.shown(&room, &text).await.is_none());
            scene.send(&[&join, &text]).await.unwrap();
            assert_eq!(scene.shown(&room, &text).await.unwrap()["content"], json!({ "body": "hello" }));
        })
        .unwrap();
}
