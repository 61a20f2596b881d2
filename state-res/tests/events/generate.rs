//! Events from a seed: of many types and contents, spelt in many ways.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use state_res::room_version::RoomVersion;

/// The text of a well-formed event, with hashes and signatures that mean nothing.
pub(crate) fn event_json(version: RoomVersion, event_type: &str, state_key: Option<&str>, content: &str) -> String {
    let rules = version.rules();
    let mut event = json!({
        "type": event_type,
        "sender": "@alice:a.example",
        "origin_server_ts": 1_600_000_000_000_i64,
        "depth": 7,
        "prev_events": [reference(version, "p")],
        "auth_events": [reference(version, "q"), reference(version, "r")],
        "hashes": {"sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"},
        "signatures": {"a.example": {"ed25519:k1": "AAAA"}},
    });
    if rules.create_event_is_room_id {
        if event_type != "m.room.create" {
            event["room_id"] = json!(format!("!{}", "x".repeat(43)));
        }
    } else {
        event["room_id"] = json!("!room:a.example");
    }
    if rules.references_carry_hashes() {
        event["event_id"] = json!("$event:a.example");
    }
    if let Some(state_key) = state_key {
        event["state_key"] = json!(state_key);
    }
    event["content"] = json!("CONTENT");
    event.to_string().replace("\"CONTENT\"", content)
}

/// A reference to another event in the version's format.
pub(crate) fn reference(version: RoomVersion, name: &str) -> Value {
    if version.rules().references_carry_hashes() {
        json!([format!("${name}:a.example"), {"sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}])
    } else {
        json!(format!("${}", name.repeat(43)))
    }
}

pub(crate) struct Generator {
    rng: ChaCha8Rng,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// An event without hashes and signatures, complete by the rules of its version.
    pub(crate) fn event(&mut self, version: RoomVersion) -> Map<String, Value> {
        let event_type = self.pick(&[
            "m.room.message",
            "m.room.member",
            "m.room.member",
            "m.room.create",
            "m.room.join_rules",
            "m.room.power_levels",
            "m.room.aliases",
            "m.room.history_visibility",
            "m.room.redaction",
            "m.room.third_party_invite",
            "m.room.topic",
            "org.example.\"odd\"\n\u{1F600}",
        ]);
        let mut event: Map<String, Value> = serde_json::from_str(&event_json(version, event_type, None, "{}")).unwrap();
        event.remove("hashes");
        event.remove("signatures");
        if event_type != "m.room.message" && event_type != "m.room.redaction" {
            event.insert("state_key".to_owned(), json!(self.pick(&["", "@bob:b.example", "k\"\\\u{7}"])));
        }
        let content = self.content(event_type);
        event.insert("content".to_owned(), Value::Object(content));
        if event_type == "m.room.redaction" || self.chance(3) {
            event.insert("redacts".to_owned(), json!("$redacted:a.example"));
        }
        for name in ["origin", "membership", "prev_state", "replaces_state", "org.example.extra", "aaa", "zzz"] {
            if self.chance(15) {
                let value = self.value(2);
                event.insert(name.to_owned(), value);
            }
        }
        let depth = self.below(1 << 53);
        event.insert("depth".to_owned(), json!(depth));
        let ts = self.below(1 << 42);
        event.insert("origin_server_ts".to_owned(), json!(ts));
        if self.chance(40) {
            event.insert("unsigned".to_owned(), json!({"age": self.below(1000), "prev_content": self.value(1)}));
        }
        event
    }

    /// Content with what the algorithms look at, each thing sometimes there, sometimes odd, and other things.
    fn content(&mut self, event_type: &str) -> Map<String, Value> {
        let mut content = Map::new();
        let known: &[&str] = match event_type {
            "m.room.member" => &["membership", "join_authorised_via_users_server", "third_party_invite", "displayname"],
            "m.room.create" => &["creator", "room_version", "m.federate", "additional_creators"],
            "m.room.join_rules" => &["join_rule", "allow"],
            "m.room.power_levels" => &[
                "ban",
                "events",
                "events_default",
                "invite",
                "kick",
                "redact",
                "state_default",
                "users",
                "users_default",
                "notifications",
            ],
            "m.room.aliases" => &["aliases"],
            "m.room.history_visibility" => &["history_visibility"],
            "m.room.redaction" => &["redacts", "reason"],
            _ => &["body", "msgtype"],
        };
        for name in known {
            // Without `membership` ruma judges no signatures; see `oracle.rs`.
            if *name == "membership" || self.chance(70) {
                let value = match *name {
                    "membership" => json!(self.pick(&["join", "invite", "leave", "ban", "knock"])),
                    "join_authorised_via_users_server" => json!("@carol:c.example"),
                    // Always an object: what is done with others is one of the differences, see `oracle.rs`.
                    "third_party_invite" if self.chance(30) => json!({"display_name": self.text()}),
                    "third_party_invite" => json!({
                        "display_name": self.text(),
                        "signed": {"mxid": "@b:b.example", "token": self.text(), "signatures": {"x": {"ed25519:0": "s"}}},
                    }),
                    _ => self.value(2),
                };
                content.insert((*name).to_owned(), value);
            }
        }
        for _ in 0..self.below(4) {
            let (name, value) = (self.text(), self.value(3));
            content.insert(name, value);
        }
        content
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.chance(50)),
            2 => json!(self.below(200) as i64 - 100),
            3 => json!((self.below(1 << 54) as i64 - (1 << 53)).clamp(-((1 << 53) - 1), (1 << 53) - 1)),
            4 | 5 => json!(self.text()),
            6 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let members = (0..self.below(5)).map(|_| (self.text(), self.value(depth - 1)));
                Value::Object(members.collect())
            }
        }
    }

    pub(crate) fn text(&mut self) -> String {
        const CHARS: [char; 24] = [
            'a',
            'b',
            'c',
            'Z',
            '0',
            '_',
            '.',
            ' ',
            '!',
            '"',
            '\\',
            '/',
            '\n',
            '\t',
            '\r',
            '\u{0}',
            '\u{1b}',
            '\u{7f}',
            'é',
            '日',
            '\u{2028}',
            '\u{E000}',
            '\u{FFFF}',
            '\u{1F600}',
        ];
        (0..self.below(7)).map(|_| CHARS[self.below(CHARS.len() as u64) as usize]).collect()
    }

    /// A value as JSON text with random white space, member order and escapes.
    pub(crate) fn spell(&mut self, value: &Value) -> String {
        let mut out = String::new();
        self.spell_into(value, &mut out);
        out
    }

    fn spell_into(&mut self, value: &Value, out: &mut String) {
        self.space(out);
        match value {
            Value::String(text) => self.spell_text(text, out),
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.spell_into(item, out);
                }
                out.push(']');
            }
            Value::Object(map) => {
                let mut members: Vec<_> = map.iter().collect();
                for last in (1..members.len()).rev() {
                    members.swap(last, self.below(last as u64 + 1) as usize);
                }
                out.push('{');
                for (index, (name, value)) in members.into_iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.space(out);
                    self.spell_text(name, out);
                    self.space(out);
                    out.push(':');
                    self.spell_into(value, out);
                }
                out.push('}');
            }
            other => out.push_str(&other.to_string()),
        }
        self.space(out);
    }

    fn spell_text(&mut self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            if self.chance(10) {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let upper = format!("\\u{unit:04X}");
                    out.push_str(&if self.chance(50) { upper } else { format!("\\u{unit:04x}") });
                }
                continue;
            }
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '/' if self.chance(50) => out.push_str("\\/"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => out.push(c),
            }
        }
        out.push('"');
    }

    fn space(&mut self, out: &mut String) {
        if self.chance(10) {
            out.push_str(self.pick(&[" ", "\n", "\t", "\r\n  "]));
        }
    }
}
