//! Client-server API, "Key management API": `/keys/upload` and `/keys/claim`.

use crate::actions::{Machine, identity, text};
use crate::server::{Login, PASSWORD, Server, password_auth, with_server};
use futures::future::join_all;
use net::simulated::Simulation;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, time::Duration};

const ALGORITHM: &str = "signed_curve25519";

fn keys(range: std::ops::Range<usize>) -> Value {
    let key = |n| (format!("{ALGORITHM}:K{n:04}"), json!({ "key": format!("public {n}"), "signatures": {} }));
    Value::Object(range.map(key).collect::<Map<_, _>>())
}

/// The name of the key that a claim gives, and its content.
async fn claim(server: &Server, by: &Login, whose: &Login) -> Option<(String, Value)> {
    let body = json!({ "one_time_keys": { &whose.user_id: { &whose.device_id: ALGORITHM } } });
    let answer = server.post("/keys/claim", &by.token, body).await.ok();
    assert_eq!(answer["failures"], json!({}));
    let keys = answer["one_time_keys"][&whose.user_id][&whose.device_id].as_object()?;
    assert_eq!(keys.len(), 1, "{answer}");
    keys.iter().next().map(|(name, key)| (name.clone(), key.clone()))
}

async fn counts(server: &Server, who: &Login) -> (Value, Value) {
    let sync = server.get("/sync", &who.token).await.ok();
    (sync["device_one_time_keys_count"].clone(), sync["device_unused_fallback_key_types"].clone())
}

#[test]
fn uploads_are_checked_counted_and_repeatable() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        assert_eq!(server.upload(&alice, json!({})).await, json!({ "one_time_key_counts": {} }));
        let body = json!({ "device_keys": identity(&alice), "one_time_keys": keys(0..3) });
        let answer = json!({ "one_time_key_counts": { ALGORITHM: 3 } });
        assert_eq!(server.upload(&alice, body.clone()).await, answer);
        assert_eq!(server.upload(&alice, body).await, answer);
        assert_eq!(counts(&server, &alice).await.0, json!({ ALGORITHM: 3 }));

        // Another key under a known id: nothing of the request is taken in.
        let mut clash = keys(3..5);
        clash[format!("{ALGORITHM}:K0001")] = json!({ "key": "another", "signatures": {} });
        let body = json!({ "one_time_keys": clash });
        server.post("/keys/upload", &alice.token, body).await.error(400, "M_INVALID_PARAM");
        assert_eq!(server.upload(&alice, json!({})).await, answer);

        let mut other_user = identity(&alice);
        other_user["user_id"] = json!("@bob:example.org");
        let mut other_device = identity(&alice);
        other_device["device_id"] = json!("OTHER");
        for (body, code) in [
            (json!({ "device_keys": other_user }), "M_INVALID_PARAM"),
            (json!({ "device_keys": other_device }), "M_INVALID_PARAM"),
            (json!({ "device_keys": {} }), "M_INVALID_PARAM"),
            (json!({ "one_time_keys": { "nonsense": {} } }), "M_INVALID_PARAM"),
            (json!({ "one_time_keys": { ":a": {} } }), "M_INVALID_PARAM"),
            (json!({ "one_time_keys": { "a:b": 5 } }), "M_BAD_JSON"),
            (json!({ "one_time_keys": [] }), "M_BAD_JSON"),
            (json!({ "one_time_keys": { "a:b": { "key": 1.5 } } }), "M_BAD_JSON"),
            (json!({ "fallback_keys": { "a:b": {}, "a:c": {} } }), "M_INVALID_PARAM"),
        ] {
            server.post("/keys/upload", &alice.token, body).await.error(400, code);
        }
        // Keys that whoever claims or queries them could not read.
        for member in ["algorithms", "keys", "signatures"] {
            let mut keys = identity(&alice);
            keys.as_object_mut().unwrap().remove(member);
            let body = json!({ "device_keys": keys, "one_time_keys": { "a:b": "c" } });
            let error = server.post("/keys/upload", &alice.token, body).await.error(400, "M_BAD_JSON");
            assert!(error["error"].as_str().unwrap().contains(member), "{error}");
        }
        for (name, key) in [
            ("signed_curve25519:X", json!({})),
            ("signed_curve25519:X", json!("k")),
            ("signed_curve25519:X", json!({ "key": 5, "signatures": {} })),
            ("signed_curve25519:X", json!({ "x": "y", "signatures": {} })),
            ("signed_curve25519:X", json!({ "key": "k" })),
            ("signed_curve25519:X", json!({ "key": "k", "signatures": { "@a:b": "s" } })),
            ("curve25519:X", json!({ "key": "k", "signatures": {} })),
        ] {
            for member in ["one_time_keys", "fallback_keys"] {
                let body = json!({ member: { name: key } });
                server.post("/keys/upload", &alice.token, body).await.error(400, "M_BAD_JSON");
            }
        }
        assert_eq!(counts(&server, &alice).await, (json!({ ALGORITHM: 3 }), json!([])));
        let large = json!({ "one_time_keys": { "a:b": "x".repeat(5000) } });
        server.post("/keys/upload", &alice.token, large).await.error(413, "M_TOO_LARGE");
        let many = json!({ "one_time_keys": keys(0..1001) });
        server.post("/keys/upload", &alice.token, many).await.error(403, "M_FORBIDDEN");
        assert_eq!(server.upload(&alice, json!({})).await, answer);
    });
}

#[test]
fn keys_are_claimed_in_the_order_of_upload_then_the_fallback_key() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        assert_eq!(claim(&server, &bob, &alice).await, None);
        // The later upload has the lower id.
        server.upload(&alice, json!({ "one_time_keys": keys(5..6) })).await;
        server.upload(&alice, json!({ "one_time_keys": keys(1..2) })).await;
        let fallback = json!({ format!("{ALGORITHM}:F1"): { "key": "f", "fallback": true, "signatures": {} } });
        server.upload(&alice, json!({ "fallback_keys": fallback })).await;
        assert_eq!(counts(&server, &alice).await, (json!({ ALGORITHM: 2 }), json!([ALGORITHM])));
        let mut names = Vec::new();
        for _ in 0..4 {
            names.push(claim(&server, &bob, &alice).await.unwrap().0);
        }
        let name = |id: &str| format!("{ALGORITHM}:{id}");
        assert_eq!(names, [name("K0005"), name("K0001"), name("F1"), name("F1")]);
        assert_eq!(counts(&server, &alice).await, (json!({ ALGORITHM: 0 }), json!([])));
        // A used one stays used when it is uploaded again; a new one does not.
        server.upload(&alice, json!({ "fallback_keys": fallback })).await;
        assert_eq!(counts(&server, &alice).await.1, json!([]));
        let next = json!({ name("F2"): { "key": "g", "fallback": true, "signatures": {} } });
        server.upload(&alice, json!({ "fallback_keys": next })).await;
        assert_eq!(counts(&server, &alice).await.1, json!([ALGORITHM]));
        assert_eq!(
            claim(&server, &bob, &alice).await.unwrap(),
            (name("F2"), json!({ "key": "g", "fallback": true, "signatures": {} }))
        );
        // Other algorithms, devices, users: nothing, and no failure.
        let body = json!({ "one_time_keys": {
            &alice.user_id: { &alice.device_id: "other", "NOPE": ALGORITHM }, "@nobody:example.org": { "X": ALGORITHM },
        } });
        let answer = server.post("/keys/claim", &bob.token, body).await.ok();
        assert_eq!(answer, json!({ "failures": {}, "one_time_keys": {} }));
    });
}

/// A generator of the test's own, so that a case is its seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Claims and repeated uploads at the same time, and crashes in between: nobody gets a key that another got.
#[test]
fn no_key_is_handed_out_twice_whatever_happens() {
    let (mut claimed, mut crashes, mut lost) = (0, 0, 0);
    for seed in 0..24 {
        let mut chance = Chance(seed);
        let simulation = Simulation::new(seed);
        let machine = Machine::new(&simulation, "example.org");
        let ran = simulation.run(async {
            machine.disk.set_sync_time(Duration::from_millis(4));
            let mut server = machine.start();
            let (alice, bob) = (server.user("alice").await, server.user("bob").await);
            let total = 10 + usize::try_from(chance.below(40)).unwrap();
            let body = json!({ "one_time_keys": keys(0..total) });
            server.upload(&alice, body.clone()).await;
            let mut seen = BTreeSet::new();
            loop {
                let round = join_all((0..1 + chance.below(12)).map(|_| claim(&server, &bob, &alice)));
                // The client never got the answer to its upload and sends it again.
                let (round, _) = futures::join!(round, server.upload(&alice, body.clone()));
                let before = seen.len();
                for (name, _) in round.iter().flatten() {
                    assert!(seen.insert(name.clone()), "seed {seed}: {name} was handed out twice");
                }
                claimed += seen.len() - before;
                if round.iter().any(Option::is_none) {
                    break;
                }
                if chance.below(4) == 0 {
                    // In the middle of claims, some of which are answered and some not.
                    let pending = join_all((0..3).map(|_| claim(&server, &bob, &alice)));
                    let moment = Duration::from_millis(chance.below(10));
                    let world = server.services.world.clone();
                    for (name, _) in world.timeout(moment, pending).await.unwrap_or_default().into_iter().flatten() {
                        assert!(seen.insert(name.clone()), "seed {seed}: {name} was handed out twice");
                    }
                    machine.host.crash();
                    machine.disk.lose_power();
                    server = machine.start();
                    crashes += 1;
                }
            }
            lost += total - seen.len();
        });
        ran.unwrap();
    }
    println!("{claimed} keys claimed, {crashes} crashes, {lost} keys claimed by requests whose answers were lost");
    assert!(claimed > 300 && crashes > 10, "{claimed} {crashes}");
}

#[test]
fn keys_end_with_their_device() {
    with_server(async |server| {
        let (alice, other) = (server.user("alice").await, server.login("alice").await);
        let fallback = json!({ format!("{ALGORITHM}:F1"): { "key": "f", "fallback": true, "signatures": {} } });
        let body = json!({ "device_keys": identity(&other), "one_time_keys": keys(0..3), "fallback_keys": fallback });
        server.upload(&other, body).await;
        assert_eq!(counts(&server, &other).await.0, json!({ ALGORITHM: 3 }));
        assert!(claim(&server, &alice, &other).await.is_some());
        assert_eq!(counts(&server, &other).await.0, json!({ ALGORITHM: 2 }));
        let path = format!("/devices/{}", other.device_id);
        let session = server.delete(&path, &alice.token, json!({})).await.challenge("m.login.password");
        server.delete(&path, &alice.token, json!({ "auth": password_auth(&session, "alice", PASSWORD) })).await.ok();
        assert_eq!(claim(&server, &alice, &other).await, None);
        let answer = server.query(&alice, &[&alice.user_id]).await;
        assert_eq!(answer["device_keys"], json!({ &alice.user_id: {} }));
        // A new device of the same name begins afresh, and may use the ids again.
        let mut login = crate::server::password_login("alice", PASSWORD);
        login["device_id"] = json!(other.device_id);
        let again = server.tell("/login", login).await.login();
        assert_eq!(counts(&server, &again).await, (json!({ ALGORITHM: 0 }), json!([])));
        assert_eq!(text(&json!(again.device_id)), other.device_id);
        assert_eq!(counts(&server, &again).await, (json!({ ALGORITHM: 0 }), json!([])));
        server.upload(&again, json!({ "one_time_keys": keys(0..3) })).await;
        assert_eq!(counts(&server, &again).await.0, json!({ ALGORITHM: 3 }));
    });
}
