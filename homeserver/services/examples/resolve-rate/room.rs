//! A room and its forks.

use serde_json::{Value, json};
use state_res::auth::auth_types;
use state_res::ids::{EventKey, RoomKey, StateKeyId};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use std::collections::{BTreeMap, BTreeSet};

/// (type, state key) to the number of an event.
pub(crate) type State = BTreeMap<(String, String), usize>;

const MODERATORS: usize = 10;
const POWER_CHANGES: usize = 20;

pub(crate) struct Room {
    pub(crate) version: RoomVersion,
    pub(crate) key: RoomKey,
    pub(crate) events: Vec<Pdu>,
    room_id: String,
    base: State,
    users: Vec<String>,
}

/// Two states: the room's own, changed on two branches.
pub(crate) struct Case {
    pub(crate) states: [State; 2],
    /// How many events the room had before the branches.
    pub(crate) common: State,
}

impl Case {
    /// In how many entries the states differ.
    pub(crate) fn conflicts(&self) -> usize {
        let [one, other] = &self.states;
        let places: BTreeSet<_> = one.keys().chain(other.keys()).collect();
        places.into_iter().filter(|place| one.get(*place) != other.get(*place)).count()
    }

    /// What to change in the common state to get each.
    pub(crate) fn changes(&self, events: &[Pdu]) -> [Vec<(StateKeyId, EventKey)>; 2] {
        let changed = |state: &State| {
            let changed = state.iter().filter(|(place, event)| self.common.get(*place) != Some(*event));
            changed.map(|(place, event)| (StateKeyId::of(&place.0, &place.1), events[*event].key())).collect()
        };
        [changed(&self.states[0]), changed(&self.states[1])]
    }
}

impl Room {
    /// A room with so many entries in its state.
    pub(crate) fn new(version: RoomVersion, entries: usize) -> Self {
        let mut room = Room {
            version,
            key: RoomKey::of(""),
            events: Vec::new(),
            room_id: "!room:one.example".to_owned(),
            base: State::new(),
            users: Vec::new(),
        };
        let mut state = State::new();
        let mut content = json!({ "room_version": version.as_str() });
        if version.rules().auth.creator_in_content {
            content["creator"] = json!("@creator:one.example");
        }
        room.act(&mut state, "m.room.create", "", "@creator:one.example", content);
        room.room_id = room.events[0].room_id().to_owned();
        room.key = RoomKey::of(&room.room_id);
        let creator = "@creator:one.example";
        room.act(&mut state, "m.room.member", creator, creator, json!({ "membership": "join" }));
        room.act(&mut state, "m.room.power_levels", "", creator, room.power_levels(0));
        room.act(&mut state, "m.room.join_rules", "", creator, json!({ "join_rule": "public" }));
        room.act(&mut state, "m.room.history_visibility", "", creator, json!({ "history_visibility": "shared" }));
        room.act(&mut state, "m.room.name", "", creator, json!({ "name": "A room" }));
        let others = entries - state.len();
        for number in 0..others {
            let user = format!("@user{number}:server{}.example", number % 97);
            room.join(&mut state, &user, "");
            room.users.push(user);
            if number % (others / POWER_CHANGES).max(1) == 0 {
                let change = room.power_levels(number);
                room.act(&mut state, "m.room.power_levels", "", creator, change);
            }
        }
        for number in (MODERATORS..others).step_by(10) {
            let user = room.users[number].clone();
            room.join(&mut state, &user, "new name");
        }
        room.base = state;
        room
    }

    /// Two branches whose states differ in so many entries.
    pub(crate) fn case(&mut self, conflicts: usize) -> Case {
        let mut states = [self.base.clone(), self.base.clone()];
        let mut done = 0;
        if conflicts >= 20 {
            let change = self.power_levels(1_000_000);
            self.act(&mut states[0], "m.room.power_levels", "", "@creator:one.example", change);
            done = 1;
        }
        for number in done..conflicts {
            let user = self.users[MODERATORS + number * 3 % (self.users.len() - MODERATORS)].clone();
            let side = number % 2;
            match number % 5 {
                // Two names.
                0 => {
                    self.join(&mut states[0], &user, "one name");
                    self.join(&mut states[1], &user, "another name");
                }
                // A ban on one side, and a leave on the other.
                1 => {
                    let moderator = self.users[number % MODERATORS].clone();
                    self.act(&mut states[side], "m.room.member", &user, &moderator, json!({ "membership": "ban" }));
                    self.act(&mut states[1 - side], "m.room.member", &user, &user, json!({ "membership": "leave" }));
                }
                // Someone new on one side.
                2 => self.join(&mut states[side], &format!("@new{number}:late.example"), ""),
                // Someone left on one side.
                3 => self.act(&mut states[side], "m.room.member", &user, &user, json!({ "membership": "leave" })),
                // A moderator's word on both.
                _ => {
                    let moderator = self.users[number % MODERATORS].clone();
                    let key = number.to_string();
                    self.act(&mut states[0], "example.state", &key, &moderator, json!({ "value": 1 }));
                    self.act(&mut states[1], "example.state", &key, &moderator, json!({ "value": 2 }));
                }
            }
        }
        let case = Case { states, common: self.base.clone() };
        assert_eq!(case.conflicts(), conflicts);
        case
    }

    fn join(&mut self, state: &mut State, user: &str, name: &str) {
        self.act(state, "m.room.member", user, user, json!({ "membership": "join", "displayname": name }));
    }

    fn power_levels(&self, number: usize) -> Value {
        let mut users: BTreeMap<String, i64> =
            self.users.iter().take(MODERATORS).map(|user| (user.clone(), 50)).collect();
        if !self.version.rules().auth.privileged_creators {
            users.insert("@creator:one.example".to_owned(), 100);
        }
        json!({ "users": users, "events": { "example.number": number % 100 } })
    }

    /// Adds an event on top of a state, which cites what the specification says.
    fn act(&mut self, state: &mut State, event_type: &str, state_key: &str, sender: &str, content: Value) {
        let object = content.as_object().unwrap();
        let types = auth_types(self.version, event_type, sender, Some(state_key), object);
        let cited = types.iter().filter_map(|(ty, key)| state.get(&((*ty).to_owned(), (*key).to_owned())));
        let cited: Vec<&str> = cited.map(|event| self.events[*event].event_id()).collect();
        let number = self.events.len();
        let mut event = json!({
            "type": event_type, "state_key": state_key, "sender": sender, "content": content, "auth_events": cited,
            "prev_events": self.events.last().map(Pdu::event_id).into_iter().collect::<Vec<_>>(),
            "depth": number + 1, "origin_server_ts": 1_700_000_000_000_u64 + number as u64 * 1000,
            "hashes": { "sha256": format!("{number:043}") },
            "signatures": { "one.example": { "ed25519:1": format!("{number:086}") } },
        });
        if !(event_type == "m.room.create" && self.version.rules().create_event_is_room_id) {
            event["room_id"] = json!(self.room_id);
        }
        let pdu = Pdu::from_value(self.version, event.as_object().unwrap()).unwrap();
        state.insert((event_type.to_owned(), state_key.to_owned()), number);
        self.events.push(pdu);
    }
}
