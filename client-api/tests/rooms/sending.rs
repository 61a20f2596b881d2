//! Sending, transaction ids, redaction, paging, relations.

use crate::actions::fields;
use crate::server::{PASSWORD, with_server};
use serde_json::{Value, json};

#[test]
fn a_transaction_id_sends_once_per_device_room_and_type() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let phone = server.login("alice").await;
        let room = server.public_room(&alice).await;
        let other = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let first = server.send_as(&alice, &room, "m.room.message", "t1", json!({ "body": "x" })).await.event_id();
        // Also with another content: the first request decides.
        let again = server.send_as(&alice, &room, "m.room.message", "t1", json!({ "body": "y" })).await.event_id();
        assert_eq!(first, again);
        let mut ids = vec![first];
        for (who, room, kind) in [
            (&phone, &room, "m.room.message"),
            (&bob, &room, "m.room.message"),
            (&alice, &other, "m.room.message"),
            (&alice, &room, "org.example"),
        ] {
            ids.push(server.send_as(who, room, kind, "t1", json!({ "body": "x" })).await.event_id());
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "distinct endpoints and devices send distinct events");
        let page = server.room_get(&alice, &room, "messages?dir=b&limit=100").await.ok();
        let messages = fields(&page["chunk"], "type").iter().filter(|kind| *kind == "m.room.message").count();
        assert_eq!(messages, 3);
        // Only the sending device is told its transaction id.
        let path = format!("event/{}", page["chunk"][3]["event_id"].as_str().unwrap());
        let event = server.room_get(&alice, &room, &path).await.ok();
        assert_eq!(event["content"]["body"], "x");
        assert_eq!(event["unsigned"]["transaction_id"], "t1");
        let event = server.room_get(&phone, &room, &path).await.ok();
        assert_eq!(event["unsigned"].get("transaction_id"), None);
    });
}

/// Of a redaction that is redacted itself, no content is left to act upon in most versions; what it took away stays gone, and says why.
#[test]
fn a_redacted_redaction_is_an_event_like_any_other() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        for version in ["4", "10", "11", "12"] {
            let room = server.room(&alice, json!({ "room_version": version })).await;
            let redact = async |target: &str, id: &str| {
                let path = format!("/rooms/{room}/redact/{target}/{id}");
                server.put(&path, &alice.token, json!({})).await
            };
            let said = server.say(&alice, &room, "slip").await;
            let first = redact(&said, "1").await.event_id();
            redact(&first, "2").await.ok();
            let shown = server.room_get(&alice, &room, &format!("event/{first}")).await.ok();
            assert_eq!(shown["unsigned"]["redacted_because"]["type"], "m.room.redaction", "version {version}");
            let shown = server.room_get(&alice, &room, &format!("event/{said}")).await.ok();
            assert_eq!(shown["content"], json!({}), "version {version}");
            assert_eq!(shown["unsigned"]["redacted_because"]["event_id"], json!(first), "version {version}");
            let page = server.room_get(&alice, &room, "messages?dir=b&limit=3").await.ok();
            assert_eq!(fields(&page["chunk"], "event_id")[1..], [first, said], "version {version}");
            // Nobody redacts the event that makes the room.
            let state = server.room_get(&alice, &room, "state").await.ok();
            let create = state.as_array().unwrap().iter().find(|event| event["type"] == "m.room.create").unwrap();
            redact(create["event_id"].as_str().unwrap(), "3").await.error(403, "M_FORBIDDEN");
        }
    });
}

#[test]
fn a_page_begins_where_it_was_asked_to() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let said = server.say(&alice, &room, "one").await;
        let token = server.get("/sync", &alice.token).await.ok()["next_batch"].as_str().unwrap().to_owned();
        server.say(&alice, &room, "two").await;
        for dir in ["b", "f"] {
            let page = server.room_get(&alice, &room, &format!("messages?dir={dir}&limit=1&from={token}")).await.ok();
            assert_eq!(page["start"], json!(token));
            assert_eq!(page["chunk"][0]["content"]["body"], if dir == "b" { "one" } else { "two" });
            let end = page["end"].as_str().unwrap();
            let next = server.room_get(&alice, &room, &format!("messages?dir={dir}&limit=1&from={end}")).await.ok();
            assert_eq!(next["start"], json!(end));
        }
        // Some clients want nothing of the past, and then all of the present.
        let none = "filter=%7B%22room%22:%7B%22timeline%22:%7B%22limit%22:0%7D%7D%7D";
        for since in [String::new(), format!("&since={token}")] {
            let sync = server.get(&format!("/sync?{none}{since}"), &alice.token).await.ok();
            let timeline = &sync["rooms"]["join"][&room]["timeline"];
            assert_eq!((&timeline["events"], &timeline["limited"]), (&json!([]), &json!(true)), "{since}");
            let back = timeline["prev_batch"].as_str().unwrap();
            let page = server.room_get(&alice, &room, &format!("messages?dir=b&limit=2&from={back}")).await.ok();
            assert_eq!(
                (&page["chunk"][0]["content"]["body"], &page["chunk"][1]["event_id"]),
                (&json!("two"), &json!(said))
            );
        }
    });
}

#[test]
fn a_transaction_id_sends_once_however_many_ask_at_once() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        for turn in 0..20 {
            // All are built before the first is committed, with others between them.
            let kinds = ["m.x", "m.y"];
            let asked = (0..16).map(|nth| {
                let body = json!({ "turn": turn, "nth": nth });
                let kind = kinds[nth % 2];
                let transaction = format!("t{turn}");
                let (server, alice, room) = (&server, &alice, &room);
                async move { server.send_as(alice, room, kind, &transaction, body).await.event_id() }
            });
            let ids: Vec<String> = futures::future::join_all(asked).await;
            for nth in 0..16 {
                assert_eq!(ids[nth], ids[nth % 2], "turn {turn}");
            }
            assert_ne!(ids[0], ids[1]);
        }
        let filter = "filter=%7B%22types%22%3A%5B%22m.x%22%2C%22m.y%22%5D%7D";
        let page = server.room_get(&alice, &room, &format!("messages?dir=b&limit=100&{filter}")).await.ok();
        assert_eq!(page["chunk"].as_array().unwrap().len(), 40);
    });
}

#[test]
fn messages_sent_at_once_all_arrive_in_rooms_of_every_kind_of_version() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        // In the first two each event carries hashes of those that it follows, which may not be committed yet.
        for version in ["1", "2", "12"] {
            let room = server.room(&alice, json!({ "preset": "public_chat", "room_version": version })).await;
            server.join(&bob, &room).await;
            let mut ids = Vec::new();
            for turn in 0..4 {
                let asked = (0..8).map(|nth| {
                    let who = if nth % 2 == 0 { &alice } else { &bob };
                    let (server, room, transaction) = (&server, &room, format!("{turn}.{nth}"));
                    async move { server.send_as(who, room, "m.x", &transaction, json!({})).await.event_id() }
                });
                ids.extend(futures::future::join_all(asked).await);
            }
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), 32, "version {version}");
        }
    });
}

#[test]
fn a_transaction_id_survives_a_changed_token() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let first = server.send_as(&alice, &room, "m.x", "t", json!({})).await.event_id();
        let mut body = crate::server::password_login("alice", PASSWORD);
        body["device_id"] = json!(alice.device_id);
        let alice = server.tell("/login", body).await.login();
        assert_eq!(server.send_as(&alice, &room, "m.x", "t", json!({})).await.event_id(), first);
    });
}

#[test]
fn names_that_clients_choose_have_a_bound_of_their_own() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let said = server.say(&alice, &room, "hello").await;
        let long = "x".repeat(5000);
        for path in
            [format!("send/m.x/{long}"), format!("redact/{said}/{long}"), format!("send/m.room.redaction/{long}")]
        {
            let path = format!("/rooms/{room}/{path}");
            server.put(&path, &alice.token, json!({ "redacts": said })).await.error(400, "M_INVALID_PARAM");
        }
        // One type is too long for messages and for state.
        for event_type in [&long, &"x".repeat(256)] {
            server.send_as(&alice, &room, event_type, "1", json!({})).await.error(413, "M_TOO_LARGE");
            server.set_state(&alice, &room, event_type, json!({})).await.error(413, "M_TOO_LARGE");
        }
        server.send_as(&alice, &room, &"x".repeat(255), "1", json!({})).await.ok();
        server.send_as(&alice, &room, "m.x", &"x".repeat(256), json!({})).await.error(400, "M_INVALID_PARAM");
        server.send_as(&alice, &room, "m.x", &"x".repeat(255), json!({})).await.ok();
    });
}

#[test]
fn only_members_send_and_what_they_send_is_checked() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.send_as(&bob, &room, "m.x", "1", json!({})).await.error(403, "M_FORBIDDEN");
        server.send_as(&bob, "!nowhere:example.org", "m.x", "1", json!({})).await.error(403, "M_FORBIDDEN");
        server.send_as(&alice, "nowhere", "m.x", "1", json!({})).await.error(400, "M_INVALID_PARAM");
        let big = json!({ "body": "x".repeat(70_000) });
        server.send_as(&alice, &room, "m.x", "2", big).await.error(413, "M_TOO_LARGE");
        server.send_as(&alice, &room, "m.x", "3", json!({ "n": 1.5 })).await.error(400, "M_BAD_JSON");
        server.send_as(&alice, &room, "m.x", "4", json!([])).await.error(400, "M_BAD_JSON");
        let path = format!("/rooms/{room}/send/m.x/5");
        server.send(http::Method::PUT, &path, Some(&alice.token), "{").await.error(400, "M_NOT_JSON");
        server.send(http::Method::PUT, &path, None, "{}").await.error(401, "M_MISSING_TOKEN");
        // A failed request does not use its transaction id up.
        server.send_as(&alice, &room, "m.x", "3", json!({ "n": 1 })).await.ok();
    });
}

// clause: R2.2, R2.3
#[test]
fn redaction_takes_content_away_everywhere_and_once() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        for version in ["10", "12"] {
            let room = server.room(&alice, json!({ "preset": "public_chat", "room_version": version })).await;
            server.join(&bob, &room).await;
            server.join(&carol, &room).await;
            let said = server.say(&bob, &room, "secret").await;
            let path = format!("/rooms/{room}/redact/{said}/r1");
            server.put(&path, &carol.token, json!({})).await.error(403, "M_FORBIDDEN");
            let missing = format!("/rooms/{room}/redact/$nothing/r1");
            server.put(&missing, &bob.token, json!({})).await.error(404, "M_NOT_FOUND");
            let redaction = server.put(&path, &bob.token, json!({ "reason": "oops" })).await.event_id();
            assert_eq!(server.put(&path, &bob.token, json!({})).await.event_id(), redaction);
            let event = server.room_get(&carol, &room, &format!("event/{said}")).await.ok();
            assert_eq!(event["content"], json!({}), "version {version}");
            assert_eq!(event["unsigned"]["redacted_because"]["event_id"], json!(redaction));
            assert_eq!(event["unsigned"]["redacted_because"]["content"]["reason"], "oops");
            let page = server.room_get(&carol, &room, "messages?dir=b&limit=50").await.ok();
            assert!(!page.to_string().contains("secret"));
            assert_eq!(page["chunk"][0]["type"], "m.room.redaction");
            // Clients of all versions find the target where their version of the specification puts it.
            assert_eq!(page["chunk"][0]["redacts"], json!(said), "version {version}");
            // A moderator may redact what others said.
            let said = server.say(&bob, &room, "again").await;
            server.put(&format!("/rooms/{room}/redact/{said}/m"), &alice.token, json!({})).await.ok();
            let event = server.room_get(&bob, &room, &format!("event/{said}")).await.ok();
            assert_eq!(event["content"], json!({}));
        }
    });
}

#[test]
fn pages_follow_one_another_in_both_directions() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let mut said = Vec::new();
        for number in 0..25 {
            said.push(server.say(&alice, &room, &number.to_string()).await);
        }
        let filter = "filter=%7B%22types%22%3A%5B%22m.room.message%22%5D%7D";
        for dir in ["b", "f"] {
            let mut found: Vec<String> = Vec::new();
            let mut from = String::new();
            loop {
                let path = format!("messages?dir={dir}&limit=7&{filter}{from}");
                let page = server.room_get(&alice, &room, &path).await.ok();
                found.extend(fields(&page["chunk"], "event_id"));
                let Some(end) = page["end"].as_str() else { break };
                assert_ne!(page["start"], page["end"]);
                from = format!("&from={end}");
            }
            if dir == "b" {
                found.reverse();
            }
            assert_eq!(found, said, "dir={dir}");
        }
        let page = server.room_get(&alice, &room, "messages?dir=b").await.ok();
        assert_eq!(page["chunk"].as_array().unwrap().len(), 10, "the default limit");
        // `to` ends a page.
        let context = server.room_get(&alice, &room, &format!("context/{}?limit=0", said[20])).await.ok();
        let path = format!("messages?dir=b&limit=50&to={}", context["start"].as_str().unwrap());
        let page = server.room_get(&alice, &room, &path).await.ok();
        let mut ids = fields(&page["chunk"], "event_id");
        ids.reverse();
        assert_eq!(ids, said[20..]);
        for bad in ["messages", "messages?dir=x", "messages?dir=b&limit=x", "messages?dir=b&from=nonsense"] {
            let answer = server.room_get(&alice, &room, bad).await;
            assert_eq!(answer.status, 400, "{bad}: {}", answer.body);
        }
        server.room_get(&alice, &room, "messages?dir=b&filter=%7B").await.error(400, "M_BAD_JSON");
    });
}

#[test]
fn context_surrounds_an_event() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let mut said = Vec::new();
        for number in 0..10 {
            said.push(server.say(&alice, &room, &number.to_string()).await);
        }
        let context = server.room_get(&alice, &room, &format!("context/{}?limit=4", said[5])).await.ok();
        assert_eq!(context["event"]["event_id"], json!(said[5]));
        assert_eq!(fields(&context["events_before"], "event_id"), [said[4].clone(), said[3].clone()]);
        assert_eq!(fields(&context["events_after"], "event_id"), said[6..8]);
        assert!(fields(&context["state"], "type").contains(&"m.room.create".to_owned()));
        let on = format!("messages?dir=f&limit=2&from={}", context["end"].as_str().unwrap());
        let on = server.room_get(&alice, &room, &on).await.ok();
        assert_eq!(fields(&on["chunk"], "event_id"), said[8..]);
        let back = format!("messages?dir=b&limit=2&from={}", context["start"].as_str().unwrap());
        let back = server.room_get(&alice, &room, &back).await.ok();
        assert_eq!(fields(&back["chunk"], "event_id"), [said[2].clone(), said[1].clone()]);
        server.room_get(&alice, &room, "context/$nothing").await.error(404, "M_NOT_FOUND");
        server.room_get(&alice, &room, "context/nothing").await.error(400, "M_INVALID_PARAM");
        // An event of another room is not in this one.
        let other = server.public_room(&alice).await;
        let elsewhere = server.say(&alice, &other, "x").await;
        server.room_get(&alice, &room, &format!("context/{elsewhere}")).await.error(404, "M_NOT_FOUND");
        server.room_get(&alice, &room, &format!("event/{elsewhere}")).await.error(404, "M_NOT_FOUND");
    });
}

fn relation(kind: &str, to: &str) -> Value {
    json!({ "body": "r", "m.relates_to": { "rel_type": kind, "event_id": to, "key": "+" } })
}

#[test]
fn relations_are_found_by_type_and_paged() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let said = server.say(&alice, &room, "x").await;
        let mut reactions = Vec::new();
        for number in 0..5 {
            let id = format!("a{number}");
            let mut content = relation("m.annotation", &said);
            content["m.relates_to"]["key"] = json!(id);
            reactions.push(server.send_as(&alice, &room, "m.reaction", &id, content).await.event_id());
        }
        let reply = server.send_as(&alice, &room, "m.room.message", "t", relation("m.thread", &said)).await.event_id();
        let at = |more: &str| format!("/_matrix/client/v1/rooms/{room}/relations/{said}{more}");
        let all = server.get(&at(""), &alice.token).await.ok();
        let mut newest_first = reactions.clone();
        newest_first.push(reply.clone());
        newest_first.reverse();
        assert_eq!(fields(&all["chunk"], "event_id"), newest_first);
        let threads = server.get(&at("/m.thread"), &alice.token).await.ok();
        assert_eq!(fields(&threads["chunk"], "event_id"), [reply]);
        let none = server.get(&at("/m.annotation/m.room.message"), &alice.token).await.ok();
        assert_eq!(none["chunk"], json!([]));
        let mut found = Vec::new();
        let mut from = String::new();
        loop {
            let path = at(&format!("/m.annotation/m.reaction?dir=f&limit=2{from}"));
            let page = server.get(&path, &alice.token).await.ok();
            found.extend(fields(&page["chunk"], "event_id"));
            let Some(next) = page["next_batch"].as_str() else { break };
            from = format!("&from={next}");
        }
        assert_eq!(found, reactions);
        // What is redacted does not relate any more.
        server.put(&format!("/rooms/{room}/redact/{}/x", reactions[0]), &alice.token, json!({})).await.ok();
        let left = server.get(&at("/m.annotation?dir=f"), &alice.token).await.ok();
        assert_eq!(fields(&left["chunk"], "event_id"), reactions[1..]);
        let missing = format!("/_matrix/client/v1/rooms/{room}/relations/$nothing");
        server.get(&missing, &alice.token).await.error(404, "M_NOT_FOUND");
    });
}

#[test]
fn a_moment_leads_to_the_nearest_event() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let mut said = Vec::new();
        for number in 0..3 {
            server.wait(std::time::Duration::from_secs(10)).await;
            let id = server.say(&alice, &room, &number.to_string()).await;
            let event = server.room_get(&alice, &room, &format!("event/{id}")).await.ok();
            said.push((id, event["origin_server_ts"].as_i64().unwrap()));
        }
        let at = |ts: i64, dir: &str| format!("/_matrix/client/v1/rooms/{room}/timestamp_to_event?ts={ts}&dir={dir}");
        let ask = async |ts, dir| server.get(&at(ts, dir), &alice.token).await;
        assert_eq!(
            ask(said[1].1 - 5_000, "f").await.ok(),
            json!({ "event_id": said[1].0, "origin_server_ts": said[1].1 })
        );
        assert_eq!(ask(said[1].1 + 5_000, "b").await.event_id(), said[1].0);
        assert_eq!(ask(said[1].1, "b").await.event_id(), said[1].0);
        assert_eq!(ask(said[1].1, "f").await.event_id(), said[1].0);
        ask(said[2].1 + 1, "f").await.error(404, "M_NOT_FOUND");
        ask(0, "b").await.error(404, "M_NOT_FOUND");
        ask(0, "x").await.error(400, "M_INVALID_PARAM");
    });
}
