//! Events as people and servers of ill will propose them, and what we and `ruma-state-res` say of them.
//!
//! What is not generated, because the oracle decides it otherwise than the specification, is listed in `auth_oracle`.

use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use state_res::{
    auth::{Cited, auth_types, check, check_auth_events, check_authoriser_signature},
    pdu::Pdu,
    room_version::RoomVersion,
    sign::{SigningKey, sign_json},
};

use crate::{
    ruma,
    support::{Fixture, create, other_room},
};

const USERS: [&str; 5] = ["@alice:a", "@bob:b", "@carol:a", "@dora:c", "@emma:b"];
const LEVELS: [i64; 8] = [-1, 0, 25, 49, 50, 51, 75, 100];
const TYPES: [&str; 5] = ["m.room.topic", "m.room.power_levels", "m.room.message", "x", "m.room.redaction"];

/// The keys of two identity servers. Third-party invites are signed with the first.
pub fn identity_keys() -> [SigningKey; 2] {
    [1, 2].map(|seed| SigningKey::from_seed("1", [seed; 32]).unwrap())
}

/// Makes states and events, most of them nearly allowed.
pub struct Generator {
    rng: ChaCha8Rng,
    version: RoomVersion,
    keys: [SigningKey; 2],
}

impl Generator {
    pub fn new(version: RoomVersion, seed: u64) -> Self {
        Generator { rng: ChaCha8Rng::seed_from_u64(seed), version, keys: identity_keys() }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(&mut self.rng).unwrap()
    }

    fn user(&mut self) -> &'static str {
        self.pick(&USERS)
    }

    fn level(&mut self) -> Value {
        let level = self.pick(&LEVELS);
        if self.version < RoomVersion::V10 && self.chance(15) {
            let forms = [format!("{level}"), format!(" {level} "), format!("{:+04}", level)];
            return json!(forms[self.rng.random_range(0..forms.len())]);
        }
        json!(level)
    }

    fn levels(&mut self, keys: &[&str], percent: u32) -> Map<String, Value> {
        let mut levels = Map::new();
        for key in keys {
            if self.chance(percent) {
                levels.insert((*key).to_owned(), self.level());
            }
        }
        levels
    }

    fn power_levels(&mut self) -> Value {
        let singles = ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"];
        let mut content = self.levels(&singles, 35);
        // From version 12 the first user, a creator, has no place here.
        let users = if self.version >= RoomVersion::V12 { &USERS[1..] } else { &USERS };
        for (name, keys, percent) in
            [("users", users, 60), ("events", &TYPES[..], 40), ("notifications", &["room", "x"][..], 60)]
        {
            if self.chance(85) {
                let levels = self.levels(keys, percent);
                content.insert(name.to_owned(), Value::Object(levels));
            }
        }
        Value::Object(content)
    }

    /// A room, as far as its create event tells.
    pub fn fixture(&mut self) -> Fixture {
        let mut more = json!({});
        if self.chance(20) {
            more["m.federate"] = json!(self.chance(30));
        }
        if self.version >= RoomVersion::V12 && self.chance(30) {
            more["additional_creators"] = json!(["@dora:c"]);
        }
        if self.version.rules().auth.creator_in_content && self.chance(10) {
            more["creator"] = json!("@bob:b");
        }
        Fixture::with_create(self.version, more)
    }

    /// A state of the room.
    pub fn state(&mut self, f: &Fixture) -> Vec<Pdu> {
        let mut state = vec![f.create.clone()];
        for user in USERS {
            let memberships = ["join", "join", "join", "join", "leave", "invite", "ban", "knock", "none"];
            let membership = self.pick(&memberships);
            if membership != "none" {
                state.push(f.member(user, membership));
            }
        }
        let rules = ["public", "invite", "knock", "restricted", "knock_restricted", "private", "none"];
        let rule = self.pick(&rules);
        if rule != "none" {
            state.push(f.join_rule(rule));
        }
        if self.chance(85) {
            let content = self.power_levels();
            state.push(f.power("@alice:a", content));
        }
        if self.chance(70) {
            let key = self.keys[usize::from(self.chance(20))].verify_key().to_base64();
            let content = if self.chance(50) {
                json!({ "public_key": key })
            } else {
                json!({ "public_keys": [{ "public_key": key }] })
            };
            let sender = self.pick(&["@alice:a", "@alice:a", "@alice:a", "@bob:b"]);
            state.push(f.state("m.room.third_party_invite", "t", sender, content));
        }
        state
    }

    /// An event for a state, which may be changed so that it fits better.
    fn event(&mut self, f: &Fixture, state: &mut Vec<Pdu>) -> Pdu {
        let sender = self.user();
        match self.rng.random_range(0..100) {
            0..8 => self.create(),
            8..22 => self.member(f, "join"),
            22..28 => self.member(f, "invite"),
            28..40 => self.third_party_invite(f),
            40..50 => self.member(f, "leave"),
            50..54 => self.member(f, "ban"),
            54..61 => self.member(f, "knock"),
            61..62 => self.member(f, "dance"),
            62..64 => {
                let key = if self.chance(50) { json!(sender) } else { json!("absent") };
                let fields = json!({ "type": "m.room.member", "sender": sender, "state_key": key, "content": {} });
                f.event(fields)
            }
            64..67 => f.event(json!({ "sender": sender })),
            67..70 => f.state("m.room.topic", "", sender, json!({})),
            70..72 => {
                let key = self.user();
                f.state("x", key, sender, json!({}))
            }
            72..75 => f.state("m.room.third_party_invite", "new", sender, json!({})),
            75..78 => {
                let key = self.pick(&["a", "b", "absent"]);
                f.event(json!({ "type": "m.room.aliases", "sender": sender, "state_key": key }))
            }
            78..81 => self.redaction(f, sender),
            81..89 => self.change_of_power(f, state, sender),
            _ => self.small_change_of_power(f, state),
        }
    }

    fn create(&mut self) -> Pdu {
        let (mut content, mut more) = (json!({}), json!({}));
        if self.chance(20) {
            more["prev_events"] = json!(["$before:a"]);
        }
        if self.chance(20) {
            more["room_id"] = json!(other_room(self.version));
        }
        if self.chance(20) {
            content["creator"] = json!("absent");
        }
        if self.chance(40) {
            let lists = [json!(["@bob:b"]), json!(["bob"]), json!("@bob:b"), json!([1])];
            content["additional_creators"] = lists[self.rng.random_range(0..lists.len())].clone();
        }
        if self.chance(10) {
            content["room_version"] = json!("unheard-of");
        }
        create(self.version, content, more)
    }

    fn member(&mut self, f: &Fixture, membership: &str) -> Pdu {
        let sender = self.user();
        let own = matches!(membership, "join" | "knock") || (membership == "leave" && self.chance(50));
        let for_others = if membership == "knock" { 40 } else { 15 };
        let target = if own && !self.chance(for_others) { sender } else { self.user() };
        let mut content = json!({ "membership": membership });
        if membership == "join" && self.chance(60) {
            content["join_authorised_via_users_server"] = json!(self.user());
        }
        let mut fields = json!({ "type": "m.room.member", "sender": sender, "state_key": target, "content": content });
        if membership == "join" && self.chance(15) {
            fields["prev_events"] = json!([f.create.event_id()]);
            if self.chance(70) {
                fields["sender"] = json!("@alice:a");
                fields["state_key"] = json!("@alice:a");
            }
        }
        f.event(fields)
    }

    fn third_party_invite(&mut self, f: &Fixture) -> Pdu {
        let target = self.user();
        let mut signed = Map::new();
        if self.chance(92) {
            signed.insert("mxid".to_owned(), json!(if self.chance(90) { target } else { "@other:a" }));
        }
        if self.chance(92) {
            signed.insert("token".to_owned(), json!(if self.chance(90) { "t" } else { "other" }));
        }
        let key = &self.keys[0];
        sign_json(&mut signed, "identity.example", key).unwrap();
        let third_party = if self.chance(92) { json!({ "signed": signed }) } else { json!({}) };
        let content = json!({ "membership": "invite", "third_party_invite": third_party });
        let sender = self.pick(&["@alice:a", "@alice:a", "@bob:b"]);
        f.state("m.room.member", target, sender, content)
    }

    fn redaction(&mut self, f: &Fixture, sender: &str) -> Pdu {
        let redacts = if self.version.rules().references_carry_hashes() {
            self.pick(&["$event:a", "$event:b"])
        } else {
            "$event"
        };
        let mut fields = json!({ "type": "m.room.redaction", "sender": sender });
        if self.version.rules().redacts_in_content {
            fields["content"] = json!({ "redacts": redacts });
        } else {
            fields["redacts"] = json!(redacts);
        }
        f.event(fields)
    }

    /// Power levels that differ a little from those of the state, or not at all from nothing.
    fn change_of_power(&mut self, f: &Fixture, state: &[Pdu], sender: &str) -> Pdu {
        let current = state.iter().find(|event| event.event_type() == "m.room.power_levels");
        let mut content = match current {
            Some(current) if self.chance(85) => Value::Object(current.content().clone()),
            _ => self.power_levels(),
        };
        for _ in 0..self.rng.random_range(0..3) {
            let other = self.power_levels();
            let name =
                self.pick(&["users", "events", "notifications", "ban", "invite", "state_default", "users_default"]);
            match (content.get_mut(name), other.get(name)) {
                (Some(Value::Object(map)), Some(Value::Object(new))) => {
                    if let Some((key, level)) = new.iter().next()
                        && (map.remove(key).is_none() || self.rng.random_range(0..100) < 60)
                    {
                        map.insert(key.clone(), level.clone());
                    }
                }
                (_, Some(new)) => content[name] = new.clone(),
                (Some(_), None) => {
                    content.as_object_mut().unwrap().remove(name);
                }
                (None, None) => {}
            }
        }
        if self.chance(12) {
            let bad_user = json!({ "bob": 1 });
            let bad_level = json!({ "@bob:b": {} });
            content["users"] = if self.chance(50) { bad_user } else { bad_level };
        }
        if self.version >= RoomVersion::V10 && self.chance(12) {
            let (name, value) = if self.chance(50) { ("ban", json!("50")) } else { ("events", json!({ "x": null })) };
            content[name] = value;
        }
        if self.version >= RoomVersion::V12 && self.chance(6) {
            content["users"] = json!({ "@alice:a": 100 });
        }
        if current.is_none() && self.chance(50) {
            // Not a state event, which needs less power.
            return f.event(json!({ "type": "m.room.power_levels", "sender": sender, "content": content }));
        }
        f.power(sender, content)
    }

    /// One change of one level, by someone of middling power, so that it depends on that level whether they may.
    fn small_change_of_power(&mut self, f: &Fixture, state: &mut Vec<Pdu>) -> Pdu {
        let base = json!({
            "ban": self.level(), "kick": self.level(), "state_default": 50, "users_default": self.level(),
            "users": { "@bob:b": 50, "@carol:a": self.level(), "@dora:c": self.level() },
            "events": { "m.room.topic": self.level(), "x": self.level() },
            "notifications": { "room": self.level(), "x": self.level() },
        });
        state.retain(|event| {
            !event.is_state_of("m.room.power_levels", "") && !event.is_state_of("m.room.member", "@bob:b")
        });
        state.push(f.power("@alice:a", base.clone()));
        state.push(f.member("@bob:b", "join"));
        let mut changed = base;
        let (name, keys): (&str, &[&str]) = match self.rng.random_range(0..4) {
            0 => ("users", &["@bob:b", "@carol:a", "@dora:c", "@emma:b"]),
            1 => ("events", &["m.room.topic", "x", "m.room.message"]),
            2 => ("notifications", &["room", "x", "y"]),
            _ => ("", &["ban", "kick", "users_default", "redact", "invite"]),
        };
        let levels = if name.is_empty() { &mut changed } else { &mut changed[name] };
        let (key, level) = (self.pick(keys), self.level());
        if self.chance(30) {
            levels.as_object_mut().unwrap().remove(key);
        } else {
            levels[key] = level;
        }
        f.power("@bob:b", changed)
    }

    /// The auth events that an event should have, or nearly: each with whether it was rejected.
    fn auth_events(&mut self, f: &Fixture, event: &Pdu, state: &[Pdu]) -> Vec<(Pdu, bool)> {
        let types = auth_types(self.version, event.event_type(), event.sender(), event.state_key(), event.content());
        let find = |(ty, key): &(&str, &str)| state.iter().find(|event| event.is_state_of(ty, key)).cloned();
        let mut cited: Vec<_> = types.iter().filter_map(find).map(|event| (event, false)).collect();
        match self.rng.random_range(0..10) {
            0 if !cited.is_empty() => {
                let at = self.rng.random_range(0..cited.len());
                cited[at].1 = true;
            }
            1 => cited.push((state[self.rng.random_range(0..state.len())].clone(), false)),
            2 => cited.push((f.member(event.sender(), "join"), false)),
            3 => {
                let fields =
                    json!({ "type": "m.room.power_levels", "state_key": "", "room_id": other_room(self.version) });
                cited.retain(|(event, _)| event.event_type() != "m.room.power_levels");
                cited.push((f.event(fields), false));
            }
            4 => cited.retain(|(event, _)| event.event_type() != "m.room.create"),
            _ => {}
        }
        cited
    }
}

/// How often a generator's events were allowed and refused by the rules that depend on the state.
#[derive(Default, Clone, Copy)]
pub struct Verdicts {
    pub allowed: u64,
    pub refused: u64,
}

/// Makes an event for this state of the room, and auth events for it; what we say of both, the oracle says too.
pub fn judge(g: &mut Generator, f: &Fixture, mut state: Vec<Pdu>, verdicts: &mut Verdicts, which: &str) {
    let version = g.version;
    let rules = ruma::version_rules(version).authorization;
    let event = g.event(f, &mut state);
    let ours = check(&event, &state);
    *(if ours.is_ok() { &mut verdicts.allowed } else { &mut verdicts.refused }) += 1;
    let oracle = if event.event_type() == "m.room.create" {
        if ours.as_ref().is_err_and(|refusal| refusal.rule == "1.3") {
            return;
        }
        ruma::check_auth_events(&rules, &event, &[])
    } else {
        let _ = check_authoriser_signature(&event, |server| server == "a");
        ruma::check(&rules, &event, &state)
    };
    assert_eq!(
        ours.is_ok(),
        oracle.is_ok(),
        "version {version}, {which}: ours {ours:?}, oracle {oracle:?}\n{event:?}\n{state:#?}"
    );

    // And its auth events, if it is an event that has some.
    let is_member = event.event_type() == "m.room.member";
    if event.event_type() == "m.room.create" || is_member && !event.content().contains_key("membership") {
        return;
    }
    let cited = g.auth_events(f, &event, &state);
    let ids: Vec<_> = cited.iter().map(|(event, _)| event.event_id()).collect();
    let mut fields = Value::Object(event.to_object());
    fields["auth_events"] = json!(ids);
    if version.rules().references_carry_hashes() {
        fields["prev_events"] = json!(event.prev_events());
    }
    let event = f.event(fields);
    let create_rejected = version >= RoomVersion::V12 && g.chance(10);
    let list: Vec<_> = cited.iter().map(|(event, rejected)| Cited { event, rejected: *rejected }).collect();
    let create = Cited { event: &f.create, rejected: create_rejected };
    let ours = check_auth_events(&event, &list, Some(create));
    let mut known = cited;
    if version >= RoomVersion::V12 {
        known.push((f.create.clone(), create_rejected));
    }
    let oracle = ruma::check_auth_events(&rules, &event, &known);
    let third_party = event.content().get("third_party_invite");
    let no_token = |invite: &Value| invite.pointer("/signed/token").is_none();
    if third_party.is_some_and(no_token) {
        // The oracle cannot select auth events for it and refuses; by our reading 5.3.1.3 does, later.
        return;
    }
    assert_eq!(
        ours.is_ok(),
        oracle.is_ok(),
        "version {version}, {which}: ours {ours:?}, oracle {oracle:?}\n{event:?}\n{known:#?}"
    );
}

/// A table of how often each rule of a version decided and did not, and the rules of which one of the two never happened.
pub fn table(version: RoomVersion, counts: &[(&'static str, u64, u64)], verdicts: Verdicts) -> (String, Vec<String>) {
    let always = unconditional(version);
    let (mut table, mut idle) = (String::new(), Vec::new());
    for (number, holds, does_not) in counts {
        table.push_str(&format!("{version:<8} {number:<10} {holds:>8} {does_not:>8}\n"));
        let never_fails = always.iter().any(|always| always == number);
        if *holds == 0 || (*does_not == 0) != never_fails {
            idle.push(format!("version {version}, rule {number}: {holds} and {does_not}"));
        }
    }
    let Verdicts { allowed, refused } = verdicts;
    table.push_str(&format!("{version:<8} {:<10} {allowed:>8} {refused:>8}", "in all"));
    (table, idle)
}

/// The line above [`table`]s.
pub fn table_head() -> String {
    format!("{:<8} {:<10} {:>8} {:>8}", "version", "rule", "holds", "does not")
}

/// The numbers of the rules that hold whenever they are reached.
fn unconditional(version: RoomVersion) -> Vec<String> {
    let v = |n: usize| RoomVersion::ALL[n - 1];
    let member = if (v(6)..=v(11)).contains(&version) { 4 } else { 5 };
    let after = usize::from(version >= v(8));
    let mut numbers = vec![if version == v(11) { "1.4" } else { "1.5" }.to_owned()];
    if version < v(6) {
        numbers.push("4.3".to_owned());
    }
    let rule = |number: usize, last: &str| format!("{member}.{}.{last}", number + after);
    if version >= v(8) {
        numbers.push(rule(2, "5.3"));
    }
    numbers.push(rule(2, if version >= v(8) { "7" } else { "6" }));
    numbers.extend([rule(3, "1.8"), rule(3, "5"), rule(4, "5"), rule(5, "3")]);
    if version >= v(7) {
        numbers.push(rule(6, "4"));
    }
    numbers.push(format!(
        "{member}.{}",
        if version >= v(8) {
            8
        } else if version == v(7) {
            7
        } else {
            6
        }
    ));
    let power = member + 5;
    numbers.push(format!(
        "{power}.{}",
        if version == v(12) {
            11
        } else if version >= v(10) {
            10
        } else {
            8
        }
    ));
    if version < v(3) {
        numbers.push("11.3".to_owned());
    }
    numbers.push(if version < v(3) { 12 } else { power + 1 }.to_string());
    numbers
}
