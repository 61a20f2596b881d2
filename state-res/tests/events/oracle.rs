//! Generated events, judged by this crate and by `ruma-signatures`.

use std::collections::BTreeMap;

use ruma_common::{
    CanonicalJsonObject, CanonicalJsonValue,
    canonical_json::redact,
    room_version_rules::RoomVersionRules,
    serde::{Base64, base64::Standard},
};
use ruma_signatures::{
    Ed25519KeyPair, PublicKeyMap, Verified, content_hash, hash_and_sign_event, reference_hash, sign_json,
    verify_event as ruma_verify_event, verify_json as ruma_verify_json,
};
use serde_json::{Map, Value, json};
use state_res::{
    canonical_json::{Numbers, canonicalise},
    hash,
    pdu::{MAX_PDU_BYTES, Pdu},
    room_version::RoomVersion,
    sign::{self, ContentHash, SigningKey, VerifyKey, verify_event},
};

use crate::generate::{Generator, event_json};

/// Generated events per room version; over all versions more than 10,000.
const EVENTS_PER_VERSION: u64 = 900;

/// The servers of generated events and the seeds of their keys.
const SERVERS: [(&str, u8); 3] = [("a.example", 1), ("b.example", 2), ("c.example", 3)];

fn rules(version: RoomVersion) -> RoomVersionRules {
    [
        RoomVersionRules::V1,
        RoomVersionRules::V2,
        RoomVersionRules::V3,
        RoomVersionRules::V4,
        RoomVersionRules::V5,
        RoomVersionRules::V6,
        RoomVersionRules::V7,
        RoomVersionRules::V8,
        RoomVersionRules::V9,
        RoomVersionRules::V10,
        RoomVersionRules::V11,
        RoomVersionRules::V12,
    ][usize::from(version.number()) - 1]
        .clone()
}

fn ruma_key(seed: u8) -> Ed25519KeyPair {
    // PKCS#8, version 1: a fixed beginning and the seed (RFC 8410).
    let mut document =
        vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    document.extend([seed; 32]);
    Ed25519KeyPair::from_der(&document, "k1".to_owned()).unwrap()
}

fn our_key(seed: u8) -> SigningKey {
    SigningKey::from_seed("k1", [seed; 32]).unwrap()
}

fn ruma_keys() -> PublicKeyMap {
    SERVERS
        .into_iter()
        .map(|(server, seed)| {
            let key = Base64::<Standard>::new(our_key(seed).verify_key().as_bytes().to_vec());
            (server.to_owned(), BTreeMap::from([("ed25519:k1".to_owned(), key)]))
        })
        .collect()
}

fn lookup(server: &str, key_id: &str) -> Option<VerifyKey> {
    let (_, seed) = SERVERS.into_iter().find(|(name, _)| *name == server)?;
    (key_id == "ed25519:k1").then(|| our_key(seed).verify_key())
}

fn canonical_of(object: &CanonicalJsonObject) -> String {
    CanonicalJsonValue::Object(object.clone()).to_string()
}

#[derive(Default, Debug)]
struct Counts {
    events: u64,
    kept_content: u64,
    lost_content: u64,
    matches: u64,
    differs: u64,
    wrong_signature: u64,
    several_signers: u64,
    no_signer: u64,
    /// Third-party invites that their redacted copies are not, with wrong hashes (`differences_from_ruma`).
    spared_by_ruma: u64,
}

/// Canonical JSON, content hash, reference hash, event id, redaction, signing and verifying of generated events, in all
/// versions. (`ruma-signatures` declares versions 1 to 5 out of scope for their numbers; the generated ones have only
/// integers that all versions allow.)
// clause: E4.2
#[test]
pub(crate) fn generated_events() {
    let keys = ruma_keys();
    let mut total = 0;
    for version in RoomVersion::ALL {
        let rules = rules(version);
        let mut counts = Counts::default();
        for number in 0..EVENTS_PER_VERSION {
            let mut generator = Generator::new(u64::from(version.number()) << 32 | number);
            one_event(version, &rules, &keys, &mut generator, &mut counts);
        }
        println!("room version {version}: {counts:?}");
        total += counts.events;
        for count in [counts.kept_content, counts.lost_content, counts.matches, counts.differs, counts.wrong_signature]
        {
            assert!(count > 0, "version {version} is not covered: {counts:?}");
        }
        assert_eq!(counts.several_signers > 0, version.number() >= 8, "{counts:?}");
        assert_eq!(counts.no_signer > 0, version.number() >= 3, "{counts:?}");
    }
    println!("generated events: {total}");
    assert!(total >= 10_000);
}

fn one_event(
    version: RoomVersion,
    rules: &RoomVersionRules,
    keys: &PublicKeyMap,
    generator: &mut Generator,
    counts: &mut Counts,
) {
    counts.events += 1;
    let event = generator.event(version);

    // Signing: the same signatures by both.
    let mut theirs: CanonicalJsonObject = serde_json::from_value(Value::Object(event.clone())).unwrap();
    let mut ours = event.clone();
    for (server, seed) in SERVERS {
        if server != "b.example" {
            hash_and_sign_event(server, &ruma_key(seed), &mut theirs, &rules.redaction).unwrap();
            sign::hash_and_sign_event(version, &mut ours, server, &our_key(seed)).unwrap();
        }
    }
    assert_eq!(serde_json::to_value(&theirs).unwrap(), Value::Object(ours.clone()));

    // Reading, from a text spelt in another way.
    let spelt = generator.spell(&Value::Object(ours.clone()));
    let pdu = Pdu::parse(version, spelt.as_bytes()).unwrap_or_else(|error| panic!("{error}: {spelt}"));
    let mut sent = theirs.clone();
    let unsigned = sent.remove("unsigned");
    assert_eq!(pdu.canonical_str(), canonical_of(&sent), "{spelt}");
    assert_eq!(
        pdu.unsigned_json().map(|json| String::from_utf8(json.to_vec()).unwrap()),
        unsigned.map(|u| u.to_string())
    );
    assert_eq!(Value::Object(pdu.content().clone()), ours["content"]);

    // Hashes and the identifier.
    assert_eq!(hash::encode(&pdu.content_hash()), content_hash(&theirs).unwrap().encode());
    let reference = reference_hash(&theirs, rules).unwrap();
    if version.number() >= 3 {
        assert_eq!(pdu.event_id(), format!("${reference}"));
    } else {
        assert_eq!(hash::encode(&pdu.reference_hash()), reference);
    }

    // Redaction.
    let redacted = redact(theirs.clone(), &rules.redaction, None).unwrap();
    assert_eq!(pdu.redacted().canonical_str(), canonical_of(&redacted));
    if pdu.redacted().content().is_empty() {
        counts.lost_content += 1;
    } else {
        counts.kept_content += 1;
    }

    // Verifying: whole, redacted, with changes.
    let signers = sign::required_signers(&pdu).unwrap().len();
    counts.several_signers += u64::from(signers > 1);
    counts.no_signer += u64::from(signers == 0);
    verdict(version, rules, keys, &theirs, counts);
    verdict(version, rules, keys, &redacted, counts);
    let mut changed = theirs.clone();
    match generator.below(6) {
        0 => drop(changed.insert("extra.key".to_owned(), CanonicalJsonValue::Null)),
        1 => drop(changed.insert("depth".to_owned(), CanonicalJsonValue::Integer(0_i32.into()))),
        2 => drop(changed.insert("origin".to_owned(), CanonicalJsonValue::String("x".to_owned()))),
        3 => drop(changed.insert("content".to_owned(), CanonicalJsonValue::Object(BTreeMap::new()))),
        4 => drop(changed.insert("unsigned".to_owned(), CanonicalJsonValue::Object(BTreeMap::new()))),
        _ => {
            let signatures: CanonicalJsonValue = json!({"a.example": {"ed25519:other": "AAAA"}}).try_into().unwrap();
            changed.insert("signatures".to_owned(), signatures);
        }
    }
    verdict(version, rules, keys, &changed, counts);
}

/// Compares what both say of an event.
fn verdict(
    version: RoomVersion,
    rules: &RoomVersionRules,
    keys: &PublicKeyMap,
    event: &CanonicalJsonObject,
    counts: &mut Counts,
) {
    let theirs = ruma_verify_event(keys, event, rules);
    let pdu = Pdu::parse(version, canonical_of(event).as_bytes()).unwrap();
    let ours = verify_event(&pdu, lookup);
    let agree = match (&ours, &theirs) {
        (Ok(ContentHash::Matches), Ok(Verified::All)) => {
            counts.matches += 1;
            true
        }
        (Ok(ContentHash::Differs), Ok(Verified::Signatures)) => {
            counts.differs += 1;
            true
        }
        (Err(_), Err(_)) => {
            counts.wrong_signature += 1;
            true
        }
        (Err(_), Ok(Verified::Signatures))
            if is_third_party_invite(&pdu) && !is_third_party_invite(&pdu.redacted()) =>
        {
            counts.spared_by_ruma += 1;
            true
        }
        _ => false,
    };
    assert!(agree, "version {version}: {ours:?}, ruma: {theirs:?}: {}", canonical_of(event));
}

fn is_third_party_invite(pdu: &Pdu) -> bool {
    pdu.event_type() == "m.room.member"
        && pdu.content().get("membership") == Some(&json!("invite"))
        && pdu.content().contains_key("third_party_invite")
}

/// Appendices, "Signing JSON", for generated JSON that is no event.
#[test]
fn generated_json() {
    for number in 0..500 {
        let mut generator = Generator::new(number);
        let mut ours: Map<String, Value> = generator.event(RoomVersion::V10);
        let mut theirs: CanonicalJsonObject = serde_json::from_value(Value::Object(ours.clone())).unwrap();
        sign_json("a.example", &ruma_key(1), &mut theirs).unwrap();
        sign::sign_json(&mut ours, "a.example", &our_key(1)).unwrap();
        assert_eq!(serde_json::to_value(&theirs).unwrap(), Value::Object(ours.clone()));
        ruma_verify_json(&ruma_keys(), &theirs).unwrap();
        sign::verify_json(&ours, "a.example", "ed25519:k1", &our_key(1).verify_key()).unwrap();
        let spelt = generator.spell(&Value::Object(ours));
        let canonical = canonicalise(spelt.as_bytes(), Numbers::Strict).unwrap();
        assert_eq!(String::from_utf8(canonical).unwrap(), canonical_of(&theirs));
    }
}

/// Where `ruma-signatures` and the specification differ, and that we follow the specification.
#[test]
fn differences_from_ruma() {
    // Client-server API, "Size limits": 65,536 bytes are allowed; ruma stops one byte earlier.
    let version = RoomVersion::V10;
    let base = Pdu::parse(version, event_json(version, "X", None, r#"{"b":""}"#).as_bytes()).unwrap();
    // The hashed part of an event is smaller than the event, so ruma's limit shows only in the function on its own.
    let padding = "x".repeat(MAX_PDU_BYTES - base.canonical().len());
    let largest = event_json(version, "X", None, &json!({"b": padding}).to_string());
    assert_eq!(Pdu::parse(version, largest.as_bytes()).unwrap().canonical().len(), MAX_PDU_BYTES);
    let hashed: CanonicalJsonObject =
        BTreeMap::from([("b".to_owned(), CanonicalJsonValue::String("x".repeat(MAX_PDU_BYTES - 8)))]);
    assert_eq!(canonical_of(&hashed).len(), MAX_PDU_BYTES);
    content_hash(&hashed).unwrap_err();
    let object = Map::from_iter([("b".to_owned(), json!("x".repeat(MAX_PDU_BYTES - 8)))]);
    hash::content_hash(version, &object).unwrap();

    // Room version 11, "Redactions": `m.room.member` keeps "the `signed` key of the `third_party_invite` key". Where that
    // is no object it has no such key; ruma keeps the value.
    let content = json!({"membership": "join", "third_party_invite": "text"});
    let text = event_json(RoomVersion::V11, "m.room.member", Some("@alice:a.example"), &content.to_string());
    let pdu = Pdu::parse(RoomVersion::V11, text.as_bytes()).unwrap();
    let theirs = redact(serde_json::from_str(&text).unwrap(), &RoomVersionRules::V11.redaction, None).unwrap();
    assert_eq!(theirs["content"].to_string(), r#"{"membership":"join","third_party_invite":"text"}"#);
    assert_eq!(pdu.redacted().content_json(), br#"{"membership":"join"}"#);

    // Appendices, "Canonical JSON", "Examples": `-0` is the integer zero; ruma refuses to read it.
    serde_json::from_str::<CanonicalJsonObject>(r#"{"a":-0}"#).unwrap_err();
    assert_eq!(canonicalise(br#"{"a":-0}"#, Numbers::Strict).unwrap(), br#"{"a":0}"#);

    // Rule 4.2 (room version 8 and later): a `join_authorised_via_users_server` that names no user cannot be signed for.
    // Both refuse, ruma because it is no string; but only in member events does the key mean anything: ruma asks for the
    // signature whatever the event's type.
    let content = json!({"join_authorised_via_users_server": "@carol:z.example"});
    let text = event_json(RoomVersion::V9, "m.room.message", None, &content.to_string());
    let mut event: Map<String, Value> = serde_json::from_str(&text).unwrap();
    event.insert("signatures".to_owned(), json!({}));
    sign::hash_and_sign_event(RoomVersion::V9, &mut event, "a.example", &our_key(1)).unwrap();
    let pdu = Pdu::from_value(RoomVersion::V9, &event).unwrap();
    assert_eq!(verify_event(&pdu, lookup), Ok(ContentHash::Matches));
    let theirs: CanonicalJsonObject = serde_json::from_value(Value::Object(event)).unwrap();
    ruma_verify_event(&ruma_keys(), &theirs, &RoomVersionRules::V9).unwrap_err();

    // "Validating hashes and signatures on received events": a third-party invite may come from another server than its sender's, since the
    // authorisation rules judge it. With a wrong hash it is redacted first, and is none any more: ruma lets it through unsigned, so that
    // whoever uses it alone takes an invite in anyone's name.
    let content = json!({"membership": "invite", "third_party_invite": {}});
    let text = event_json(RoomVersion::V10, "m.room.member", Some("@mallory:evil.example"), &content.to_string());
    let mut event: Map<String, Value> = serde_json::from_str(&text).unwrap();
    event.insert("signatures".to_owned(), json!({}));
    event.insert("hashes".to_owned(), json!({"sha256": "A".repeat(43)}));
    let pdu = Pdu::from_value(RoomVersion::V10, &event).unwrap();
    verify_event(&pdu, lookup).unwrap_err();
    let theirs: CanonicalJsonObject = serde_json::from_value(Value::Object(event)).unwrap();
    assert_eq!(ruma_verify_event(&ruma_keys(), &theirs, &RoomVersionRules::V10).unwrap(), Verified::Signatures);

    // Rule 4.1 (5.1): a member event without `membership` is rejected by the authorisation rules; its signatures are
    // judged like others before. ruma refuses to judge them.
    let mut event: Map<String, Value> =
        serde_json::from_str(&event_json(RoomVersion::V9, "m.room.member", Some("@alice:a.example"), "{}")).unwrap();
    event.insert("signatures".to_owned(), json!({}));
    sign::hash_and_sign_event(RoomVersion::V9, &mut event, "a.example", &our_key(1)).unwrap();
    let pdu = Pdu::from_value(RoomVersion::V9, &event).unwrap();
    assert_eq!(verify_event(&pdu, lookup), Ok(ContentHash::Matches));
    let theirs: CanonicalJsonObject = serde_json::from_value(Value::Object(event)).unwrap();
    ruma_verify_event(&ruma_keys(), &theirs, &RoomVersionRules::V9).unwrap_err();
}
