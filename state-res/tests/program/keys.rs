//! `--keys`.

use serde_json::{Value, json};
use state_res::room_version::RoomVersion;

use crate::support::{ALICE, BOB, Duel, answer, complaint, file, key_of};

const SERVERS: [&str; 3] = ["a", "b", "c"];

fn plain() -> Value {
    SERVERS
        .iter()
        .map(|server| (server.to_string(), json!({ "ed25519:k1": key_of(server).verify_key().to_base64() })))
        .collect()
}

/// What a server answers about its keys.
fn document(server: &str, valid_until: u64) -> Value {
    json!({
        "server_name": server,
        "verify_keys": { "ed25519:k1": { "key": key_of(server).verify_key().to_base64() } },
        "old_verify_keys": {},
        "valid_until_ts": valid_until,
        "signatures": {},
    })
}

fn keys_file(name: &str, keys: &Value) -> String {
    file(name, &serde_json::to_vec(keys).unwrap()).to_str().unwrap().to_owned()
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// All forms of the file serve, for every command that reads a room.
#[test]
fn good_signatures() {
    let documents: Value = SERVERS.iter().map(|server| document(server, 1 << 50)).collect();
    for (at, keys) in [plain(), documents.clone(), json!({ "server_keys": documents })].iter().enumerate() {
        let keys = keys_file(&format!("good{at}.json"), keys);
        for version in RoomVersion::ALL {
            let duel = Duel::new(version, true);
            assert_eq!(answer(&["resolve", "--keys", &keys, "-"], &duel.file()), duel.resolution());
            let verdict = answer(&["auth", "-", &duel.carol_joins, "--keys", &keys], &duel.file());
            assert_eq!(verdict["by_auth_events"]["allowed"], true);
        }
    }
    // Of one server alone, the others are unknown.
    let keys = keys_file("one.json", &document("a", 1 << 50));
    let complaint = complaint(&["resolve", "-", "--keys", &keys], &bytes(&Duel::new(RoomVersion::V12, true).file()));
    assert!(complaint.contains("events[4].signatures: no key of b"), "{complaint}");
}

// clause: S3.2
/// A wrong signature, none, a key that had expired.
#[test]
fn bad_signatures() {
    let keys = keys_file("bad.json", &plain());
    let arguments = ["resolve", "-", "--keys", &keys];
    for version in RoomVersion::ALL {
        let mut file = Duel::new(version, true).file();
        let good = file.clone();
        file["events"][1]["depth"] = json!(99);
        let told = complaint(&arguments, &bytes(&file));
        assert!(told.contains("events[1].signatures: the signature by a with ed25519:k1 is wrong"), "{told}");
        file = good.clone();
        file["events"][1]["signatures"] = json!({ "b": {} });
        let told = complaint(&arguments, &bytes(&file));
        assert!(told.contains("events[1].signatures: there is no ed25519 signature by a"), "{told}");
        file["events"][1].as_object_mut().unwrap().remove("signatures");
        let told = complaint(&arguments, &bytes(&file));
        assert!(told.contains("events[1]: has no `signatures`"), "{told}");

        // Events are of the times 1000, 1001, …
        let expired: Value = SERVERS.iter().map(|server| document(server, 1_003)).collect();
        let expired = keys_file("expired.json", &expired);
        let arguments = ["resolve", "-", "--keys", &expired];
        if version < RoomVersion::V5 {
            answer(&arguments, &good);
        } else {
            let told = complaint(&arguments, &bytes(&good));
            assert!(told.contains("events[4].signatures: no key of b that signed is known and was valid"), "{told}");
        }
    }
}

// clause: S3.2
/// A key that its server is known to have stopped using signs nothing later, in any room version.
#[test]
fn expired_keys() {
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, true);
        // Events are of the times 1000, 1001, …, and Bob's server has signed those of 1004 and 1007.
        for (expired_at, refused) in [(1_003, Some(4)), (1_006, Some(7)), (1_007, None)] {
            let mut documents: Value = SERVERS.iter().map(|server| document(server, 1 << 50)).collect();
            documents[1]["verify_keys"] = json!({});
            let old = json!({ "key": key_of("b").verify_key().to_base64(), "expired_ts": expired_at });
            documents[1]["old_verify_keys"] = json!({ "ed25519:k1": old });
            let keys = keys_file(&format!("old{version}-{expired_at}.json"), &documents);
            let arguments = ["resolve", "-", "--keys", &keys];
            match refused {
                None => assert_eq!(answer(&arguments, &duel.file()), duel.resolution()),
                Some(at) => {
                    let told = complaint(&arguments, &bytes(&duel.file()));
                    let reason = format!("events[{at}].signatures: no key of b that signed is known and was valid");
                    assert!(told.contains(&reason), "{version}: {told}");
                }
            }
        }
    }
}

/// An event whose content hash is wrong is taken redacted: here Bob's join keeps its membership, the power levels theirs.
#[test]
fn wrong_content_hash() {
    let keys = keys_file("hash.json", &plain());
    let duel = Duel::new(RoomVersion::V11, true);
    let mut file = duel.file();
    // Redaction removes both members, so that ids and signatures stay what they were.
    file["events"][4]["content"]["displayname"] = json!("Robert");
    file["events"][7]["content"]["topic"] = json!("changed on the way");
    assert_eq!(answer(&["resolve", "-", "--keys", &keys], &file), duel.resolution());
    assert_eq!(answer(&["resolve", "-"], &file), duel.resolution());
    let svg = |arguments: &[&str]| {
        let output = crate::support::run(arguments, &bytes(&file));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(svg(&["graph", "-", "--format", "svg"]).contains("changed on the way"));
    assert!(!svg(&["graph", "-", "--format", "svg", "--keys", &keys]).contains("changed on the way"));
}

/// That whoever vouches for a join has not signed is not for the file to be refused, but a rule of its own.
#[test]
fn nobody_vouched() {
    let keys = keys_file("vouch.json", &plain());
    for version in RoomVersion::ALL {
        let duel = Duel::new(version, true);
        let mut room = duel.room;
        let [_, _, power, rules, _] = duel.common.as_slice() else { panic!("five") };
        let join = |authoriser: Value| json!({ "membership": "join", "join_authorised_via_users_server": authoriser });
        let dora = "@dora:b";
        let prev = [duel.topic_of_alice.as_str()];
        let not_signed = room.add("m.room.member", Some(dora), dora, join(json!(ALICE)), &prev, &[power, rules]);
        let own = room.add("m.room.member", Some(dora), dora, join(json!(BOB)), &prev, &[power, rules]);
        let nobody = room.add("m.room.member", Some(dora), dora, join(json!(5)), &prev, &[power, rules]);
        let [one, other] = duel_states(&duel.common, &duel.carol_is_banned, &duel.carol_joins);
        let file = room.file(&[&one, &other]);
        let rule = match version.number() {
            ..=7 => None,
            8..=11 => Some("4.2.1"),
            _ => Some("5.2.1"),
        };
        for (id, refusing) in [(&not_signed, rule), (&nobody, rule), (&own, None)] {
            for with in [true, false] {
                let mut arguments = vec!["auth", "-", id.as_str()];
                if with {
                    arguments.extend(["--keys", &keys]);
                }
                let verdict = answer(&arguments, &file);
                for of in ["by_auth_events", "by_state"] {
                    match refusing.filter(|_| with) {
                        Some(rule) => assert_eq!(verdict[of]["rule"], rule, "{version}, {of}: {verdict}"),
                        None => assert_eq!(verdict[of]["allowed"], true, "{version}, {of}: {verdict}"),
                    }
                }
            }
        }
    }
}

fn duel_states<'a>(common: &'a [String], ban: &'a str, join: &'a str) -> [Vec<&'a str>; 2] {
    [ban, join].map(|last| common.iter().map(String::as_str).chain([last]).collect())
}

/// A broken file of keys.
#[test]
fn broken() {
    let room = bytes(&Duel::new(RoomVersion::V12, true).file());
    for (at, (keys, parts)) in [
        (json!(1), &["must be an object, not a number"][..]),
        (json!([]), &[":1:1: holds no ed25519 key: expected are "]),
        (json!({}), &["holds no ed25519 key"]),
        (json!({ "server_keys": [] }), &["holds no ed25519 key"]),
        (json!({ "a": {}, "b": { "other:1": "x" } }), &["holds no ed25519 key"]),
        (json!([{ "server_name": "a", "valid_until_ts": 1, "verify_keys": {} }]), &["holds no ed25519 key"]),
        (json!({ "a": 1 }), &[": a: must be an object"]),
        (json!({ "a": { "ed25519:1": "!" } }), &["a.ed25519:1: not an ed25519 public key"]),
        (json!([{ "server_name": "a" }]), &["[0]: has no `valid_until_ts`"]),
        (json!({ "verify_keys": {} }), &["has no `server_name`"]),
        (json!([{ "server_name": "a", "valid_until_ts": "x" }]), &["[0].valid_until_ts: must be an integer"]),
        (json!([{ "server_name": "a", "valid_until_ts": 1, "verify_keys": { "ed25519:1": {} } }]), &["has no `key`"]),
    ]
    .into_iter()
    .enumerate()
    {
        let keys = keys_file(&format!("broken{at}.json"), &keys);
        let told = complaint(&["resolve", "-", "--keys", &keys], &room);
        for part in parts {
            assert!(told.contains(part) && told.contains(&keys), "{part}: {told}");
        }
    }
}
