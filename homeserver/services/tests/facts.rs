//! What is remembered of events is what the store says of them, whoever wrote what at the same time.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod scaffold;

use futures::future::join_all;
use net::{RealOptions, World};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use services::rooms::facts::Facts;
use services::rooms::history::HistoryKey;
use services::rooms::send::Transaction;
use services::rooms::standing::Fate;
use services::rooms::{NewEvent, RoomWriter, Rooms};
use services::tables;
use state_res::build;
use state_res::ids::{EventKey, RoomKey, UserKey};
use state_res::room_version::RoomVersion;
use state_res::tree::Root;
use storage::{Faults, Store};

const ROOM: &str = "!room:example.org";
const ALICE: &str = "@alice:example.org";
const DEVICE: &str = "PHONE";
/// How often many write at once.
const ROUNDS: u64 = 60;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

async fn room(rooms: &Rooms) {
    let start = |writer: &mut RoomWriter<'_>| {
        writer.send(NewEvent::state(ALICE, "m.room.create", "", object(json!({ "room_version": "11" }))))?;
        writer.send(NewEvent::state(ALICE, "m.room.member", ALICE, object(json!({ "membership": "join" })))).map(drop)
    };
    rooms.write_new(ROOM, RoomVersion::V11, start).await.unwrap();
}

/// Everything that they say, but for what is only filled in when it is asked for.
fn told(facts: &Facts) -> (Vec<u8>, i64, String, bool, bool, Option<String>) {
    (
        facts.event.bytes().to_vec(),
        facts.ts,
        format!("{:?}", facts.standing),
        facts.gap_before,
        facts.related,
        facts.transaction(UserKey::of(ALICE), DEVICE).unwrap(),
    )
}

/// Sends one of: a message, a reaction or a reply to what was said before, a redaction, a topic.
async fn act(rooms: &Rooms, kind: u32, target: &str, id: &str) -> String {
    let transaction = Transaction { device_id: DEVICE, endpoint: "send", id };
    let say = |content: Value| rooms.send_message(ALICE, ROOM, "m.room.message", object(content), &transaction);
    match kind {
        0 => {
            let relation = json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": target, "key": id } });
            rooms.send_message(ALICE, ROOM, "m.reaction", object(relation), &transaction).await.unwrap()
        }
        1 => {
            let relation = json!({ "rel_type": "m.thread", "event_id": target });
            say(json!({ "msgtype": "m.text", "body": id, "m.relates_to": relation })).await.unwrap()
        }
        2 => rooms.redact(ALICE, ROOM, target, Map::new(), &transaction).await.unwrap(),
        3 => rooms.set_state(ALICE, ROOM, "m.room.topic", "", object(json!({ "topic": id }))).await.unwrap(),
        _ => say(json!({ "msgtype": "m.text", "body": id })).await.unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_store_agree_whoever_writes_at_once() {
    let world = World::real(RealOptions::default()).unwrap();
    let store = Store::open_memory(&tables::SCHEMA, world.clone(), Faults::none());
    let rooms = scaffold::rooms(store.clone(), world.clone());
    room(&rooms).await;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        let target = act(&rooms, 9, "", &format!("{round}")).await;
        let kinds: Vec<u32> = (0..rng.random_range(1..6)).map(|_| rng.random_range(0..6)).collect();
        let ids: Vec<String> = (0..kinds.len()).map(|number| format!("{round}.{number}")).collect();
        let acts = kinds.iter().zip(&ids).map(|(kind, id)| act(&rooms, *kind, &target, id));
        sent.extend(join_all(acts).await);
        sent.push(target);
    }
    let cold = scaffold::rooms(store, world);
    for event in &sent {
        let key = EventKey::of(event);
        let [remembered, read] =
            [&rooms, &cold].map(|rooms| rooms.reader(RoomKey::of(ROOM)).facts(key).unwrap().unwrap());
        assert_eq!(told(&remembered), told(&read), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_here_need_not_be_read_again() {
    let world = World::real(RealOptions::default()).unwrap();
    let disk = Faults::none();
    let store = Store::open_memory(&tables::SCHEMA, world.clone(), disk.clone());
    let rooms = scaffold::rooms(store, world);
    room(&rooms).await;
    let event = act(&rooms, 9, "", "one").await;
    let before = disk.reads();
    let facts = rooms.reader(RoomKey::of(ROOM)).facts(EventKey::of(&event)).unwrap().unwrap();
    assert_eq!(disk.reads(), before);
    assert_eq!(facts.transaction(UserKey::of(ALICE), DEVICE).unwrap().as_deref(), Some("one"));
}

/// Places an event in the history right after another, as backfill does.
async fn fill_in(rooms: &Rooms, target: &str, number: u64) {
    let place = |writer: &mut RoomWriter<'_>| {
        let standing = writer.reader.standing(EventKey::of(target))?.unwrap();
        let event = NewEvent::state(ALICE, "old", &number.to_string(), Map::new());
        let (mut fields, _) = writer.fields(&event)?;
        fields.prev_events = vec![target.to_owned()];
        let pdu = build::build(RoomVersion::V11, fields, scaffold::SERVER, &scaffold::key()).unwrap();
        let mut place = standing.history.unwrap().as_bytes().to_vec();
        place.extend_from_slice(&number.to_be_bytes());
        writer.place_old(pdu, standing.after, Fate::Accepted, HistoryKey::from_bytes(&place))
    };
    rooms.write(ROOM, place).await.unwrap();
}

/// The newest events, and the state before them and now, as an initial sync is told.
fn newest(rooms: &Rooms, count: usize) -> (Vec<String>, Root) {
    let reader = rooms.reader(RoomKey::of(ROOM));
    let position = reader.snapshot().position();
    let newest = reader.newest_first(position, count).unwrap();
    let events: Vec<_> = newest.events.take(count + 1).map(Result::unwrap).collect();
    let root = events.get(count - 1).map_or(Root::EMPTY, |first| first.standing.before);
    let state: Vec<_> = match newest.kept.and_then(|kept| kept.state(&reader, root).unwrap().map(<[_]>::to_vec)) {
        Some(state) => state.into_iter().map(|(_, facts)| facts).collect(),
        None => {
            let mut state: Vec<_> =
                reader.state(root).unwrap().into_iter().map(|event| reader.required_facts(event).unwrap()).collect();
            state.sort_by_key(|facts| facts.order_in_state());
            state
        }
    };
    let told = events.iter().chain(&state).map(|facts| format!("{:?}", told(facts))).collect();
    (told, reader.root_at(position).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_end_with_what_the_store_says_whoever_writes_at_once() {
    let world = World::real(RealOptions::default()).unwrap();
    let store = Store::open_memory(&tables::SCHEMA, world.clone(), Faults::none());
    let rooms = scaffold::rooms(store.clone(), world.clone());
    room(&rooms).await;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for round in 0..ROUNDS {
        let target = act(&rooms, 9, "", &format!("{round}")).await;
        newest(&rooms, 20);
        let looking = async {
            for _ in 0..20 {
                tokio::task::yield_now().await;
                newest(&rooms, 20);
            }
        };
        let kinds: Vec<u32> = (0..rng.random_range(0..4)).map(|_| rng.random_range(0..7)).collect();
        let ids: Vec<String> = (0..kinds.len()).map(|number| format!("{round}.{number}")).collect();
        let acts = kinds.iter().zip(&ids).map(async |(kind, id)| {
            act(&rooms, *kind, &target, id).await;
        });
        let filling = async {
            if round % 3 == 0 {
                fill_in(&rooms, &target, round).await;
            }
        };
        tokio::join!(looking, join_all(acts), filling);
        if round == ROUNDS / 2 {
            newest(&rooms, 20);
            let purged = rooms.purge_history(ROOM, world.now().millis() as i64).await.unwrap();
            assert!(purged.events > 0);
        }
        let cold = scaffold::rooms(store.clone(), world.clone());
        for count in [1, 10, 20, 40] {
            assert_eq!(newest(&rooms, count), newest(&cold, count), "the newest {count} of round {round}");
        }
    }
}
