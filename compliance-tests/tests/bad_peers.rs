//! What other servers send that they should not gets the specification's answer, changes nothing and ends nothing.

#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use compliance_tests::api::{Answer, Api, segment};
use compliance_tests::event::base64;
use compliance_tests::peer::{FORGERIES, KEY_ID, Peer, PeerRoom, key, now, transaction_path};
use compliance_tests::rig::{Kind, Network, Server, ServerOptions};
use reqwest::Method;
use serde_json::{Map, Value, json};

const V1: &str = "/_matrix/federation/v1";
const V2: &str = "/_matrix/federation/v2";
/// Room versions in which numbers, ids and redaction differ.
const VERSIONS: [&str; 4] = ["1", "5", "10", "12"];
/// A room that nobody knows.
const NOWHERE: &str = "!nowhere:elsewhere.example";
const HOUR_MS: i64 = 3_600_000;

type Event = Map<String, Value>;

/// What went wrong, and how much was looked at.
#[derive(Default)]
struct Report {
    cases: usize,
    failures: Vec<String>,
}

impl Report {
    /// An answer has to be one of these.
    fn answer(&mut self, what: &str, answer: Result<Answer>, right: &[(u16, &str)]) {
        self.cases += 1;
        match answer {
            Ok(answer) => {
                let (status, code) = (answer.status, answer.errcode());
                if !right.iter().any(|(one, wanted)| *one == status && (*wanted == code || wanted.is_empty())) {
                    let body = String::from_utf8_lossy(&answer.body).into_owned();
                    self.failures.push(format!("{what}: {status} {body}, not {right:?}"));
                }
            }
            Err(error) => self.failures.push(format!("{what}: no answer: {error:#}")),
        }
    }

    fn hold(&mut self, what: &str, holds: bool, seen: impl std::fmt::Debug) {
        self.cases += 1;
        if !holds {
            self.failures.push(format!("{what}: {seen:?}"));
        }
    }
}

/// A server with alice on it, and peers.
struct Scene {
    server: String,
    alice: Api,
    peer: Peer,
    report: Report,
}

impl Scene {
    /// A public room of alice's with bob of the peer in it.
    async fn room(&self, version: &str) -> Result<PeerRoom> {
        let body = json!({ "preset": "public_chat", "room_version": version });
        let room = self.alice.create_room(&body).await?;
        self.peer.join(&self.server, &room, &self.peer.user("bob")).await
    }

    /// Ids of all events that alice sees in a room.
    async fn seen(&self, room: &PeerRoom) -> Result<BTreeSet<String>> {
        let events = self.alice.history(&room.id, 100).await?;
        Ok(events.iter().filter_map(|event| event["event_id"].as_str().map(str::to_owned)).collect())
    }

    /// The room's state as alice sees it: type, state key and id of each event.
    async fn state(&self, room: &PeerRoom) -> Result<BTreeSet<[String; 3]>> {
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let events = self.alice.state(&room.id).await?;
        Ok(events.iter().map(|event| ["type", "state_key", "event_id"].map(|key| text(event, key))).collect())
    }

    /// Sends events of which none may be accepted: each is refused by name or passed over, the transaction is not.
    async fn refused(&mut self, what: &str, by: &Peer, room: &PeerRoom, events: &[Event]) -> Result<()> {
        let before = (self.seen(room).await?, self.state(room).await?);
        let pdus: Vec<Value> = events.iter().cloned().map(Value::Object).collect();
        let answer = by.send(&self.server, &pdus, &[]).await?;
        let said = answer.json();
        self.report.answer(what, Ok(answer), &[(200, "")]);
        let taken = said["pdus"].as_object().into_iter().flatten().filter(|(_, result)| result.get("error").is_none());
        let taken: Vec<_> = taken.map(|(id, _)| id.clone()).collect();
        self.report.hold(&format!("{what}: refused"), taken.is_empty(), &said);
        let after = (self.seen(room).await?, self.state(room).await?);
        let news: Vec<_> = after.0.difference(&before.0).collect();
        self.report.hold(&format!("{what}: nothing changed"), before == after, news);
        Ok(())
    }

    /// Sends events that are right, and of which alice has to see each.
    async fn accepted(&mut self, what: &str, room: &PeerRoom, events: &[Event]) -> Result<()> {
        let pdus: Vec<Value> = events.iter().cloned().map(Value::Object).collect();
        let answer = self.peer.send(&self.server, &pdus, &[]).await?;
        let said = answer.json();
        self.report.answer(what, Ok(answer), &[(200, "")]);
        let seen = self.seen(room).await?;
        let lost: Vec<_> = events.iter().map(|event| room.id_of(event)).filter(|id| !seen.contains(id)).collect();
        self.report.hold(&format!("{what}: nothing lost"), lost.is_empty(), (&lost, &said));
        Ok(())
    }
}

#[test]
fn what_peers_do_wrong_is_refused_and_changes_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let network = Network::new().unwrap();
    let kind = Kind::from_env("RIG_A", Kind::Causeway).unwrap();
    let mut server = Server::new(&network, "a", kind, ServerOptions::default()).unwrap();
    let report = runtime.block_on(async {
        server.start().await?;
        let alice = server.api().register("alice", "wonderland 1865").await?;
        let peer = Peer::start(&network, 1).await?;
        let name = server.name().to_owned();
        let mut scene = Scene { server: name, alice, peer, report: Report::default() };
        requests(&mut scene).await.context("requests")?;
        expired_keys(&mut scene, &network).await.context("expired keys")?;
        unknown_rooms(&mut scene).await.context("unknown rooms")?;
        outsiders(&mut scene, &network).await.context("outsiders")?;
        transactions(&mut scene).await.context("transactions")?;
        memberships(&mut scene).await.context("memberships")?;
        for version in VERSIONS {
            let room = scene.room(version).await.with_context(|| format!("a room of version {version}"))?;
            formats(&mut scene, &room).await.with_context(|| format!("formats, version {version}"))?;
            forgeries(&mut scene, &room).await.with_context(|| format!("forgeries, version {version}"))?;
            graphs(&mut scene, &room).await.with_context(|| format!("graphs, version {version}"))?;
            let bob = scene.peer.user("bob");
            let last = scene.peer.message(&room, &bob, "after all that");
            scene.accepted(&format!("version {version}: a proper message after all that"), &room, &[last]).await?;
        }
        server.check_alive()?;
        anyhow::Ok(scene.report)
    });
    let report = report.unwrap_or_else(|error| panic!("{error:#}\n{}", server.tail()));
    eprintln!("{} cases, {} answered wrongly", report.cases, report.failures.len());
    assert!(report.failures.is_empty(), "\n{}\n{}", report.failures.join("\n"), server.tail());
    let log = server.tail();
    assert!(!log.contains("panicked"), "{log}");
}

/// Requests whose signature is wrong in every way, and requests for what is not there.
async fn requests(scene: &mut Scene) -> Result<()> {
    let unauthorized = [(401, "M_UNAUTHORIZED")];
    let get = format!("{V1}/event/%24x");
    let edus = json!({ "pdus": [], "edus": [], "origin": scene.peer.name(), "origin_server_ts": now() });
    for forgery in FORGERIES {
        let answer = scene.peer.ask_with(&scene.server, Method::GET, &get, None, forgery).await;
        scene.report.answer(&format!("a GET with {forgery:?}"), answer, &unauthorized);
        let answer = scene.peer.ask_with(&scene.server, Method::PUT, &transaction_path(), Some(&edus), forgery).await;
        scene.report.answer(&format!("a transaction with {forgery:?}"), answer, &unauthorized);
    }
    let ask = async |method: Method, path: &str, body: Option<&Value>| {
        scene.peer.ask(&scene.server, method, path, body).await
    };
    let unknown = ask(Method::GET, &get, None).await;
    scene.report.answer("an unknown event", unknown, &[(404, "M_NOT_FOUND")]);
    for (method, path, right) in [
        (Method::GET, format!("{V1}/nonsense"), (404, "M_UNRECOGNIZED")),
        (Method::DELETE, format!("{V1}/send/x"), (405, "M_UNRECOGNIZED")),
        (Method::GET, format!("{V1}/event/nonsense"), (400, "M_INVALID_PARAM")),
        (Method::GET, format!("{V1}/backfill/nonsense?v=x&limit=1"), (400, "M_INVALID_PARAM")),
        (Method::GET, format!("{V1}/query/profile"), (400, "M_MISSING_PARAM")),
        (Method::GET, format!("{V1}/query/profile?user_id=%40nobody%3A{}", scene.server), (404, "M_NOT_FOUND")),
        (Method::GET, format!("{V1}/query/directory?room_alias=%23none%3A{}", scene.server), (404, "M_NOT_FOUND")),
        (Method::GET, format!("{V1}/user/devices/%40nobody%3A{}", scene.server), (404, "M_NOT_FOUND")),
    ] {
        let answer = ask(method.clone(), &path, None).await;
        scene.report.answer(&format!("{method} {path}"), answer, &[right]);
    }
    Ok(())
}

/// Keys that are no longer valid.
async fn expired_keys(scene: &mut Scene, network: &Network) -> Result<()> {
    let late = Peer::start(network, 2).await?;
    late.publish(json!({ "valid_until_ts": now() - HOUR_MS }));
    let path = format!("{V1}/event/%24x");
    let answer = late.ask(&scene.server, Method::GET, &path, None).await;
    scene.report.answer("a request by an expired key", answer, &[(401, "M_UNAUTHORIZED")]);

    // A key that was given up an hour ago: what it signed before that holds.
    let old = key(3);
    let changed = Peer::start(network, 4).await?;
    let published = json!({ "key": base64(old.verifying_key().as_bytes()), "expired_ts": now() - HOUR_MS });
    changed.publish(json!({ "old_verify_keys": { "ed25519:old": published } }));
    for version in ["6", "12"] {
        let room = scene.alice.create_room(&json!({ "preset": "public_chat", "room_version": version })).await?;
        let bob = changed.user("bob");
        let room = changed.join(&scene.server, &room, &bob).await?;
        let signed_at = |ts: i64| {
            let content = json!({ "msgtype": "m.text", "body": format!("{ts}") });
            let mut event = changed.draft(&room, &bob, "m.room.message", content);
            event.insert("origin_server_ts".into(), json!(ts));
            compliance_tests::event::finish(room.version, &mut event, changed.name(), "ed25519:old", &old);
            event
        };
        let what = format!("version {version}: an event signed after its key was given up");
        scene.refused(&what, &changed, &room, &[signed_at(now())]).await?;
        let before = signed_at(now() - 2 * HOUR_MS);
        let answer = changed.send(&scene.server, &[Value::Object(before.clone())], &[]).await;
        scene.report.answer("an event signed before its key was given up", answer, &[(200, "")]);
        let seen = scene.seen(&room).await?;
        scene.report.hold("an event signed before its key was given up", seen.contains(&room.id_of(&before)), &seen);
    }
    Ok(())
}

/// The questions about a room that name an event, too.
fn questions(room: &str, event: &str) -> Vec<(Method, String, Option<Value>)> {
    let (id, event) = (segment(room), segment(event));
    let missing = json!({ "earliest_events": [], "latest_events": ["$x"], "limit": 10 });
    vec![
        (Method::GET, format!("{V1}/state/{id}?event_id={event}"), None),
        (Method::GET, format!("{V1}/state_ids/{id}?event_id={event}"), None),
        (Method::GET, format!("{V1}/event_auth/{id}/{event}"), None),
        (Method::GET, format!("{V1}/backfill/{id}?v={event}&limit=10"), None),
        (Method::POST, format!("{V1}/get_missing_events/{id}"), Some(missing)),
        (Method::GET, format!("{V1}/timestamp_to_event/{id}?ts=0&dir=f"), None),
    ]
}

async fn unknown_rooms(scene: &mut Scene) -> Result<()> {
    let bob = scene.peer.user("bob");
    let mut all = questions(NOWHERE, "$x");
    for make in ["make_join", "make_leave", "make_knock"] {
        all.push((Method::GET, format!("{V1}/{make}/{}/{}?ver=12", segment(NOWHERE), segment(&bob)), None));
    }
    for (method, path, body) in all {
        let answer = scene.peer.ask(&scene.server, method, &path, body.as_ref()).await;
        scene.report.answer(&format!("{path} of an unknown room"), answer, &[(404, "M_NOT_FOUND")]);
    }
    // An event of a room that the server is not in concerns nobody there: the transaction is taken, the event is not.
    let mut room = scene.room("10").await?;
    let known = room.id.clone();
    room.id = NOWHERE.to_owned();
    let event = scene.peer.message(&room, &bob, "is anybody there?");
    room.id = known;
    scene.refused("an event of an unknown room", &scene.peer.clone(), &room, &[event]).await
}

/// A server that is not in the room.
async fn outsiders(scene: &mut Scene, network: &Network) -> Result<()> {
    let outsider = Peer::start(network, 5).await?;
    let room = scene.room("10").await?;
    let event = room.id_of(&room.tip);
    let forbidden = [(403, "M_FORBIDDEN")];
    for (method, path, body) in questions(&room.id, &event) {
        let answer = outsider.ask(&scene.server, method, &path, body.as_ref()).await;
        scene.report.answer(&format!("{path} by an outsider"), answer, &forbidden);
    }
    let path = format!("{V1}/event/{}", segment(&event));
    scene.report.answer(
        "an event to an outsider",
        outsider.ask(&scene.server, Method::GET, &path, None).await,
        &forbidden,
    );
    let mallory = outsider.user("mallory");
    let message = outsider.message(&room, &mallory, "let me in");
    let mut topic = outsider.draft(&room, &mallory, "m.room.topic", json!({ "topic": "mine" }));
    topic.insert("state_key".into(), json!(""));
    outsider.finish(room.version, &mut topic);
    let in_bobs_name = outsider.message(&room, &scene.peer.user("bob"), "I am bob");
    scene
        .refused("events by a server that is not in the room", &outsider, &room, &[message, topic, in_bobs_name])
        .await?;
    // EDUs about rooms and users that are not theirs change nothing.
    let edus = [
        json!({ "edu_type": "m.typing", "content": { "room_id": room.id, "user_id": mallory, "typing": true } }),
        json!({ "edu_type": "m.typing", "content": { "room_id": room.id, "user_id": scene.peer.user("bob"), "typing": true } }),
        json!({ "edu_type": "m.receipt", "content": { &room.id: { "m.read": { scene.peer.user("bob"): { "event_ids": [event], "data": { "ts": 1 } } } } } }),
        json!({ "edu_type": "m.receipt", "content": 17 }),
        json!({ "edu_type": "m.direct_to_device", "content": { "sender": scene.peer.user("bob"), "type": "m.test", "message_id": "1", "messages": { &scene.alice.user_id: { "*": {} } } } }),
        json!({ "edu_type": "m.unheard_of", "content": {} }),
        json!({ "content": {} }),
        json!("no EDU"),
    ];
    let since = scene.alice.sync(None, "timeout=0").await?;
    let since = since["next_batch"].as_str().context("no token")?;
    scene.report.answer("EDUs that lie", outsider.send(&scene.server, &[], &edus).await, &[(200, "")]);
    let sync = scene.alice.sync(Some(since), "timeout=0").await?;
    scene.report.hold("EDUs that lie", sync["rooms"].is_null() && sync["to_device"].is_null(), &sync);
    Ok(())
}

/// Transactions that are too large, or none at all.
async fn transactions(scene: &mut Scene) -> Result<()> {
    let mut room = scene.room("12").await?;
    let bob = scene.peer.user("bob");
    let mut messages = Vec::new();
    for number in 0..51 {
        let message = scene.peer.message(&room, &bob, &format!("{number}"));
        room.tip = message.clone();
        messages.push(message);
    }
    let pdus: Vec<Value> = messages.iter().cloned().map(Value::Object).collect();
    let edus = vec![json!({ "edu_type": "m.unheard_of", "content": {} }); 101];
    let refused = [(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM"), (413, "M_TOO_LARGE")];
    scene.report.answer("51 PDUs", scene.peer.send(&scene.server, &pdus, &[]).await, &refused);
    scene.report.answer("101 EDUs", scene.peer.send(&scene.server, &pdus[..50], &edus).await, &refused);
    let seen = scene.seen(&room).await?;
    let taken = messages.iter().filter(|message| seen.contains(&room.id_of(message))).count();
    scene.report.hold("nothing of a transaction that is too large is taken", taken == 0, taken);

    let bad = [(400, "M_BAD_JSON"), (400, "M_NOT_JSON")];
    for body in [
        json!({ "pdus": {}, "edus": [] }),
        json!({ "pdus": "none" }),
        json!([]),
        json!({ "origin": "elsewhere.example", "pdus": [], "edus": [] }),
    ] {
        let answer = scene.peer.ask(&scene.server, Method::PUT, &transaction_path(), Some(&body)).await;
        scene.report.answer(&format!("the transaction {body}"), answer, &bad);
    }
    let path = format!("{V1}/send/{}", "x".repeat(1000));
    let answer = scene.peer.ask(&scene.server, Method::PUT, &path, Some(&json!({ "pdus": [], "edus": [] }))).await;
    scene.report.answer("a transaction id of 1000 bytes", answer, &[(400, "M_INVALID_PARAM")]);
    let junk = [
        json!(1),
        json!("x"),
        json!(null),
        json!([]),
        json!({}),
        json!({ "room_id": 5 }),
        json!({ "room_id": room.id }),
    ];
    scene.report.answer("PDUs that are none", scene.peer.send(&scene.server, &junk, &[]).await, &[(200, "")]);

    // As large as it may be; and again, under the same id.
    let body =
        json!({ "origin": scene.peer.name(), "origin_server_ts": now(), "pdus": pdus[..50], "edus": edus[..100] });
    let path = transaction_path();
    let mut answers = Vec::new();
    for _ in 0..2 {
        let answer = scene.peer.ask(&scene.server, Method::PUT, &path, Some(&body)).await?;
        answers.push(answer.json());
        scene.report.answer("50 PDUs and 100 EDUs", Ok(answer), &[(200, "")]);
    }
    scene.report.hold("a repeated transaction gets the same answer", answers[0] == answers[1], &answers);
    let seen = scene.seen(&room).await?;
    let taken = messages.iter().filter(|message| seen.contains(&room.id_of(message))).count();
    scene.report.hold("all of a transaction that is as large as it may be is taken", taken == 50, taken);
    Ok(())
}

/// Joins, leaves and invites that are not what they should be.
async fn memberships(scene: &mut Scene) -> Result<()> {
    let room = scene.room("10").await?;
    let (bob, carol) = (scene.peer.user("bob"), scene.peer.user("carol"));
    let id = segment(&room.id);
    let make = |user: &str, versions: &str| format!("{V1}/make_join/{id}/{}?{versions}", segment(user));
    let foreign = make("@x:elsewhere.example", "ver=10");
    let answer = scene.peer.ask(&scene.server, Method::GET, &foreign, None).await;
    scene.report.answer("make_join for another server's user", answer, &[(403, "M_FORBIDDEN")]);
    let answer = scene.peer.ask(&scene.server, Method::GET, &make(&carol, "ver=1&ver=strange"), None).await;
    scene.report.answer("make_join without the room's version", answer, &[(400, "M_INCOMPATIBLE_ROOM_VERSION")]);

    let invalid = [(400, "M_INVALID_PARAM")];
    let member = |user: &str, membership: &str| {
        let mut event = scene.peer.draft(&room, user, "m.room.member", json!({ "membership": membership }));
        event.insert("state_key".into(), json!(user));
        let rules = room.state.get(&("m.room.join_rules".to_owned(), String::new()));
        let mut auth = event["auth_events"].as_array().cloned().unwrap_or_default();
        auth.extend(rules.map(|rules| json!(room.id_of(rules))));
        event.insert("auth_events".into(), json!(auth));
        event
    };
    let mut cases: Vec<(&str, &str, Event)> = Vec::new();
    let mut unsigned = member(&carol, "join");
    scene.peer.finish(room.version, &mut unsigned);
    unsigned.insert("signatures".into(), json!({}));
    cases.push(("send_join", "without signature", unsigned));
    let mut forged = member(&carol, "join");
    compliance_tests::event::finish(room.version, &mut forged, scene.peer.name(), KEY_ID, &key(77));
    cases.push(("send_join", "with another key's signature", forged));
    cases.push(("send_join", "of a message", scene.peer.message(&room, &bob, "no join")));
    for (what, user, membership, key) in [
        ("of a leave", carol.as_str(), "leave", carol.as_str()),
        ("for somebody else", &carol, "join", &bob),
        ("by another server's user", "@x:elsewhere.example", "join", "@x:elsewhere.example"),
    ] {
        let mut event = member(user, membership);
        event.insert("state_key".into(), json!(key));
        scene.peer.finish(room.version, &mut event);
        cases.push(("send_join", what, event));
    }
    let mut event = member(&carol, "join");
    scene.peer.finish(room.version, &mut event);
    cases.push(("send_leave", "of a join", event));
    let before = scene.state(&room).await?;
    for (endpoint, what, event) in &cases {
        let path = format!("{V2}/{endpoint}/{id}/{}", segment(&room.id_of(event)));
        let answer = scene.peer.ask(&scene.server, Method::PUT, &path, Some(&Value::Object(event.clone()))).await;
        scene.report.answer(&format!("{endpoint} {what}"), answer, &invalid);
    }
    let mut event = member(&carol, "join");
    scene.peer.finish(room.version, &mut event);
    let path = format!("{V2}/send_join/{id}/{}", segment("$another"));
    let answer = scene.peer.ask(&scene.server, Method::PUT, &path, Some(&Value::Object(event))).await;
    scene.report.answer("send_join under another event's id", answer, &invalid);
    let after = scene.state(&room).await?;
    scene.report.hold("bad joins change nothing", before == after, &after);

    // Invites to a room of the peer's.
    let mut theirs = room.clone();
    theirs.id = format!("!burrow:{}", scene.peer.name());
    let alice = scene.alice.user_id.clone();
    let invite = |target: &str, membership: &str| {
        let mut event = scene.peer.draft(&theirs, &bob, "m.room.member", json!({ "membership": membership }));
        event.insert("state_key".into(), json!(target));
        scene.peer.finish(10, &mut event);
        event
    };
    let mut unsigned = invite(&alice, "invite");
    unsigned.insert("signatures".into(), json!({}));
    let nobody = format!("@nobody:{}", scene.server);
    for (what, version, event, right) in [
        ("to a room of an unknown version", "strange", invite(&alice, "invite"), (400, "M_INCOMPATIBLE_ROOM_VERSION")),
        ("without signature", "10", unsigned, (400, "M_INVALID_PARAM")),
        ("that is a join", "10", invite(&alice, "join"), (400, "M_INVALID_PARAM")),
        ("of a user of another server", "10", invite(&bob, "invite"), (400, "M_INVALID_PARAM")),
        ("of a user who is not there", "10", invite(&nobody, "invite"), (404, "M_NOT_FOUND")),
    ] {
        let path = format!("{V2}/invite/{}/{}", segment(&theirs.id), segment(&room.id_of(&event)));
        let body = json!({ "room_version": version, "event": event, "invite_room_state": [] });
        let answer = scene.peer.ask(&scene.server, Method::PUT, &path, Some(&body)).await;
        scene.report.answer(&format!("an invite {what}"), answer, &[right]);
    }
    let sync = scene.alice.sync(None, "timeout=0").await?;
    scene.report.hold("bad invites are not shown", sync["rooms"]["invite"].is_null(), &sync["rooms"]["invite"]);
    Ok(())
}

/// Events that are none in this room version.
async fn formats(scene: &mut Scene, room: &PeerRoom) -> Result<()> {
    let bob = scene.peer.user("bob");
    let peer = scene.peer.clone();
    let finished = |change: &dyn Fn(&mut Event)| {
        let mut event = peer.draft(room, &bob, "m.room.message", json!({ "msgtype": "m.text", "body": "x" }));
        change(&mut event);
        peer.finish(room.version, &mut event);
        event
    };
    let strict = room.version >= 6;
    let number = |value: Value| finished(&move |event| event["content"]["number"] = value.clone());
    let version = room.version;
    for (what, event) in [
        ("a fraction", number(json!(1.5))),
        ("an integer beyond 2^53", number(json!(9_007_199_254_740_993_i64))),
        ("an integer below -2^53", number(json!(-9_007_199_254_740_993_i64))),
    ] {
        let what = format!("version {version}: {what}");
        if strict {
            scene.refused(&what, &peer, room, &[event]).await?;
        } else {
            scene.accepted(&what, room, &[event]).await?;
        }
    }
    for (what, event) in [
        ("more than 65,536 bytes", finished(&|event| event["content"]["body"] = json!("x".repeat(65_536)))),
        ("a type of 256 bytes", finished(&|event| drop(event.insert("type".into(), json!("t".repeat(256)))))),
        ("a state key of 256 bytes", finished(&|event| drop(event.insert("state_key".into(), json!("k".repeat(256)))))),
        ("a sender that is no user id", finished(&|event| drop(event.insert("sender".into(), json!("bob"))))),
        ("no sender", finished(&|event| drop(event.remove("sender")))),
        ("no type", finished(&|event| drop(event.remove("type")))),
        ("a depth that is text", finished(&|event| drop(event.insert("depth".into(), json!("5"))))),
        ("content that is a list", finished(&|event| drop(event.insert("content".into(), json!([]))))),
        ("prev_events that are none", finished(&|event| drop(event.insert("prev_events".into(), json!([1, 2]))))),
        ("21 prev_events", finished(&|event| event["prev_events"] = repeated(&event["prev_events"], 21))),
        ("11 auth_events", finished(&|event| event["auth_events"] = repeated(&event["auth_events"], 11))),
        ("a create event for a room that is there", create_again(&peer, room, &bob)),
    ] {
        scene.refused(&format!("version {version}: {what}"), &peer, room, &[event]).await?;
    }
    Ok(())
}

fn repeated(list: &Value, count: usize) -> Value {
    let first = list[0].clone();
    json!(vec![first; count])
}

fn create_again(peer: &Peer, room: &PeerRoom, bob: &str) -> Event {
    let content = json!({ "creator": bob, "room_version": room.version.to_string() });
    let mut event = peer.draft(room, bob, "m.room.create", content);
    event.insert("state_key".into(), json!(""));
    peer.finish(room.version, &mut event);
    event
}

/// Events that are not signed by whom they should be, or were changed since.
async fn forgeries(scene: &mut Scene, room: &PeerRoom) -> Result<()> {
    let bob = scene.peer.user("bob");
    let peer = scene.peer.clone();
    let version = room.version;
    let mut unsigned = peer.message(room, &bob, "unsigned");
    unsigned.insert("signatures".into(), json!({}));
    let mut by_another_key = peer.draft(room, &bob, "m.room.message", json!({ "body": "another key" }));
    compliance_tests::event::finish(version, &mut by_another_key, peer.name(), KEY_ID, &key(99));
    let mut by_an_unknown_key = peer.draft(room, &bob, "m.room.message", json!({ "body": "unknown key" }));
    compliance_tests::event::finish(version, &mut by_an_unknown_key, peer.name(), "ed25519:unknown", &key(99));
    let mut garbled = peer.message(room, &bob, "garbled");
    garbled["signatures"][peer.name()][KEY_ID] = json!("not Base64!");
    let in_her_name = peer.message(room, &scene.alice.user_id.clone(), "I am alice");
    let mut moved = peer.message(room, &bob, "moved");
    moved.insert("depth".into(), json!(1));
    let all = [
        ("no signature", unsigned),
        ("another key's signature", by_another_key),
        ("an unknown key's signature", by_an_unknown_key),
        ("a signature that cannot be read", garbled),
        ("an event in alice's name", in_her_name),
        ("a member changed that is signed", moved),
    ];
    for (what, event) in all {
        scene.refused(&format!("version {version}: {what}"), &peer, room, &[event]).await?;
    }
    // A content that is not what was hashed is redacted, not refused.
    let mut changed = peer.message(room, &bob, "as it was");
    changed["content"]["body"] = json!("as it never was");
    scene.accepted(&format!("version {version}: a changed content"), room, &[changed.clone()]).await?;
    let path = format!("/_matrix/client/v3/rooms/{}/event/{}", segment(&room.id), segment(&room.id_of(&changed)));
    let shown = scene.alice.get(&path).await?;
    scene.report.hold("a changed content is redacted", shown["content"] == json!({}), &shown);
    Ok(())
}

/// Events that refer to what was refused, to what is not there, and to one another.
async fn graphs(scene: &mut Scene, room: &PeerRoom) -> Result<()> {
    let bob = scene.peer.user("bob");
    let peer = scene.peer.clone();
    let version = room.version;
    // Levels that bob may not set, and a message that relies on them.
    let mut levels = peer.draft(room, &bob, "m.room.power_levels", json!({ "users": { &bob: 100 } }));
    levels.insert("state_key".into(), json!(""));
    peer.finish(version, &mut levels);
    let mut relying = room.clone();
    relying.apply(&levels);
    let on_rejected = peer.message(&relying, &bob, "by my own leave");
    let what = format!("version {version}: an auth event that was rejected");
    scene.refused(&what, &peer, room, &[levels.clone(), on_rejected]).await?;
    // What merely follows a rejected event is judged by itself.
    let mut following = room.clone();
    following.tip = levels;
    let follower = peer.message(&following, &bob, "after what was rejected");
    scene.accepted(&format!("version {version}: a message after a rejected event"), room, &[follower]).await?;

    // Parents and auth events that nobody can show.
    let hidden = peer.message(room, &bob, "never shown");
    let mut orphan = room.clone();
    orphan.tip = hidden.clone();
    let orphan = peer.message(&orphan, &bob, "an orphan");
    scene
        .refused(&format!("version {version}: parents that nobody shows"), &peer, room, std::slice::from_ref(&orphan))
        .await?;
    let mut baseless = peer.draft(room, &bob, "m.room.message", json!({ "body": "baseless" }));
    baseless.insert("auth_events".into(), room.references(&[&hidden]));
    peer.finish(version, &mut baseless);
    scene.refused(&format!("version {version}: auth events that nobody shows"), &peer, room, &[baseless]).await?;
    let mut first = peer.draft(room, &bob, "m.room.message", json!({ "body": "from nowhere" }));
    first.insert("prev_events".into(), json!([]));
    peer.finish(version, &mut first);
    scene.refused(&format!("version {version}: no parents at all"), &peer, room, &[first]).await?;

    // Answers that are rubbish do not help either.
    let mut elsewhere = room.clone();
    elsewhere.id = NOWHERE.to_owned();
    let foreign = peer.message(&elsewhere, &bob, "of another room");
    let rubbish = json!({ "events": [foreign, 1, {}, { "room_id": room.id }, orphan] });
    peer.answer(&format!("{V1}/get_missing_events/"), rubbish);
    peer.answer(&format!("{V1}/state_ids/"), json!({ "pdu_ids": ["$a", "$b"], "auth_chain_ids": ["$c"] }));
    peer.answer(&format!("{V1}/event/"), json!({ "pdus": [foreign] }));
    let what = format!("version {version}: parents for which there is only rubbish");
    scene.refused(&what, &peer, room, &[orphan]).await?;
    for path in ["get_missing_events/", "state_ids/", "event/"] {
        peer.answer(&format!("{V1}/{path}"), json!({ "errcode": "M_UNKNOWN", "error": "no more" }));
    }

    // Where ids are chosen, events can go round in circles. Later, an id is a hash of what it would have to contain.
    if version < 3 {
        let (one, two) = (peer.fresh_id(), peer.fresh_id());
        let hash = json!({ "sha256": base64(&[7; 32]) });
        let make = |id: &str, other: &str, circular_auth: bool| {
            let mut event = peer.draft(room, &bob, "m.room.message", json!({ "body": "round" }));
            event.insert("event_id".into(), json!(id));
            event.insert("prev_events".into(), json!([[other, hash]]));
            if circular_auth {
                event.insert("auth_events".into(), json!([[other, hash]]));
            }
            peer.finish(version, &mut event);
            event
        };
        for circular_auth in [false, true] {
            let (one, two) = (format!("{one}{circular_auth}"), format!("{two}{circular_auth}"));
            let circle = [make(&one, &two, circular_auth), make(&two, &one, circular_auth)];
            peer.answer(&format!("{V1}/get_missing_events/"), json!({ "events": circle }));
            peer.answer(&format!("{V1}/event_auth/"), json!({ "auth_chain": circle }));
            scene.refused(&format!("version {version}: events in a circle"), &peer, room, &circle).await?;
            let itself = [make(&one, &one, circular_auth)];
            scene.refused(&format!("version {version}: an event before itself"), &peer, room, &itself).await?;
        }
    }
    Ok(())
}
