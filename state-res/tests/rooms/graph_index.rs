//! The index of the graph of auth events: what a resolution finds with it is what the definitions say, and what it costs.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use state_res::{
    ids::EventKey,
    pdu::Pdu,
    resolve::{Sets, resolve, sets},
    room_version::RoomVersion,
    tree::Root,
};

use crate::{
    generated::{Room, State, Store, room},
    indexed::Indexed,
    letter,
    support::{create, pdu},
};

/// How many graphs are made for each room version.
const GRAPHS: u64 = 1000;
/// How many rooms.
const ROOMS: u64 = 300;

/// The sets by the letter, made of whole chains.
fn by_definition(version: RoomVersion, room: &Room) -> Option<Sets> {
    let keys = |ids: BTreeSet<String>| ids.iter().map(|id| EventKey::of(id)).collect();
    letter::sets(version, &room.store, &room.states).map(|sets| Sets {
        conflicted: keys(sets.conflicted),
        auth_difference: keys(sets.auth_difference),
        subgraph: keys(sets.subgraph),
        power_events: keys(sets.power_events),
    })
}

fn is_power_event(event: &Pdu) -> bool {
    let membership = event.content().get("membership").and_then(Value::as_str);
    match event.event_type() {
        "m.room.power_levels" | "m.room.join_rules" => true,
        "m.room.member" => matches!(membership, Some("leave" | "ban")) && event.state_key() != Some(event.sender()),
        _ => false,
    }
}

/// Resolves with and without the index, whose events arrive in an order that nothing depends on, and compares the sets on the
/// way with the definitions. Gives the sets.
fn check(version: RoomVersion, room: &mut Room, rng: &mut ChaCha8Rng, what: &str) -> Option<Sets> {
    let roots: Vec<Root> = room.states.clone().iter().map(|state| room.store.root(state)).collect();
    let definition = by_definition(version, room);
    let mut arrivals: Vec<&Pdu> = room.store.events.values().collect();
    if rng.random_range(0..2) == 0 {
        arrivals.shuffle(rng);
    } else {
        // As in rooms: after what they cite. Only then all generations are known.
        arrivals.sort_by_key(|event| event.depth());
    }
    let indexed = Indexed::new(&room.store, arrivals);
    assert_eq!(sets(version, &roots, &indexed).unwrap(), definition, "{what}: with the index");
    assert_eq!(sets(version, &roots, &room.store).unwrap(), definition, "{what}: without");
    let by_index = resolve(version, &roots, &indexed).unwrap();
    assert_eq!(by_index, resolve(version, &roots, &room.store).unwrap(), "{what}: the resolution");
    definition
}

/// Type and state key, and the event there.
type Entry = ((String, String), String);

/// A graph that no rules have seen: events that cite any others, and states made of any of them. In room version 2 they cite
/// later ones, too, so that there are circles.
fn graph(version: RoomVersion, rng: &mut ChaCha8Rng) -> Room {
    let circles = version.rules().references_carry_hashes() && rng.random_range(0..2) == 0;
    let create = create(version, json!({}), json!({ "depth": 0 }));
    let count = rng.random_range(4..60);
    let places = rng.random_range(2..=16);
    // How many events back an event may reach, so that some graphs are long and others broad.
    let reach = rng.random_range(1..=count);
    let own_id = |number: usize| format!("${number}:a");
    let mut ids: Vec<String> = vec![create.event_id().to_owned()];
    let mut in_place: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
    let mut store = Store::default();
    store.add(create.clone());
    for number in 1..count {
        let place = rng.random_range(0..places);
        let membership = ["join", "leave", "ban"][rng.random_range(0..3)];
        let (event_type, state_key, content) = match place % 8 {
            0 => ("m.room.power_levels", String::new(), json!({})),
            1 => ("m.room.join_rules", String::new(), json!({ "join_rule": "public" })),
            2..=4 => ("m.room.member", format!("@u{place}:a"), json!({ "membership": membership })),
            _ => ("x", place.to_string(), json!({})),
        };
        let mut cited = BTreeSet::new();
        for _ in 0..rng.random_range(0..5) {
            let id = if circles && rng.random_range(0..4) == 0 {
                own_id(rng.random_range(1..count))
            } else if rng.random_range(0..6) == 0 {
                ids[0].clone()
            } else {
                ids[rng.random_range(ids.len().saturating_sub(reach)..ids.len())].clone()
            };
            cited.insert(id);
        }
        let event = pdu(
            version,
            json!({
                "event_id": if version.rules().references_carry_hashes() { json!(own_id(number)) } else { json!("absent") },
                "type": event_type, "state_key": state_key, "content": content, "room_id": create.room_id(),
                "auth_events": cited, "depth": number, "origin_server_ts": rng.random_range(1..9),
            }),
        );
        ids.push(event.event_id().to_owned());
        let entry = ((event_type.to_owned(), state_key), event.event_id().to_owned());
        in_place.entry(place).or_default().push(entry);
        store.add(event);
    }
    let some = |rng: &mut ChaCha8Rng, state: &mut State, percent: u32| {
        for events in in_place.values() {
            if rng.random_range(0..100) < percent {
                let (place, id) = events[rng.random_range(0..events.len())].clone();
                if rng.random_range(0..5) == 0 {
                    state.remove(&place)
                } else {
                    state.insert(place, id)
                };
            }
        }
    };
    let mut base = State::from([(("m.room.create".to_owned(), String::new()), create.event_id().to_owned())]);
    some(rng, &mut base, 90);
    let percent = rng.random_range(5..60);
    let mut states = vec![base.clone()];
    for _ in 0..rng.random_range(1..5) {
        let mut state = base.clone();
        some(rng, &mut state, percent);
        states.push(state);
    }
    Room { store, states }
}

// clause: M3.3, M3.4
#[test]
pub(crate) fn any_graph_gives_the_sets_of_the_definitions() {
    for version in [RoomVersion::V2, RoomVersion::V6, RoomVersion::V11, RoomVersion::V12] {
        let (mut differences, mut common, mut subgraphs, mut enlarged) = (0, 0, 0, 0);
        for seed in 0..GRAPHS {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut room = graph(version, &mut rng);
            let what = format!("version {version}, seed {seed}");
            let Some(sets) = check(version, &mut room, &mut rng, &what) else { continue };
            differences += u64::from(!sets.auth_difference.is_empty());
            let parts: BTreeSet<_> = sets.conflicted.union(&sets.auth_difference).copied().collect();
            subgraphs += u64::from(!sets.subgraph.is_subset(&parts));
            let events = room.store.events.values();
            enlarged += u64::from(
                events.filter(|event| sets.power_events.contains(&event.key())).any(|event| !is_power_event(event)),
            );
            let cited: BTreeSet<EventKey> = room
                .store
                .events
                .values()
                .filter(|event| sets.conflicted.contains(&event.key()))
                .flat_map(|event| event.auth_events())
                .map(|id| EventKey::of(id))
                .collect();
            common += u64::from(!cited.is_subset(&sets.auth_difference));
        }
        println!(
            "version {version}: {differences} differences, {common} with something in common, {subgraphs} subgraphs"
        );
        assert!(differences > GRAPHS / 2 && common > GRAPHS / 2 && enlarged > GRAPHS / 4);
        assert_eq!(subgraphs > GRAPHS / 10, version == RoomVersion::V12);
    }
}

#[test]
fn rooms_resolve_alike_with_the_index_and_without() {
    for version in RoomVersion::ALL {
        for seed in 0..ROOMS {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut room = room(version, seed);
            let what = format!("version {version}, seed {seed}");
            if version == RoomVersion::V1 {
                let roots: Vec<Root> = room.states.clone().iter().map(|state| room.store.root(state)).collect();
                let indexed = Indexed::new(&room.store, room.store.events.values());
                assert_eq!(resolve(version, &roots, &indexed), resolve(version, &roots, &room.store), "{what}");
                assert_eq!(sets(version, &roots, &indexed), Ok(None));
            } else {
                check(version, &mut room, &mut rng, &what);
            }
        }
    }
}

/// A room whose first power levels everybody who has joined cites, and whose second ones are in force: superseded power events,
/// which are in no state. On one side Emma joins and cites the first ones as well. What leads there on the other side are
/// events that nobody disputes.
struct Town {
    version: RoomVersion,
    store: Store,
    create: Pdu,
    state: State,
    /// First power levels, join rules, Alice's join.
    basis: Vec<Pdu>,
}

impl Town {
    fn new(version: RoomVersion, members: usize) -> Self {
        let create = create(version, json!({}), json!({ "event_id": "$create:a", "depth": 0 }));
        let mut town =
            Town { version, store: Store::default(), create: create.clone(), state: State::new(), basis: Vec::new() };
        town.add(create);
        let alice = town.event("m.room.member", "@alice:a", "@alice:a", json!({ "membership": "join" }), &[]);
        town.basis.push(alice);
        let users = if version >= RoomVersion::V12 { json!({}) } else { json!({ "@alice:a": 100 }) };
        let first = town.event("m.room.power_levels", "", "@alice:a", json!({ "users": users }), &town.basis.clone());
        town.basis.push(first);
        let public = json!({ "join_rule": "public" });
        let rules = town.event("m.room.join_rules", "", "@alice:a", public, &town.basis.clone());
        town.basis.push(rules);
        for number in 0..members {
            let user = format!("@u{number}:a");
            town.join(&user);
        }
        let cited = town.basis[..2].to_vec();
        town.event("m.room.power_levels", "", "@alice:a", json!({ "users": users, "ban": 60 }), &cited);
        town
    }

    fn join(&mut self, user: &str) -> Pdu {
        let cited = self.basis[1..].to_vec();
        self.event("m.room.member", user, user, json!({ "membership": "join" }), &cited)
    }

    /// Adds a state event to the room and its state.
    fn event(&mut self, event_type: &str, state_key: &str, sender: &str, content: Value, cited: &[Pdu]) -> Pdu {
        let mut cited: Vec<&str> = cited.iter().map(Pdu::event_id).collect();
        if self.version < RoomVersion::V12 {
            cited.push(self.create.event_id());
        }
        let number = self.store.events.len();
        let own = if self.version.rules().references_carry_hashes() {
            json!(format!("${number}:a"))
        } else {
            json!("absent")
        };
        let event = pdu(
            self.version,
            json!({
                "event_id": own, "type": event_type, "state_key": state_key, "sender": sender, "content": content,
                "room_id": self.create.room_id(), "auth_events": cited, "depth": number, "origin_server_ts": number,
            }),
        );
        self.add(event.clone());
        event
    }

    fn add(&mut self, event: Pdu) {
        let place = (event.event_type().to_owned(), event.state_key().unwrap().to_owned());
        self.state.insert(place, event.event_id().to_owned());
        self.store.add(event);
    }

    /// A room in which one side has these members more than the other.
    fn conflict(mut self, members: usize) -> Room {
        let before = self.state.clone();
        for number in 0..members {
            self.join(&format!("@new{number}:a"));
        }
        Room { store: self.store, states: vec![before, self.state] }
    }
}

const VERSIONS: [RoomVersion; 4] = [RoomVersion::V2, RoomVersion::V6, RoomVersion::V10, RoomVersion::V12];

// clause: M3.3
#[test]
pub(crate) fn superseded_power_levels_that_only_the_undisputed_cite() {
    for version in VERSIONS {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        // Of many who cite the first power levels only one is still in the state, and not the first to be found.
        for quitters in [0, 200] {
            let mut town = Town::new(version, 1 + quitters);
            let first = town.basis[1].key();
            for number in 1..=quitters {
                let user = format!("@u{number}:a");
                let second = town.state[&("m.room.power_levels".to_owned(), String::new())].clone();
                let id = town.state[&("m.room.member".to_owned(), user.clone())].clone();
                let cited = [town.store.events[&second].clone(), town.store.events[&id].clone()];
                town.event("m.room.member", &user, &user, json!({ "membership": "leave" }), &cited);
            }
            let mut room = town.conflict(1);
            let what = format!("version {version}, {quitters} who left");
            let sets = check(version, &mut room, &mut rng, &what).unwrap();
            assert!(!sets.auth_difference.contains(&first));
        }
        // Where all who cite them are disputed they are in the difference.
        let mut room = Town::new(version, 0).conflict(1);
        let sets = check(version, &mut room, &mut rng, "nobody").unwrap();
        assert_eq!(sets.auth_difference.len(), 1, "the join rules: the second power levels replace the first");
    }
}

/// Events that end up in no state can make the search longer, but not endless, and do not change what it finds.
#[test]
fn a_heap_of_useless_events_changes_nothing() {
    for version in VERSIONS {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut town = Town::new(version, 3);
        let state = town.state.clone();
        let basis = town.basis.clone();
        let mut last = basis[1].clone();
        for number in 0..6000 {
            // Half of them in a row, half side by side.
            let cited = if number % 2 == 0 { last.clone() } else { basis[2].clone() };
            let event = town.event("x", "", "@alice:a", json!({ "number": number }), &[cited]);
            if number % 2 == 0 {
                last = event;
            }
        }
        town.state = state;
        let mut room = town.conflict(2);
        let sets = check(version, &mut room, &mut rng, &format!("version {version}")).unwrap();
        assert!(sets.auth_difference.is_empty());
    }
}

/// What is looked up is in proportion to the conflict. A room that is 16 times as large has one more level of tree.
#[test]
fn lookups_do_not_grow_with_the_room() {
    for version in VERSIONS {
        let lookups = |members: usize, conflict: usize| {
            let mut room = Town::new(version, members).conflict(conflict);
            let roots: Vec<Root> = room.states.clone().iter().map(|state| room.store.root(state)).collect();
            let mut arrivals: Vec<&Pdu> = room.store.events.values().collect();
            arrivals.sort_by_key(|event| event.depth());
            let indexed = Indexed::new(&room.store, arrivals);
            let (root, _) = resolve(version, &roots, &indexed).unwrap();
            assert_eq!(root, roots[1]);
            indexed.lookups.get()
        };
        let (small, large, more) = (lookups(250, 10), lookups(4000, 10), lookups(4000, 100));
        println!("version {version}: {small} and {large} lookups for 10 conflicts, {more} for 100");
        assert!(large < 2 * small, "{small} lookups in a room of 250, {large} in one of 4000");
        assert!(more < 12 * large, "{large} lookups for 10 conflicts, {more} for 100");
    }
}
