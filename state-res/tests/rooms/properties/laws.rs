//! What holds in every room, whoever built it.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use state_res::{
    auth::{check, is_creator},
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
    room_version::{RoomVersion, StateResolution},
    tree::Root,
};

use super::{
    generate::level_of,
    plan::{Plan, Room, USERS},
};
use crate::{
    naive::{self, Definitions, Fault, Graph, definitions, place},
    server::{Poorly, Server, State, Verdict},
};

/// A law that a room breaks.
#[derive(Debug)]
pub struct Broken {
    pub law: &'static str,
    pub how: String,
}

/// How often something was there for a law to hold of.
#[derive(Default, Clone, Copy)]
pub struct Seen {
    pub rooms: u64,
    pub events: u64,
    pub rejected_by_auth_events: u64,
    pub rejected_by_state: u64,
    /// Rooms whose states differ, and those that differ in power levels, bans and joins.
    pub conflicts: u64,
    pub power_levels: u64,
    pub bans: u64,
    pub joins: u64,
    /// Bans and grants of which it follows that they stand, though states differ in them.
    pub standing_bans: u64,
    pub standing_grants: u64,
    /// Changes of power levels by which someone got a level.
    pub raises: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Seen) {
        self.rooms += other.rooms;
        self.events += other.events;
        self.rejected_by_auth_events += other.rejected_by_auth_events;
        self.rejected_by_state += other.rejected_by_state;
        self.conflicts += other.conflicts;
        self.power_levels += other.power_levels;
        self.bans += other.bans;
        self.joins += other.joins;
        self.standing_bans += other.standing_bans;
        self.standing_grants += other.standing_grants;
        self.raises += other.raises;
    }
}

type Held = Result<(), Broken>;

fn holds(law: &'static str, holds: bool, how: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(Broken { law, how: how() }) }
}

/// The laws that make no use of a second implementation.
pub fn check_laws(plan: &Plan, room: &mut Room<'_>, seen: &mut Seen) -> Result<(), Broken> {
    Case::of(plan, room, seen)?.check(room, seen)
}

/// All of them: also that the result is what the specification, taken literally, says.
pub fn check_all(plan: &Plan, room: &mut Room<'_>, seen: &mut Seen) -> Result<(), Broken> {
    let case = Case::of(plan, room, seen)?;
    case.check(room, seen)?;
    for how in [Poorly::WithoutIndex, Poorly::WithoutGenerations] {
        let again = room.server.resolve(&how, &case.roots);
        holds("the index does not show", again == case.root, || {
            format!("{}\nand {}", text(&room.server, &case.result), text(&room.server, &room.server.state(again)))
        })?;
    }
    let literal = naive::resolve(plan.version, &room.server, &case.states, Fault::None);
    holds("as the specification says", case.result == literal, || {
        format!("{}\nand literally {}", text(&room.server, &case.result), text(&room.server, &literal))
    })
}

/// A room's states and what became of them.
struct Case<'a> {
    plan: &'a Plan,
    roots: Vec<Root>,
    root: Root,
    states: Vec<State>,
    result: State,
    found: Definitions,
}

impl<'a> Case<'a> {
    fn of(plan: &'a Plan, room: &mut Room<'_>, seen: &mut Seen) -> Result<Self, Broken> {
        let resolver = room.resolver;
        let server = &mut room.server;
        let roots: Vec<Root> = plan.views.iter().map(|view| Room::view(&room.events, server, view)).collect();
        let root = server.resolve(resolver, &roots);
        let states: Vec<State> = roots.iter().map(|root| server.state(*root)).collect();
        let result = server.state(root);
        let found = definitions(plan.version, server, &states);
        let case = Case { plan, roots, root, states, result, found };
        case.count(room, seen);
        Ok(case)
    }

    fn count(&self, room: &Room<'_>, seen: &mut Seen) {
        seen.rooms += 1;
        for event in &room.events {
            seen.events += 1;
            match room.server.received(event.key()).verdict {
                Verdict::Accepted => {}
                Verdict::RejectedByAuthEvents(_) => seen.rejected_by_auth_events += 1,
                Verdict::RejectedByState(_) => seen.rejected_by_state += 1,
            }
        }
        let conflicted = || self.found.conflicted.iter().map(|key| room.server.pdu(*key));
        seen.conflicts += u64::from(conflicted().next().is_some());
        seen.power_levels += u64::from(conflicted().any(|event| event.event_type() == "m.room.power_levels"));
        seen.bans += u64::from(conflicted().any(|event| membership(event) == "ban"));
        seen.joins += u64::from(conflicted().any(|event| membership(event) == "join"));
    }

    fn check(&self, room: &mut Room<'_>, seen: &mut Seen) -> Held {
        self.nothing_but_the_states_matters(room)?;
        self.resolving_is_idempotent(room)?;
        self.what_is_agreed_stays(&room.server)?;
        self.servers_agree(room)?;
        self.bans_stand(&room.server, seen)?;
        self.grants_stand(&room.server, seen)?;
        self.nobody_gives_what_they_lack(room, seen)
    }

    /// Not their order, not how often each is given, not the order in which a map happens to be walked.
    fn nothing_but_the_states_matters(&self, room: &mut Room<'_>) -> Held {
        let (resolver, server) = (room.resolver, &mut room.server);
        let mut same = |law: &'static str, roots: &[Root]| {
            let again = server.resolve(resolver, roots);
            holds(law, again == self.root, || {
                format!("{}\nand {}", text(server, &self.result), text(server, &server.state(again)))
            })
        };
        same("the same again", &self.roots)?;
        let mut turned = self.roots.clone();
        turned.reverse();
        same("any order of states", &turned)?;
        turned.extend(&self.roots);
        turned.rotate_left(1);
        same("states given twice", &turned)
    }

    fn resolving_is_idempotent(&self, room: &mut Room<'_>) -> Held {
        let (resolver, server) = (room.resolver, &mut room.server);
        for state in self.roots.iter().chain([&self.root]) {
            for states in [&[*state][..], &[*state, *state]] {
                let again = server.resolve(resolver, states);
                holds("idempotent", again == *state, || {
                    let state = server.state(*state);
                    format!("{} of {}", text(server, &server.state(again)), text(server, &state))
                })?;
            }
        }
        Ok(())
    }

    /// What all states have the result has, and it has nothing that no state and no conflict brings.
    fn what_is_agreed_stays(&self, server: &Server) -> Held {
        for (key, event) in &self.found.unconflicted {
            holds("what is agreed stays", self.result.get(key) == Some(event), || {
                format!("{} is missing in {}", server.pdu(*event).event_id(), text(server, &self.result))
            })?;
        }
        for (key, event) in &self.result {
            let known =
                self.found.unconflicted.get(key) == Some(event) || self.found.full_conflicted_set.contains(event);
            let at_home = place(server.pdu(*event)) == *key;
            holds("nothing from elsewhere", known && at_home, || server.pdu(*event).event_id().to_owned())?;
        }
        Ok(())
    }

    /// A server that gets the events in another order has the same states and rejects the same events.
    fn servers_agree(&self, room: &mut Room<'_>) -> Held {
        let mut other = Server::new(self.plan.version);
        for event in another_order(&room.events, self.plan.seed) {
            other.receive(room.resolver, event);
        }
        for event in &room.events {
            let (here, there) = (room.server.received(event.key()), other.received(event.key()));
            holds("servers agree on verdicts", here.verdict == there.verdict, || {
                format!("{event:?}: {:?} and {:?}", here.verdict, there.verdict)
            })?;
            let same = here.before == there.before && here.after == there.after;
            holds("servers agree on states", same, || {
                let texts = [(&room.server, here), (&other, there)].map(|(s, r)| text(s, &s.state(r.before)));
                format!("before {event:?}: {} and {}", texts[0], texts[1])
            })?;
        }
        let current = |server: &mut Server| {
            let cited: BTreeSet<&str> = room.events.iter().flat_map(Pdu::prev_events).map(String::as_str).collect();
            let last: Vec<EventKey> =
                room.events.iter().filter(|event| !cited.contains(event.event_id())).map(Pdu::key).collect();
            server.state_after(room.resolver, &last)
        };
        holds("servers agree on the current state", current(&mut room.server) == current(&mut other), String::new)?;
        let roots: Vec<Root> = self.plan.views.iter().map(|view| Room::view(&room.events, &mut other, view)).collect();
        let theirs = other.resolve(room.resolver, &roots);
        holds("servers agree on a resolution", roots == self.roots && theirs == self.root, || {
            format!("{} and {}", text(&room.server, &self.result), text(&other, &other.state(theirs)))
        })
    }

    /// Where a ban and its author's rights are not in conflict, whoever is banned stays so.
    ///
    /// Precisely: of the states one has a ban of *X* by *A* that the others do not have. They all have the same create event, power
    /// levels and membership of *A*, which allow the ban, and no other event for these places is in the full conflicted set.
    /// Of *X*'s memberships in that set those that are not bans are *X*'s own doing, or invites: nobody lifts a ban. And
    /// none is the join by which a creator may enter the room right after its create event, banned or not (rule 5.2.1).
    ///
    /// In version 1 nothing but the states counts: one other membership of *X* in conflict, not two, of *X*'s own doing.
    fn bans_stand(&self, server: &Server, seen: &mut Seen) -> Held {
        for ban in self.found.conflicted.iter().map(|key| server.pdu(*key)).filter(|event| membership(event) == "ban") {
            let (target, key) = (ban.state_key().unwrap(), place(ban));
            let rights = [("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", ban.sender())];
            let rights: Vec<Pdu> = rights
                .iter()
                .filter_map(|(ty, key)| self.untouched(server, StateKeyId::of(ty, key)))
                .cloned()
                .collect();
            let [create, _, _] = &rights[..] else { continue };
            let others = self.at_stake(server, key).filter(|event| membership(event) != "ban");
            let others: Vec<&Pdu> = others.collect();
            let first_join = |event: &&&Pdu| {
                is_creator(create, target) && matches!(event.prev_events(), [one] if one == create.event_id())
            };
            let harmless = |event: &&Pdu| event.sender() == target || membership(event) == "invite";
            if check(ban, &rights).is_err() || !others.iter().all(harmless) || others.iter().any(|e| first_join(&e)) {
                continue;
            }
            if self.is_v1() && self.at_stake(server, key).count() != 2 {
                continue;
            }
            seen.standing_bans += 1;
            let now = self.result.get(&key).map(|key| server.pdu(*key));
            holds("a ban stands", now.is_some_and(|now| membership(now) == "ban"), || {
                format!(
                    "{target}, banned by {}, is as {now:?} has it in {}",
                    ban.event_id(),
                    text(server, &self.result)
                )
            })?;
        }
        Ok(())
    }

    /// Where power levels follow one from the other and their authors' presence is not in conflict, the last of them counts.
    ///
    /// Precisely: the states differ in the power levels. Those in the full conflicted set are a chain in which each cites the
    /// one before. All states have the same memberships of their senders, which are joins, and the same create event, and no other
    /// event for these places is in that set.
    ///
    /// In version 1 nothing but the states counts, and depth must grow along the chain.
    fn grants_stand(&self, server: &Server, seen: &mut Seen) -> Held {
        let key = StateKeyId::of("m.room.power_levels", "");
        let mut all: Vec<&Pdu> = self.at_stake(server, key).collect();
        if all.is_empty() || self.found.unconflicted.contains_key(&key) {
            return Ok(());
        }
        if self.untouched(server, StateKeyId::of("m.room.create", "")).is_none() {
            return Ok(());
        }
        let present = |event: &&Pdu| {
            let sender = self.untouched(server, StateKeyId::of("m.room.member", event.sender()));
            sender.is_some_and(|event| membership(event) == "join")
        };
        if !all.iter().all(present) {
            return Ok(());
        }
        let cited = |event: &Pdu| -> Option<EventKey> {
            let cited = server.auth_events(event.key());
            cited.iter().copied().find(|cited| server.pdu(*cited).event_type() == "m.room.power_levels")
        };
        let keys: BTreeSet<EventKey> = all.iter().map(|event| event.key()).collect();
        let starts = all.iter().filter(|event| cited(event).is_none_or(|cited| !keys.contains(&cited))).count();
        let followed: BTreeSet<EventKey> = all.iter().filter_map(|event| cited(event)).collect();
        let ends: Vec<&Pdu> = all.iter().copied().filter(|event| !followed.contains(&event.key())).collect();
        let ([last], 1) = (&ends[..], starts) else { return Ok(()) };
        all.sort_by_key(|event| event.depth());
        let deeper =
            all.windows(2).all(|pair| pair[0].depth() < pair[1].depth() && cited(pair[1]) == Some(pair[0].key()));
        if self.is_v1() && !deeper {
            return Ok(());
        }
        seen.standing_grants += 1;
        holds("power levels stand", self.result.get(&key) == Some(&last.key()), || {
            format!("{} should count in {}", last.event_id(), text(server, &self.result))
        })
    }

    /// No accepted power levels give anyone more than their sender had by the power levels they cite.
    fn nobody_gives_what_they_lack(&self, room: &Room<'_>, seen: &mut Seen) -> Held {
        let server = &room.server;
        let create = &room.events[0];
        for event in room.events.iter().filter(|event| event.event_type() == "m.room.power_levels") {
            let received = server.received(event.key());
            let cited = received.links.auth_events.iter().map(|key| server.pdu(*key));
            let before = cited.into_iter().find(|cited| cited.event_type() == "m.room.power_levels");
            let boundless = self.plan.version >= RoomVersion::V12 && is_creator(create, event.sender());
            if received.verdict != Verdict::Accepted || before.is_none() || boundless {
                continue;
            }
            let sender = USERS.iter().position(|user| *user == event.sender()).unwrap();
            let most = level_of(before, sender);
            for (user, id) in USERS.iter().enumerate() {
                let given = event.content().get("users").and_then(|users| users.get(id)).and_then(Value::as_i64);
                let (was, is) = (level_of(before, user), given.unwrap_or(i64::MIN));
                seen.raises += u64::from(is > was);
                holds("nobody gives what they lack", is <= was || is <= most, || {
                    format!("{} has {most} and gives {is} to {id}", event.sender())
                })?;
            }
        }
        Ok(())
    }

    fn is_v1(&self) -> bool {
        self.plan.version.rules().state_resolution == StateResolution::V1
    }

    /// The events for a place that take part in the resolution.
    fn at_stake<'s>(&'s self, server: &'s Server, key: StateKeyId) -> impl Iterator<Item = &'s Pdu> {
        let set = if self.is_v1() { &self.found.conflicted } else { &self.found.full_conflicted_set };
        set.iter().map(|event| server.pdu(*event)).filter(move |event| place(event) == key)
    }

    /// What all states have in a place, if no other event for it takes part in the resolution.
    fn untouched<'s>(&'s self, server: &'s Server, key: StateKeyId) -> Option<&'s Pdu> {
        let agreed = self.found.unconflicted.get(&key)?;
        self.at_stake(server, key).next().is_none().then(|| server.pdu(*agreed))
    }
}

/// The events in another order in which a server could get them: each after those it refers to.
fn another_order(events: &[Pdu], seed: u64) -> Vec<&Pdu> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut left: Vec<&Pdu> = events.iter().collect();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut order = Vec::with_capacity(events.len());
    while !left.is_empty() {
        let ready = |event: &&Pdu| {
            event.prev_events().iter().chain(event.auth_events()).all(|needed| known.contains(needed.as_str()))
        };
        let candidates: Vec<usize> = (0..left.len()).filter(|at| ready(&left[*at])).collect();
        let event = left.remove(candidates[rng.random_range(0..candidates.len())]);
        known.insert(event.event_id());
        order.push(event);
    }
    order
}

fn membership(event: &Pdu) -> &str {
    if event.event_type() != "m.room.member" {
        return "";
    }
    event.content().get("membership").and_then(Value::as_str).unwrap_or_default()
}

/// A state for people.
fn text(server: &Server, state: &State) -> String {
    let entry = |key: &EventKey| {
        let event = server.pdu(*key);
        let place = (event.event_type().to_owned(), event.state_key().unwrap_or_default().to_owned());
        (place, format!("{} by {}", serde_json::to_string(event.content()).unwrap(), event.sender()))
    };
    let entries: BTreeMap<_, _> = state.values().map(entry).collect();
    format!("{entries:#?}")
}
