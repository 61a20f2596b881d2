//! Server-server API, "Checks performed on receipt of a PDU": each of the seven, by its number. What it says holds, and with it turned off
//! something fails.

use crate::policy::{Policy, add_signature};
use crate::scene::{BOB, CAROL, Scene, with_room};
use futures::future::LocalBoxFuture;
use http::Method;
use serde_json::{Value, json};
use simulation::{Network, PeerEvent, PeerRoom};
use state_res::sign::SigningKey;
use std::collections::BTreeMap;

/// The formats of events and their ids differ between these.
const VERSIONS: [&str; 5] = ["2", "3", "6", "10", "12"];

const CHECKS: [(u8, &str); 7] = [
    (1, "valid event, or dropped"),
    (2, "signatures, or dropped"),
    (3, "hashes, or redacted"),
    (4, "authorised by its auth events, or rejected"),
    (5, "authorised by the state before it, or rejected"),
    (6, "authorised by the current state, or soft-failed"),
    (7, "validated by the policy server, or soft-failed"),
];

type Outcome<'a> = LocalBoxFuture<'a, Result<(), String>>;

/// Something that a check demands.
struct Case {
    /// The check it shows; 0 for what all of them let through.
    cites: u8,
    what: &'static str,
    run: for<'a> fn(&'a Scene<'a>) -> Outcome<'a>,
}

fn hold(what: bool, complaint: impl FnOnce() -> String) -> Result<(), String> {
    if what { Ok(()) } else { Err(complaint()) }
}

fn message(body: &str) -> Value {
    json!({ "msgtype": "m.text", "body": body })
}

const CASES: [Case; 21] = [
    Case { cites: 0, what: "a proper message is taken and shown", run: |scene| Box::pin(proper(scene)) },
    Case { cites: 1, what: "a type of 256 bytes", run: |scene| Box::pin(long_type(scene)) },
    Case { cites: 1, what: "an event of more than 65,536 bytes", run: |scene| Box::pin(oversized(scene)) },
    Case { cites: 1, what: "21 prev_events", run: |scene| Box::pin(many_parents(scene)) },
    Case { cites: 2, what: "a signature by another key", run: |scene| Box::pin(forged(scene)) },
    Case { cites: 2, what: "an event in the name of another server's user", run: |scene| Box::pin(in_her_name(scene)) },
    Case { cites: 3, what: "a text changed after it was hashed", run: |scene| Box::pin(changed(scene)) },
    Case { cites: 4, what: "no membership among the auth events", run: |scene| Box::pin(without_membership(scene)) },
    Case { cites: 4, what: "a rejected event among the auth events", run: |scene| Box::pin(rejected_auth(scene)) },
    Case { cites: 5, what: "a message by someone kicked before it", run: |scene| Box::pin(kicked_before(scene)) },
    Case { cites: 5, what: "the same, though they are back by now", run: |scene| Box::pin(back_by_now(scene)) },
    Case { cites: 6, what: "an evaded ban", run: |scene| Box::pin(evaded_ban(scene)) },
    Case { cites: 7, what: "what the policy server refuses", run: |scene| Box::pin(refused_by_policy(scene)) },
    Case { cites: 7, what: "a policy server that says nothing", run: |scene| Box::pin(silent_policy(scene)) },
    Case { cites: 7, what: "the policy server's name, another's key", run: |scene| Box::pin(forged_policy(scene)) },
    Case { cites: 7, what: "the key of the policy server's past", run: |scene| Box::pin(rotated_policy(scene)) },
    Case { cites: 0, what: "what the policy server signs is shown", run: |scene| Box::pin(signed_by_policy(scene)) },
    Case { cites: 0, what: "a policy server that has left", run: |scene| Box::pin(policy_left(scene)) },
    Case { cites: 0, what: "the policy event itself", run: |scene| Box::pin(policy_event(scene)) },
    Case {
        cites: 0,
        what: "state set with a level since lost does not stand",
        run: |scene| Box::pin(lost_level(scene)),
    },
    Case { cites: 0, what: "what follows a soft-failed event", run: |scene| Box::pin(after_soft_failure(scene)) },
];

async fn proper(scene: &Scene<'_>) -> Result<(), String> {
    let mut room = scene.room().await;
    let event = scene.peer.event(&mut room, BOB, "m.room.message", None, message("hello"));
    scene.send(&[&event]).await?;
    let shown = scene.shown(&room, &event).await.ok_or("it is not shown")?;
    hold(shown["content"]["body"] == "hello", || format!("shown as {shown}"))?;
    let next = scene.say(&mut room, "after").await;
    hold(references(&next.json["prev_events"]) == [event.id.clone()], || format!("followed by {:?}", next.json))
}

/// It is refused or passed over, and nobody sees it.
async fn dropped(scene: &Scene<'_>, room: &PeerRoom, draft: serde_json::Map<String, Value>) -> Result<(), String> {
    let event = scene.peer.sign(room.version, draft);
    let said = scene.send(&[&event]).await;
    let shown = scene.shown(room, &event).await;
    hold(said.is_err() && shown.is_none(), || format!("{said:?}, shown as {shown:?}"))
}

async fn long_type(scene: &Scene<'_>) -> Result<(), String> {
    let room = scene.room().await;
    let draft = scene.peer.draft(&room, BOB, &"t".repeat(256), None, json!({}));
    dropped(scene, &room, draft).await
}

async fn oversized(scene: &Scene<'_>) -> Result<(), String> {
    let room = scene.room().await;
    let draft = scene.peer.draft(&room, BOB, "m.room.message", None, message(&"a".repeat(65_536)));
    dropped(scene, &room, draft).await
}

async fn many_parents(scene: &Scene<'_>) -> Result<(), String> {
    let room = scene.room().await;
    let mut draft = scene.peer.draft(&room, BOB, "m.room.message", None, message("a"));
    let parents = vec![room.tips[0].clone(); 21];
    draft.insert("prev_events".into(), scene.peer.references(room.version, &parents));
    dropped(scene, &room, draft).await
}

async fn forged(scene: &Scene<'_>) -> Result<(), String> {
    let room = scene.room().await;
    let other = SigningKey::from_seed("hand", [9; 32]).unwrap();
    let draft = scene.peer.draft(&room, BOB, "m.room.message", None, message("forged"));
    let event = scene.peer.sign_with(room.version, draft, &other);
    let said = scene.send(&[&event]).await;
    let shown = scene.shown(&room, &event).await;
    hold(said.is_err() && shown.is_none(), || format!("{said:?}, shown as {shown:?}"))
}

async fn in_her_name(scene: &Scene<'_>) -> Result<(), String> {
    let room = scene.room().await;
    let draft = scene.peer.draft(&room, &scene.alice.id, "m.room.message", None, message("not hers"));
    dropped(scene, &room, draft).await
}

async fn changed(scene: &Scene<'_>) -> Result<(), String> {
    let mut room = scene.room().await;
    let mut event = scene.peer.event(&mut room, BOB, "m.room.message", None, message("as sent"));
    event.json["content"]["body"] = json!("as changed");
    scene.send(&[&event]).await?;
    let shown = scene.shown(&room, &event).await.ok_or("it is not shown at all")?;
    hold(shown["content"] == json!({}), || format!("shown as {shown}"))
}

async fn without_membership(scene: &Scene<'_>) -> Result<(), String> {
    let room = scene.room().await;
    let mut draft = scene.peer.draft(&room, BOB, "m.room.message", None, message("who am I"));
    let member = room.state_id("m.room.member", BOB).unwrap();
    let cited: Vec<String> = references(&draft["auth_events"]).into_iter().filter(|id| id != member).collect();
    draft.insert("auth_events".into(), scene.peer.references(room.version, &cited));
    dropped(scene, &room, draft).await
}

async fn rejected_auth(scene: &Scene<'_>) -> Result<(), String> {
    let room = scene.room().await;
    // Bob makes himself an admin, which nobody accepts, and then relies on it.
    let levels = json!({ "users": { BOB: 100, &scene.alice.id: 100 } });
    let coup = scene.peer.sign(room.version, scene.peer.draft(&room, BOB, "m.room.power_levels", Some(""), levels));
    scene.peer.show(&coup);
    let mut after = room.clone();
    after.follow(&coup);
    let event = scene.peer.event(&mut after, BOB, "m.room.message", None, message("by right of my levels"));
    let said = scene.send(&[&coup, &event]).await;
    let shown = scene.shown(&room, &event).await;
    hold(said.is_err() && shown.is_none(), || format!("{said:?}, shown as {shown:?}"))
}

/// The room after alice has kicked bob, in which the peer's state still has him.
async fn kicked(scene: &Scene<'_>) -> PeerRoom {
    let mut room = scene.room().await;
    let joined = room.state_id("m.room.member", BOB).unwrap().to_owned();
    scene.act(&mut room, Method::POST, "kick", json!({ "user_id": BOB })).await;
    room.state.insert(("m.room.member".into(), BOB.into()), joined);
    room
}

async fn kicked_before(scene: &Scene<'_>) -> Result<(), String> {
    let room = kicked(scene).await;
    let draft = scene.peer.draft(&room, BOB, "m.room.message", None, message("still here"));
    dropped(scene, &room, draft).await
}

async fn back_by_now(scene: &Scene<'_>) -> Result<(), String> {
    let room = kicked(scene).await;
    scene.peer.join(scene.server().name(), &room.id, BOB).await.unwrap();
    let draft = scene.peer.draft(&room, BOB, "m.room.message", None, message("still here"));
    dropped(scene, &room, draft).await
}

async fn evaded_ban(scene: &Scene<'_>) -> Result<(), String> {
    let before = scene.room().await;
    let mut after = before.clone();
    let ban = scene.act(&mut after, Method::POST, "ban", json!({ "user_id": BOB })).await;
    let event = scene.peer.sign(before.version, scene.peer.draft(&before, BOB, "m.room.message", None, message("ha")));
    scene.send(&[&event]).await.map_err(|because| format!("a soft failure is none of the sender's: {because}"))?;
    let shown = scene.shown(&before, &event).await;
    hold(shown.is_none(), || format!("shown as {shown:?}"))?;
    // Nothing is built upon it.
    let next = scene.say(&mut after, "next").await;
    hold(references(&next.json["prev_events"]) == [ban.id.clone()], || format!("followed by {:?}", next.json))
}

async fn lost_level(scene: &Scene<'_>) -> Result<(), String> {
    let before = scene.room().await;
    let mut after = before.clone();
    let path = "state/m.room.power_levels/";
    let mut levels = scene.call(Method::GET, &format!("/rooms/{}/{path}", before.id), Value::Null).await.unwrap();
    levels["users"][BOB] = json!(0);
    scene.act(&mut after, Method::PUT, path, levels).await;
    let topic = json!({ "topic": "mine" });
    let event = scene.peer.sign(before.version, scene.peer.draft(&before, BOB, "m.room.topic", Some(""), topic));
    scene.send(&[&event]).await.map_err(|because| format!("a soft failure is none of the sender's: {because}"))?;
    let path = format!("/rooms/{}/state/m.room.topic", before.id);
    let topic = scene.call(Method::GET, &path, Value::Null).await;
    hold(topic.is_err(), || format!("the topic is {topic:?}"))
}

async fn after_soft_failure(scene: &Scene<'_>) -> Result<(), String> {
    let mut before = scene.room().await;
    let mut after = before.clone();
    let ban = scene.act(&mut after, Method::POST, "ban", json!({ "user_id": BOB })).await;
    let hidden = scene.peer.event(&mut before, BOB, "m.room.message", None, message("ha"));
    scene.send(&[&hidden]).await?;
    // Carol has seen both, and says something allowed.
    after.tips = vec![ban.id, hidden.id];
    let event = scene.peer.event(&mut after, CAROL, "m.room.message", None, message("I see both"));
    scene.send(&[&event]).await?;
    hold(scene.shown(&after, &event).await.is_some(), || "it is not shown".to_owned())
}

/// A room with a policy server. Each has a name of its own, as several are made in one network.
async fn guarded(scene: &Scene<'_>) -> (PeerRoom, Policy) {
    let mut room = scene.room().await;
    let policy =
        Policy::new(scene.network, &format!("policy{}.example", scene.network.elapsed().as_nanos()), room.version);
    policy.guard(scene, &mut room).await;
    (room, policy)
}

/// It is taken, and nobody sees it or builds upon it.
async fn soft_failed(scene: &Scene<'_>, room: &PeerRoom, policy: &Policy, event: &PeerEvent) -> Result<(), String> {
    scene.send(&[event]).await.map_err(|because| format!("a soft failure is none of the sender's: {because}"))?;
    let shown = scene.shown(room, event).await;
    hold(shown.is_none(), || format!("shown as {shown:?}"))?;
    policy.sign_with(room.version, policy.key.clone());
    let next = scene.say(&mut room.clone(), "next").await;
    hold(!references(&next.json["prev_events"]).contains(&event.id), || format!("followed by {:?}", next.json))
}

async fn refused_by_policy(scene: &Scene<'_>) -> Result<(), String> {
    let (room, policy) = guarded(scene).await;
    let event = scene.peer.sign(room.version, scene.peer.draft(&room, BOB, "m.room.message", None, message("spam")));
    soft_failed(scene, &room, &policy, &event).await?;
    hold(policy.asked().iter().any(|asked| asked["content"]["body"] == "spam"), || "it was not asked".to_owned())
}

async fn silent_policy(scene: &Scene<'_>) -> Result<(), String> {
    let (room, policy) = guarded(scene).await;
    policy.fall_silent();
    let event = scene.peer.sign(room.version, scene.peer.draft(&room, BOB, "m.room.message", None, message("hm?")));
    soft_failed(scene, &room, &policy, &event).await
}

async fn forged_policy(scene: &Scene<'_>) -> Result<(), String> {
    let (room, policy) = guarded(scene).await;
    let mut event =
        scene.peer.sign(room.version, scene.peer.draft(&room, BOB, "m.room.message", None, message("spam")));
    add_signature(room.version, &mut event, &policy, &Policy::key(8));
    soft_failed(scene, &room, &policy, &event).await
}

async fn rotated_policy(scene: &Scene<'_>) -> Result<(), String> {
    let (mut room, policy) = guarded(scene).await;
    let mut event =
        scene.peer.sign(room.version, scene.peer.draft(&room, BOB, "m.room.message", None, message("spam")));
    add_signature(room.version, &mut event, &policy, &policy.key);
    let policy = Policy { key: Policy::key(5), ..policy };
    policy.sign_with(room.version, policy.key.clone());
    scene.act(&mut room, Method::PUT, "state/m.room.policy/", policy.content(&policy.key)).await;
    soft_failed(scene, &room, &policy, &event).await
}

async fn signed_by_policy(scene: &Scene<'_>) -> Result<(), String> {
    let (mut room, policy) = guarded(scene).await;
    let asked = scene.peer.event(&mut room, BOB, "m.room.message", None, message("sign this"));
    let mut signed = scene.peer.event(&mut room, BOB, "m.room.message", None, message("signed spam"));
    add_signature(room.version, &mut signed, &policy, &policy.key);
    scene.send(&[&asked, &signed]).await?;
    for event in [&asked, &signed] {
        hold(scene.shown(&room, event).await.is_some(), || format!("not shown: {event:?}"))?;
    }
    Ok(())
}

async fn policy_left(scene: &Scene<'_>) -> Result<(), String> {
    let (mut room, policy) = guarded(scene).await;
    let watch = format!("@watch:{}", policy.peer.name());
    scene.act(&mut room, Method::POST, "kick", json!({ "user_id": watch })).await;
    let event = scene.peer.event(&mut room, BOB, "m.room.message", None, message("spam"));
    scene.send(&[&event]).await?;
    hold(scene.shown(&room, &event).await.is_some(), || "it is not shown".to_owned())
}

async fn policy_event(scene: &Scene<'_>) -> Result<(), String> {
    let (mut room, policy) = guarded(scene).await;
    policy.fall_silent();
    let event = scene.peer.event(&mut room, BOB, "m.room.policy", Some(""), json!({}));
    scene.send(&[&event]).await?;
    hold(scene.shown(&room, &event).await.is_some(), || "it is not shown".to_owned())?;
    scene.say(&mut room, "free").await;
    Ok(())
}

/// The ids in `prev_events` or `auth_events`.
fn references(list: &Value) -> Vec<String> {
    let ids = list.as_array().unwrap().iter();
    ids.map(|one| one.as_str().or(one[0].as_str()).unwrap().to_owned()).collect()
}

/// What does not hold, by case.
fn failures(version: &'static str) -> BTreeMap<usize, String> {
    let network = Network::new(5, 1);
    network
        .run(async {
            let scene = Scene::begin(&network, version).await;
            let mut failures = BTreeMap::new();
            for (index, case) in CASES.iter().enumerate() {
                if let Err(failure) = (case.run)(&scene).await {
                    failures.insert(index, format!("version {version}: {} ({}): {failure}", case.what, case.cites));
                }
            }
            failures
        })
        .unwrap()
}

fn failures_without(check: u8, version: &'static str) -> BTreeMap<usize, String> {
    use services::peers::ReceiptCheck as Later;
    use state_res::steps::ReceiptCheck as Early;
    let run = || failures(version);
    match check {
        1 => state_res::steps::without_check(Early::Format, run),
        2 => state_res::steps::without_check(Early::Signatures, run),
        3 => state_res::steps::without_check(Early::ContentHash, run),
        4 => services::peers::without_check(Later::AuthEvents, run),
        5 => services::peers::without_check(Later::StateBefore, run),
        6 => services::peers::without_check(Later::CurrentState, run),
        _ => services::peers::without_check(Later::PolicyServer, run),
    }
}

// clause: P8.1, P9.1
#[test]
fn checks_hold() {
    let failures: Vec<_> = VERSIONS.into_iter().flat_map(failures).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

// clause: P1, P2, P3, P4, P5, P6, P7
/// With any one check turned off, some case that cites it fails. Prints which.
#[test]
fn no_check_is_idle() {
    let mut idle = Vec::new();
    println!("{:<8} {:<50} {:>6} {:>8}", "version", "check on receipt of a PDU", "cases", "failing");
    for version in VERSIONS {
        for (number, says) in CHECKS {
            let failing = failures_without(number, version);
            let failing = failing.keys().filter(|index| CASES[**index].cites == number).count();
            let cases = CASES.iter().filter(|case| case.cites == number).count();
            println!("{version:<8} {:<50} {cases:>6} {failing:>8}", format!("{number}: {says}"));
            if failing < cases {
                idle.push(format!("version {version}, check {number}: {} cases hold without it", cases - failing));
            }
        }
    }
    assert!(idle.is_empty(), "{idle:#?}");
}

// clause: S2.3
/// A third-party invite needs no signature of its sender's server; what is left of this one, redacted for its wrong hash, is no such invite.
#[test]
fn nobody_invites_in_her_name() {
    for version in VERSIONS {
        with_room(7, version, async |scene, room| {
            let content = json!({ "membership": "invite", "third_party_invite": null });
            let draft = scene.peer.draft(&room, &scene.alice.id, "m.room.member", Some(CAROL), content);
            let mut event = scene.peer.sign(room.version, draft);
            event.json["content"]["displayname"] = json!("as changed");
            assert!(scene.send(&[&event]).await.is_err(), "version {version}");
            assert!(scene.shown(&room, &event).await.is_none(), "version {version}");
        });
    }
}

// clause: P9.2
/// Bob sets the topic at a fork where he still may; it comes after he has lost the power to, and is in the state once an event says that it
/// follows both this and what gave him the power back.
#[test]
fn a_soft_failed_state_event_takes_part_in_resolution() {
    for version in ["2", "6", "10", "12"] {
        with_room(6, version, async |scene, before| {
            let mut after = before.clone();
            let topic_path = format!("/rooms/{}/state/m.room.topic", before.id);
            let topic = || scene.call(Method::GET, &topic_path, Value::Null);
            let path = "state/m.room.power_levels/";
            let full = format!("/rooms/{}/{path}", before.id);
            let levels = scene.call(Method::GET, &full, Value::Null).await.unwrap();
            let mut lowered = levels.clone();
            lowered["users"][BOB] = json!(0);
            scene.act(&mut after, Method::PUT, path, lowered).await;
            let draft = scene.peer.draft(&before, BOB, "m.room.topic", Some(""), json!({ "topic": "mine" }));
            let event = scene.peer.sign(before.version, draft);
            scene.send(&[&event]).await.unwrap();
            assert!(topic().await.is_err(), "version {version}");
            let restored = scene.act(&mut after, Method::PUT, path, levels).await;
            assert!(topic().await.is_err(), "version {version}: nothing follows it yet");

            let sync = scene.call(Method::GET, "/sync", Value::Null).await.unwrap();
            scene.peer.show(&event);
            after.tips = vec![restored.id, event.id.clone()];
            let both = scene.peer.event(&mut after, CAROL, "m.room.message", None, message("I see both"));
            scene.send(&[&both]).await.unwrap();
            assert_eq!(topic().await.unwrap()["topic"], "mine", "version {version}");
            let since = sync["next_batch"].as_str().unwrap();
            let sync = scene.call(Method::GET, &format!("/sync?since={since}"), Value::Null).await.unwrap();
            let state = &sync["rooms"]["join"][&after.id]["state"]["events"];
            let told = state.as_array().unwrap().iter().any(|one| one["event_id"] == *event.id);
            assert!(told, "version {version}: {sync:#}");
        });
    }
}
