//! A room as a plan: what people do, one after the other, from which the events are made. A plan can be made smaller and
//! carried out again, which events, full of each other's hashes, cannot.

use std::fmt;

use serde_json::{Map, Value, json};
use state_res::{
    auth::auth_types,
    ids::{EventKey, StateKeyId},
    pdu::Pdu,
    room_version::RoomVersion,
    tree::Root,
};

use crate::server::{Resolver, Server, Verdict};

/// Who is there, on three servers.
pub const USERS: [&str; 6] = ["@alice:a", "@bob:b", "@carol:a", "@dora:c", "@emma:b", "@fred:c"];

/// A user, by place in [`USERS`].
pub type User = usize;

/// What someone does.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// The first event. The users are further creators, in versions that know them.
    Create(Vec<User>),
    /// Changes a membership, by a join vouched for by a user.
    Member(User, &'static str, Option<User>),
    JoinRule(&'static str),
    /// Changes some of the power levels that there are: single ones, or those of users.
    Power(Vec<(Level, i64)>),
    Topic(u8),
    /// State of one's own.
    Own(u8),
    Message,
}

/// A power level.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Level {
    Of(&'static str),
    User(User),
}

/// An event to be made. Other acts are named by their place in the plan.
#[derive(Clone, PartialEq, Debug)]
pub struct Act {
    pub sender: User,
    pub what: What,
    pub after: Vec<usize>,
    /// The act from the state after which some auth events are taken, and which: a bit for each.
    pub stale: Option<(usize, u8)>,
    pub ts: i64,
    /// How much deeper than what is before it the event says it is.
    pub deeper: i64,
    /// Makes the event different from others that are otherwise the same.
    pub nonce: u32,
}

/// A state to be resolved: that after an act, or what a server of ill will or little knowledge says it is.
#[derive(Clone, PartialEq, Debug)]
pub struct View {
    pub after: usize,
    pub wrong: Vec<Wrong>,
}

/// What is wrong about a state.
#[derive(Clone, PartialEq, Debug)]
pub enum Wrong {
    /// It has the event of this act where it belongs, instead of what is there.
    Has(usize),
    /// It has nothing where the event of this act belongs.
    Lacks(usize),
}

impl Wrong {
    /// The act whose event it is about.
    pub fn act(&self) -> usize {
        match self {
            Wrong::Has(at) | Wrong::Lacks(at) => *at,
        }
    }

    pub fn set_act(&mut self, act: usize) {
        match self {
            Wrong::Has(at) | Wrong::Lacks(at) => *at = act,
        }
    }
}

/// A room and the states to be resolved.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    pub version: RoomVersion,
    pub acts: Vec<Act>,
    pub views: Vec<View>,
    /// From which the other server's order of arrival is drawn.
    pub seed: u64,
}

/// A plan on its way to being carried out: the server of those who make the events.
pub struct Room<'a> {
    pub server: Server,
    pub resolver: &'a dyn Resolver,
    pub events: Vec<Pdu>,
    version: RoomVersion,
}

impl<'a> Room<'a> {
    pub fn new(version: RoomVersion, resolver: &'a dyn Resolver) -> Self {
        Room { server: Server::new(version), resolver, events: Vec::new(), version }
    }

    /// The room of a plan.
    pub fn of(plan: &Plan, resolver: &'a dyn Resolver) -> Self {
        let mut room = Room::new(plan.version, resolver);
        for act in &plan.acts {
            let before = room.before(&act.after);
            room.add(act, before);
        }
        room
    }

    /// The state after some acts.
    pub fn before(&mut self, after: &[usize]) -> Root {
        let keys: Vec<EventKey> = after.iter().map(|at| self.events[*at].key()).collect();
        self.server.state_after(self.resolver, &keys)
    }

    /// Makes an event and receives it.
    pub fn add(&mut self, act: &Act, before: Root) {
        let event = self.event(act, before);
        self.server.receive_at(&event, before);
        self.events.push(event);
    }

    /// The state of a view, on the server that made the events or another that has them.
    pub fn view(events: &[Pdu], server: &mut Server, view: &View) -> Root {
        let state = server.received(events[view.after].key()).after;
        let place = |at: &usize| {
            let event = &events[*at];
            let refused = matches!(server.received(event.key()).verdict, Verdict::RejectedByAuthEvents(_));
            // "No events rejected due to failure to auth against their auth chain should appear in the process".
            let key = event.state_key().filter(|_| !refused)?;
            Some((StateKeyId::of(event.event_type(), key), event.key()))
        };
        let changes: Vec<_> = view
            .wrong
            .iter()
            .filter_map(|wrong| match wrong {
                Wrong::Has(at) => place(at).map(|(place, event)| (place, Some(event))),
                Wrong::Lacks(at) => place(at).map(|(place, _)| (place, None)),
            })
            .collect();
        // The last of several for one place counts.
        let changes: std::collections::BTreeMap<_, _> = changes.into_iter().collect();
        server.changed(state, &changes.into_iter().collect::<Vec<_>>())
    }

    fn event(&self, act: &Act, before: Root) -> Pdu {
        let (event_type, state_key, content) = self.content(act, before);
        let sender = USERS[act.sender];
        let types = auth_types(self.version, event_type, sender, state_key, &content);
        let mut cited: Vec<&str> = Vec::new();
        for (bit, (ty, key)) in types.into_iter().enumerate() {
            let state = match act.stale {
                Some((at, bits)) if bits & (1 << bit) != 0 => self.server.received(self.events[at].key()).after,
                _ => before,
            };
            cited.extend(self.server.in_state(state, StateKeyId::of(ty, key)).map(Pdu::event_id));
        }
        let depth = act.after.iter().map(|at| self.events[*at].depth()).max().unwrap_or(0) + act.deeper;
        let previous: Vec<&str> = act.after.iter().map(|at| self.events[*at].event_id()).collect();
        let with_hashes = self.version.rules().references_carry_hashes();
        let list = |ids: &[&str]| -> Value {
            if with_hashes { ids.iter().map(|id| json!([id, {}])).collect() } else { json!(ids) }
        };
        let mut event = json!({
            "type": event_type, "sender": sender, "content": content, "depth": depth, "origin_server_ts": act.ts,
            "prev_events": list(&previous), "auth_events": list(&cited), "hashes": { "sha256": "" }, "signatures": {},
        });
        let object = event.as_object_mut().unwrap();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        if let Some(state_key) = state_key {
            put("state_key", json!(state_key));
        }
        match self.events.first() {
            Some(create) => _ = put("room_id", json!(create.room_id())),
            None if self.version.rules().create_event_is_room_id => {}
            None => _ = put("room_id", json!("!room:a")),
        }
        if with_hashes {
            put("event_id", json!(format!("${:08x}:a", act.nonce)));
        } else {
            put("nonce", json!(act.nonce));
        }
        let json = serde_json::to_vec(&event).unwrap();
        Pdu::parse(self.version, &json).unwrap_or_else(|error| panic!("{error}: {event:#}"))
    }

    fn content(&self, act: &Act, before: Root) -> (&'static str, Option<&'static str>, Map<String, Value>) {
        let one = |name: &str, value: Value| Map::from_iter([(name.to_owned(), value)]);
        match &act.what {
            What::Create(more) => {
                let mut content = one("room_version", json!(self.version.as_str()));
                if self.version.rules().auth.creator_in_content {
                    content.insert("creator".to_owned(), json!(USERS[act.sender]));
                }
                if !more.is_empty() {
                    let users: Vec<_> = more.iter().map(|user| USERS[*user]).collect();
                    content.insert("additional_creators".to_owned(), json!(users));
                }
                ("m.room.create", Some(""), content)
            }
            What::Member(target, membership, authoriser) => {
                let mut content = one("membership", json!(membership));
                if let Some(authoriser) = authoriser {
                    content.insert("join_authorised_via_users_server".to_owned(), json!(USERS[*authoriser]));
                }
                ("m.room.member", Some(USERS[*target]), content)
            }
            What::JoinRule(rule) => ("m.room.join_rules", Some(""), one("join_rule", json!(rule))),
            What::Power(levels) => {
                let current = self.server.in_state(before, StateKeyId::of("m.room.power_levels", ""));
                let mut content = current.map(|event| event.content().clone()).unwrap_or_default();
                for (level, value) in levels {
                    match level {
                        Level::Of(name) => _ = content.insert((*name).to_owned(), json!(value)),
                        Level::User(user) => {
                            let users = content.entry("users").or_insert_with(|| json!({}));
                            users[USERS[*user]] = json!(value);
                        }
                    }
                }
                ("m.room.power_levels", Some(""), content)
            }
            What::Topic(number) => ("m.room.topic", Some(""), one("topic", json!(number))),
            What::Own(number) => ("x", Some(USERS[act.sender]), one("x", json!(number))),
            What::Message => ("m.room.message", None, Map::new()),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Create(more) if more.is_empty() => f.write_str("creates the room"),
            What::Create(more) => {
                let more: Vec<_> = more.iter().map(|user| USERS[*user]).collect();
                write!(f, "creates the room with {}", more.join(", "))
            }
            What::Member(target, membership, None) => write!(f, "{membership} {}", USERS[*target]),
            What::Member(target, membership, Some(by)) => {
                write!(f, "{membership} {} by {}", USERS[*target], USERS[*by])
            }
            What::JoinRule(rule) => write!(f, "join rule {rule}"),
            What::Power(levels) => {
                f.write_str("power levels:")?;
                levels.iter().try_for_each(|(level, value)| match level {
                    Level::Of(name) => write!(f, " {name} {value}"),
                    Level::User(user) => write!(f, " {} {value}", USERS[*user]),
                })
            }
            What::Topic(number) => write!(f, "topic {number}"),
            What::Own(number) => write!(f, "own state {number}"),
            What::Message => f.write_str("message"),
        }
    }
}

/// As a list that a person can draw.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "room version {}", self.version)?;
        for (at, Act { sender, what, after, stale, ts, deeper, .. }) in self.acts.iter().enumerate() {
            write!(f, "{at:>3}. after {after:?} at {ts}, {deeper} deeper: {} {what}", USERS[*sender])?;
            match stale {
                Some((at, bits)) => writeln!(f, " (auth events {bits:#b} as after {at})")?,
                None => writeln!(f)?,
            }
        }
        for View { after, wrong } in &self.views {
            writeln!(f, "     state after {after} {wrong:?}")?;
        }
        Ok(())
    }
}
