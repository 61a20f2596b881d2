//! Joins through another server that break off leave nothing that says who is in the room.

use crate::scene::{BOB, with_room};
use http::Method;
use serde_json::{Value, json};
use services::tables;
use simulation::{Failure, Network, Peer, PeerRoom, Scripted, Server};
use state_res::ids::{EventKey, RoomKey};
use std::{collections::BTreeMap, time::Duration};

/// How many rows of a table a room has.
fn rows(server: &Server, table: storage::Table, room: &str) -> usize {
    let snapshot = server.services().unwrap().store.snapshot();
    snapshot.scan_prefix(table, RoomKey::of(room).as_bytes()).count()
}

/// Tables in which a join writes before its room is here, by room.
const LEFT: [storage::Table; 7] = [
    tables::MEMBERS,
    tables::ROOM_SERVERS,
    tables::LOCAL_MEMBERS,
    tables::HEAD,
    tables::NODES,
    tables::STANDING,
    tables::AUTH_GRAPH,
];

/// How many of the room's state events are stored.
fn stored(server: &Server, room: &PeerRoom) -> usize {
    let snapshot = server.services().unwrap().store.snapshot();
    let is_stored = |id: &&String| snapshot.get(tables::PDUS, EventKey::of(id).as_bytes()).unwrap().is_some();
    room.state.values().filter(is_stored).count()
}

fn intents(server: &Server) -> usize {
    server.services().unwrap().store.snapshot().scan_prefix(tables::JOINS, &[]).count()
}

/// A public room of the peer's with `members` joined users, half of them of a server that is not there.
fn room(peer: &Peer, members: usize) -> PeerRoom {
    let mut room = PeerRoom {
        id: "!warren:peer.example".to_owned(),
        version: "10".parse().unwrap(),
        state: BTreeMap::new(),
        tips: Vec::new(),
        depth: 1,
    };
    let host = "@host:peer.example";
    peer.event(&mut room, host, "m.room.create", Some(""), json!({ "creator": host, "room_version": "10" }));
    peer.event(&mut room, host, "m.room.member", Some(host), json!({ "membership": "join" }));
    peer.event(&mut room, host, "m.room.join_rules", Some(""), json!({ "join_rule": "public" }));
    for n in 0..members {
        let user = format!("@rabbit{n}:peer.example");
        peer.event(&mut room, &user, "m.room.member", Some(&user), json!({ "membership": "join" }));
    }
    room
}

/// The peer answers `make_join` and `send_join` for that room; the state it gives lacks what `without` names.
fn answer_joins(peer: &Peer, room: &PeerRoom, without: &'static str) {
    let template = {
        let mut draft = peer.draft(
            room,
            "@alice:s0.example",
            "m.room.member",
            Some("@alice:s0.example"),
            json!({ "membership": "join" }),
        );
        draft.remove("origin_server_ts");
        json!({ "room_version": "10", "event": draft })
    };
    let events = |without: &str| -> Vec<Value> {
        let kept = room.state.iter().filter(|((kind, _), _)| kind != without);
        kept.map(|(_, id)| Value::Object(peer.shown(id).unwrap())).collect()
    };
    let joined = json!({ "state": events(without), "auth_chain": events(""), "members_omitted": false });
    peer.script(move |asked| {
        let answer = if asked.path.contains("/make_join/") {
            &template
        } else if asked.path.contains("/send_join/") {
            &joined
        } else {
            return None;
        };
        Some(Scripted { after: Duration::ZERO, answer: Some((200, answer.clone())) })
    });
}

#[test]
fn a_join_that_is_refused_leaves_no_members() {
    let network = Network::new(61, 1);
    network
        .run(async {
            network.start_all().await.unwrap();
            let server = network.server(0);
            let alice = server.register("alice").await.unwrap();
            let peer = network.peer("peer.example");
            let room = room(&peer, 20);
            let path = format!("/join/{}?via=peer.example", room.id);
            // Without its join rules the room allows no join: only at the last step can that be seen.
            answer_joins(&peer, &room, "m.room.join_rules");
            let error = server.call(Method::POST, &path, &alice.token, &json!({})).await.unwrap_err();
            assert!(matches!(error, Failure::Refused { status, .. } if status == 403), "{error}");
            for table in [tables::MEMBERS, tables::ROOM_SERVERS, tables::HEAD] {
                assert_eq!(rows(server, table, &room.id), 0, "{}", table.name);
            }
            // Events and nodes go when nobody can be about to use them.
            assert_eq!(intents(server), 1);
            server.crash();
            server.start().await.unwrap();
            for table in LEFT {
                assert_eq!(rows(server, table, &room.id), 0, "{}", table.name);
            }
            assert_eq!((intents(server), stored(server, &room)), (0, 0));
            // Asked again it says the truth.
            answer_joins(&peer, &room, "");
            server.call(Method::POST, &path, &alice.token, &json!({})).await.unwrap();
            assert_eq!(rows(server, tables::MEMBERS, &room.id), 22);
            assert_eq!(rows(server, tables::ROOM_SERVERS, &room.id), 2);
            assert_eq!(rows(server, tables::LOCAL_MEMBERS, &room.id), 1);
            assert_eq!(intents(server), 0);
        })
        .unwrap();
}

#[test]
fn a_join_that_a_crash_breaks_off_is_undone_or_done() {
    let (mut undone, mut done) = (0, 0);
    // The server crashes later and later in the course of the join.
    for millis in (0..4000).step_by(40) {
        let network = Network::new(62, 1);
        network
            .run(async {
                network.start_all().await.unwrap();
                let server = network.server(0);
                let alice = server.register("alice").await.unwrap();
                let peer = network.peer("peer.example");
                let room = room(&peer, 12);
                answer_joins(&peer, &room, "");
                // So that there is much time between one batch and the next.
                server.disk().set_sync_time(Duration::from_millis(100));
                let path = format!("/join/{}?via=peer.example", room.id);
                let body = json!({});
                let join = server.call(Method::POST, &path, &alice.token, &body);
                let crash = async {
                    network.wait(Duration::from_millis(millis)).await;
                    server.crash();
                };
                let (joined, ()) = futures::join!(join, crash);
                server.start().await.unwrap();
                let members = rows(server, tables::MEMBERS, &room.id);
                let servers = rows(server, tables::ROOM_SERVERS, &room.id);
                let is_here = rows(server, tables::HEAD, &room.id) == 1;
                assert_eq!(intents(server), 0, "after {millis} ms");
                assert!(is_here || joined.is_err(), "after {millis} ms: an acknowledged join is lost");
                let expected = if is_here { (14, 2) } else { (0, 0) };
                assert_eq!((members, servers), expected, "after {millis} ms");
                if !is_here {
                    for table in LEFT {
                        assert_eq!(rows(server, table, &room.id), 0, "after {millis} ms: {}", table.name);
                    }
                    assert_eq!(stored(server, &room), 0, "after {millis} ms");
                }
                *(if is_here { &mut done } else { &mut undone }) += 1;
            })
            .unwrap();
        if done > 5 {
            break;
        }
    }
    assert!(undone > 5 && done > 0, "{undone} undone, {done} done");
}

/// A restricted room in which we are, without anybody here who could vouch: the join goes through a server that can, and is then an event
/// like any other.
#[test]
fn a_join_that_another_server_vouches_for_ends_in_a_room_that_is_here() {
    let network = Network::new(63, 2);
    network
        .run(async {
            network.start_all().await.unwrap();
            let (one, two) = (network.server(0), network.server(1));
            let (alice, bob) = (one.register("alice").await.unwrap(), two.register("bob").await.unwrap());
            let carol = two.register("carol").await.unwrap();
            let lobby = one.call(Method::POST, "/createRoom", &alice.token, &json!({ "preset": "public_chat" })).await;
            let lobby = lobby.unwrap()["room_id"].as_str().unwrap().to_owned();
            let rule =
                json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": lobby }] });
            let body = json!({
                "room_version": "10", "invite": [bob.id],
                "initial_state": [{ "type": "m.room.join_rules", "state_key": "", "content": rule }],
                "power_level_content_override": { "invite": 50 },
            });
            let room = one.call(Method::POST, "/createRoom", &alice.token, &body).await.unwrap();
            let room = room["room_id"].as_str().unwrap().to_owned();
            network.wait(Duration::from_secs(5)).await;
            for (who, place) in [(&bob, &room), (&carol, &lobby)] {
                let path = format!("/join/{place}?via={}", one.name());
                two.call(Method::POST, &path, &who.token, &json!({})).await.unwrap();
            }
            let path = format!("/join/{room}?via={}", one.name());
            two.call(Method::POST, &path, &carol.token, &json!({})).await.unwrap();
            // Nothing is held up by it afterwards, in either direction.
            let said = json!({ "msgtype": "m.text", "body": "welcome" });
            let path = format!("/rooms/{room}/send/m.room.message/1");
            let event = one.call(Method::PUT, &path, &alice.token, &said).await.unwrap();
            network.wait(Duration::from_secs(5)).await;
            let path = format!("/rooms/{room}/event/{}", event["event_id"].as_str().unwrap());
            two.call(Method::GET, &path, &carol.token, &Value::Null).await.unwrap();
        })
        .unwrap();
}

/// Restricted rooms: who meets a condition, and whom nobody here can let in, is told to ask elsewhere in other words than whom we know nothing of.
#[test]
fn who_cannot_be_vouched_for_is_told_why() {
    for version in ["8", "10", "12"] {
        with_room(66, version, async |scene, lobby| {
            let make = async |allowed: &str, levels: Value| {
                let rule = json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": allowed }] });
                let rules = json!([{ "type": "m.room.join_rules", "state_key": "", "content": rule }]);
                scene.empty_room(json!({ "initial_state": rules, "power_level_content_override": levels })).await
            };
            // Of version 12 the creator may do anything, and so leaves.
            let closed = json!({ "invite": 101 });
            let rooms = [
                (make(&lobby.id, closed.clone()).await, 400, "M_UNABLE_TO_GRANT_JOIN"),
                (make("!elsewhere:nowhere.example", json!({})).await, 400, "M_UNABLE_TO_AUTHORISE_JOIN"),
                (make(&scene.empty_room(json!({})).await, json!({})).await, 403, "M_FORBIDDEN"),
            ];
            if version == "12" {
                let carl = scene.server().register("carl").await.unwrap();
                let path = format!("/rooms/{}/invite", rooms[0].0);
                scene.call(Method::POST, &path, json!({ "user_id": carl.id })).await.unwrap();
                let join = format!("/join/{}", rooms[0].0);
                scene.server().call(Method::POST, &join, &carl.token, &json!({})).await.unwrap();
                scene.call(Method::POST, &format!("/rooms/{}/leave", rooms[0].0), json!({})).await.unwrap();
            }
            for (room, status, code) in rooms {
                let asked = scene.peer.client().make_join(scene.server().name(), &room, BOB, &[version]).await;
                let refused = asked.unwrap_err();
                let refused = refused.peer().map(|peer| (peer.status, peer.errcode.clone())).unwrap();
                assert_eq!(refused, (status, code.to_owned()), "version {version}");
            }
        });
    }
}

#[test]
fn the_servers_in_a_room_are_told_as_they_were_before_a_join() {
    with_room(67, "10", async |scene, room| {
        let mut servers = Vec::new();
        let other = scene.network.peer("other.example");
        for user in ["@dan:other.example", "@eve:other.example"] {
            other.join(scene.server().name(), &room.id, user).await.unwrap();
            servers.push(other.joined_among());
        }
        let ours = scene.server().name();
        assert_eq!(servers, [vec!["peer.example", ours], vec!["other.example", "peer.example", ours]]);
    });
}
