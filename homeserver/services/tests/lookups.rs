//! What an event costs does not grow with its room, counted in rows that are read.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod scaffold;

use net::{RealOptions, World};
use serde_json::{Map, Value, json};
use services::rooms::restricted::Restricted;
use services::rooms::standing::Fate;
use services::rooms::{NewEvent, RoomWriter, Rooms};
use services::tables;
use state_res::build;
use state_res::ids::RoomKey;
use state_res::room_version::RoomVersion;
use storage::{Batch, Faults, Outcome, Store};

const ROOM: &str = "!room:example.org";
const ALICE: &str = "@alice:example.org";
const ZOE: &str = "@zoe:example.org";
/// A room whose members may join the other.
const LOBBY: &str = "!lobby:example.org";
const VERSION: RoomVersion = RoomVersion::V11;
/// Joins in one batch.
const AT_ONCE: usize = 100;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A room with so many members on so many servers beside ours.
struct Bench {
    world: World,
    disk: Faults,
    store: Store,
    servers: usize,
}

impl Bench {
    async fn new(members: usize, servers: usize) -> Self {
        let world = World::real(RealOptions::default()).unwrap();
        let disk = Faults::none();
        let store = Store::open_memory(&tables::SCHEMA, world.clone(), disk.clone());
        let bench = Self { world, disk, store, servers };
        let rooms = bench.rooms();
        let start = |writer: &mut RoomWriter<'_>| {
            writer.send(NewEvent::state(ALICE, "m.room.create", "", object(json!({ "room_version": "11" }))))?;
            writer.send(NewEvent::state(ALICE, "m.room.member", ALICE, object(json!({ "membership": "join" }))))?;
            let rules = object(json!({ "join_rule": "public" }));
            writer.send(NewEvent::state(ALICE, "m.room.join_rules", "", rules)).map(drop)
        };
        rooms.write_new(ROOM, VERSION, start).await.unwrap();
        for first in (0..members).step_by(AT_ONCE) {
            let joins = |writer: &mut RoomWriter<'_>| {
                (first..members.min(first + AT_ONCE)).try_for_each(|number| bench.receive(writer, bench.join(number)))
            };
            rooms.write(ROOM, joins).await.unwrap();
        }
        bench
    }

    /// With nothing in memory yet.
    fn rooms(&self) -> Rooms {
        scaffold::rooms(self.store.clone(), self.world.clone())
    }

    fn join(&self, number: usize) -> NewEvent {
        let user = format!("@user{number}:server{}.example.com", number % self.servers);
        NewEvent::state(&user, "m.room.member", &user, object(json!({ "membership": "join" })))
    }

    fn message(user: &str) -> NewEvent {
        NewEvent::message(user, "m.room.message", object(json!({ "msgtype": "m.text", "body": "Hello" })))
    }

    /// Places an event that came from its sender's server.
    fn receive(&self, writer: &mut RoomWriter<'_>, event: NewEvent) -> services::Result<()> {
        let (fields, state) = writer.fields(&event)?;
        let server = event.sender.split_once(':').unwrap().1;
        let pdu = build::build(VERSION, fields, server, &scaffold::key()).unwrap();
        state_res::auth::check(&pdu, &state).unwrap();
        writer.place(pdu, writer.head.root, Fate::Accepted, false)
    }

    /// How many rows are read for one piece of work, from cold.
    async fn reads(&self, work: impl Fn(&mut RoomWriter<'_>) -> services::Result<()> + Send + Sync) -> u64 {
        let rooms = self.rooms();
        let before = self.disk.reads();
        rooms.write(ROOM, |writer| work(writer)).await.unwrap();
        self.disk.reads() - before
    }

    /// Who vouches for a join, as found from cold.
    fn vouches(&self) -> Restricted {
        let rooms = self.rooms();
        let reader = rooms.reader(RoomKey::of(ROOM));
        let root = reader.head().unwrap().unwrap().root;
        rooms.authorise_restricted(&reader, root, &self.join(1_000_000).sender).unwrap()
    }

    /// For a message that came, for a join that came, and for a message of ours.
    async fn costs(&self) -> [u64; 3] {
        [
            self.reads(|writer| self.receive(writer, Self::message("@user7:server7.example.com"))).await,
            self.reads(|writer| self.receive(writer, self.join(1_000_000))).await,
            self.reads(|writer| writer.send(Self::message(ALICE)).map(drop)).await,
        ]
    }
}

/// How many rows are read to find who vouches for a join, and who that is.
async fn vouching(members: usize, invite: Option<u64>) -> (u64, Restricted) {
    let bench = restricted(members, invite).await;
    let before = bench.disk.reads();
    let found = bench.vouches();
    (bench.disk.reads() - before, found)
}

/// A restricted room with so many members of other servers. `invite` is the level that inviting takes, where the room says one.
async fn restricted(members: usize, invite: Option<u64>) -> Bench {
    let bench = Bench::new(members, 10).await;
    let rooms = bench.rooms();
    let state =
        |sender: &str, kind: &str, key: &str, content: Value| NewEvent::state(sender, kind, key, object(content));
    let join = json!({ "membership": "join" });
    let lobby = |writer: &mut RoomWriter<'_>| {
        writer.send(state(ALICE, "m.room.create", "", json!({ "room_version": "11" })))?;
        writer.send(state(ALICE, "m.room.member", ALICE, join.clone()))?;
        writer.send(state(ALICE, "m.room.join_rules", "", json!({ "join_rule": "public" })))?;
        bench.receive(writer, bench.join(1_000_000))
    };
    rooms.write_new(LOBBY, VERSION, lobby).await.unwrap();
    let restrict = |writer: &mut RoomWriter<'_>| {
        writer.send(state(ZOE, "m.room.member", ZOE, join.clone()))?;
        let allow = json!([{ "type": "m.room_membership", "room_id": LOBBY }]);
        writer.send(state(ALICE, "m.room.join_rules", "", json!({ "join_rule": "restricted", "allow": allow })))?;
        let mut levels = json!({ "users": { ALICE: 100, "@user1:server1.example.com": 50 } });
        if let Some(invite) = invite {
            levels["invite"] = json!(invite);
        }
        writer.send(state(ALICE, "m.room.power_levels", "", levels))?;
        // Whoever the levels name has gone; who is left is named nowhere.
        writer.send(state(ALICE, "m.room.member", ALICE, json!({ "membership": "leave" }))).map(drop)
    };
    rooms.write(ROOM, restrict).await.unwrap();
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn vouching_for_a_join_costs_the_same_in_large_rooms() {
    for (invite, who) in [(None, Restricted::By(ZOE.to_owned())), (Some(50), Restricted::NobodyHere)] {
        let (small, in_small) = vouching(20, invite).await;
        let (large, in_large) = vouching(2_000, invite).await;
        println!("20 members: {small}; 2,000 members: {large}");
        assert_eq!((&in_small, &in_large), (&who, &who));
        // Four levels of the tree for each of the entries that are looked up.
        assert!(large <= small + 4 * 4, "{small}, {large}");
    }
}

/// Where members joined before there was the table of our own.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_no_list_vouches_too() {
    let bench = restricted(20, None).await;
    let mut batch = Batch::with_random_id(&bench.world);
    let room = RoomKey::of(ROOM);
    batch.delete_range(tables::LOCAL_MEMBERS, room.as_bytes(), &storage::key::prefix_end(room.as_bytes()));
    assert!(matches!(bench.store.commit(batch).await, Outcome::Committed(_)));
    assert_eq!(bench.vouches(), Restricted::By(ZOE.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_cost_the_same_in_large_rooms() {
    let small = Bench::new(20, 10).await.costs().await;
    let large = Bench::new(2_000, 10).await.costs().await;
    let scattered = Bench::new(2_000, 2_000).await.costs().await;
    println!("20 members: {small:?}; 2,000 members: {large:?}; on as many servers: {scattered:?}");
    // A hundred times the members make the tree of the state four levels deeper, and each event is authorised by four entries at most.
    let deeper = 4 * 4;
    for at in 0..3 {
        assert!(large[at] <= small[at] + deeper, "{small:?}, {large:?}");
    }
    // What came is passed on to nobody, so that it does not matter how many servers there are. What goes out waits for each of them.
    for at in 0..2 {
        assert!(scattered[at] <= small[at] + deeper, "{small:?}, {scattered:?}");
    }
}
