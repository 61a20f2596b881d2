//! Keys of servers: published, fetched, expired, forged, notarised.

use std::{sync::atomic::Ordering, time::Duration};

use federation::{
    RawJson,
    keys::{DocumentError, EventTime, KeyDocument, KeyError, KeyRequest, OldKey, OwnKeys, ServerKeys},
};
use futures::future::join_all;
use http::Method;
use net::{
    Timestamp,
    simulated::{START, Simulation},
};
use serde_json::{Value, json};
use state_res::sign::{SigningKey, verify_json};

use super::rig::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SERVER_PATH: &str = "/_matrix/key/v2/server";

fn own(name: &str, seed: u8, old: Vec<OldKey>) -> OwnKeys {
    let current = SigningKey::from_seed(&format!("k{seed}"), [seed; 32]).unwrap();
    OwnKeys { server_name: name.into(), current, old }
}

fn old_key(seed: u8, expired_at: Timestamp) -> OldKey {
    let key = SigningKey::from_seed(&format!("k{seed}"), [seed; 32]).unwrap();
    OldKey { key_id: key.key_id().to_owned(), key: key.verify_key(), expired_at }
}

fn document(value: Value) -> Result<KeyDocument, DocumentError> {
    KeyDocument::read("b.example", RawJson::from_known(value.to_string()))
}

fn request(server: &str, key_id: &str, at: EventTime) -> KeyRequest {
    KeyRequest { server_name: server.into(), key_id: key_id.into(), at }
}

// clause: S3.3
#[test]
fn what_is_published_can_be_believed_and_nothing_else() {
    let keys = own("b.example", 2, vec![old_key(9, START)]);
    let good = Value::Object(keys.document(START));
    assert_eq!(good["valid_until_ts"], START.plus(DAY).millis());
    let read = document(good.clone()).unwrap();
    assert!(read.verify_keys.contains_key("ed25519:k2") && read.old_verify_keys.contains_key("ed25519:k9"));
    assert!(matches!(
        KeyDocument::read("c.example", read.raw.clone()),
        Err(DocumentError::OtherServer(other)) if other == "b.example"
    ));
    // Anything changed after signing.
    let mut longer = good.clone();
    longer["valid_until_ts"] = json!(START.plus(DAY * 365).millis());
    assert_eq!(document(longer).unwrap_err(), DocumentError::Unsigned);
    let mut unsigned = good.clone();
    unsigned["signatures"] = json!({});
    assert_eq!(document(unsigned).unwrap_err(), DocumentError::Unsigned);
    // A key that did not sign is not taken, even in company of one that did.
    let mut two = keys.document(START);
    two.remove("signatures");
    two["verify_keys"]["ed25519:other"] = json!({ "key": old_key(7, START).key.to_base64() });
    keys.sign(&mut two);
    let read = document(Value::Object(two)).unwrap();
    assert_eq!(read.verify_keys.keys().collect::<Vec<_>>(), ["ed25519:k2"]);
    for odd in [json!(7), json!({}), json!({ "server_name": "b.example", "verify_keys": [], "valid_until_ts": 1 })] {
        assert!(matches!(document(odd).unwrap_err(), DocumentError::Form(_)));
    }
}

// clause: S3.1, S3.2
#[test]
fn validity_is_what_the_specification_makes_it() {
    let keys = own("b.example", 2, vec![old_key(9, START.minus(DAY))]);
    let mut document = keys.document(START);
    document.remove("signatures");
    document.insert("valid_until_ts".into(), START.plus(DAY * 3650).millis().into());
    keys.sign(&mut document);
    let document = KeyDocument::read("b.example", RawJson::from_known(Value::Object(document).to_string())).unwrap();
    let mut known = ServerKeys::default();
    known.learn(&document, START, true);
    let known = ServerKeys::from_bytes(&known.to_bytes()).unwrap();
    let event = |key: &str, time: EventTime| known.for_event(key, time).is_some();
    // Seven days, whatever the server says.
    assert!(event("ed25519:k2", EventTime::Within(START.plus(DAY * 7))));
    assert!(!event("ed25519:k2", EventTime::Within(START.plus(DAY * 8))));
    assert!(known.for_request("ed25519:k2", START.plus(DAY * 7)).is_some());
    assert!(known.for_request("ed25519:k2", START.plus(DAY * 8)).is_none());
    // Room versions 1 to 4 ask only whether the key had expired.
    assert!(event("ed25519:k2", EventTime::NotAfter(START.plus(DAY * 8))));
    assert!(event("ed25519:k9", EventTime::NotAfter(START.minus(DAY))));
    assert!(!event("ed25519:k9", EventTime::NotAfter(START)));
    // An old key: for events of its time only, for requests never.
    assert!(event("ed25519:k9", EventTime::Within(START.minus(DAY))));
    assert!(!event("ed25519:k9", EventTime::Within(START)));
    assert!(known.for_request("ed25519:k9", START.minus(DAY * 2)).is_none());
    assert!(ServerKeys::from_bytes(b"{}").is_none() && ServerKeys::from_bytes(b"\xff").is_none());
}

// clause: S3.1
#[test]
fn a_request_by_an_expired_key_is_refused() {
    let simulation = Simulation::new(20);
    let a = Server::start(&simulation, "a.example", Setup::default());
    // Its clock is two days behind, so that what it publishes ran out yesterday.
    simulation.host("b.example").set_clock_skew(-2 * 24 * 60 * 60 * 1000);
    let b = Server::start(&simulation, "b.example", Setup { key: 2, ..Setup::default() });
    let run = simulation.run(async {
        let refused = b.send("a.example", Method::GET, "/_matrix/federation/v1/event/$e", b"").await;
        assert_eq!(refused, (401, "M_UNAUTHORIZED".into()));
        let now = a.world.now();
        let found = a
            .ring
            .for_events([
                request("b.example", "ed25519:k2", EventTime::Within(now)),
                request("nobody.example", "ed25519:k2", EventTime::NotAfter(now)),
            ])
            .await;
        assert!(found.get("b.example", "ed25519:k2", EventTime::Within(now)).is_none());
        assert!(found.get("b.example", "ed25519:k2", EventTime::Within(now.minus(DAY * 2))).is_some());
        assert!(found.get("b.example", "ed25519:k2", EventTime::NotAfter(now)).is_some());
        assert!(matches!(found.error("nobody.example"), Some(KeyError::Unreachable { .. })));
        assert!(found.error("b.example").is_none());
    });
    run.unwrap();
    assert!(a.answers.asked.lock().is_empty());
}

// clause: S3.4
#[test]
fn keys_are_fetched_once_and_not_too_often() {
    let simulation = Simulation::new(21);
    let a = Server::start(&simulation, "a.example", Setup::default());
    let b = Server::start(&simulation, "b.example", Setup { key: 2, ..Setup::default() });
    let run = simulation.run(async {
        let all = join_all((0..50).map(|_| a.ring.for_request("b.example", "ed25519:k2"))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(b.count(SERVER_PATH), 1);
        // Made-up key ids do not make us ask each time.
        for n in 0..50 {
            let error = a.ring.for_request("b.example", &format!("ed25519:{n}")).await.unwrap_err();
            assert!(matches!(error, KeyError::NoSuchKey { .. }));
        }
        assert_eq!(b.count(SERVER_PATH), 1);
        a.world.sleep(Duration::from_secs(60)).await;
        assert!(a.ring.for_request("b.example", "ed25519:new").await.is_err());
        assert_eq!(b.count(SERVER_PATH), 2);
        // Nor does an event of the far future, which no answer could help.
        a.world.sleep(Duration::from_secs(60)).await;
        let far = a.world.now().plus(DAY * 30);
        a.ring.for_events([request("b.example", "ed25519:k2", EventTime::Within(far))]).await;
        assert_eq!(b.count(SERVER_PATH), 2);
        // They are fetched anew when they have run out.
        a.world.sleep(DAY * 2).await;
        assert!(a.ring.for_request("b.example", "ed25519:k2").await.is_ok());
        assert_eq!(b.count(SERVER_PATH), 3);
    });
    run.unwrap();
}

#[test]
fn a_server_that_fails_is_left_alone_for_a_while() {
    let simulation = Simulation::new(22);
    let a = Server::start(&simulation, "a.example", Setup::default());
    let b = Server::start(&simulation, "b.example", Setup { key: 2, ..Setup::default() });
    b.broken.store(true, Ordering::SeqCst);
    let run = simulation.run(async {
        let wanted = || a.ring.for_events([request("b.example", "ed25519:k2", EventTime::NotAfter(START))]);
        for _ in 0..600 {
            assert!(wanted().await.error("b.example").is_some());
            a.world.sleep(Duration::from_secs(1)).await;
        }
        let asked = b.count(SERVER_PATH);
        assert!((5..20).contains(&asked), "{asked} times in ten minutes");
        b.broken.store(false, Ordering::SeqCst);
        // It knocks: then it is asked soon, however long it was away.
        let knock = || b.send("a.example", Method::GET, "/_matrix/federation/v1/event/$e", b"");
        for _ in 0..5 {
            if knock().await.0 == 200 {
                break;
            }
            a.world.sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(knock().await.0, 200);
    });
    run.unwrap();
}

#[test]
fn a_key_that_is_no_longer_listed_signs_no_requests() {
    let simulation = Simulation::new(23);
    let a = Server::start(&simulation, "a.example", Setup::default());
    let setup = Setup { key: 2, ..Setup::default() };
    let before = Server::start(&simulation, "b.example", setup.clone());
    let run = simulation.run(async {
        let uri = "/_matrix/federation/v1/event/$e";
        assert_eq!(before.send("a.example", Method::GET, uri, b"").await.0, 200);
        let changed_at = a.world.now();
        simulation.host("b.example").crash();
        let old_keys = vec![old_key(2, changed_at)];
        let after = Server::start(&simulation, "b.example", Setup { key: 3, old_keys, ..setup });
        a.world.sleep(Duration::from_secs(60)).await;
        assert_eq!(after.send("a.example", Method::GET, uri, b"").await.0, 200);
        assert!(a.ring.for_request("b.example", "ed25519:k2").await.is_err());
        let later = changed_at.plus(Duration::from_secs(1));
        let wanted = [request("b.example", "ed25519:k2", EventTime::Within(changed_at))];
        let found = a.ring.for_events(wanted).await;
        assert!(found.get("b.example", "ed25519:k2", EventTime::Within(changed_at)).is_some());
        assert!(found.get("b.example", "ed25519:k2", EventTime::Within(later)).is_none());
    });
    run.unwrap();
}

#[test]
fn keys_are_remembered_across_a_restart() {
    let simulation = Simulation::new(24);
    let setup = Setup::default();
    let a = Server::start(&simulation, "a.example", setup.clone());
    let _b = Server::start(&simulation, "b.example", Setup { key: 2, ..Setup::default() });
    let run = simulation.run(async {
        let now = a.world.now();
        a.ring.for_events([request("b.example", "ed25519:k2", EventTime::Within(now))]).await;
        simulation.host("b.example").crash();
        simulation.host("a.example").crash();
        let a = Server::start(&simulation, "a.example", setup);
        let found = a.ring.for_events([request("b.example", "ed25519:k2", EventTime::Within(now))]).await;
        assert!(found.get("b.example", "ed25519:k2", EventTime::Within(now)).is_some());
        // Our own need no asking.
        let found = a.ring.for_events([request("a.example", "ed25519:k1", EventTime::Within(now))]).await;
        assert!(found.get("a.example", "ed25519:k1", EventTime::Within(now)).is_some());
    });
    run.unwrap();
}

// clause: S3.4
#[test]
fn a_notary_signs_for_others_and_stands_in_for_them() {
    let simulation = Simulation::new(25);
    let a = Server::start(&simulation, "a.example", Setup::default());
    let b = Server::start(&simulation, "b.example", Setup { key: 2, ..Setup::default() });
    let notaries = vec!["a.example".to_owned()];
    let c = Server::start(&simulation, "c.example", Setup { key: 3, notaries, ..Setup::default() });
    simulation.network().cut("b.example", "c.example");
    let run = simulation.run(async {
        let query = async |method: Method, uri: &str, body: &[u8]| {
            let (status, answer) = ask(&c.world, "a.example", method, uri, &[], body).await;
            assert_eq!(status, 200);
            answer["server_keys"].as_array().unwrap().clone()
        };
        for answer in [
            query(Method::GET, "/_matrix/key/v2/query/b.example", b"").await,
            query(Method::POST, "/_matrix/key/v2/query", br#"{"server_keys":{"b.example":{},"gone.example":{}}}"#)
                .await,
        ] {
            let [keys] = answer.as_slice() else { panic!("{answer:?}") };
            let keys = keys.as_object().unwrap();
            for server in [&a, &b] {
                let key = &server.own.current;
                verify_json(keys, &server.name, key.key_id(), &key.verify_key()).unwrap();
            }
        }
        let own = query(Method::GET, "/_matrix/key/v2/query/a.example", b"").await;
        assert_eq!(own[0]["server_name"], "a.example");
        assert!(query(Method::POST, "/_matrix/key/v2/query", br#"{"server_keys":{}}"#).await.is_empty());
        assert!(query(Method::GET, "/_matrix/key/v2/query/gone.example", b"").await.is_empty());
        // Who cannot reach b takes the notary's word.
        let found = c.ring.for_events([request("b.example", "ed25519:k2", EventTime::Within(c.world.now()))]).await;
        assert!(
            found.get("b.example", "ed25519:k2", EventTime::Within(c.world.now())).is_some(),
            "{:?}",
            found.error("b.example")
        );
        // What the notary asked b for has been kept, and its age is minded.
        let asked = b.count(SERVER_PATH);
        simulation.host("b.example").crash();
        a.world.sleep(DAY * 2).await;
        assert_eq!(query(Method::GET, "/_matrix/key/v2/query/b.example", b"").await.len(), 1, "better than nothing");
        assert_eq!(b.count(SERVER_PATH), asked);
    });
    run.unwrap();
}
