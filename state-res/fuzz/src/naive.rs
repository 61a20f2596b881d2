//! State resolution written down from the specification over plain maps, with no thought for speed: room version 1 from its
//! own page, 2 to 11 from that of version 2, 12 from its own.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::Value;
use state_res::{
    auth::{self, PowerLevel, PowerLevels, state_needed},
    pdu::Pdu,
    room_version::StateResolution,
};

use super::rooms::{Room, State, place};

/// The resolution of these states of a room.
pub(super) fn resolve(room: &Room, states: &[State]) -> State {
    let places: BTreeSet<&(String, String)> = states.iter().flat_map(State::keys).collect();
    let mut unconflicted = State::new();
    let mut conflicted: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for place in places {
        let values: BTreeSet<Option<&String>> = states.iter().map(|state| state.get(place)).collect();
        let values: Vec<Option<&String>> = values.into_iter().collect();
        match values.as_slice() {
            [Some(only)] => {
                unconflicted.insert(place.clone(), (*only).clone());
            }
            several => {
                conflicted.insert(place.clone(), several.iter().copied().flatten().cloned().collect());
            }
        }
    }
    if conflicted.is_empty() {
        return unconflicted;
    }
    match room.version.rules().state_resolution {
        StateResolution::V1 => first(room, unconflicted, &conflicted),
        StateResolution::V2 => second(room, states, unconflicted, &conflicted, false),
        StateResolution::V2_1 => second(room, states, unconflicted, &conflicted, true),
    }
}

fn second(
    room: &Room,
    states: &[State],
    unconflicted: State,
    conflicted: &BTreeMap<(String, String), BTreeSet<String>>,
    is_2_1: bool,
) -> State {
    let conflicted: BTreeSet<String> = conflicted.values().flatten().cloned().collect();
    // Each event's auth chain.
    let chain_of: BTreeMap<&String, BTreeSet<String>> =
        room.events.keys().map(|id| (id, auth_chain(room, id))).collect();
    let chains: Vec<BTreeSet<String>> =
        states.iter().map(|state| state.values().flat_map(|id| chain_of[id].iter().cloned()).collect()).collect();
    let mut full: BTreeSet<String> = conflicted.clone();
    for id in chains.iter().flatten() {
        if !chains.iter().all(|chain| chain.contains(id)) {
            full.insert(id.clone());
        }
    }
    if is_2_1 {
        // On a way from one conflicted event to another: something conflicted leads here, and this leads to such.
        for id in room.events.keys() {
            let leads_on = conflicted.contains(id) || chain_of[id].iter().any(|id| conflicted.contains(id));
            let is_led_to = conflicted.iter().any(|from| from == id || chain_of[from].contains(id));
            if leads_on && is_led_to {
                full.insert(id.clone());
            }
        }
    }

    let mut power_events: BTreeSet<String> = BTreeSet::new();
    for id in full.iter().filter(|id| is_power_event(&room.events[*id])) {
        power_events.insert(id.clone());
        power_events.extend(chain_of[id].iter().filter(|id| full.contains(*id)).cloned());
    }
    let sorted = by_power(room, &power_events);
    let start = if is_2_1 { State::new() } else { unconflicted.clone() };
    let partial = iterate(room, start, &sorted);

    let others: Vec<String> = full.difference(&power_events).cloned().collect();
    let power_levels = partial.get(&("m.room.power_levels".to_owned(), String::new()));
    let sorted = by_mainline(room, others, power_levels);
    let mut resolved = iterate(room, partial, &sorted);
    resolved.extend(unconflicted);
    resolved
}

fn auth_chain(room: &Room, id: &str) -> BTreeSet<String> {
    let mut chain = BTreeSet::new();
    let mut next: Vec<String> = vec![id.to_owned()];
    while let Some(id) = next.pop() {
        for cited in room.events[&id].auth_events() {
            if chain.insert(cited.clone()) {
                next.push(cited.clone());
            }
        }
    }
    chain
}

fn is_power_event(event: &Pdu) -> bool {
    let membership = event.content().get("membership").and_then(Value::as_str);
    match event.event_type() {
        "m.room.power_levels" | "m.room.join_rules" => event.is_state(),
        "m.room.member" => {
            matches!(membership, Some("leave" | "ban"))
                && event.state_key().is_some_and(|target| target != event.sender())
        }
        _ => false,
    }
}

/// Kahn's algorithm: among the events whose auth events are all out, the smallest is next.
fn by_power(room: &Room, events: &BTreeSet<String>) -> Vec<String> {
    let mut left: BTreeSet<String> = events.clone();
    let mut sorted = Vec::new();
    loop {
        let ready = left.iter().filter(|id| !room.events[*id].auth_events().iter().any(|cited| left.contains(cited)));
        let rank = |id: &&String| {
            let event = &room.events[*id];
            (Reverse(sender_power(room, event)), event.origin_server_ts(), event.event_id().to_owned())
        };
        let Some(next) = ready.min_by_key(rank).cloned() else { return sorted };
        left.remove(&next);
        sorted.push(next);
    }
}

fn sender_power(room: &Room, event: &Pdu) -> PowerLevel {
    let nobody = PowerLevel::Finite(0);
    let cited = |event_type: &str| cited(room, event, event_type, "");
    let create = if event.is_state_of("m.room.create", "") {
        Some(event)
    } else if room.version.rules().auth.create_in_auth_events {
        cited("m.room.create")
    } else {
        room.create()
    };
    let Some(create) = create else { return nobody };
    PowerLevels::new(create, cited("m.room.power_levels")).user(event.sender()).unwrap_or(nobody)
}

fn cited<'a>(room: &'a Room, event: &Pdu, event_type: &str, state_key: &str) -> Option<&'a Pdu> {
    event.auth_events().iter().map(|id| &room.events[id]).find(|cited| cited.is_state_of(event_type, state_key))
}

fn by_mainline(room: &Room, events: Vec<String>, power_levels: Option<&String>) -> Vec<String> {
    let before = |event: &Pdu| cited(room, event, "m.room.power_levels", "");
    let mut mainline: Vec<&Pdu> = power_levels.into_iter().map(|id| &room.events[id]).collect();
    while let Some(next) = mainline.last().and_then(|last| before(last)) {
        mainline.push(next);
    }
    let position = |event: &Pdu| {
        let mut at = before(event);
        while let Some(power_levels) = at {
            if let Some(position) = mainline.iter().position(|on| on.event_id() == power_levels.event_id()) {
                return position;
            }
            at = before(power_levels);
        }
        usize::MAX
    };
    let mut sorted = events;
    sorted.sort_by_key(|id| {
        let event = &room.events[id];
        (Reverse(position(event)), event.origin_server_ts(), id.clone())
    });
    sorted
}

fn iterate(room: &Room, start: State, events: &[String]) -> State {
    let mut state = start;
    for id in events {
        let event = &room.events[id];
        let mut needed: Vec<Pdu> = Vec::new();
        for (event_type, state_key) in state_needed(event) {
            if let Some(id) = state.get(&(event_type.to_owned(), state_key.to_owned())) {
                needed.push(room.events[id].clone());
                continue;
            }
            let fallback = match (event_type, room.version.rules().auth.create_in_auth_events) {
                ("m.room.create", false) => room.create(),
                _ => cited(room, event, event_type, state_key),
            };
            needed.extend(fallback.filter(|event| !room.rejected.contains(event.event_id())).cloned());
        }
        if auth::check(event, &needed).is_ok() {
            state.insert(place(event), id.clone());
        }
    }
    state
}

fn first(room: &Room, unconflicted: State, conflicted: &BTreeMap<(String, String), BTreeSet<String>>) -> State {
    let mut resolved = unconflicted;
    let mut disputed: Vec<(&(String, String), Vec<&Pdu>)> = Vec::new();
    for (place, ids) in conflicted {
        let events: Vec<&Pdu> = ids.iter().map(|id| &room.events[id]).collect();
        if let [only] = events.as_slice() {
            resolved.insert(place.clone(), only.event_id().to_owned());
        } else {
            disputed.push((place, events));
        }
    }
    let allows = |state: &State, event: &Pdu| {
        let state: Vec<Pdu> = state_needed(event)
            .into_iter()
            .filter_map(|(ty, key)| state.get(&(ty.to_owned(), key.to_owned())))
            .map(|id| room.events[id].clone())
            .collect();
        auth::check(event, &state).is_ok()
    };
    let passes = ["m.room.power_levels", "m.room.join_rules", "m.room.member"];
    for pass in passes {
        let before = resolved.clone();
        for (place, events) in disputed.iter().filter(|(place, _)| place.0 == pass) {
            let mut events = events.clone();
            events.sort_by_key(|event| (event.depth(), Reverse(sha1(event.event_id()))));
            let mut state = before.clone();
            for (at, event) in events.into_iter().enumerate() {
                if at > 0 && !allows(&state, event) {
                    break;
                }
                state.insert((*place).clone(), event.event_id().to_owned());
            }
            resolved.extend(state.remove(place).map(|id| ((*place).clone(), id)));
        }
    }
    let before = resolved.clone();
    for (place, events) in disputed.iter().filter(|(place, _)| !passes.contains(&place.0.as_str())) {
        let mut events = events.clone();
        events.sort_by_key(|event| (Reverse(event.depth()), sha1(event.event_id())));
        if let Some(event) = events.into_iter().find(|event| allows(&before, event)) {
            resolved.insert((*place).clone(), event.event_id().to_owned());
        }
    }
    resolved
}

/// SHA-1 (RFC 3174).
fn sha1(text: &str) -> [u32; 5] {
    let mut message = text.as_bytes().to_vec();
    let bits = message.len() as u64 * 8;
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend(bits.to_be_bytes());
    let mut hash: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in message.chunks(64) {
        let mut words: Vec<u32> =
            block.chunks(4).map(|word| word.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))).collect();
        for at in 16..80 {
            words.push((words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = hash;
        for (at, word) in words.iter().enumerate() {
            let (mixed, constant) = match at {
                0..20 => ((b & c) | (!b & d), 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(*word).wrapping_add(constant);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (of, add) in hash.iter_mut().zip([a, b, c, d, e]) {
            *of = of.wrapping_add(add);
        }
    }
    hash
}
