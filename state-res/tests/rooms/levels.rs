//! Levels, creators and the words of join rules and memberships: what the rules take for granted.

use serde_json::{Value, json};
use state_res::{
    auth::{JoinRule, Level, PowerLevel, PowerLevels, check, creators, is_creator},
    pdu::Pdu,
    room_version::RoomVersion,
};

use crate::support::{Fixture, pdu};

fn power(f: &Fixture, content: Value) -> Pdu {
    f.power("@alice:a", content)
}

/// A user's level by this content, `None` if it cannot be read.
fn level_of(f: &Fixture, content: Value, user: &str) -> Option<PowerLevel> {
    PowerLevels::new(&f.create, Some(&power(f, content))).user(user).ok()
}

// clause: D1.1
#[test]
pub(crate) fn users() {
    for version in RoomVersion::ALL {
        let f = Fixture::new(version);
        let finite = |level| Some(PowerLevel::Finite(level));
        assert_eq!(level_of(&f, json!({ "users": { "@bob:b": 7 }, "users_default": 3 }), "@bob:b"), finite(7));
        assert_eq!(level_of(&f, json!({ "users": { "@bob:b": 7 }, "users_default": 3 }), "@carol:a"), finite(3));
        assert_eq!(level_of(&f, json!({ "users": { "@bob:b": -7 } }), "@bob:b"), finite(-7));
        assert_eq!(level_of(&f, json!({}), "@bob:b"), finite(0));
        let none = PowerLevels::new(&f.create, None);
        assert_eq!(none.user("@bob:b").ok(), finite(0));
        // With power levels the creator is as others; from version 12 never.
        let (without, with) = if version < RoomVersion::V12 {
            (PowerLevel::Finite(100), PowerLevel::Finite(0))
        } else {
            (PowerLevel::Infinite, PowerLevel::Infinite)
        };
        assert_eq!(none.user("@alice:a").unwrap(), without);
        assert_eq!(level_of(&f, json!({}), "@alice:a"), Some(with));
    }
}

// clause: D1.2
#[test]
pub(crate) fn requirements() {
    let defaults = [
        (Level::UsersDefault, "users_default", 0),
        (Level::EventsDefault, "events_default", 0),
        (Level::StateDefault, "state_default", 50),
        (Level::Ban, "ban", 50),
        (Level::Redact, "redact", 50),
        (Level::Kick, "kick", 50),
        (Level::Invite, "invite", 0),
    ];
    for version in RoomVersion::ALL {
        let f = Fixture::new(version);
        for (level, property, default) in defaults {
            assert_eq!(PowerLevels::new(&f.create, None).level(level), Ok(default), "{property}");
            assert_eq!(PowerLevels::new(&f.create, Some(&power(&f, json!({})))).level(level), Ok(default));
            let given = power(&f, json!({ property: 33 }));
            assert_eq!(PowerLevels::new(&f.create, Some(&given)).level(level), Ok(33));
        }
        let given = power(&f, json!({ "events": { "x": 5 }, "events_default": 6, "state_default": 7 }));
        let given = PowerLevels::new(&f.create, Some(&given));
        for (event_type, is_state, required) in [("x", true, 5), ("x", false, 5), ("y", true, 7), ("y", false, 6)] {
            assert_eq!(given.event(event_type, is_state), Ok(required));
        }
        let none = PowerLevels::new(&f.create, None);
        assert_eq!((none.event("x", true), none.event("x", false)), (Ok(50), Ok(0)));
    }
}

// clause: D1.3, D1.4
#[test]
pub(crate) fn spellings() {
    let quoted = |text: &str| format!("\"{text}\"");
    // Spelling, value, the last version that has it.
    let spellings = [
        ("5", Some(5), 12),
        ("-5", Some(-5), 12),
        ("0", Some(0), 12),
        (r#""5""#, Some(5), 9),
        (r#"" \t\n+050 ""#, Some(50), 9),
        (r#""-007""#, Some(-7), 9),
        ("50.97", Some(50), 5),
        ("-0.5", Some(0), 5),
        ("-1.9", Some(-1), 5),
        ("5e1", Some(50), 5),
        // A double would make 50, -50 and 2⁵³ of these.
        ("49.999999999999999999", Some(49), 5),
        ("-0.00499999999999999999999e4", Some(-49), 5),
        ("9007199254740993.5", Some(9_007_199_254_740_993), 5),
        ("5.114698E4", Some(51_146), 5),
        ("99999999999999999999", Some(i64::MAX), 5),
        ("-99999999999999999999", Some(i64::MIN), 5),
        (r#""99999999999999999999""#, Some(i64::MAX), 5),
        (&quoted(&format!("-{}", "9".repeat(400))), Some(i64::MIN), 5),
        (&quoted(&format!("+{}50", "0".repeat(400))), Some(50), 9),
        ("1.7976931348623157e308", Some(i64::MAX), 5),
        // Never.
        (r#""""#, None, 0),
        (r#""5.0""#, None, 0),
        (r#""5e1""#, None, 0),
        (r#""+ 5""#, None, 0),
        (r#""--5""#, None, 0),
        (r#""0x5""#, None, 0),
        (r#""١""#, None, 0),
        ("true", None, 0),
        ("null", None, 0),
        ("[5]", None, 0),
        ("{}", None, 0),
    ];
    for version in RoomVersion::ALL {
        let f = Fixture::new(version);
        for (spelling, value, last) in spellings {
            let event =
                power(&f, json!({ "users": { "@bob:b": "LEVEL" }, "events": { "\"\n": "LEVEL" }, "ban": "LEVEL" }));
            let text = event.canonical_str().replace(r#""LEVEL""#, spelling);
            // From version 6 such numbers make no event.
            let Ok(event) = Pdu::parse(version, text.as_bytes()) else {
                assert!(last <= 5 && version > RoomVersion::V5, "version {version}: {spelling}");
                continue;
            };
            let levels = PowerLevels::new(&f.create, Some(&event));
            let expected = value.filter(|_| version.number() <= last);
            assert_eq!(levels.level(Level::Ban).ok(), expected, "version {version}: {spelling}");
            assert_eq!(levels.user("@bob:b").ok(), expected.map(PowerLevel::Finite), "version {version}: {spelling}");
            assert_eq!(levels.event("\"\n", true).ok(), expected, "version {version}: {spelling}");
        }
    }
}

/// What is compared is the integer, not the double: to write a level otherwise is no change, to write another one is.
// clause: D1.3
#[test]
pub(crate) fn levels_are_compared_as_written() {
    for version in RoomVersion::ALL.into_iter().filter(|version| *version <= RoomVersion::V5) {
        let f = Fixture::new(version);
        let levels = |ban: &str, bob: &str| {
            let event = power(&f, json!({ "users": { "@alice:a": 100, "@bob:b": "BOB" }, "ban": "BAN" }));
            let text = event.canonical_str().replace(r#""BAN""#, ban).replace(r#""BOB""#, bob);
            Pdu::parse(version, text.as_bytes()).unwrap()
        };
        let decide = |ban: &str, bob: &str| {
            check(&levels(ban, bob), &f.room(vec![levels("101", "100")])).map_err(|refusal| refusal.rule)
        };
        assert_eq!(decide("101", "100"), Ok(()));
        assert_eq!(decide("101.5", "1e2"), Ok(()));
        assert_eq!(decide("0.00101e5", "100.00000000000000000001"), Ok(()));
        assert_eq!(decide("100.99999999999999999999", "100"), Err("10.3.1"));
        assert_eq!(decide("101", "99.99999999999999999999"), Err("10.6.1"));
    }
}

// clause: D1.4
#[test]
pub(crate) fn beyond_a_double() {
    for version in RoomVersion::ALL.into_iter().filter(|version| *version <= RoomVersion::V5) {
        let f = Fixture::new(version);
        for place in [
            json!({ "ban": "LEVEL" }),
            json!({ "users_default": "LEVEL" }),
            json!({ "events": { "x": "LEVEL" } }),
            json!({ "notifications": { "room": "LEVEL" } }),
            json!({ "users": { "@bob:b": "LEVEL" } }),
        ] {
            let event = power(&f, place).canonical_str().to_owned();
            let judge = |level: &str| {
                let event = Pdu::parse(version, event.replace(r#""LEVEL""#, level).as_bytes()).unwrap();
                check(&event, &f.room(vec![]))
            };
            let rule = if version < RoomVersion::V6 { "10.1" } else { "9.1" };
            for level in ["1e400", "-1e400", "1.8e308", &"9".repeat(400)] {
                assert_eq!(judge(level).unwrap_err().rule, rule, "version {version}: {level} in {event}");
            }
            for level in ["1e300", "1.7976931348623157e308", "1e-400", "-0.0"] {
                assert_eq!(judge(level), Ok(()), "version {version}: {level} in {event}");
            }
        }
        // What is no level may be any number.
        let event = power(&f, json!({ "org.example": "LEVEL" })).canonical_str().replace(r#""LEVEL""#, "1e400");
        assert_eq!(check(&Pdu::parse(version, event.as_bytes()).unwrap(), &f.room(vec![])), Ok(()));
    }
}

// clause: D1.5
#[test]
pub(crate) fn unreadable_levels_refuse() {
    for version in RoomVersion::ALL.into_iter().filter(|version| *version <= RoomVersion::V9) {
        let f = Fixture::new(version);
        let odd = power(&f, json!({ "ban": "high", "events": { "m.room.topic": [] }, "users": { "@alice:a": 100 } }));
        assert_eq!(check(&odd, &f.room(vec![])), Ok(()), "a first event may have them");
        let state = f.room(vec![odd, f.member("@bob:b", "join")]);
        let rule = |event: Pdu| check(&event, &state).map_err(|refusal| refusal.rule);
        let aliases = |number: u32| (if version < RoomVersion::V6 { number } else { number - 1 }).to_string();
        assert_eq!(rule(f.state("m.room.topic", "", "@alice:a", json!({}))), Err(aliases(8).as_str()));
        assert!(rule(f.change("@alice:a", "@bob:b", "ban")).is_err());
        assert_eq!(rule(f.state("m.room.name", "", "@alice:a", json!({}))), Ok(()));
        assert_eq!(rule(f.change("@alice:a", "@bob:b", "leave")), Ok(()));
    }
}

// clause: D2.1, D2.2
#[test]
pub(crate) fn creators_of_every_version() {
    for version in RoomVersion::ALL {
        let f = Fixture::with_create(version, json!({ "creator": "@bob:b", "additional_creators": ["@carol:a"] }));
        let expected: &[&str] = match version.number() {
            ..=10 => &["@bob:b"],
            11 => &["@alice:a"],
            _ => &["@alice:a", "@carol:a"],
        };
        assert_eq!(creators(&f.create).collect::<Vec<_>>(), expected, "version {version}");
        let none = PowerLevels::new(&f.create, None);
        for user in ["@alice:a", "@bob:b", "@carol:a"] {
            assert_eq!(is_creator(&f.create, user), expected.contains(&user));
            let level = match (expected.contains(&user), version == RoomVersion::V12) {
                (true, true) => PowerLevel::Infinite,
                (true, false) => PowerLevel::Finite(100),
                (false, _) => PowerLevel::Finite(0),
            };
            assert_eq!(none.user(user), Ok(level), "version {version}: {user}");
        }
        assert!(PowerLevel::Infinite.reaches(i64::MAX) && PowerLevel::Infinite > PowerLevel::Finite(i64::MAX));
    }
}

// clause: D2.4
#[test]
pub(crate) fn words() {
    for version in RoomVersion::ALL {
        let number = version.number();
        for (word, restricted, knocks) in [
            ("public", 13, 13),
            ("invite", 13, 13),
            ("private", 13, 13),
            ("knock", 13, 7),
            ("restricted", 8, 13),
            ("knock_restricted", 10, 10),
            ("Public", 13, 13),
        ] {
            let rule = JoinRule::parse(word);
            assert_eq!(rule.is_restricted(version), number >= restricted, "version {version}: {word}");
            assert_eq!(rule.admits_knocks(version), number >= knocks, "version {version}: {word}");
        }
        // A join rules event that does not say is as none.
        let f = Fixture::new(version);
        let event = json!({ "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": ["public"] } });
        let event = pdu(version, {
            let mut event = event;
            event["room_id"] = json!(f.create.room_id());
            event
        });
        assert_eq!(JoinRule::of(Some(&event)), JoinRule::of(None));
    }
}
