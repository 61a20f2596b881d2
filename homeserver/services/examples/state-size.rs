//! How many bytes the state of a room takes for each byte of its events, and how long a lookup in a state of the past takes.
//!
//! `cargo run --release -p services --example state-size -- [--members N,N,…] [--messages N] [--folder DIR] [--markdown]` builds, for
//! each number of members, a room in a RocksDB store of its own through the path that every event takes (`RoomWriter`), compacts all
//! tables, and prints JSON lines, or a table. The members join one by one, evenly among the messages, so that every join makes
//! a state of its own that stays. They are spread over 50 servers; messages carry 6 to 40 English words. Every twentieth event is a fork:
//! its author had not seen the event before it, and the next event joins the branches.
//!
//! *Events* are the rows of `PDUS` on disk. *State* is every other table that a room's events fill: nodes, roots, standings, orders
//! of the room, members. The store's own log is not counted; it is cut at a fixed length.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../tests/scaffold/mod.rs"]
mod scaffold;

use net::{RealOptions, World};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use services::rooms::standing::Fate;
use services::rooms::{NewEvent, RoomWriter, Rooms};
use services::tables;
use state_res::build;
use state_res::ids::{EventKey, RoomKey};
use state_res::room_version::RoomVersion;
use state_res::sign::SigningKey;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use storage::{Options, Store, Table};

const ROOM: &str = "!bEnChMaRkRoOm:example.org";
const CREATOR: &str = "@creator:example.org";
const VERSION: RoomVersion = RoomVersion::V11;
const SERVERS: usize = 50;
/// One event in so many is a fork.
const FORKS: usize = 20;
/// Events of the past in whose states something is looked up.
const LOOKUPS: usize = 5_000;
/// Tables that a room's events fill, beside `PDUS`.
const STATE: &[Table] = &[
    tables::NODES,
    tables::STANDING,
    tables::TIMELINE,
    tables::HISTORY,
    tables::ROOTS,
    tables::MEMBERS,
    tables::ROOM_SERVERS,
    tables::LOCAL_MEMBERS,
    tables::RELATIONS,
    tables::AUTH_GRAPH,
    tables::THREADS,
    tables::HEAD,
    tables::ROOM_IDS,
    tables::GAPS,
    tables::SWEEPS,
];
const WORDS: &[&str] = &[
    "the", "be", "to", "of", "and", "a", "in", "that", "have", "it", "for", "not", "on", "with", "he", "as", "you",
    "do", "at", "this", "but", "his", "by", "from", "they", "we", "say", "her", "she", "or", "an", "will", "my", "one",
    "all", "would", "there", "their", "what", "so", "up", "out", "if", "about", "who", "get", "which", "go", "me",
    "when", "make", "can", "like", "time", "just", "him", "know", "take", "people", "into", "year", "your", "good",
    "some", "could", "them", "see", "other", "than", "then", "now", "look", "only", "come", "its", "over", "think",
    "also", "back", "after", "use", "two", "how", "our", "work", "first", "well", "way", "even", "new", "want",
    "because", "any", "these", "give", "day", "most", "server", "release",
];

struct Arguments {
    members: Vec<usize>,
    messages: usize,
    folder: PathBuf,
    markdown: bool,
}

fn arguments() -> Option<Arguments> {
    let mut found = Arguments {
        members: vec![1_000, 10_000, 100_000],
        messages: 200_000,
        folder: std::env::temp_dir(),
        markdown: false,
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--markdown" => found.markdown = true,
            "--messages" => found.messages = given.next()?.parse().ok()?,
            "--folder" => found.folder = given.next()?.into(),
            "--members" => {
                found.members = given.next()?.split(',').map(|one| one.parse().ok()).collect::<Option<_>>()?;
            }
            _ => return None,
        }
    }
    Some(found)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("usage: state-size [--members N,N,…] [--messages N] [--folder DIR] [--markdown]");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if arguments.markdown {
        println!(
            "| members | events | bytes of events | bytes of state | state per event byte | lookup, median | lookup, 99 of 100 |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- |");
    }
    for members in &arguments.members {
        let folder = tempfile::tempdir_in(&arguments.folder).unwrap();
        runtime.block_on(measure(folder.path(), *members, &arguments));
    }
    ExitCode::SUCCESS
}

/// Makes the room's events.
struct Author {
    chance: ChaCha8Rng,
    key: SigningKey,
    /// Milliseconds.
    now: i64,
    joined: usize,
}

impl Author {
    fn text(&mut self, letters: usize) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        (0..letters).map(|_| char::from(ALPHABET[self.chance.random_range(0..ALPHABET.len())])).collect()
    }

    fn user(&self, number: usize) -> String {
        // Half the numbers of members reach back in no order that a tree could profit from.
        format!("@user.{}:server{}.example.org", number.wrapping_mul(7919) % 1_000_003, number % SERVERS)
    }

    fn join(&mut self) -> NewEvent {
        let user = self.user(self.joined);
        self.joined += 1;
        let content = json!({
            "membership": "join",
            "displayname": format!("{} {}", self.text(6), self.text(9)),
            "avatar_url": format!("mxc://server{}.example.org/{}", self.joined % SERVERS, self.text(24)),
        });
        NewEvent::state(&user, "m.room.member", &user, content.as_object().unwrap().clone())
    }

    fn message(&mut self) -> NewEvent {
        let words = self.chance.random_range(6..40);
        let body: Vec<&str> = (0..words).map(|_| WORDS[self.chance.random_range(0..WORDS.len())]).collect();
        let body = body.join(" ");
        let content = json!({ "msgtype": "m.text", "body": body, "m.mentions": {} });
        let sender = if self.joined == 0 {
            CREATOR.to_owned()
        } else {
            let number = self.chance.random_range(0..self.joined);
            self.user(number)
        };
        NewEvent::message(&sender, "m.room.message", content.as_object().unwrap().clone())
    }

    /// Adds an event to the room as if its sender's server had sent it; a fork refers to what the newest event refers to.
    fn place(&mut self, writer: &mut RoomWriter<'_>, event: &NewEvent, fork: bool) -> services::Result<EventKey> {
        self.now += 1_000;
        let (mut fields, _) = writer.fields(&NewEvent { timestamp: Some(self.now), ..event.clone() })?;
        let mut before = writer.head.root;
        if fork && let [only] = &writer.head.extremities[..] {
            let newest = EventKey::of(&only.event_id);
            let pdu = writer.reader.required(newest)?;
            let standing = writer.reader.standing(newest)?.unwrap();
            if standing.before != state_res::tree::Root::EMPTY && standing.before == standing.after {
                fields.prev_events = pdu.prev_events().to_vec();
                fields.depth = pdu.depth();
                before = standing.before;
            }
        }
        let server = event.sender.split_once(':').unwrap().1.to_owned();
        let pdu = build::build(VERSION, fields, &server, &self.key).unwrap();
        writer.place(pdu.clone(), before, Fate::Accepted, false)?;
        Ok(pdu.key())
    }
}

async fn measure(folder: &Path, members: usize, arguments: &Arguments) {
    let world = World::real(RealOptions::default()).unwrap();
    let options = Options { sync: false, ..Options::default() };
    let store = Store::open_rocksdb(folder, &tables::SCHEMA, world.clone(), options).unwrap();
    let rooms = scaffold::rooms(store.clone(), world);
    let chance = ChaCha8Rng::seed_from_u64(members as u64);
    let mut author = Author { chance, key: scaffold::key(), now: 1_700_000_000_000, joined: 0 };
    create(&rooms).await;
    let total = members + arguments.messages;
    let mut events = Vec::with_capacity(total);
    let started = Instant::now();
    for nth in 0..total {
        // Joins as evenly among the messages as they fit.
        let joins = nth * members / total < (nth + 1) * members / total;
        let event = if joins { author.join() } else { author.message() };
        let fork = nth % FORKS == FORKS - 1;
        let mut placed = None;
        rooms
            .write(ROOM, |writer| {
                placed = Some(author.place(writer, &event, fork)?);
                Ok(())
            })
            .await
            .unwrap();
        events.extend(placed);
    }
    let built = started.elapsed();
    for table in tables::ALL {
        store.compact(*table).await.unwrap();
    }
    let bytes_of_events = store.disk_bytes(tables::PDUS);
    let by_table: Vec<(&str, u64)> = STATE.iter().map(|table| (table.name, store.disk_bytes(*table))).collect();
    let all: u64 = tables::ALL.iter().map(|table| store.disk_bytes(*table)).sum();
    let bytes_of_state: u64 = by_table.iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(all, bytes_of_events + bytes_of_state, "a table that is filled is not counted");
    let files: u64 = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "sst"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    let mut times = lookups(&rooms, &mut author, &events);
    times.sort_unstable();
    let share = bytes_of_state as f64 / bytes_of_events as f64;
    let (median, late) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    if arguments.markdown {
        println!(
            "| {members} | {} | {bytes_of_events} | {bytes_of_state} | {share:.3} | {median:.1?} | {late:.1?} |",
            events.len()
        );
    } else {
        let tables: Map<String, Value> = by_table
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, bytes)| (name.to_owned(), bytes.into()))
            .collect();
        println!(
            "{}",
            json!({
                "members": members, "events": events.len(), "bytes_of_events": bytes_of_events, "bytes_of_state": bytes_of_state,
                "state_per_event_byte": share, "tables": tables, "bytes_of_all_files": files,
                "lookup_median_us": median.as_secs_f64() * 1e6, "lookup_p99_us": late.as_secs_f64() * 1e6,
                "seconds_to_build": built.as_secs(),
            })
        );
    }
}

async fn create(rooms: &Rooms) {
    let object = |value: Value| value.as_object().unwrap().clone();
    rooms
        .write_new(ROOM, VERSION, |writer| {
            writer.send(NewEvent::state(CREATOR, "m.room.create", "", object(json!({ "room_version": "11" }))))?;
            writer.send(NewEvent::state(CREATOR, "m.room.member", CREATOR, object(json!({ "membership": "join" }))))?;
            let levels = json!({ "users": { CREATOR: 100 } });
            writer.send(NewEvent::state(CREATOR, "m.room.power_levels", "", object(levels)))?;
            writer.send(NewEvent::state(CREATOR, "m.room.join_rules", "", object(json!({ "join_rule": "public" }))))?;
            let shared = json!({ "history_visibility": "shared" });
            writer.send(NewEvent::state(CREATOR, "m.room.history_visibility", "", object(shared)))?;
            writer.send(NewEvent::state(CREATOR, "m.room.name", "", object(json!({ "name": "A room to measure" }))))
        })
        .await
        .unwrap();
}

/// How long it takes to find who somebody was before an event of the past: the event's standing, and the entry of the state that it
/// names. All lookups are made twice, and the second time counts.
fn lookups(rooms: &Rooms, author: &mut Author, events: &[EventKey]) -> Vec<Duration> {
    let reader = rooms.reader(RoomKey::of(ROOM));
    let wanted: Vec<(EventKey, String)> = (0..LOOKUPS)
        .map(|_| {
            let event = events[author.chance.random_range(0..events.len())];
            let number = author.chance.random_range(0..author.joined);
            (event, author.user(number))
        })
        .collect();
    let look = |(event, user): &(EventKey, String)| {
        let started = Instant::now();
        let standing = reader.standing(*event).unwrap().unwrap();
        reader.state_event_key(standing.before, "m.room.member", user).unwrap();
        started.elapsed()
    };
    wanted.iter().for_each(|one| {
        look(one);
    });
    wanted.iter().map(look).collect()
}
