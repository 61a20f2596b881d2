//! Servers that lie in the answer to a join.

use crate::scene::Scene;
use crate::told::{HOST, History, LIES, VERSIONS, message, whole, with_another_topic};
use http::Method;
use serde_json::{Value, json};
use simulation::Network;

/// The join that was sent to the peer becomes part of the room's history.
fn follow_join(scene: &Scene<'_>, history: &mut History) {
    let asked = scene.peer.asked();
    let sent = asked.iter().rfind(|asked| asked.path.contains("/send_join/")).unwrap();
    let raw = federation::RawJson::from_known(sent.body.to_string());
    let join = scene.peer.learn(history.room.version, &raw).unwrap();
    history.room.follow(&join);
}

// clause: P4
/// Whoever lies in the answer to a join keeps nobody from joining through somebody else.
#[test]
fn a_join_answered_wrongly_bars_no_other() {
    for version in VERSIONS {
        for (what, is_told) in LIES {
            let network = Network::new(93, 1);
            network
                .run(async {
                    let case = format!("version {version}, {what} told");
                    let scene = Scene::begin(&network, version).await;
                    let history = History::new(&scene.peer, version);
                    let join = format!("/join/{}?via=peer.example", history.room.id);
                    // And where it is told, the topic is another.
                    history.script(&scene.peer, is_told, with_another_topic);
                    let refused = scene.call(Method::POST, &join, json!({})).await;
                    // A public room lets people in whoever its members are.
                    assert!(refused.is_err() || what == "no members", "{case}");
                    if refused.is_err() {
                        history.script(&scene.peer, |_| true, whole);
                        scene
                            .call(Method::POST, &join, json!({}))
                            .await
                            .unwrap_or_else(|error| panic!("{case}: {error}"));
                        let path = format!("/rooms/{}/state/m.room.topic", history.room.id);
                        let topic = scene.call(Method::GET, &path, Value::Null).await.unwrap();
                        assert_eq!(topic, json!({ "topic": "carrots" }), "{case}");
                    }
                })
                .unwrap();
        }
    }
}

// clause: P5
/// What was left out of the answer to a join condemns nobody's events, and is made up for by who is met next.
#[test]
fn what_a_join_was_not_told_is_found_out() {
    const GUEST: &str = "@guest:peer.example";
    for version in VERSIONS {
        for lie in ["m.room.power_levels", "m.room.member"] {
            let network = Network::new(96, 1);
            network
                .run(async {
                    let case = format!("version {version}, {lie} not told");
                    let scene = Scene::begin(&network, version).await;
                    let mut history = History::new(&scene.peer, version);
                    let by_guest = |history: &mut History, kind: &str, state_key: Option<&str>, content: Value| {
                        history.by(&scene.peer, GUEST, kind, state_key, content)
                    };
                    by_guest(&mut history, "m.room.member", Some(GUEST), json!({ "membership": "join" }));
                    let levels = if version == "12" { json!({ GUEST: 50 }) } else { json!({ HOST: 100, GUEST: 50 }) };
                    history.add(&scene.peer, "m.room.power_levels", Some(""), json!({ "users": levels }));
                    history.hides_auth_chain = false;
                    history.script(&scene.peer, move |kind| kind != lie, whole);
                    let join = format!("/join/{}?via=peer.example", history.room.id);
                    scene.call(Method::POST, &join, json!({})).await.unwrap_or_else(|error| panic!("{case}: {error}"));

                    let topic = by_guest(&mut history, "m.room.topic", Some(""), json!({ "topic": "beets" }));
                    history.script(&scene.peer, |_| true, whole);
                    // From somebody who does not say what the state is, it is left alone.
                    let bystander = network.peer("bystander.example");
                    bystander.send(scene.server().name(), std::slice::from_ref(&topic)).await.unwrap();
                    assert!(scene.shown(&history.room, &topic).await.is_none(), "{case}");
                    scene.send(&[&topic]).await.unwrap_or_else(|because| panic!("{case}: {because}"));
                    let next = by_guest(&mut history, "m.room.message", None, message("next"));
                    scene.send(&[&next]).await.unwrap_or_else(|because| panic!("{case}: {because}"));

                    let path = format!("/rooms/{}/state", history.room.id);
                    let state = scene.call(Method::GET, &path, Value::Null).await.unwrap();
                    for ((kind, key), id) in &history.room.state {
                        let found = state.as_array().unwrap().iter().any(|event| event["event_id"] == **id);
                        assert!(found, "{case}: {kind} {key} is not in {state:#}");
                    }
                })
                .unwrap();
        }
    }
}

// clause: P3
/// Who shows a spoilt server ACL in the answer to a join does not shut out those whom it lets in.
#[test]
fn a_spoilt_server_acl_that_comes_with_a_join_shuts_nobody_out() {
    for version in VERSIONS {
        let network = Network::new(100, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let mut history = History::new(&scene.peer, version);
                history.add(&scene.peer, "m.room.server_acl", Some(""), json!({ "allow": ["*"] }));
                history.hides_auth_chain = false;
                history.script(
                    &scene.peer,
                    |_| true,
                    |event| {
                        let mut shown = event.json.clone();
                        if shown["type"] == "m.room.server_acl" {
                            shown.insert("content".into(), json!({ "allow": ["*"], "deny": ["*"] }));
                        }
                        shown
                    },
                );
                let join = format!("/join/{}?via=peer.example", history.room.id);
                scene.call(Method::POST, &join, json!({})).await.unwrap();
                let next = history.add(&scene.peer, "m.room.message", None, message("next"));
                scene.send(&[&next]).await.unwrap_or_else(|because| panic!("version {version}: {because}"));
                assert!(scene.shown(&history.room, &next).await.is_some(), "version {version}");
            })
            .unwrap();
    }
}

// clause: P5
/// A join that was answered with a state of long ago gives nobody power for longer than until somebody honest says something.
#[test]
fn an_old_state_told_to_a_join_is_found_out_by_what_others_cite() {
    const GUEST: &str = "@guest:peer.example";
    for version in VERSIONS {
        let network = Network::new(102, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let mut history = History::new(&scene.peer, version);
                history.hides_auth_chain = false;
                history.by(&scene.peer, GUEST, "m.room.member", Some(GUEST), json!({ "membership": "join" }));
                let levels = |guest: i64| {
                    let users =
                        if version == "12" { json!({ GUEST: guest }) } else { json!({ HOST: 100, GUEST: guest }) };
                    json!({ "users": users })
                };
                let old = history.add(&scene.peer, "m.room.power_levels", Some(""), levels(50));
                history.add(&scene.peer, "m.room.power_levels", Some(""), levels(0));
                let truth = history.room.state.clone();
                history.room.state.insert(("m.room.power_levels".into(), String::new()), old.id);
                history.script(&scene.peer, |_| true, whole);
                let join = format!("/join/{}?via=peer.example", history.room.id);
                scene.call(Method::POST, &join, json!({})).await.unwrap();
                history.room.state = truth;

                // The others have the join.
                follow_join(&scene, &mut history);
                let name = history.add(&scene.peer, "m.room.name", Some(""), json!({ "name": "warren" }));
                history.script(&scene.peer, |_| true, whole);
                scene.send(&[&name]).await.unwrap_or_else(|because| panic!("version {version}: {because}"));
                let get = async |path: &str| {
                    scene.call(Method::GET, &format!("/rooms/{}/state/{path}", history.room.id), Value::Null).await
                };
                assert_eq!(get("m.room.power_levels").await.unwrap(), levels(0), "version {version}");
                assert_eq!(get("m.room.name").await.unwrap()["name"], "warren", "version {version}");
                let mut theirs = history.room.clone();
                let by_guest =
                    scene.peer.event(&mut theirs, GUEST, "m.room.topic", Some(""), json!({ "topic": "mine" }));
                scene.send(&[&by_guest]).await.unwrap_err();
                assert_eq!(get("m.room.topic").await.unwrap()["topic"], "carrots", "version {version}");
            })
            .unwrap();
    }
}

// clause: P3
/// A member who is shown without what let them in, in the answer to a join, is in the room when the whole event is shown; so is what rests on it.
#[test]
fn a_spoilt_member_that_comes_with_a_join_is_not_kept_out_for_good() {
    const GUEST: &str = "@guest:peer.example";
    // Of a join of this version, redaction keeps the membership, and not who vouched for it.
    let version = "8";
    let network = Network::new(104, 1);
    network
        .run(async {
            let scene = Scene::begin(&network, version).await;
            let mut history = History::new(&scene.peer, version);
            history.hides_auth_chain = false;
            let rule = json!({ "join_rule": "restricted", "allow": [] });
            history.add(&scene.peer, "m.room.join_rules", Some(""), rule);
            let content = json!({ "membership": "join", "join_authorised_via_users_server": HOST });
            let member = history.by(&scene.peer, GUEST, "m.room.member", Some(GUEST), content);
            history.add(&scene.peer, "m.room.power_levels", Some(""), json!({ "users": { HOST: 100, GUEST: 50 } }));
            let topic = history.by(&scene.peer, GUEST, "m.room.topic", Some(""), json!({ "topic": "beets" }));
            history.add(&scene.peer, "m.room.join_rules", Some(""), json!({ "join_rule": "public" }));
            history.script(
                &scene.peer,
                |_| true,
                |event| {
                    let mut shown = event.json.clone();
                    if shown["type"] == "m.room.member" && shown["sender"] == GUEST {
                        shown.insert("content".into(), json!({ "membership": "join", "displayname": "turnip" }));
                    }
                    shown
                },
            );
            let join = format!("/join/{}?via=peer.example", history.room.id);
            scene.call(Method::POST, &join, json!({})).await.unwrap();

            // The others have the join, and nothing is missing before what comes next.
            follow_join(&scene, &mut history);
            let next = history.by(&scene.peer, GUEST, "m.room.message", None, message("next"));
            history.script(&scene.peer, |_| true, whole);
            scene.send(&[&next]).await.unwrap();
            assert!(scene.shown(&history.room, &next).await.is_some());
            let path = format!("/rooms/{}/state", history.room.id);
            let state = scene.call(Method::GET, &path, Value::Null).await.unwrap();
            for event in [&member, &topic] {
                let found = state.as_array().unwrap().iter().find(|found| found["event_id"] == *event.id);
                assert_eq!(
                    found.unwrap_or_else(|| panic!("{} is not in {state:#}", event.id))["content"],
                    event.json["content"]
                );
            }
        })
        .unwrap();
}

// clause: A6.2
/// A join that nobody signs who could vouch for it would be refused by everybody else: it is none.
#[test]
fn a_join_that_is_vouched_for_in_words_alone_is_none() {
    for version in ["8", "10", "12"] {
        let network = Network::new(105, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let mut history = History::new(&scene.peer, version);
                let rule = json!({ "join_rule": "restricted", "allow": [] });
                history.add(&scene.peer, "m.room.join_rules", Some(""), rule);
                (history.hides_auth_chain, history.vouches) = (false, true);
                history.script(&scene.peer, |_| true, whole);
                let join = format!("/join/{}?via=peer.example", history.room.id);
                let refused = scene.call(Method::POST, &join, json!({})).await.unwrap_err();
                assert!(refused.to_string().contains("502"), "version {version}: {refused}");
                let joined = scene.call(Method::GET, "/joined_rooms", Value::Null).await.unwrap();
                assert_eq!(joined, json!({ "joined_rooms": [] }), "version {version}");
            })
            .unwrap();
    }
}
