//! What a purge lets go: by when events came, whatever date they bear, and whatever the clock said meanwhile.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

#[allow(dead_code)] // the services come with rooms of their own
mod scaffold;

use net::World;
use net::simulated::{Host, Simulation};
use scaffold::SERVER;
use serde_json::{Value, json};
use services::rooms::standing::Fate;
use services::rooms::timeline::has_gap_before;
use services::rooms::{NewEvent, RoomReader, RoomWriter};
use services::signing_keys::own_keys;
use services::{Config, Services, tables};
use state_res::build;
use state_res::ids::{EventKey, RoomKey};
use state_res::room_version::RoomVersion;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use storage::{Faults, Store};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:elsewhere.org";
const ROOM: &str = "!room:example.org";
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Milliseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// A server with one room.
struct Bench {
    host: Host,
    world: World,
    services: Arc<Services>,
    /// Alice's join.
    join: String,
}

/// Runs a test of a server whose clock is noted, or not.
fn with_room(is_clock_noted: bool, test: impl AsyncFnOnce(&Bench)) {
    let simulation = Simulation::new(3);
    let host = simulation.host(SERVER);
    let run = simulation.run(async {
        let world = host.world();
        let store = Store::open_memory(&tables::SCHEMA, world.clone(), Faults::none());
        let keys = own_keys(&store, &world, SERVER).await.unwrap();
        let services = Services::new(Config::new(SERVER), world.clone(), store, keys);
        if is_clock_noted {
            services.start_clock();
            world.sleep(Duration::from_secs(1)).await;
        }
        let join = make(&services, ROOM).await;
        test(&Bench { host: host.clone(), world, services, join }).await;
    });
    run.unwrap();
}

/// A room that Alice makes; gives the id of her join.
async fn make(services: &Services, room: &str) -> String {
    let event =
        |kind: &str, key: &str, content: Value| NewEvent::state(ALICE, kind, key, content.as_object().unwrap().clone());
    let start = |writer: &mut RoomWriter<'_>| {
        writer.send(event("m.room.create", "", json!({ "room_version": "11" })))?;
        Ok(writer.send(event("m.room.member", ALICE, json!({ "membership": "join" })))?.event_id().to_owned())
    };
    services.rooms.write_new(room, RoomVersion::V11, start).await.unwrap().0
}

impl Bench {
    fn now(&self) -> i64 {
        self.world.now().millis() as i64
    }

    async fn wait(&self, days: u32) {
        self.world.sleep(HOUR * 24 * days).await;
    }

    fn reader(&self) -> RoomReader {
        self.services.rooms.reader(RoomKey::of(ROOM))
    }

    fn message() -> NewEvent {
        NewEvent::message(ALICE, "m.room.message", json!({ "body": "hi" }).as_object().unwrap().clone())
    }

    /// Alice says something.
    async fn say(&self) -> String {
        let work = |writer: &mut RoomWriter<'_>| Ok(writer.send(Self::message())?.event_id().to_owned());
        self.services.rooms.write(ROOM, work).await.unwrap().0
    }

    /// Alice says something every half hour.
    async fn chat(&self, hours: u32) {
        for _ in 0..2 * hours {
            self.say().await;
            self.world.sleep(HOUR / 2).await;
        }
    }

    /// An event that comes from another server, after `prev`, and dates itself.
    async fn receive(&self, event: NewEvent, prev: &str, ts: i64) -> String {
        let work = |writer: &mut RoomWriter<'_>| {
            let (mut fields, _) = writer.fields(&event)?;
            (fields.prev_events, fields.origin_server_ts) = (vec![prev.to_owned()], ts);
            let pdu = build::build(RoomVersion::V11, fields, "elsewhere.org", &scaffold::key()).unwrap();
            let before = writer.reader.standing(EventKey::of(prev))?.unwrap().after;
            let id = pdu.event_id().to_owned();
            writer.place(pdu, before, Fate::Accepted, false)?;
            Ok(id)
        };
        self.services.rooms.write(ROOM, work).await.unwrap().0
    }

    /// A message of Bob's.
    async fn hear(&self, prev: &str, ts: i64) -> String {
        self.receive(NewEvent { sender: BOB.to_owned(), ..Self::message() }, prev, ts).await
    }

    /// Some messages of Bob's, dated as they are sent; gives the last.
    async fn hear_some(&self, mut prev: String) -> String {
        for _ in 0..10 {
            prev = self.hear(&prev, self.now()).await;
        }
        prev
    }

    async fn purge(&self, keep_days: i64) -> services::rooms::sweep::Swept {
        self.services.rooms.purge_history(ROOM, self.now() - keep_days * DAY).await.unwrap()
    }

    /// The room's history, oldest first. All of it can be read, with the states that belong to it.
    fn history(&self) -> Vec<EventKey> {
        let reader = self.reader();
        let rows = reader.snapshot().scan_prefix(tables::HISTORY, RoomKey::of(ROOM).as_bytes());
        let events: Vec<EventKey> =
            rows.map(|row| EventKey::from_bytes(row.unwrap().1.as_ref().try_into().unwrap())).collect();
        for event in &events {
            let standing = reader.standing(*event).unwrap().unwrap();
            assert!(standing.is_accepted() && reader.pdu(*event).unwrap().is_some());
            for root in [standing.before, standing.after] {
                assert!(reader.state(root).unwrap().iter().all(|event| reader.pdu(*event).unwrap().is_some()));
            }
        }
        events
    }

    fn state(&self) -> BTreeSet<EventKey> {
        let reader = self.reader();
        reader.state(reader.head().unwrap().unwrap().root).unwrap().into_iter().collect()
    }

    fn notes(&self) -> usize {
        self.services.store.snapshot().scan_prefix(tables::CLOCK, b"").count()
    }
}

fn keys(ids: &[&String]) -> Vec<EventKey> {
    ids.iter().map(|id| EventKey::of(id)).collect()
}

#[test]
fn a_branch_that_nobody_merges_keeps_its_newest_event_and_no_other() {
    with_room(false, async |bench| {
        let state = |kind: &str, key: u32| NewEvent::state(ALICE, kind, &key.to_string(), serde_json::Map::new());
        let fork = bench.receive(state("branch", 0), &bench.join, bench.now()).await;
        let mut last = bench.join.clone();
        for nth in 0..40 {
            last = bench.receive(state("trunk", nth % 7), &last, bench.now()).await;
        }
        let before = (bench.state(), bench.history().len() as u64);
        assert_eq!(bench.state().len(), 10);
        bench.wait(5).await;
        let purged = bench.purge(1).await;
        assert_eq!((purged.events + purged.outliers, purged.unfollowed), (before.1 - 2, 2));
        assert_eq!(bench.history(), keys(&[&fork, &last]));
        assert_eq!(bench.state(), before.0);
        assert!([&fork, &last].iter().all(|event| has_gap_before(&bench.reader(), EventKey::of(event)).unwrap()));
        let again = bench.purge(1).await;
        assert_eq!((again.events, again.unfollowed), (0, 2));

        // Whoever speaks next merges the branch, which then goes like everything else.
        let merged = bench.say().await;
        assert_eq!(bench.reader().head().unwrap().unwrap().extremities.len(), 1);
        let prev = bench.reader().pdu(EventKey::of(&merged)).unwrap().unwrap().prev_events().to_vec();
        assert_eq!(BTreeSet::from_iter(&prev), BTreeSet::from([&fork, &last]));
        assert_eq!(bench.state(), before.0);
        bench.wait(5).await;
        let newest = bench.say().await;
        let purged = bench.purge(1).await;
        assert_eq!(purged.unfollowed, 0);
        assert_eq!(bench.history(), keys(&[&newest]));
        assert!(has_gap_before(&bench.reader(), EventKey::of(&newest)).unwrap());
        assert_eq!(bench.state(), before.0);
        assert_eq!(bench.services.rooms.sweep(ROOM).await.unwrap().events, 0);
    });
}

#[test]
fn a_clock_that_was_wrong_lets_nothing_go_sooner() {
    with_room(true, async |bench| {
        for skew in [-400, 400] {
            bench.chat(3).await;
            bench.host.set_clock_skew(skew * DAY);
            bench.chat(3).await;
            bench.host.set_clock_skew(0);
            bench.chat(3).await;
            let before = bench.history();
            let purged = bench.purge(180).await;
            assert_eq!((purged.events, purged.outliers, purged.unfollowed), (0, 0, 0));
            assert_eq!(bench.history(), before);
        }
        // Nor does it hold anything back once that is old.
        bench.wait(200).await;
        let newest = bench.say().await;
        bench.purge(180).await;
        assert_eq!(bench.history(), keys(&[&newest]));
    });
}

#[test]
fn events_are_as_old_as_their_arrival_whatever_date_they_bear() {
    with_room(true, async |bench| {
        let start = bench.now();
        let young = bench.hear(&bench.join, start + 20 * DAY).await;
        let last = bench.hear_some(young).await;
        bench.wait(20).await;
        // The log moves, though not in this room.
        make(&bench.services, "!other:example.org").await;
        bench.wait(1).await;
        let old = bench.hear(&last, start).await;
        let newest = bench.say().await;
        let purged = bench.purge(10).await;
        assert_eq!((purged.events + purged.outliers, purged.unfollowed), (13, 0));
        assert_eq!(bench.history(), keys(&[&old, &newest]));
    });
}

#[test]
fn an_event_from_the_future_holds_nothing_back() {
    with_room(false, async |bench| {
        let future = bench.hear(&bench.join, bench.now() + 36_500 * DAY).await;
        let last = bench.hear_some(future).await;
        bench.wait(5).await;
        // Nothing old comes after this one, so that it may be new.
        let future = bench.hear(&last, bench.now() + 36_500 * DAY).await;
        let newest = bench.say().await;
        bench.purge(1).await;
        assert_eq!(bench.history(), keys(&[&future, &newest]));
    });
}

#[test]
fn the_clock_is_noted_by_the_hour_while_the_log_moves() {
    with_room(true, async |bench| {
        assert_eq!(bench.notes(), 1);
        bench.world.sleep(HOUR).await;
        // The room has been made.
        assert_eq!(bench.notes(), 2);
        bench.world.sleep(HOUR * 10).await;
        assert_eq!(bench.notes(), 2);
        bench.chat(3).await;
        assert_eq!(bench.notes(), 5);
        bench.say().await;
        bench.services.stopping.cancel();
        bench.world.sleep(HOUR * 3).await;
        assert_eq!(bench.notes(), 5);
    });
}
