//! Server-server API, "Policy Servers": a room lets a server of its choice look at every event, ours and those that come.

use crate::scene::{BOB, CAROL, Scene, with_room};
use http::Method;
use serde_json::{Map, Value, json};
use simulation::{Asked, Failure, Network, Peer, PeerEvent, PeerRoom, Scripted};
use state_res::room_version::RoomVersion;
use state_res::sign::{SigningKey, hash_and_sign_event};
use std::time::Duration;

const SIGN: &str = "/_matrix/policy/v1/sign";

/// A policy server, worked by hand.
pub(crate) struct Policy {
    pub(crate) peer: Peer,
    pub(crate) key: SigningKey,
}

/// The policy server's signature of an event, as it answers it.
pub(crate) fn signature(version: RoomVersion, event: &Value, server: &str, key: &SigningKey) -> Value {
    let mut event: Map<String, Value> = event.as_object().unwrap().clone();
    event.remove("signatures");
    hash_and_sign_event(version, &mut event, server, key).unwrap();
    event["signatures"].clone()
}

impl Policy {
    pub(crate) fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed("policy_server", [seed; 32]).unwrap()
    }

    /// A policy server that signs everything but what has "spam" in it.
    pub(crate) fn new(network: &Network, name: &str, version: RoomVersion) -> Self {
        let policy = Self { peer: network.peer(name), key: Self::key(3) };
        policy.sign_with(version, policy.key.clone());
        policy
    }

    /// From now on it signs with this key.
    pub(crate) fn sign_with(&self, version: RoomVersion, key: SigningKey) {
        let name = self.peer.name().to_owned();
        self.answer(move |asked| {
            if asked.body.to_string().contains("spam") {
                let refusal = json!({ "errcode": "M_FORBIDDEN", "error": "It smells of spam", "org.example.score": 9 });
                return (400, refusal);
            }
            (200, signature(version, &asked.body, &name, &key))
        });
    }

    /// Answers questions for signatures like this.
    pub(crate) fn answer(&self, answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static) {
        self.peer.script(move |asked| {
            let answer = (asked.path == SIGN).then(|| answer(asked))?;
            Some(Scripted { after: Duration::ZERO, answer: Some(answer) })
        });
    }

    /// Answers them too late for anybody.
    pub(crate) fn fall_silent(&self) {
        let wait = Duration::from_secs(600);
        self.peer.script(move |asked| (asked.path == SIGN).then_some(Scripted { after: wait, answer: None }));
    }

    /// Signs everything from now on, but events with this word only so long after it was asked.
    pub(crate) fn take_time_over(&self, version: RoomVersion, word: &'static str, time: Duration) {
        let (name, key) = (self.peer.name().to_owned(), self.key.clone());
        self.peer.script(move |asked| {
            let after = if asked.body.to_string().contains(word) { time } else { Duration::ZERO };
            let answer = (asked.path == SIGN).then(|| (200, signature(version, &asked.body, &name, &key)))?;
            Some(Scripted { after, answer: Some(answer) })
        });
    }

    /// The events about which it was asked.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.peer.asked().into_iter().filter(|asked| asked.path == SIGN).map(|asked| asked.body).collect()
    }

    pub(crate) fn content(&self, key: &SigningKey) -> Value {
        json!({ "via": self.peer.name(), "public_keys": { "ed25519": key.verify_key().to_base64() } })
    }

    /// A user of the policy server joins, and alice lets the room use it.
    pub(crate) async fn guard(&self, scene: &Scene<'_>, room: &mut PeerRoom) {
        self.peer.join(scene.server().name(), &room.id, &format!("@watch:{}", self.peer.name())).await.unwrap();
        scene.act(room, Method::PUT, "state/m.room.policy/", self.content(&self.key)).await;
    }
}

pub(crate) fn message(body: &str) -> Value {
    json!({ "msgtype": "m.text", "body": body })
}

/// Adds the policy server's signature to an event of a peer's.
pub(crate) fn add_signature(version: RoomVersion, event: &mut PeerEvent, policy: &Policy, key: &SigningKey) {
    let name = policy.peer.name();
    let signed = signature(version, &Value::Object(event.json.clone()), name, key);
    for (key_id, signature) in signed[name].as_object().unwrap() {
        event.json["signatures"][name][key_id] = signature.clone();
    }
}

/// The event as the server gives it to others.
async fn stored(scene: &Scene<'_>, event_id: &str) -> Value {
    let raw = scene.peer.client().event(scene.server().name(), event_id).await.unwrap();
    raw.parse().unwrap()
}

fn is_signed(event: &Value, policy: &Policy) -> bool {
    event["signatures"][policy.peer.name()]["ed25519:policy_server"].is_string()
}

fn refusal(result: Result<Value, Failure>) -> (u16, String, String) {
    match result {
        Err(Failure::Refused { status, body, .. }) => {
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            (status.as_u16(), text("errcode"), text("error"))
        }
        other => panic!("not refused: {other:?}"),
    }
}

// clause: P10.3
#[test]
fn what_our_users_send_goes_out_signed_or_not_at_all() {
    for version in ["1", "6", "10", "12"] {
        with_room(81, version, async |scene, mut room| {
            let policy = Policy::new(scene.network, "policy.example", room.version);
            policy.guard(&scene, &mut room).await;
            assert_eq!(policy.asked().len(), 0, "the policy event itself is none of its business");

            // A message, state, a redaction, a membership: each is signed before anybody gets it.
            let said = scene.say(&mut room, "m1").await;
            let topic = scene.act(&mut room, Method::PUT, "state/m.room.topic/", json!({ "topic": "t" })).await;
            let path = format!("redact/{}/r1", said.id.replace('/', "%2F"));
            let redaction = scene.act(&mut room, Method::PUT, &path, json!({})).await;
            let ban = scene.act(&mut room, Method::POST, "ban", json!({ "user_id": "@eve:peer.example" })).await;
            for event in [&said, &topic, &redaction, &ban] {
                assert!(is_signed(&Value::Object(event.json.clone()), &policy), "version {version}: {event:?}");
            }
            assert_eq!(policy.asked().len(), 4);

            // What it refuses is refused in its words, and is nowhere.
            let path = format!("/rooms/{}/send/m.room.message/m2", room.id);
            let before = scene.peer.received().len();
            let refused = refusal(scene.call(Method::PUT, &path, message("spam")).await);
            assert_eq!(refused, (400, "M_FORBIDDEN".to_owned(), "It smells of spam".to_owned()));
            let path = format!("/rooms/{}/state/m.room.topic/", room.id);
            let refused = refusal(scene.call(Method::PUT, &path, json!({ "topic": "spam" })).await);
            assert_eq!(refused.1, "M_FORBIDDEN");
            scene.network.wait(Duration::from_secs(5)).await;
            assert_eq!(scene.peer.received().len(), before);
            assert_eq!(scene.call(Method::GET, &path, Value::Null).await.unwrap()["topic"], "t");
            let next = scene.say(&mut room, "m3").await;
            let ban = json!(scene.peer.references(room.version, std::slice::from_ref(&ban.id)));
            assert_eq!(next.json["prev_events"], ban, "version {version}");

            // The same transaction id gives the same event, and asks nobody again.
            let asked = policy.asked().len();
            let path = format!("/rooms/{}/send/m.room.message/m3", room.id);
            let again = scene.call(Method::PUT, &path, message("m3")).await.unwrap();
            assert_eq!((again["event_id"].as_str(), policy.asked().len()), (Some(next.id.as_str()), asked));
        });
    }
}

// clause: P10.3
#[test]
fn a_policy_server_that_cannot_sign_stops_our_users_until_the_room_drops_it() {
    with_room(82, "12", async |scene, mut room| {
        let policy = Policy::new(scene.network, "policy.example", room.version);
        policy.guard(&scene, &mut room).await;
        let mut count = 0;
        let mut send = async || {
            count += 1;
            let path = format!("/rooms/{}/send/m.room.message/x{count}", room.id);
            scene.call(Method::PUT, &path, message("hello")).await
        };
        policy.fall_silent();
        let began = scene.peer.world().now();
        let (status, errcode, error) = refusal(send().await);
        assert_eq!((status, errcode.as_str()), (502, "M_UNKNOWN"));
        assert!(error.contains("policy.example"), "{error}");
        assert!(scene.peer.world().now().millis() - began.millis() < 30_000);

        // Its own words, whatever they are; but nothing that would sign the user out or tell the client that we know no such endpoint.
        for (answer, expected) in [
            (
                (429, json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "Slowly", "retry_after_ms": 7 })),
                (429, "M_LIMIT_EXCEEDED"),
            ),
            ((404, json!({ "errcode": "M_NOT_FOUND", "error": "Which room?" })), (404, "M_NOT_FOUND")),
            ((500, json!({ "errcode": "M_UNKNOWN", "error": "Ouch" })), (502, "M_UNKNOWN")),
            ((404, json!({ "errcode": "M_UNRECOGNIZED", "error": "What?" })), (502, "M_UNKNOWN")),
            ((401, json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "Who?" })), (502, "M_UNKNOWN")),
            ((403, json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "Who?" })), (502, "M_UNKNOWN")),
            ((500, json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "Who?" })), (502, "M_UNKNOWN")),
            ((200, json!({})), (502, "M_UNKNOWN")),
            ((200, json!({ "policy.example": { "ed25519:policy_server": "AAAA" } })), (502, "M_UNKNOWN")),
            ((200, json!([1, 2])), (502, "M_UNKNOWN")),
        ] {
            let given = answer.clone();
            policy.answer(move |_| given.clone());
            let (status, errcode, _) = refusal(send().await);
            assert_eq!((status, errcode.as_str()), expected, "{answer:?}");
        }

        // A signature by a key that the room does not know is none.
        policy.sign_with(room.version, Policy::key(9));
        assert_eq!(refusal(send().await).0, 502);

        // The room can do without it, without asking it.
        scene.act(&mut room.clone(), Method::PUT, "state/m.room.policy/", json!({})).await;
        let asked = policy.asked().len();
        let path = format!("/rooms/{}/send/m.room.message/free", room.id);
        scene.call(Method::PUT, &path, message("spam")).await.unwrap();
        assert_eq!(policy.asked().len(), asked);
    });
}

// clause: P10.1
#[test]
fn a_room_uses_a_policy_server_only_where_all_conditions_hold() {
    with_room(83, "10", async |scene, room| {
        let policy = Policy::new(scene.network, "policy.example", room.version);
        let right = policy.content(&policy.key);
        let mut count = 0;
        let mut asks = async |content: &Value, state_key: &str| {
            let path = format!("/rooms/{}/state/m.room.policy/{state_key}", room.id);
            scene.call(Method::PUT, &path, content.clone()).await.unwrap();
            let before = policy.asked().len();
            count += 1;
            let path = format!("/rooms/{}/send/m.room.message/c{count}", room.id);
            let sent = scene.call(Method::PUT, &path, message("hello")).await;
            (policy.asked().len() > before, sent.is_ok())
        };
        assert_eq!(asks(&right, "").await, (false, true), "without a joined user of it");
        let watch = "@watch:policy.example";
        policy.peer.join(scene.server().name(), &room.id, watch).await.unwrap();
        for wrong in [
            json!({}),
            json!({ "via": "policy.example" }),
            json!({ "via": 7, "public_keys": right["public_keys"] }),
            json!({ "via": "policy.example", "public_keys": {} }),
            json!({ "via": "policy.example", "public_keys": { "ed25519": 7 } }),
            json!({ "via": "policy.example", "public_keys": "ed25519" }),
        ] {
            assert_eq!(asks(&wrong, "").await, (false, true), "{wrong}");
        }
        // With another state key it names none.
        assert_eq!(asks(&right, "elsewhere").await, (false, true));
        assert_eq!(asks(&right, "").await, (true, true));
        // Another state key does not exempt it either.
        let path = format!("/rooms/{}/state/m.room.policy/elsewhere", room.id);
        refusal(scene.call(Method::PUT, &path, json!({ "spam": 1 })).await);
        // A key in the other alphabet is a key; one that is none leaves nothing that could be valid.
        let text = right["public_keys"]["ed25519"].as_str().unwrap().replace('+', "-").replace('/', "_");
        let other = json!({ "via": "policy.example", "public_keys": { "ed25519": text } });
        assert_eq!(asks(&other, "").await, (true, true));
        let broken = json!({ "via": "policy.example", "public_keys": { "ed25519": "no key" } });
        assert_eq!(asks(&broken, "").await, (false, false));
        // Nor is there anybody to ask where the room has chosen a server that is none: this one.
        let ours = json!({ "via": scene.server().name(), "public_keys": right["public_keys"] });
        assert_eq!(asks(&ours, "").await, (false, false));
        assert_eq!(asks(&right, "").await, (true, true));
        let kick = json!({ "user_id": watch });
        scene.call(Method::POST, &format!("/rooms/{}/kick", room.id), kick).await.unwrap();
        assert_eq!(asks(&json!({ "again": 1 }), "").await, (false, true));
        assert_eq!(asks(&right, "").await, (false, true), "once its last user has gone");
    });
}

// clause: P10.2
#[test]
fn what_it_signs_is_kept_signed_and_given_on() {
    for version in ["2", "6", "12"] {
        with_room(84, version, async |scene, mut room| {
            let policy = Policy::new(scene.network, "policy.example", room.version);
            policy.guard(&scene, &mut room).await;
            // Asked for, as it came without one.
            let event = scene.peer.event(&mut room, BOB, "m.room.message", None, message("hello"));
            scene.send(&[&event]).await.unwrap();
            assert!(scene.shown(&room, &event).await.is_some());
            let kept = stored(&scene, &event.id).await;
            assert!(is_signed(&kept, &policy), "version {version}: {kept}");
            assert!(kept["signatures"][scene.peer.name()].is_object(), "version {version}: {kept}");
            assert_eq!(policy.asked().len(), 1);
            // Not asked for where it came with a valid one.
            let mut event = scene.peer.event(&mut room, BOB, "m.room.message", None, message("signed spam"));
            add_signature(room.version, &mut event, &policy, &policy.key);
            scene.send(&[&event]).await.unwrap();
            assert!(scene.shown(&room, &event).await.is_some());
            assert_eq!(policy.asked().len(), 1);
            // Asked for anew where the key has changed since.
            let mut event = scene.peer.event(&mut room, BOB, "m.room.message", None, message("by the old key"));
            add_signature(room.version, &mut event, &policy, &Policy::key(4));
            scene.send(&[&event]).await.unwrap();
            assert!(scene.shown(&room, &event).await.is_some());
            assert_eq!(policy.asked().len(), 2);
            // What is not allowed is not for it to say.
            let draft = scene.peer.draft(&room, "@nobody:peer.example", "m.room.message", None, message("hm"));
            let event = scene.peer.sign(room.version, draft);
            scene.send(&[&event]).await.unwrap_err();
            assert_eq!(policy.asked().len(), 2);
            // Its own users' events need both signatures, and the one does not stand for the other.
            let watch = "@watch:policy.example";
            let mut theirs = policy.peer.join(scene.server().name(), &room.id, watch).await.unwrap();
            let event = policy.peer.event(&mut theirs, watch, "m.room.message", None, message("I watch"));
            policy.peer.send(scene.server().name(), std::slice::from_ref(&event)).await.unwrap();
            assert!(scene.shown(&room, &event).await.is_some(), "version {version}");
            let kept = stored(&scene, &event.id).await;
            assert_eq!(kept["signatures"]["policy.example"].as_object().unwrap().len(), 2, "{kept}");
            let draft = policy.peer.draft(&theirs, watch, "m.room.message", None, message("who says?"));
            let event = policy.peer.sign_with(room.version, draft, &policy.key);
            let said = policy.peer.send(scene.server().name(), std::slice::from_ref(&event)).await.unwrap();
            assert!(said.get(&event.id).is_none_or(Option::is_some), "version {version}: {said:?}");
            assert!(scene.shown(&room, &event).await.is_none(), "version {version}");
        });
    }
}

// clause: P10.4
#[test]
fn members_who_come_and_go_are_looked_at() {
    for version in ["9", "12"] {
        let network = Network::new(85, 2);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let other = network.server(1);
                let dora = other.register("dora").await.unwrap();
                let mut room = scene.room().await;
                let policy = Policy::new(&network, "policy.example", room.version);
                policy.guard(&scene, &mut room).await;
                let by = |server: &'static str| {
                    policy.asked().iter().filter(|event| event["sender"].as_str().unwrap().ends_with(server)).count()
                };

                // A join through us: we ask, and who joins gets the event with the signature.
                let path = format!("/join/{}?via={}", room.id, scene.server().name());
                other.call(Method::POST, &path, &dora.token, &json!({})).await.unwrap();
                assert_eq!(by("s1.example"), 1);
                let path = format!("/rooms/{}/state/m.room.member/{}", room.id, dora.id);
                scene.call(Method::GET, &path, Value::Null).await.unwrap();
                assert_eq!(scene.peer.received().iter().filter(|event| event["state_key"] == *dora.id).count(), 1);
                assert!(
                    scene.peer.received().iter().all(
                        |event| event["state_key"] != *dora.id || is_signed(&Value::Object(event.clone()), &policy)
                    )
                );

                // Then both servers look at what comes.
                other
                    .call(
                        Method::PUT,
                        &format!("/rooms/{}/send/m.room.message/1", room.id),
                        &dora.token,
                        &message("hi"),
                    )
                    .await
                    .unwrap();
                network.wait(Duration::from_secs(5)).await;
                assert_eq!(by("s1.example"), 2, "the signature that came with the event holds");

                // Refused joins fail for whoever asked, in the policy server's words, and change nothing.
                let path = format!("/rooms/{}/leave", room.id);
                other.call(Method::POST, &path, &dora.token, &json!({})).await.unwrap();
                network.wait(Duration::from_secs(5)).await;
                let path = format!("/join/{}?via={}", room.id, scene.server().name());
                let refused = refusal(other.call(Method::POST, &path, &dora.token, &json!({ "reason": "spam" })).await);
                let words = format!("{} answered: It smells of spam", scene.server().name());
                assert_eq!((refused.1, refused.2), ("M_FORBIDDEN".to_owned(), words));
                let path = format!("/rooms/{}/joined_members", room.id);
                let members = scene.call(Method::GET, &path, Value::Null).await.unwrap();
                assert!(members["joined"][&dora.id].is_null(), "{members}");

                // An invite is signed before the invited server sees it; a refused one never gets there.
                let path = format!("/rooms/{}/invite", room.id);
                let body = json!({ "user_id": "@gast:peer.example", "reason": "spam" });
                refusal(scene.call(Method::POST, &path, body).await);
                let invites = || {
                    scene.peer.asked().into_iter().filter(|asked| asked.path.contains("/invite/")).collect::<Vec<_>>()
                };
                assert_eq!(invites().len(), 0);
                scene.call(Method::POST, &path, json!({ "user_id": "@gast:peer.example" })).await.unwrap();
                assert_eq!(invites().len(), 1);
                assert!(is_signed(&invites()[0].body["event"], &policy), "{:?}", invites()[0].body);
            })
            .unwrap();
    }
}

#[test]
fn nobody_waits_for_the_answer_about_another_event() {
    with_room(86, "12", async |scene, mut room| {
        let policy = Policy::new(scene.network, "policy.example", room.version);
        policy.guard(&scene, &mut room).await;
        policy.take_time_over(room.version, "slow", Duration::from_secs(8));
        let path = |txn: &str| format!("/rooms/{}/send/m.room.message/{txn}", room.id);
        let (slow_path, fast_path) = (path("slow"), path("fast"));
        let slow = scene.call(Method::PUT, &slow_path, message("slow"));
        let fast = async {
            scene.network.wait(Duration::from_secs(1)).await;
            let began = scene.peer.world().now().millis();
            scene.call(Method::PUT, &fast_path, message("fast")).await.unwrap();
            let event = scene.peer.event(&mut room.clone(), BOB, "m.room.message", None, message("theirs"));
            scene.send(&[&event]).await.unwrap();
            let took = scene.peer.world().now().millis() - began;
            assert!(took < 5_000, "it took {took} ms");
        };
        let (slow, ()) = futures::join!(slow, fast);
        let slow = slow.unwrap();
        // It follows what was newest when it was made, and is in the room like any other.
        let path = format!("/rooms/{}/event/{}", room.id, slow["event_id"].as_str().unwrap());
        scene.call(Method::GET, &path, Value::Null).await.unwrap();
    });
}

// clause: P10.2
#[test]
fn silence_holds_up_no_room_and_loses_nothing() {
    for version in ["6", "12"] {
        with_room(88, version, async |scene, mut room| {
            let policy = Policy::new(scene.network, "policy.example", room.version);
            policy.guard(&scene, &mut room).await;
            let start = scene.call(Method::GET, "/sync", Value::Null).await.unwrap();
            let clock = || scene.peer.world().now().millis();

            // Nobody waits for it but whoever finds out that it is silent.
            policy.fall_silent();
            let (began, mut said) = (clock(), Vec::new());
            for number in 0..6 {
                let (kind, state_key, content) = match number {
                    3 => ("m.room.topic", Some(""), json!({ "topic": "said in silence" })),
                    _ => ("m.room.message", None, message(&number.to_string())),
                };
                said.push(scene.peer.event(&mut room, BOB, kind, state_key, content));
                scene.send(&[&said[number]]).await.unwrap();
            }
            let took = clock() - began;
            assert!(took < 15_000, "version {version}: it took {took} ms");
            for event in &said {
                assert!(scene.shown(&room, event).await.is_none(), "version {version}");
            }
            // It is asked from time to time whether it is back, more and more seldom.
            scene.network.wait(Duration::from_secs(15 * 60)).await;
            let asked = policy.asked().len();
            assert!((4..12).contains(&asked), "version {version}: it was asked {asked} times");

            // That is not forgotten when the server ends.
            scene.server().crash();
            scene.server().start().await.unwrap();
            scene.network.wait(Duration::from_secs(60)).await;
            for event in &said {
                assert!(scene.shown(&room, event).await.is_none(), "version {version}");
            }
            policy.sign_with(room.version, policy.key.clone());
            scene.network.wait(Duration::from_secs(5 * 60)).await;
            let path = format!("/sync?since={}", start["next_batch"].as_str().unwrap());
            let sync = scene.call(Method::GET, &path, Value::Null).await.unwrap();
            let timeline = &sync["rooms"]["join"][&room.id]["timeline"];
            let shown = timeline["events"].as_array().unwrap().iter().map(|event| event["event_id"].clone());
            let ids: Vec<Value> = said.iter().map(|event| json!(event.id)).collect();
            assert_eq!(shown.collect::<Vec<_>>(), ids, "version {version}");
            assert!(is_signed(&stored(&scene, &said[0].id).await, &policy), "version {version}");
            let topic = format!("/rooms/{}/state/m.room.topic/", room.id);
            assert_eq!(scene.call(Method::GET, &topic, Value::Null).await.unwrap()["topic"], "said in silence");
            // What follows them follows the last of them alone.
            let next = scene.say(&mut room, "after").await;
            let last = json!(scene.peer.references(room.version, std::slice::from_ref(&said[5].id)));
            assert_eq!(next.json["prev_events"], last, "version {version}");
            // All is said about them.
            let asked = policy.asked().len();
            scene.network.wait(Duration::from_secs(60 * 60)).await;
            assert_eq!(policy.asked().len(), asked, "version {version}");
        });
    }
}

// clause: P10.2
#[test]
fn what_waited_for_the_policy_server_is_judged_by_the_room_as_it_is_then() {
    with_room(89, "12", async |scene, mut room| {
        let policy = Policy::new(scene.network, "policy.example", room.version);
        policy.guard(&scene, &mut room).await;
        // It is busy with some events for so long that it says nothing of them.
        policy.take_time_over(room.version, "hard", Duration::from_secs(600));
        let mut said = Vec::new();
        for (who, body) in [(CAROL, "hard one"), (BOB, "hard two"), (BOB, "hard spam")] {
            said.push(scene.peer.event(&mut room, who, "m.room.message", None, message(body)));
            scene.send(&[said.last().unwrap()]).await.unwrap();
        }
        // It says something of this one; the next one follows those that wait.
        scene.act(&mut room.clone(), Method::POST, "ban", json!({ "user_id": CAROL })).await;
        let later = scene.peer.event(&mut room, BOB, "m.room.message", None, message("four"));
        scene.network.wait(Duration::from_secs(10 * 60)).await;
        scene.send(&[&later]).await.unwrap();
        scene.network.wait(Duration::from_secs(10 * 60)).await;
        let shown = async |event: &PeerEvent| scene.shown(&room, event).await.is_some();
        assert_eq!((shown(&said[0]).await, shown(&said[1]).await, shown(&said[2]).await), (false, false, false));
        assert!(shown(&later).await);

        policy.sign_with(room.version, policy.key.clone());
        scene.network.wait(Duration::from_secs(10 * 60)).await;
        assert!(!shown(&said[0]).await, "carol is banned by now");
        assert!(shown(&said[1]).await);
        assert!(!shown(&said[2]).await, "that was refused");
        // They are not taken for something that nothing follows yet.
        let next = scene.say(&mut room.clone(), "next").await;
        let prev = next.json["prev_events"].as_array().unwrap();
        assert!(!prev.contains(&json!(said[1].id)), "{prev:?}");
        let asked = policy.asked().len();
        scene.network.wait(Duration::from_secs(60 * 60)).await;
        assert_eq!(policy.asked().len(), asked, "a refusal is not asked for again");
    });
}

// clause: P10.2
#[test]
fn a_room_that_drops_a_silent_policy_server_waits_for_it_no_more() {
    with_room(90, "12", async |scene, mut room| {
        let policy = Policy::new(scene.network, "policy.example", room.version);
        policy.guard(&scene, &mut room).await;
        policy.fall_silent();
        let said = scene.peer.event(&mut room, BOB, "m.room.message", None, message("hello"));
        scene.send(&[&said]).await.unwrap();
        assert!(scene.shown(&room, &said).await.is_none());
        scene.act(&mut room, Method::PUT, "state/m.room.policy/", json!({})).await;
        scene.network.wait(Duration::from_secs(2)).await;
        assert!(scene.shown(&room, &said).await.is_some());
    });
}

// Server-server API, "Unsupported endpoints".
#[test]
fn this_server_is_no_policy_server() {
    with_room(87, "12", async |scene, room| {
        let draft = scene.peer.draft(&room, BOB, "m.room.message", None, message("sign this"));
        let event = scene.peer.sign(room.version, draft);
        let body = Value::Object(event.json).to_string().into();
        let error = scene.peer.client().policy_sign(scene.server().name(), body).await.unwrap_err();
        let peer = error.peer().unwrap();
        assert_eq!((peer.status, peer.errcode.as_str()), (404, "M_UNRECOGNIZED"));
    });
}
