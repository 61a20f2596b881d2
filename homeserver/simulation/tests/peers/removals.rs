//! Rooms that are removed whole, and entered again.

use http::Method;
use serde_json::{Value, json};
use services::tables;
use simulation::{Failure, Network, Server, User};
use state_res::ids::{EventKey, RoomKey};
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;
use storage::{Fault, Table};

/// Tables whose rows may name a room or its events after its removal: what is its users', and the epoch.
const MAY_NAME_IT: &[Table] = &[
    tables::MEMBERSHIPS,
    tables::ACCOUNT_DATA,
    tables::ACCOUNT_DATA_POSITIONS,
    tables::ACCOUNT_DATA_CHANGES,
    tables::TRANSACTIONS,
    tables::FORGOTTEN,
    tables::SWEEPS,
];

/// Bytes of a step, so that there are many.
const SMALL_STEP: usize = 300;

/// A room of alice's on the first server, in which bob of the second has been, and said a lot.
struct Scene<'a> {
    network: &'a Network,
    alice: User,
    bob: User,
    room: String,
    /// Events that the second server stores.
    events: BTreeSet<EventKey>,
}

async fn call(server: &Server, user: &User, method: Method, path: &str, body: Value) -> Result<Value, Failure> {
    server.call(method, path, &user.token, &body).await
}

impl<'a> Scene<'a> {
    async fn begin(network: &'a Network, times: usize) -> Self {
        network.start_all().await.unwrap();
        let (one, two) = (network.server(0), network.server(1));
        let (alice, bob) = (one.register("alice").await.unwrap(), two.register("bob").await.unwrap());
        let room = call(one, &alice, Method::POST, "/createRoom", json!({ "preset": "public_chat" })).await.unwrap();
        let room = room["room_id"].as_str().unwrap().to_owned();
        let mut scene = Self { network, alice, bob, room, events: BTreeSet::new() };
        scene.bob_joins().await.unwrap();
        scene.talk(0..times).await;
        let alias = format!("/directory/room/%23place:{}", two.name());
        call(two, &scene.bob, Method::PUT, &alias, json!({ "room_id": scene.room })).await.unwrap();
        let tag = format!("/user/{}/rooms/{}/tags/u.kept", scene.bob.id, scene.room);
        call(two, &scene.bob, Method::PUT, &tag, json!({})).await.unwrap();
        scene.events = scene.stored();
        scene
    }

    async fn bob_joins(&self) -> Result<Value, Failure> {
        let path = format!("/join/{}?via={}", self.room, self.network.server(0).name());
        call(self.network.server(1), &self.bob, Method::POST, &path, json!({})).await
    }

    async fn bob_leaves(&self) {
        let path = format!("/rooms/{}/leave", self.room);
        call(self.network.server(1), &self.bob, Method::POST, &path, json!({})).await.unwrap();
        self.network.wait(Duration::from_secs(5)).await;
    }

    /// Messages, answers, reactions, redactions, receipts and state, by both.
    async fn talk(&self, times: Range<usize>) {
        for nth in times {
            for (server, user) in [(0, &self.alice), (1, &self.bob)] {
                let server = self.network.server(server);
                let room = format!("/rooms/{}", self.room);
                let id = format!("{nth}-{}", server.name());
                let send = |kind: &str, body: Value| {
                    let path = format!("{room}/send/{kind}/{kind}-{id}");
                    async move {
                        call(server, user, Method::PUT, &path, body).await.unwrap()["event_id"]
                            .as_str()
                            .unwrap()
                            .to_owned()
                    }
                };
                let said = send("m.room.message", json!({ "msgtype": "m.text", "body": id })).await;
                let relation = json!({ "rel_type": "m.annotation", "event_id": said, "key": "+" });
                let reaction = send("m.reaction", json!({ "m.relates_to": relation })).await;
                let thread = json!({ "rel_type": "m.thread", "event_id": said });
                send("m.room.message", json!({ "msgtype": "m.text", "body": "in a thread", "m.relates_to": thread }))
                    .await;
                let path = format!("{room}/redact/{reaction}/r-{id}");
                call(server, user, Method::PUT, &path, json!({})).await.unwrap();
                let path = format!("{room}/receipt/m.read/{said}");
                call(server, user, Method::POST, &path, json!({})).await.unwrap();
            }
            let path = format!("/rooms/{}/state/m.room.topic", self.room);
            call(self.network.server(0), &self.alice, Method::PUT, &path, json!({ "topic": nth.to_string() }))
                .await
                .unwrap();
        }
        self.network.wait(Duration::from_secs(5)).await;
    }

    fn stored(&self) -> BTreeSet<EventKey> {
        let snapshot = self.network.server(1).services().unwrap().store.snapshot();
        let rows = snapshot.scan_prefix(tables::STANDING, RoomKey::of(&self.room).as_bytes());
        rows.map(|row| EventKey::from_bytes(row.unwrap().0[16..].try_into().unwrap())).collect()
    }

    /// Nothing on the second server names the room or one of its events, but for what is its users'.
    fn nothing_is_left(&self) {
        let snapshot = self.network.server(1).services().unwrap().store.snapshot();
        let room = RoomKey::of(&self.room);
        for table in tables::ALL.iter().filter(|table| !MAY_NAME_IT.contains(table)) {
            for row in snapshot.scan_prefix(*table, b"") {
                let (key, value) = row.unwrap();
                let names = |bytes: &[u8]| {
                    bytes.windows(16).any(|word| {
                        let word: [u8; 16] = word.try_into().unwrap();
                        word == *room.as_bytes() || self.events.contains(&EventKey::from_bytes(word))
                    })
                };
                assert!(!names(&key) && !names(&value), "table {}: {key:?} => {value:?}", table.name);
            }
        }
    }

    async fn remove(&self) -> services::Result<services::rooms::sweep::Removed> {
        self.network.server(1).services().unwrap().peers.remove_room_in_steps(&self.room, SMALL_STEP).await
    }

    /// What both servers show of the room's state.
    async fn same_state(&self) {
        self.network.wait(Duration::from_secs(5)).await;
        let path = format!("/rooms/{}/state", self.room);
        let mut states = Vec::new();
        for (server, user) in [(0, &self.alice), (1, &self.bob)] {
            let state = call(self.network.server(server), user, Method::GET, &path, Value::Null).await.unwrap();
            let ids: BTreeSet<String> =
                state.as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect();
            states.push(ids);
        }
        assert_eq!(states[0], states[1]);
    }
}

async fn sync(server: &Server, user: &User, since: Option<&str>) -> Value {
    let filter = "%7B%22room%22%3A%7B%22include_leave%22%3Atrue%7D%7D";
    let path = match since {
        None => format!("/sync?timeout=0&filter={filter}"),
        Some(since) => format!("/sync?timeout=0&filter={filter}&since={since}"),
    };
    call(server, user, Method::GET, &path, Value::Null).await.unwrap()
}

#[test]
fn a_room_is_removed_whole_and_entered_again() {
    let network = Network::new(81, 2);
    network
        .run(async {
            let scene = Scene::begin(&network, 6).await;
            let two = network.server(1);
            let before = sync(two, &scene.bob, None).await["next_batch"].as_str().unwrap().to_owned();

            // Not while somebody is in it.
            let refused = scene.remove().await.unwrap_err();
            assert_eq!((refused.status, &*refused.errcode), (403, "M_FORBIDDEN"));
            assert!(refused.message.contains(&scene.bob.id), "{refused}");
            scene.same_state().await;
            // Nor while somebody is invited to it.
            scene.bob_leaves().await;
            let carol = two.register("carol").await.unwrap();
            let path = format!("/rooms/{}/invite", scene.room);
            call(network.server(0), &scene.alice, Method::POST, &path, json!({ "user_id": carol.id })).await.unwrap();
            network.wait(Duration::from_secs(2)).await;
            assert!(scene.remove().await.unwrap_err().message.contains("is invited"));
            let path = format!("/rooms/{}/leave", scene.room);
            call(two, &carol, Method::POST, &path, json!({})).await.unwrap();

            let removed = scene.remove().await.unwrap();
            assert!(removed.events >= scene.events.len() as u64, "{removed:?}");
            assert_eq!(removed.unsent, 0);
            scene.nothing_is_left();
            assert_eq!(scene.remove().await.unwrap_err().status, 404);

            // Who has been in the room learns that they no longer are, from scratch or not.
            for since in [None, Some(before.as_str())] {
                let synced = sync(two, &scene.bob, since).await;
                assert!(synced["rooms"]["leave"][&scene.room].is_object(), "{synced}");
                assert!(synced["rooms"]["join"][&scene.room].is_null(), "{synced}");
            }
            let alias = format!("/directory/room/%23place:{}", two.name());
            let gone = call(two, &scene.bob, Method::GET, &alias, Value::Null).await.unwrap_err();
            assert!(matches!(gone, Failure::Refused { status, .. } if status == 404), "{gone}");

            // The other server has it all.
            scene.talk_alone("meanwhile").await;
            scene.bob_joins().await.unwrap();
            scene.same_state().await;
            scene.talk(6..8).await;
            scene.same_state().await;
            for since in [None, Some(before.as_str())] {
                let synced = sync(two, &scene.bob, since).await;
                let joined = &synced["rooms"]["join"][&scene.room];
                assert!(!joined["timeline"]["events"].as_array().unwrap().is_empty(), "{synced}");
            }
            // History from before, too.
            let path = format!("/rooms/{}/messages?dir=b&limit=200", scene.room);
            let history = call(two, &scene.bob, Method::GET, &path, Value::Null).await.unwrap();
            let bodies: BTreeSet<&str> = history["chunk"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|event| event["content"]["body"].as_str())
                .collect();
            let first = format!("0-{}", network.server(0).name());
            assert!(bodies.contains("meanwhile") && bodies.contains(&*first), "{bodies:?}");
            let tags = format!("/user/{}/rooms/{}/tags", scene.bob.id, scene.room);
            assert!(
                call(two, &scene.bob, Method::GET, &tags, Value::Null).await.unwrap()["tags"]["u.kept"].is_object()
            );
            // And the room can be left and removed once more.
            scene.bob_leaves().await;
            scene.remove().await.unwrap();
            scene.nothing_is_left();
        })
        .unwrap();
}

impl Scene<'_> {
    async fn talk_alone(&self, body: &str) {
        let path = format!("/rooms/{}/send/m.room.message/{body}", self.room);
        let body = json!({ "msgtype": "m.text", "body": body });
        call(self.network.server(0), &self.alice, Method::PUT, &path, body).await.unwrap();
    }
}

#[test]
fn what_still_waits_for_other_servers_goes_with_the_room() {
    let network = Network::new(82, 2);
    network
        .run(async {
            let scene = Scene::begin(&network, 6).await;
            network.cut(0, 1);
            scene.bob_leaves().await;
            let removed = scene.remove().await.unwrap();
            assert_eq!(removed.unsent, 1, "{removed:?}");
            scene.nothing_is_left();
        })
        .unwrap();
}

#[test]
fn a_removal_that_is_cut_off_anywhere_goes_on_at_the_next_start() {
    let mut finished = 0;
    let steps = (1..).step_by(3);
    for (nth, fault) in steps.zip([Fault::NotApplied, Fault::Applied, Fault::PowerLoss].into_iter().cycle()) {
        let network = Network::new(83, 2);
        network
            .run(async {
                let scene = Scene::begin(&network, 3).await;
                scene.bob_leaves().await;
                let two = network.server(1);
                two.disk().fail_write(nth, fault);
                if scene.remove().await.is_ok() {
                    finished += 1;
                    return;
                }
                two.crash();
                two.start().await.unwrap();
                let services = two.services().unwrap();
                let known = services.rooms.is_known(&scene.room).unwrap();
                let begun = !known;
                if nth % 2 == 0 {
                    // Somebody comes in before it has gone on: they wait for it, or find the room as it was.
                    let (joined, resumed) = futures::join!(scene.bob_joins(), services.rooms.resume_sweeps());
                    resumed.unwrap();
                    joined.unwrap();
                    scene.same_state().await;
                    scene.bob_leaves().await;
                    scene.remove().await.unwrap();
                } else {
                    // Where the last step took effect and only the answer was lost, there is nothing to go on with.
                    assert!(services.rooms.resume_sweeps().await.unwrap().len() <= usize::from(begun));
                    if known {
                        scene.remove().await.unwrap();
                    }
                }
                scene.nothing_is_left();
                scene.bob_joins().await.unwrap();
                scene.same_state().await;
            })
            .unwrap();
        if finished > 1 {
            assert!(nth > 6, "there are many steps");
            return;
        }
    }
}
