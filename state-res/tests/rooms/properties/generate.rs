//! Rooms with hostile histories, each from a seed: forks, stale auth events, backdating, forged depths, states that lie.

use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use state_res::{ids::StateKeyId, pdu::Pdu, room_version::RoomVersion, tree::Root};

use super::plan::{Act, Level, Plan, Room, USERS, User, View, What, Wrong};
use crate::server::Resolver;

/// The version of a seed's room: each in its turn, and the newest, which has its own algorithm, more often.
pub fn version_of(seed: u64) -> RoomVersion {
    let all = RoomVersion::ALL;
    all.get((seed % 16) as usize).copied().unwrap_or(RoomVersion::V12)
}

/// The plan of a seed, and its room.
pub fn generate(seed: u64, resolver: &dyn Resolver) -> (Plan, Room<'_>) {
    let version = version_of(seed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let plan = Plan { version, acts: Vec::new(), views: Vec::new(), seed: rng.random() };
    let mut generator = Generator { rng, plan, room: Room::new(version, resolver) };
    generator.begin();
    for _ in 0..generator.rng.random_range(3..12) {
        generator.step();
    }
    generator.views();
    (generator.plan, generator.room)
}

struct Generator<'a> {
    rng: ChaCha8Rng,
    plan: Plan,
    room: Room<'a>,
}

impl Generator<'_> {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(&mut self.rng).unwrap()
    }

    fn ts(&mut self) -> i64 {
        // Few different times, so that there are ties.
        self.rng.random_range(1..10)
    }

    fn add(&mut self, mut act: Act) {
        act.nonce = self.rng.random();
        let before = self.room.before(&act.after);
        self.add_at(act, before);
    }

    fn add_at(&mut self, act: Act, before: Root) {
        self.room.add(&act, before);
        self.plan.acts.push(act);
    }

    fn next(&mut self, sender: User, what: What) {
        let after = self.plan.acts.len().checked_sub(1).into_iter().collect();
        let ts = self.ts();
        self.add(Act { sender, what, after, stale: None, ts, deeper: 1, nonce: 0 });
    }

    fn begin(&mut self) {
        let v12 = self.plan.version >= RoomVersion::V12;
        let more = if v12 && self.chance(25) { vec![5] } else { vec![] };
        self.next(0, What::Create(more));
        self.next(0, What::Member(0, "join", None));
        let mut levels = vec![(Level::User(1), self.pick(&[50, 50, 75, 100]))];
        if !v12 {
            levels.push((Level::User(0), 100));
        }
        if self.chance(60) {
            levels.push((Level::User(2), self.pick(&[50, 50, 100])));
        }
        self.next(0, What::Power(levels));
        let rule = self.pick(&["public", "public", "public", "public", "invite", "restricted"]);
        self.next(0, What::JoinRule(rule));
        let open = rule == "public";
        for user in 1..self.rng.random_range(3..6) {
            if !open {
                self.next(0, What::Member(user, "invite", None));
            }
            self.next(user, What::Member(user, "join", None));
        }
    }

    /// Some of the last acts, all different.
    fn latest(&mut self, count: usize) -> Vec<usize> {
        let all = self.plan.acts.len();
        let mut chosen: Vec<usize> = Vec::new();
        for _ in 0..count * 3 {
            let at = all - 1 - self.rng.random_range(0..all.min(7));
            if chosen.len() < count && !chosen.contains(&at) {
                chosen.push(at);
            }
        }
        chosen
    }

    fn step(&mut self) {
        let count = if self.chance(15) { 2 } else { 1 };
        let after = self.latest(count);
        let before = self.room.before(&after);
        let mut seen = before;
        let mut stale = None;
        if self.chance(25) {
            let at = self.rng.random_range(0..self.plan.acts.len());
            stale = Some((at, self.rng.random_range(1..64)));
            if self.chance(60) {
                // Someone who acts as if nothing had happened since.
                stale = Some((at, u8::MAX));
                seen = self.room.before(&[at]);
            }
        }
        let (sender, what) = self.something(seen);
        let (ts, deeper, nonce) = (self.ts(), self.pick(&[1, 1, 1, 1, 0, 5]), self.rng.random());
        self.add_at(Act { sender, what, after, stale, ts, deeper, nonce }, before);
    }

    /// What someone might do in this state: mostly what they may.
    fn something(&mut self, state: Root) -> (User, What) {
        let membership = |user: &User| {
            let event = self.room.server.in_state(state, StateKeyId::of("m.room.member", USERS[*user]));
            event.and_then(|event| event.content().get("membership")).and_then(Value::as_str).unwrap_or_default()
        };
        let users = 0..USERS.len();
        let inside: Vec<User> = users.clone().filter(|user| membership(user) == "join").collect();
        let outside: Vec<User> = users.filter(|user| membership(user) != "join").collect();
        let power_levels = self.room.server.in_state(state, StateKeyId::of("m.room.power_levels", "")).cloned();
        let level = |user: &User| level_of(power_levels.as_ref(), *user);
        let strongest = inside.iter().copied().max_by_key(|user| level(user)).unwrap_or(0);
        let weaker: Vec<User> = (0..USERS.len()).filter(|user| level(user) < level(&strongest)).collect();

        let anyone = self.rng.random_range(0..USERS.len());
        let member = if inside.is_empty() || self.chance(5) { anyone } else { self.pick(&inside) };
        let strong = if self.chance(65) { strongest } else { member };
        let target = if weaker.is_empty() || self.chance(20) { anyone } else { self.pick(&weaker) };
        let outsider = if outside.is_empty() || self.chance(10) { anyone } else { self.pick(&outside) };
        match self.rng.random_range(0..100) {
            0..16 => {
                let authoriser = if self.chance(25) { Some(member) } else { None };
                (outsider, What::Member(outsider, "join", authoriser))
            }
            16..22 => (member, What::Member(member, "leave", None)),
            22..38 => (strong, What::Member(target, "ban", None)),
            38..46 => (strong, What::Member(target, "leave", None)),
            46..51 => (member, What::Member(outsider, "invite", None)),
            51..53 => (outsider, What::Member(outsider, "knock", None)),
            53..61 => {
                let rule = self.pick(&["public", "public", "invite", "invite", "knock", "restricted"]);
                (strong, What::JoinRule(rule))
            }
            61..79 => (strong, What::Power(self.levels(target))),
            79..88 => (member, What::Topic(self.rng.random_range(0..9))),
            88..96 => (member, What::Own(self.rng.random_range(0..9))),
            _ => (member, What::Message),
        }
    }

    fn levels(&mut self, target: User) -> Vec<(Level, i64)> {
        let mut levels = Vec::new();
        for _ in 0..self.rng.random_range(1..3) {
            let level = match self.rng.random_range(0..4) {
                0 => Level::Of(self.pick(&["ban", "kick", "invite", "state_default", "users_default"])),
                1 => Level::User(target),
                // Now and then a creator, which version 12 forbids.
                _ => Level::User(self.rng.random_range(usize::from(self.plan.version >= RoomVersion::V12)..5)),
            };
            levels.push((level, self.pick(&[0, 25, 50, 50, 75, 100])));
        }
        levels
    }

    fn views(&mut self) {
        let count = self.pick(&[2, 2, 2, 3]);
        for after in self.latest(count) {
            let mut wrong = Vec::new();
            while wrong.len() < 3 && self.chance(20) {
                let at = self.rng.random_range(1..self.plan.acts.len());
                wrong.push(if self.chance(75) { Wrong::Has(at) } else { Wrong::Lacks(at) });
            }
            self.plan.views.push(View { after, wrong });
        }
    }
}

/// The power that these levels give a user, creators aside.
pub fn level_of(power_levels: Option<&Pdu>, user: User) -> i64 {
    let Some(event) = power_levels else { return 0 };
    let users = event.content().get("users");
    let own = users.and_then(|users| users.get(USERS[user])).and_then(Value::as_i64);
    own.or_else(|| event.content().get("users_default").and_then(Value::as_i64)).unwrap_or(0)
}
