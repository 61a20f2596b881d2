//! Three servers, two rooms, writers who take turns at random, cuts and a crash: once the network is whole again, all servers have the
//! same events and the same state, and the same seed gives the same run.
#![allow(clippy::unwrap_used, clippy::panic)]

mod auth_graph;

use futures::future::join_all;
use http::Method;
use net::simulated::Digest;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use simulation::{Failure, Network, User};
use state_res::ids::{EventKey, RoomKey};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

const SERVERS: usize = 3;
const SEEDS: std::ops::Range<u64> = 1..9;
/// What each writer does.
const ACTIONS: usize = 24;
/// How often things are given time to settle.
const ROUNDS: usize = 6;
const VERSIONS: [&str; 2] = ["10", "12"];

/// Everything that a run gives.
struct Ran {
    digest: Digest,
    trace: Vec<String>,
    summary: String,
}

/// The people, by server: a witness, who is an admin of both rooms and in them from the beginning to the end, and two others.
struct People {
    witness: User,
    others: Vec<User>,
}

struct Play<'a> {
    network: &'a Network,
    people: Vec<People>,
    rooms: Vec<String>,
    /// Events that a server has said it has, with the server, the writer and the room.
    acknowledged: RefCell<Vec<(usize, usize, usize, String)>>,
    refused: RefCell<usize>,
}

/// What a server shows of a room.
#[derive(PartialEq)]
struct View {
    events: BTreeSet<String>,
    state: BTreeMap<(String, String), String>,
}

// clause: P9.*, M1.1, M1.2
#[test]
fn servers_converge_and_seeds_repeat() {
    let mut digests = HashSet::new();
    for seed in SEEDS {
        let first = run(seed);
        println!("seed {seed}: {}", first.summary);
        let second = run(seed);
        if first.digest != second.digest {
            let pairs = first.trace.iter().zip(&second.trace);
            let differing = pairs.enumerate().find(|(_, (one, two))| one != two);
            panic!(
                "seed {seed}: two runs differ ({} and {} lines): {differing:#?}",
                first.trace.len(),
                second.trace.len()
            );
        }
        assert!(digests.insert(first.digest), "seed {seed} runs as another seed does");
    }
}

fn run(seed: u64) -> Ran {
    let network = Network::new(seed, SERVERS);
    let mut chance = StdRng::seed_from_u64(seed);
    let summary = network
        .run(async {
            let play = Play::begin(&network).await.unwrap();
            let people = (0..SERVERS).flat_map(|at| (0..3).map(move |who| (at, who)));
            let writers: Vec<_> =
                people.map(|(at, who)| play.write(at, who, StdRng::seed_from_u64(chance.random()))).collect();
            let faults = play.faults(StdRng::seed_from_u64(chance.random()));
            futures::join!(join_all(writers), faults);
            network.heal_all();
            play.settle(seed).await
        })
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    Ran { digest: network.digest(), trace: network.trace(), summary }
}

impl<'a> Play<'a> {
    async fn begin(network: &'a Network) -> Result<Self, Failure> {
        network.start_all().await?;
        let mut people = Vec::new();
        for (index, server) in network.servers().iter().enumerate() {
            let witness = server.register(&format!("witness{index}")).await?;
            let others =
                vec![server.register(&format!("anne{index}")).await?, server.register(&format!("bert{index}")).await?];
            people.push(People { witness, others });
        }
        let mut play =
            Self { network, people, rooms: Vec::new(), acknowledged: RefCell::default(), refused: RefCell::default() };
        for version in VERSIONS {
            let creators = if version == "12" { 1 } else { 0 };
            let admins: BTreeMap<&str, i64> =
                play.people[creators..].iter().map(|people| (people.witness.id.as_str(), 100)).collect();
            let body = json!({
                "preset": "public_chat", "room_version": version,
                "power_level_content_override": { "users": admins, "events": { "test.state": 0 } },
            });
            let room =
                network.server(0).call(Method::POST, "/createRoom", &play.people[0].witness.token, &body).await?;
            play.rooms.push(room["room_id"].as_str().unwrap().to_owned());
            for at in 0..SERVERS {
                for who in 0..3 {
                    play.join(at, who, play.rooms.len() - 1).await?;
                }
            }
        }
        network.wait(Duration::from_secs(10)).await;
        Ok(play)
    }

    fn user(&self, at: usize, who: usize) -> &User {
        if who == 0 { &self.people[at].witness } else { &self.people[at].others[who - 1] }
    }

    async fn call(&self, at: usize, who: usize, method: Method, path: &str, body: Value) -> Result<Value, Failure> {
        self.network.server(at).call(method, path, &self.user(at, who).token, &body).await
    }

    async fn join(&self, at: usize, who: usize, room: usize) -> Result<Value, Failure> {
        let via: Vec<String> =
            (0..SERVERS).map(|server| format!("via={}", self.network.server(server).name())).collect();
        let path = format!("/join/{}?{}", self.rooms[room], via.join("&"));
        self.call(at, who, Method::POST, &path, json!({})).await
    }

    async fn write(&self, at: usize, who: usize, mut chance: StdRng) {
        for turn in 0..ACTIONS {
            self.network.wait(Duration::from_millis(chance.random_range(0..3000))).await;
            let room = chance.random_range(0..self.rooms.len());
            let answer = self.act(at, who, room, turn, &mut chance).await;
            match answer {
                Ok(answer) => {
                    if let Some(event) = answer["event_id"].as_str() {
                        self.acknowledged.borrow_mut().push((at, who, room, event.to_owned()));
                    }
                }
                // Not in the room just now, or the other servers are out of reach.
                Err(Failure::Refused { status, .. })
                    if status.is_client_error() || [502, 504].contains(&status.as_u16()) =>
                {
                    *self.refused.borrow_mut() += 1;
                }
                Err(Failure::Down(_)) => *self.refused.borrow_mut() += 1,
                Err(error) => panic!("seed {}: {error}", self.network.seed()),
            }
        }
    }

    async fn act(
        &self,
        at: usize,
        who: usize,
        room: usize,
        turn: usize,
        chance: &mut StdRng,
    ) -> Result<Value, Failure> {
        let path = format!("/rooms/{}", self.rooms[room]);
        let target = self.user(chance.random_range(0..SERVERS), chance.random_range(1..3)).id.clone();
        let number: u32 = chance.random();
        let action = chance.random_range(0..100);
        let (method, path, body) = match action {
            0..50 => {
                let path = format!("{path}/send/m.room.message/{at}.{who}.{turn}");
                (Method::PUT, path, json!({ "msgtype": "m.text", "body": format!("{number}") }))
            }
            50..70 => {
                let path = format!("{path}/state/test.state/{}", number % 4);
                (Method::PUT, path, json!({ "by": self.user(at, who).id, "number": number }))
            }
            70..76 if who == 0 => {
                (Method::PUT, format!("{path}/state/m.room.topic"), json!({ "topic": format!("{number}") }))
            }
            76..84 if who == 0 => (Method::POST, format!("{path}/kick"), json!({ "user_id": target })),
            84..90 if who == 0 => (Method::POST, format!("{path}/ban"), json!({ "user_id": target })),
            90..95 if who == 0 => (Method::POST, format!("{path}/unban"), json!({ "user_id": target })),
            95..100 if who == 0 => {
                let path = format!("{path}/state/m.room.power_levels");
                let mut levels = self.call(at, who, Method::GET, &path, Value::Null).await?;
                levels["users"][target] = json!(if number.is_multiple_of(2) { 50 } else { 0 });
                (Method::PUT, path, levels)
            }
            70..78 => (Method::POST, format!("{path}/leave"), json!({})),
            78..82 => (Method::POST, format!("{path}/kick"), json!({ "user_id": target })),
            _ => return self.join(at, who, room).await,
        };
        self.call(at, who, method, &path, body).await
    }

    /// Cuts and heals links, and crashes one server once.
    async fn faults(&self, mut chance: StdRng) {
        let network = self.network;
        network.set_loss(chance.random_range(0..4) as f64 / 100.0);
        let crash = chance.random_range(1..5);
        for step in 0..8 {
            network.wait(Duration::from_millis(chance.random_range(500..6000))).await;
            let one = chance.random_range(0..SERVERS);
            let other = (one + chance.random_range(1..SERVERS)) % SERVERS;
            if step == crash {
                network.server(one).crash();
                network.wait(Duration::from_millis(chance.random_range(10..5000))).await;
                network.server(one).start().await.unwrap();
            } else if chance.random_bool(0.6) {
                network.cut(one, other);
            } else {
                network.heal(one, other);
            }
        }
    }

    /// Gives the servers time and something new to say, until they agree.
    async fn settle(&self, seed: u64) -> String {
        let mut complaint = String::new();
        for round in 0..ROUNDS {
            self.network.wait(Duration::from_secs(600)).await;
            for room in 0..self.rooms.len() {
                for at in 0..SERVERS {
                    let path = format!("/rooms/{}/send/m.room.message/settle.{round}.{room}", self.rooms[room]);
                    let sent = self
                        .call(at, 0, Method::PUT, &path, json!({ "msgtype": "m.text", "body": "?" }))
                        .await
                        .unwrap();
                    self.acknowledged.borrow_mut().push((at, 0, room, sent["event_id"].as_str().unwrap().to_owned()));
                    self.network.wait(Duration::from_secs(30)).await;
                }
            }
            match self.compare().await {
                Ok(summary) => {
                    let indexed: usize = self.network.servers().iter().map(auth_graph::check).sum();
                    return format!("{summary}, {indexed} state events indexed, {} rounds", round + 1);
                }
                Err(differences) => complaint = differences,
            }
        }
        let trace: Vec<_> = self.network.trace();
        let tail = trace[trace.len().saturating_sub(30)..].join("\n");
        panic!("seed {seed}: the servers do not agree:\n{complaint}\nlast of the trace:\n{tail}");
    }

    /// What the servers agree on, in numbers, or what they do not agree on.
    async fn compare(&self) -> Result<String, String> {
        let (mut events, mut entries, mut hidden) = (0, 0, 0);
        let mut complaints = Vec::new();
        for (index, room) in self.rooms.iter().enumerate() {
            let mut views = Vec::new();
            for at in 0..SERVERS {
                views.push(self.view(at, room).await);
            }
            let all: BTreeSet<&String> = views.iter().flat_map(|view| &view.events).collect();
            events += all.len();
            entries += views[0].state.len();
            for (at, view) in views.iter().enumerate() {
                for event in all.iter().filter(|event| !view.events.contains(**event)) {
                    // Soft-failed events are each server's own judgement, and hidden from its clients.
                    let standing = self.standing(at, room, event);
                    if standing == "soft-failed" {
                        hidden += 1;
                    } else {
                        complaints.push(format!("{}: server {at} does not show {event}: {standing}", VERSIONS[index]));
                    }
                }
                let keys: BTreeSet<_> = view.state.keys().chain(views[0].state.keys()).collect();
                for key in keys.into_iter().filter(|key| view.state.get(*key) != views[0].state.get(*key)) {
                    let (here, there) = (view.state.get(key), views[0].state.get(key));
                    complaints.push(format!("{}: {key:?} is {here:?} at server {at}, {there:?} at 0", VERSIONS[index]));
                }
            }
            for (at, who, _, event) in self.acknowledged.borrow().iter().filter(|(_, _, room, _)| *room == index) {
                // What witnesses do is allowed whatever the others have done: nobody may soft-fail it.
                for shown_at in (0..SERVERS).filter(|shown_at| shown_at == at || *who == 0) {
                    if !views[shown_at].events.contains(event) {
                        let version = VERSIONS[index];
                        complaints.push(format!("{version}: server {shown_at} lacks {event}, which {at} acknowledged"));
                    }
                }
            }
        }
        let refused = self.refused.borrow();
        match complaints.is_empty() {
            true => Ok(format!("{events} events, {entries} entries, {hidden} soft-failed, {refused} refused")),
            false => Err(complaints.join("\n")),
        }
    }

    fn standing(&self, at: usize, room: &str, event: &str) -> &'static str {
        let services = self.network.server(at).services().unwrap();
        match services.rooms.reader(RoomKey::of(room)).standing(EventKey::of(event)).unwrap() {
            None => "unknown there",
            Some(standing) if standing.is_outlier() => "an outlier there",
            Some(standing) if standing.is_soft_failed() => "soft-failed",
            Some(standing) if standing.is_rejected() => "rejected there",
            Some(_) => "accepted there",
        }
    }

    async fn view(&self, at: usize, room: &str) -> View {
        let mut events = BTreeSet::new();
        let mut from = String::new();
        loop {
            let path = format!("/rooms/{room}/messages?dir=b&limit=50{from}");
            let page = self.call(at, 0, Method::GET, &path, Value::Null).await.unwrap();
            for event in page["chunk"].as_array().unwrap() {
                let id = event["event_id"].as_str().unwrap().to_owned();
                assert!(events.insert(id.clone()), "seed {}: server {at} shows {id} twice", self.network.seed());
            }
            let Some(end) = page["end"].as_str() else { break };
            from = format!("&from={end}");
        }
        let state = self.call(at, 0, Method::GET, &format!("/rooms/{room}/state"), Value::Null).await.unwrap();
        let entry = |event: &Value| {
            let text = |key: &str| event[key].as_str().unwrap().to_owned();
            ((text("type"), text("state_key")), text("event_id"))
        };
        View { events, state: state.as_array().unwrap().iter().map(entry).collect() }
    }
}
