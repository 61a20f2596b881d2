//! Client-server API, "Send-to-Device messaging".

use crate::actions::{Machine, text};
use crate::server::{Login, Server, with_server};
use net::simulated::Simulation;
use serde_json::{Value, json};

async fn send(server: &Server, by: &Login, transaction: &str, messages: Value) {
    let path = format!("/sendToDevice/m.test/{transaction}");
    server.put(&path, &by.token, json!({ "messages": messages })).await.ok();
}

/// The `n`s of the messages in a sync.
fn numbers(sync: &Value) -> Vec<i64> {
    let events = sync["to_device"]["events"].as_array();
    events.into_iter().flatten().map(|event| event["content"]["n"].as_i64().unwrap()).collect()
}

#[test]
fn messages_come_in_order_until_they_are_acknowledged() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let bobs_other = server.login("bob").await;
        let start = server.sync_token(&bob).await;
        for n in 0..5 {
            send(&server, &alice, &n.to_string(), json!({ &bob.user_id: { &bob.device_id: { "n": n } } })).await;
        }
        let sync = server.sync(&bob, &start).await;
        assert_eq!(numbers(&sync), [0, 1, 2, 3, 4]);
        let first = json!({ "type": "m.test", "sender": alice.user_id, "content": { "n": 0 } });
        assert_eq!(sync["to_device"]["events"][0], first);
        // The answer was lost: all come again. What the next token acknowledges is gone for good.
        assert_eq!(numbers(&server.sync(&bob, &start).await), [0, 1, 2, 3, 4]);
        let next = text(&sync["next_batch"]);
        send(&server, &alice, "later", json!({ &bob.user_id: { &bob.device_id: { "n": 5 } } })).await;
        assert_eq!(numbers(&server.sync(&bob, &next).await), [5]);
        assert_eq!(numbers(&server.sync(&bob, &start).await), [5]);
        assert_eq!(numbers(&server.get("/sync", &bobs_other.token).await.ok()), [0; 0]);
    });
}

#[test]
fn a_long_queue_comes_in_parts() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let mut since = server.sync_token(&bob).await;
        for n in 0..230 {
            send(&server, &alice, &n.to_string(), json!({ &bob.user_id: { &bob.device_id: { "n": n } } })).await;
        }
        let mut all = Vec::new();
        let mut parts = Vec::new();
        while all.len() < 230 {
            let sync = server.sync(&bob, &since).await;
            let part = numbers(&sync);
            parts.push(part.len());
            all.extend(part);
            since = text(&sync["next_batch"]);
        }
        assert_eq!(parts, [100, 100, 30]);
        assert_eq!(all, (0..230).collect::<Vec<_>>());
        assert_eq!(numbers(&server.sync(&bob, &since).await), [0; 0]);
    });
}

#[test]
fn a_transaction_id_counts_once_per_device_and_type() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let alices_other = server.login("alice").await;
        let to_bob = |n: i64| json!({ &bob.user_id: { &bob.device_id: { "n": n } } });
        send(&server, &alice, "t", to_bob(1)).await;
        send(&server, &alice, "t", to_bob(1)).await;
        send(&server, &alice, "t", to_bob(2)).await;
        send(&server, &alices_other, "t", to_bob(3)).await;
        let body = json!({ "messages": to_bob(4) });
        server.put("/sendToDevice/m.other/t", &alice.token, body).await.ok();
        assert_eq!(numbers(&server.get("/sync", &bob.token).await.ok()), [1, 3, 4]);
    });
}

#[test]
fn a_star_reaches_all_devices_and_what_is_not_there_is_skipped() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let others = [server.login("bob").await, server.login("bob").await];
        send(
            &server,
            &alice,
            "1",
            json!({
                &bob.user_id: { "*": { "n": 1 }, &others[0].device_id: { "n": 2 }, "NOPE": { "n": 3 } },
                "@nobody:example.org": { "*": { "n": 4 } },
            }),
        )
        .await;
        for (device, number) in [(&bob, 1), (&others[0], 2), (&others[1], 1)] {
            assert_eq!(numbers(&server.get("/sync", &device.token).await.ok()), [number]);
        }
    });
}

#[test]
fn bad_requests_send_nothing() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let good = json!({ "n": 1 });
        for (messages, status, code) in [
            (json!({ &bob.user_id: { "*": good }, "bob": { "*": {} } }), 400, "M_INVALID_PARAM"),
            (json!({ &bob.user_id: { "*": good, "X": 5 } }), 400, "M_BAD_JSON"),
            (json!({ &bob.user_id: { "*": good, "X": { "x": "x".repeat(70_000) } } }), 413, "M_TOO_LARGE"),
            (json!([]), 400, "M_BAD_JSON"),
        ] {
            let body = json!({ "messages": messages });
            server.put("/sendToDevice/m.test/1", &alice.token, body).await.error(status, code);
        }
        server.put("/sendToDevice/m.test/1", &alice.token, json!({})).await.error(400, "M_BAD_JSON");
        // What strict readers of JSON cannot read would break the receiver's sync.
        for unreadable in [r#""\ud800""#, "1e999", r#"[{"\udc00":1}]"#, r#""\ud800\u0041""#] {
            for user in [&*bob.user_id, "@carol:elsewhere.example"] {
                let body = format!(r#"{{"messages":{{"{user}":{{"*":{{"a":{unreadable}}}}}}}}}"#);
                let path = "/sendToDevice/m.test/1";
                server.send(http::Method::PUT, path, Some(&alice.token), body).await.error(400, "M_NOT_JSON");
            }
        }
        assert_eq!(numbers(&server.get("/sync", &bob.token).await.ok()), [0; 0]);
    });
}

/// A request of several steps that a crash cuts short is finished by its repetition: each device gets its message once.
#[test]
fn a_large_request_survives_crashes_whole() {
    for seed in 0..9 {
        let simulation = Simulation::new(seed);
        let machine = Machine::new(&simulation, "example.org");
        let ran = simulation.run(async {
            let server = machine.start();
            let (alice, bob) = (server.user("alice").await, server.user("bob").await);
            let mut devices = vec![bob.clone()];
            for _ in 0..20 {
                devices.push(server.login("bob").await);
            }
            let padding = "x".repeat(40_000);
            let messages = json!({ &bob.user_id: { "*": { "n": 1, "padding": padding } } });
            // The request takes three steps of about 256 KiB; one of them fails, having taken effect or not.
            let faults = [storage::Fault::PowerLoss, storage::Fault::Applied, storage::Fault::NotApplied];
            machine.disk.fail_write(1 + seed % 3, faults[usize::try_from(seed / 3 % 3).unwrap()]);
            let body = json!({ "messages": messages });
            let first = server.put("/sendToDevice/m.test/1", &alice.token, body.clone()).await;
            assert_eq!(first.status, 500);
            machine.host.crash();
            let server = machine.start();
            server.put("/sendToDevice/m.test/1", &alice.token, body).await.ok();
            for device in &devices {
                assert_eq!(numbers(&server.get("/sync", &device.token).await.ok()), [1], "seed {seed}");
            }
        });
        ran.unwrap();
    }
}
