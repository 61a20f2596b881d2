//! Server-server API, "Device Management", "End-to-End Encryption" and "Send-to-device messaging", between two servers.

use crate::actions::{Machine, text};
use crate::server::{Login, Server};
use net::simulated::{Certificate, Simulation};
use serde_json::{Value, json};
use std::time::Duration;

const A: &str = "a.example";
const B: &str = "b.example";

fn serve(machine: &Machine) -> Server {
    let server = machine.start();
    machine.host.serve(
        8448,
        Certificate::of(machine.host.name()),
        federation::inbound::router(server.services.inbound()),
    );
    server.services.start_federation();
    server
}

/// Alice on one server and bob on the other share a room.
pub(crate) fn with_two_servers(test: impl AsyncFnOnce(&Simulation, Server, Server, Login, Login, String)) {
    let simulation = Simulation::new(11);
    let (one, two) = (Machine::new(&simulation, A), Machine::new(&simulation, B));
    simulation
        .run(async {
            let (a, b) = (serve(&one), serve(&two));
            let (alice, bob) = (a.user("alice").await, b.user("bob").await);
            let room = a.room(&alice).await;
            b.post(&format!("/join/{room}?via={A}"), &bob.token, json!({})).await.ok();
            a.wait(Duration::from_secs(5)).await;
            test(&simulation, a, b, alice, bob, room).await;
        })
        .unwrap();
}

fn devices(answer: &Value, user: &str) -> Vec<String> {
    answer["device_keys"][user].as_object().into_iter().flatten().map(|(device, _)| device.clone()).collect()
}

#[test]
fn lists_are_cached_and_kept_up_to_date() {
    with_two_servers(async |simulation, a, b, alice, bob, _| {
        a.upload_identity(&alice).await;
        let keys = b.query(&bob, &[&alice.user_id]).await;
        assert_eq!(devices(&keys, &alice.user_id), [&*alice.device_id], "{keys}");
        // From the cache, with the other server out of reach.
        simulation.network().cut(A, B);
        let cached = b.query(&bob, &[&alice.user_id]).await;
        assert_eq!(cached, keys);
        // A new device, and then its signature, get there once the network is whole; bob's sync says so.
        let since = b.sync_token(&bob).await;
        let second = a.login("alice").await;
        a.upload_identity(&second).await;
        simulation.network().heal(A, B);
        let sync = b.get(&format!("/sync?timeout=180000&since={since}"), &bob.token).await.ok();
        assert_eq!(sync["device_lists"]["changed"], json!([alice.user_id]), "{sync}");
        a.wait(Duration::from_secs(60)).await;
        simulation.network().cut(A, B);
        let keys = b.query(&bob, &[&alice.user_id]).await;
        assert_eq!(devices(&keys, &alice.user_id).len(), 2, "{keys}");
        simulation.network().heal(A, B);
        // Now in sequence: applied without asking.
        let since = text(&b.get("/sync", &bob.token).await.ok()["next_batch"]);
        a.post("/logout", &second.token, json!({})).await.ok();
        a.wait(Duration::from_secs(60)).await;
        simulation.network().cut(A, B);
        assert_eq!(b.sync(&bob, &since).await["device_lists"]["changed"], json!([alice.user_id]));
        let keys = b.query(&bob, &[&alice.user_id]).await;
        assert_eq!(devices(&keys, &alice.user_id), [&*alice.device_id]);
    });
}

/// Servers hear of devices without keys, and keep the lists that they have; clients have nothing to ask for.
#[test]
fn devices_without_keys_leave_lists_as_they_are() {
    with_two_servers(async |simulation, a, b, alice, bob, _| {
        a.upload_identity(&alice).await;
        b.query(&bob, &[&alice.user_id]).await;
        // What is asked for by users has no number; the first announcement has the list fetched with one.
        a.login("alice").await;
        a.wait(Duration::from_secs(60)).await;
        let keys = b.query(&bob, &[&alice.user_id]).await;
        let since = b.sync_token(&bob).await;
        let second = a.login("alice").await;
        a.wait(Duration::from_secs(60)).await;
        a.post("/logout", &second.token, json!({})).await.ok();
        a.wait(Duration::from_secs(60)).await;
        let sync = b.sync(&bob, &since).await;
        assert_eq!(sync["device_lists"].get("changed").cloned().unwrap_or(json!([])), json!([]), "{sync}");
        // They were taken in sequence, so that the list is not asked for again.
        simulation.network().cut(A, B);
        assert_eq!(b.query(&bob, &[&alice.user_id]).await, keys);
    });
}

#[test]
fn servers_that_do_not_answer_in_time_are_named() {
    with_two_servers(async |simulation, a, b, alice, bob, _| {
        a.upload_identity(&alice).await;
        b.upload_identity(&bob).await;
        simulation.network().cut(A, B);
        // One after the other, those that do not answer would take three times as long.
        let silent = ["c.example", "d.example"].map(|name| {
            let machine = Machine::new(simulation, name);
            simulation.network().cut(name, B);
            machine
        });
        let started = b.services.world.monotonic();
        let body = json!({ "timeout": 2000, "device_keys": {
            &alice.user_id: [], &bob.user_id: [], "@x:nowhere.example": [], "@x:c.example": [], "@x:d.example": [],
        } });
        let answer = b.post("/keys/query", &bob.token, body).await.ok();
        let took = b.services.world.monotonic() - started;
        assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
        drop(silent);
        let failures: Vec<_> = answer["failures"].as_object().unwrap().keys().collect();
        assert_eq!(failures, [A, "c.example", "d.example", "nowhere.example"], "{answer}");
        assert_eq!(devices(&answer, &bob.user_id), [&*bob.device_id]);
        let body = json!({ "timeout": 2000, "one_time_keys": { &alice.user_id: { &alice.device_id: "x" } } });
        let answer = b.post("/keys/claim", &bob.token, body).await.ok();
        assert_eq!(answer["failures"].as_object().unwrap().keys().collect::<Vec<_>>(), [A]);
    });
}

#[test]
fn one_time_keys_and_messages_cross() {
    with_two_servers(async |simulation, a, b, alice, bob, _| {
        let keys = json!({ "x:1": { "key": "one" }, "x:2": { "key": "two" } });
        a.upload(&alice, json!({ "one_time_keys": keys })).await;
        let body = json!({ "one_time_keys": { &alice.user_id: { &alice.device_id: "x", "NOPE": "x" } } });
        let mut names = Vec::new();
        for _ in 0..3 {
            let answer = b.post("/keys/claim", &bob.token, body.clone()).await.ok();
            assert_eq!(answer["failures"], json!({}));
            let keys = answer["one_time_keys"][&alice.user_id][&alice.device_id].as_object();
            names.extend(keys.into_iter().flatten().map(|(name, _)| name.clone()));
        }
        assert_eq!(names, ["x:1", "x:2"]);

        // While the other server is away messages wait; each arrives once and in order.
        let since = a.sync_token(&alice).await;
        simulation.network().cut(A, B);
        for n in 0..5 {
            let body = json!({ "messages": { &alice.user_id: { "*": { "n": n } } } });
            b.put(&format!("/sendToDevice/m.test/{n}"), &bob.token, body).await.ok();
        }
        a.wait(Duration::from_secs(30)).await;
        simulation.network().heal(A, B);
        a.wait(Duration::from_secs(600)).await;
        let sync = a.sync(&alice, &since).await;
        let events = sync["to_device"]["events"].as_array().unwrap();
        let numbers: Vec<_> = events.iter().map(|event| event["content"]["n"].as_i64().unwrap()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        assert!(events.iter().all(|event| event["sender"] == bob.user_id && event["type"] == "m.test"));
    });
}

#[test]
fn edus_that_lie_or_come_twice_do_nothing() {
    with_two_servers(async |_, a, b, alice, bob, _| {
        use federation::edu::{DeviceListUpdate, DirectToDevice};
        a.upload_identity(&alice).await;
        b.query(&bob, &[&alice.user_id]).await;
        let since = b.sync_token(&bob).await;
        let message = |sender: &str, id: &str| -> DirectToDevice {
            serde_json::from_value(json!({ "sender": sender, "type": "m.test", "message_id": id,
                "messages": { &bob.user_id: { "*": { "id": id } } } }))
            .unwrap()
        };
        let keys = &b.services.keys;
        keys.on_to_device(A, message(&alice.user_id, "1")).await.unwrap();
        keys.on_to_device(A, message(&alice.user_id, "1")).await.unwrap();
        keys.on_to_device("evil.example", message(&alice.user_id, "2")).await.unwrap();
        // The same id of another server is another message.
        keys.on_to_device("c.example", message("@carol:c.example", "1")).await.unwrap();
        let events = b.sync(&bob, &since).await["to_device"]["events"].clone();
        let senders: Vec<_> = events.as_array().unwrap().iter().map(|event| text(&event["sender"])).collect();
        assert_eq!(senders, [&*alice.user_id, "@carol:c.example"]);

        let update: DeviceListUpdate = serde_json::from_value(json!({
            "user_id": &alice.user_id, "device_id": &alice.device_id, "stream_id": 99, "prev_id": [], "deleted": true,
        }))
        .unwrap();
        keys.on_device_list_update("evil.example", update.clone()).await.unwrap();
        assert_eq!(b.sync(&bob, &since).await.get("device_lists"), None);
        // One with a gap is not applied: the list is fetched again.
        keys.on_device_list_update(A, update).await.unwrap();
        assert_eq!(b.sync(&bob, &since).await["device_lists"]["changed"], json!([alice.user_id]));
        let answer = b.query(&bob, &[&alice.user_id]).await;
        assert_eq!(devices(&answer, &alice.user_id), [&*alice.device_id]);
    });
}

#[test]
fn names_in_edus_are_bounded_and_the_others_of_the_transaction_count() {
    with_two_servers(async |_, a, b, alice, bob, room| {
        use federation::Edu;
        let said = text(&a.put(&format!("/rooms/{room}/send/m.x/1"), &alice.token, json!({})).await.ok()["event_id"]);
        let long = "x".repeat(5000);
        let edus = [
            json!({ "edu_type": "m.receipt", "content": { &room: { "m.read": { &alice.user_id: {
                "event_ids": [&said], "data": { "ts": 1, "thread_id": format!("${long}") } } } } } }),
            json!({ "edu_type": "m.receipt", "content": { &room: { "m.read": { &alice.user_id: {
                "event_ids": [format!("${long}")], "data": { "ts": 1 } } }, &long: { &alice.user_id: {
                "event_ids": [&said], "data": { "ts": 1 } } } } } }),
            json!({ "edu_type": "m.receipt", "content": { format!("!{long}"): { "m.read": { format!("@{long}:{A}"): {
                "event_ids": [&said], "data": { "ts": 1 } } } } } }),
            json!({ "edu_type": "m.receipt", "content": { &room: { "m.read": { format!("@{long}:{A}"): {
                "event_ids": [&said], "data": { "ts": 1 } } } } } }),
            json!({ "edu_type": "m.typing", "content": {
                "room_id": format!("!{long}"), "user_id": format!("@{long}:{A}"), "typing": true } }),
            json!({ "edu_type": "m.direct_to_device", "content": { "sender": &alice.user_id, "type": "m.test",
                "message_id": &long, "messages": { &bob.user_id: { "*": { "n": 0 } } } } }),
            json!({ "edu_type": "m.direct_to_device", "content": { "sender": &alice.user_id, "type": "m.test",
                "message_id": "1", "messages": { &bob.user_id: { &long: { "n": 1 } } } } }),
            json!({ "edu_type": "m.direct_to_device", "content": { "sender": format!("@{long}:{A}"), "type": "m.test",
                "message_id": "2", "messages": { format!("@{long}:{B}"): { "*": { "n": 2 } } } } }),
            json!({ "edu_type": "m.device_list_update", "content": { "user_id": &alice.user_id, "device_id": &long,
                "stream_id": 1, "keys": { "x": "y" } } }),
            json!({ "edu_type": "m.device_list_update", "content": { "user_id": format!("@{long}:{A}"),
                "device_id": "D", "stream_id": 1 } }),
            json!({ "edu_type": "m.signing_key_update", "content": { "user_id": format!("@{long}:{A}"),
                "master_key": { "keys": { &long: &long } } } }),
            json!({ "edu_type": "m.receipt", "content": { &room: { "m.read": { &alice.user_id: {
                "event_ids": [&said], "data": { "ts": 7, "thread_id": "main" } } } } } }),
            json!({ "edu_type": "m.direct_to_device", "content": { "sender": &alice.user_id, "type": "m.test",
                "message_id": "3", "messages": { &bob.user_id: { "*": { "n": 3 } } } } }),
        ];
        let edus: Vec<Edu> = edus.into_iter().map(|edu| serde_json::from_value(edu).unwrap()).collect();
        for edu in &edus {
            // Also each by itself.
            let answer = b.services.inbound().answers.transaction(A, "t", Vec::new(), vec![edu.clone()]).await;
            assert!(answer.is_ok(), "{edu:?}");
        }
        b.services.inbound().answers.transaction(A, "t", Vec::new(), edus).await.unwrap();
        let sync = b.get("/sync", &bob.token).await.ok();
        let messages: Vec<_> =
            sync["to_device"]["events"].as_array().unwrap().iter().map(|event| &event["content"]).collect();
        assert_eq!(messages, [&json!({ "n": 3 })]);
        let read = sync["rooms"]["join"][&room]["ephemeral"]["events"].to_string();
        assert!(read.contains("\"ts\":7") && !read.contains("\"ts\":1"), "{read}");
    });
}
