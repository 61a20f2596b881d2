//! Room versions, "Handling redactions": a redaction that arrives before the event that it names.

use crate::scene::{BOB, CAROL, DAN, Scene};
use serde_json::json;
use simulation::Network;

#[test]
fn a_redaction_that_comes_first_takes_effect_whoever_else_names_the_event() {
    for version in ["3", "10", "11", "12"] {
        // Several times, as the order of what is kept follows from hashes.
        for seed in 51..55 {
            let network = Network::new(seed, 1);
            network
                .run(async {
                    let scene = Scene::begin(&network, version).await;
                    let room = scene.room().await;
                    let (other, theirs) = scene.dans_peer(&room).await;
                    let content = json!({ "msgtype": "m.text", "body": "a slip" });
                    let target = scene.peer.draft(&room, BOB, "m.room.message", None, content);
                    let target = scene.peer.sign(room.version, target);
                    let redaction = |mut draft: serde_json::Map<String, serde_json::Value>| {
                        if room.version.rules().redacts_in_content {
                            draft["content"]["redacts"] = json!(target.id);
                        } else {
                            draft.insert("redacts".into(), json!(target.id));
                        }
                        draft
                    };
                    let draft = scene.peer.draft(&room, BOB, "m.room.redaction", None, json!({ "reason": "mine" }));
                    let valid = scene.peer.sign(room.version, redaction(draft));
                    // Dan has no business redacting bob's message: he belongs to another server and has no power.
                    let draft = other.draft(&theirs, DAN, "m.room.redaction", None, json!({ "reason": "his" }));
                    let void = other.sign(room.version, redaction(draft));
                    scene.send(&[&valid]).await.unwrap();
                    other.send(scene.server().name(), std::slice::from_ref(&void)).await.unwrap();
                    scene.send(&[&target]).await.unwrap();
                    let shown = scene.shown(&room, &target).await.unwrap();
                    assert_eq!(shown["content"], json!({}), "version {version}: {shown}");
                    let because = &shown["unsigned"]["redacted_because"];
                    assert_eq!(because["event_id"], json!(valid.id), "version {version}: {shown}");
                })
                .unwrap();
        }
    }
}

#[test]
fn a_redaction_by_who_may_not_redact_does_nothing_before_or_after() {
    let network = Network::new(56, 1);
    network
        .run(async {
            let scene = Scene::begin(&network, "10").await;
            let mut room = scene.room().await;
            let (other, theirs) = scene.dans_peer(&room).await;
            let content = json!({ "msgtype": "m.text", "body": "kept" });
            let targets = [
                scene.peer.event(&mut room, BOB, "m.room.message", None, content.clone()),
                scene.peer.event(&mut room, BOB, "m.room.message", None, content.clone()),
            ];
            for (index, target) in targets.iter().enumerate() {
                let mut draft = other.draft(&theirs, DAN, "m.room.redaction", None, json!({}));
                draft.insert("redacts".into(), json!(target.id));
                let void = other.sign(room.version, draft);
                if index == 0 {
                    other.send(scene.server().name(), std::slice::from_ref(&void)).await.unwrap();
                }
                scene.send(&[target]).await.unwrap();
                if index == 1 {
                    other.send(scene.server().name(), std::slice::from_ref(&void)).await.unwrap();
                }
                assert_eq!(scene.shown(&room, target).await.unwrap()["content"], content);
            }
        })
        .unwrap();
}

// clause: R2.1
/// In room versions 1 and 2 it is the domains of the two events' ids that count, whoever the senders are.
#[test]
fn what_the_old_rules_allow_takes_effect_and_nothing_else() {
    for version in ["1", "2"] {
        for comes_first in [false, true] {
            let network = Network::new(57, 1);
            network
                .run(async {
                    let scene = Scene::begin(&network, version).await;
                    let room = scene.room().await;
                    let (other, theirs) = scene.dans_peer(&room).await;
                    let content = json!({ "msgtype": "m.text", "body": "a slip" });
                    let target = other.draft(&theirs, DAN, "m.room.message", None, content.clone());
                    let target = other.sign(room.version, target);
                    // Carol has no power. Her event has an id of the other server's, which has signed it too.
                    let mut draft = scene.peer.draft(&room, CAROL, "m.room.redaction", None, json!({}));
                    draft.insert("redacts".into(), json!(target.id));
                    let void = scene.peer.sign(room.version, draft.clone());
                    draft.insert("event_id".into(), json!("$of-both:other.example"));
                    let valid = other.sign(room.version, scene.peer.sign(room.version, draft).json);
                    let send_target = || other.send(scene.server().name(), std::slice::from_ref(&target));
                    if comes_first {
                        scene.send(&[&void]).await.unwrap_err();
                        scene.send(&[&valid]).await.unwrap();
                        send_target().await.unwrap();
                    } else {
                        send_target().await.unwrap();
                        scene.send(&[&void]).await.unwrap_err();
                        assert_eq!(scene.shown(&room, &target).await.unwrap()["content"], content, "version {version}");
                        scene.send(&[&valid]).await.unwrap();
                    }
                    let shown = scene.shown(&room, &target).await.unwrap();
                    assert_eq!(shown["content"], json!({}), "version {version}: {shown}");
                    let because = &shown["unsigned"]["redacted_because"];
                    assert_eq!(because["event_id"], json!(valid.id), "version {version}: {shown}");
                })
                .unwrap();
        }
    }
}
