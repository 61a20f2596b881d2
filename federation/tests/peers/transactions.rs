//! Transactions coming in.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use federation::{
    ApiError, Edu,
    edu::Typing,
    limits::{MAX_EDUS, MAX_PDUS, MAX_WAITING_TRANSACTIONS},
};
use futures::future::join_all;
use http::Method;
use net::simulated::Simulation;
use serde_json::{Value, json};

use super::rig::*;

fn pair(simulation: &Simulation) -> (Server, Server) {
    let a = Server::start(simulation, "a.example", Setup::default());
    let b = Server::start(simulation, "b.example", Setup { key: 2, ..Setup::default() });
    (a, b)
}

fn body(pdus: &[Value], edus: &[Value]) -> Bytes {
    json!({ "origin": "a.example", "origin_server_ts": 1, "pdus": pdus, "edus": edus }).to_string().into()
}

fn typing(user: &str) -> Value {
    json!({ "edu_type": "m.typing", "content": { "room_id": "!r:a.example", "user_id": user, "typing": true } })
}

#[test]
fn a_replayed_transaction_is_answered_from_memory() {
    let simulation = Simulation::new(10);
    let (a, b) = pair(&simulation);
    let run = simulation.run(async {
        let first = a.client.send_transaction("b.example", "1", body(&[json!({ "n": 1 })], &[])).await.unwrap();
        assert_eq!(first.pdus.len(), 1);
        // The id counts, not the content.
        let again = a.client.send_transaction("b.example", "1", body(&[], &[])).await.unwrap();
        assert_eq!(again, first);
        // Ids are each server's own.
        let c = Server::start(&simulation, "c.example", Setup { key: 3, ..Setup::default() });
        let other = json!({ "pdus": [] }).to_string();
        assert!(c.client.send_transaction("b.example", "1", other.into()).await.unwrap().pdus.is_empty());
        // What failed is not remembered.
        b.answers.errors.lock().push_back(ApiError::internal("on purpose"));
        let two = || a.client.send_transaction("b.example", "2", body(&[json!({ "n": 2 })], &[]));
        assert_eq!(two().await.unwrap_err().peer().unwrap().status, 500);
        assert!(two().await.is_ok());
    });
    run.unwrap();
    assert_eq!(b.answers.pdus(), ["{\"n\":1}", "{\"n\":2}"]);
}

#[test]
fn too_many_are_refused_whole() {
    let simulation = Simulation::new(11);
    let (a, b) = pair(&simulation);
    let run = simulation.run(async {
        let send = async |txn_id: &str, pdus: usize, edus: usize| {
            let body = body(&vec![json!({}); pdus], &vec![typing("@a:a.example"); edus]);
            let uri = format!("/_matrix/federation/v1/send/{txn_id}");
            a.send("b.example", Method::PUT, &uri, &body).await
        };
        assert_eq!(send("1", MAX_PDUS + 1, 0).await, (400, "M_BAD_JSON".into()));
        assert_eq!(send("2", 0, MAX_EDUS + 1).await, (400, "M_BAD_JSON".into()));
        assert!(b.answers.transactions.lock().is_empty());
        assert_eq!(send("3", MAX_PDUS, MAX_EDUS).await.0, 200);
        assert_eq!((b.answers.pdus().len(), b.answers.edus().len()), (MAX_PDUS, MAX_EDUS));
        let other = json!({ "origin": "c.example", "pdus": [] }).to_string();
        let uri = "/_matrix/federation/v1/send/4";
        assert_eq!(a.send("b.example", Method::PUT, uri, other.as_bytes()).await, (400, "M_BAD_JSON".into()));
    });
    run.unwrap();
}

// clause: P8.3
#[test]
fn one_bad_part_does_not_spoil_the_rest() {
    let simulation = Simulation::new(12);
    let (a, b) = pair(&simulation);
    let edus = [
        json!({ "edu_type": "org.example.unknown", "content": {} }),
        json!({ "edu_type": "m.typing", "content": { "room_id": 7 } }),
        json!(7),
        typing("@a:a.example"),
    ];
    let deep: Value = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let run = simulation.run(async {
        let deep = json!({ "content": { "deep": deep } });
        a.client.send_transaction("b.example", "1", body(&[json!("no object"), deep], &edus)).await.unwrap();
        // As it came, odd numbers and all; nested deeper than anything is parsed; lists that some servers write as null.
        let odd =
            format!("{{\"pdus\":[{{\"depth\":1.50, \"x\":{}1{}}}],\"edus\":null}}", "[".repeat(300), "]".repeat(300));
        a.client.send_transaction("b.example", "2", odd.into()).await.unwrap();
        a.client.send_transaction("b.example", "3", "{\"pdus\":null}".into()).await.unwrap();
    });
    run.unwrap();
    let pdus = b.answers.pdus();
    assert_eq!(pdus.len(), 2);
    assert!(pdus[0].starts_with("{\"content\":{\"deep\":[[["));
    assert!(pdus[1].starts_with("{\"depth\":1.50, \"x\":[[["));
    let typing = Typing { room_id: "!r:a.example".into(), user_id: "@a:a.example".into(), typing: true };
    assert_eq!(b.answers.edus(), [Edu::Typing(typing)]);
}

#[test]
fn transactions_of_one_origin_take_turns_and_a_flood_is_bounded() {
    let simulation = Simulation::new(13);
    let (a, b) = pair(&simulation);
    *b.answers.slow.lock() = Some((b.world.clone(), Duration::from_secs(1)));
    let run = simulation.run(async {
        let send = async |n: usize| {
            let uri = format!("/_matrix/federation/v1/send/{n}");
            a.send("b.example", Method::PUT, &uri, &body(&[json!({ "n": n })], &[])).await
        };
        let flood = join_all((0..30).map(send)).await;
        let taken = flood.iter().filter(|(status, _)| *status == 200).count();
        assert_eq!(taken, MAX_WAITING_TRANSACTIONS + 1);
        assert!(flood.iter().all(|(status, code)| *status == 200 || (*status == 429 && code == "M_LIMIT_EXCEEDED")));
        // The same transaction twice at once is processed once.
        let before = b.answers.transactions.lock().len();
        let both = join_all([send(100), send(100)]).await;
        assert_eq!(both, [(200, String::new()), (200, String::new())]);
        assert_eq!(b.answers.transactions.lock().len(), before + 1);
    });
    run.unwrap();
    assert_eq!(b.answers.most_at_once.load(Ordering::SeqCst), 1);
}
