//! One server with alice on it, and a peer worked by hand, whose bob and carol join her rooms.

use http::Method;
use serde_json::{Value, json};
use simulation::{Failure, Network, Peer, PeerEvent, PeerRoom, Server, User};
use std::time::Duration;

pub(crate) const BOB: &str = "@bob:peer.example";
pub(crate) const CAROL: &str = "@carol:peer.example";
/// Of another peer.
pub(crate) const DAN: &str = "@dan:other.example";

pub(crate) struct Scene<'a> {
    pub(crate) network: &'a Network,
    pub(crate) peer: Peer,
    pub(crate) alice: User,
    pub(crate) version: &'static str,
}

/// Runs a test in a room of alice's on a network of one server: [`Scene::room`].
pub(crate) fn with_room(seed: u64, version: &'static str, test: impl AsyncFnOnce(Scene<'_>, PeerRoom)) {
    let network = Network::new(seed, 1);
    network
        .run(async {
            let scene = Scene::begin(&network, version).await;
            let room = scene.room().await;
            test(scene, room).await;
        })
        .unwrap();
}

impl<'a> Scene<'a> {
    /// Begins on a network with one server that does not run yet.
    pub(crate) async fn begin(network: &'a Network, version: &'static str) -> Self {
        network.start_all().await.unwrap();
        let alice = network.server(0).register("alice").await.unwrap();
        Self { network, peer: network.peer("peer.example"), alice, version }
    }

    pub(crate) fn server(&self) -> &Server {
        self.network.server(0)
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value, Failure> {
        self.server().call(method, path, &self.alice.token, &body).await
    }

    /// A room of alice's that anyone may join.
    pub(crate) async fn empty_room(&self, more: Value) -> String {
        let mut body = json!({ "preset": "public_chat", "room_version": self.version });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.call(Method::POST, "/createRoom", body).await.unwrap()["room_id"].as_str().unwrap().to_owned()
    }

    /// A room of alice's with bob, of level 50, and carol, as the peer sees it.
    pub(crate) async fn room(&self) -> PeerRoom {
        let levels = if self.version == "12" {
            json!({ "users": { BOB: 50 } })
        } else {
            json!({ "users": { BOB: 50, &self.alice.id: 100 } })
        };
        let room = self.empty_room(json!({ "power_level_content_override": levels })).await;
        self.peer.join(self.server().name(), &room, CAROL).await.unwrap();
        self.peer.join(self.server().name(), &room, BOB).await.unwrap()
    }

    /// Another peer, whose dan joins the room.
    pub(crate) async fn dans_peer(&self, room: &PeerRoom) -> (Peer, PeerRoom) {
        let other = self.network.peer("other.example");
        let theirs = other.join(self.server().name(), &room.id, DAN).await.unwrap();
        (other, theirs)
    }

    /// Sends events, and says what the server says about the last of them.
    pub(crate) async fn send(&self, events: &[&PeerEvent]) -> Result<(), String> {
        let events: Vec<PeerEvent> = events.iter().map(|event| (*event).clone()).collect();
        let answer = self.peer.send(self.server().name(), &events).await.unwrap();
        match answer.get(&events.last().unwrap().id) {
            Some(None) => Ok(()),
            Some(Some(because)) => Err(because.clone()),
            None => Err("nothing was said about it".to_owned()),
        }
    }

    /// The event as alice's client sees it.
    pub(crate) async fn shown(&self, room: &PeerRoom, event: &PeerEvent) -> Option<Value> {
        let path = format!("/rooms/{}/event/{}", room.id, event.id.replace('/', "%2F"));
        self.call(Method::GET, &path, Value::Null).await.ok()
    }

    /// Alice does something; the peer learns of the event and follows it.
    pub(crate) async fn act(&self, room: &mut PeerRoom, method: Method, path: &str, body: Value) -> PeerEvent {
        let by_alice = || -> Vec<_> {
            let received = self.peer.received();
            received.into_iter().filter(|event| event["sender"] == *self.alice.id).collect()
        };
        // Whatever is still on its way.
        self.network.wait(Duration::from_secs(2)).await;
        let before = by_alice().len();
        self.call(method, &format!("/rooms/{}/{path}", room.id), body).await.unwrap();
        for _ in 0..600 {
            self.network.wait(Duration::from_millis(100)).await;
            if let Some(event) = by_alice().get(before) {
                let raw = federation::RawJson::from_known(Value::Object(event.clone()).to_string());
                let event = self.peer.learn(room.version, &raw).unwrap();
                room.follow(&event);
                return event;
            }
        }
        panic!("the peer did not get what {path} made");
    }

    pub(crate) async fn say(&self, room: &mut PeerRoom, id: &str) -> PeerEvent {
        let body = json!({ "msgtype": "m.text", "body": id });
        self.act(room, Method::PUT, &format!("send/m.room.message/{id}"), body).await
    }
}
