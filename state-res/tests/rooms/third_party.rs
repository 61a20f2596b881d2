//! What is signed of a third-party invite.

use serde_json::json;
use state_res::{auth::check, pdu::Pdu, room_version::RoomVersion, sign::SigningKey};

use crate::support::Fixture;

/// Numbers that later versions refuse are signed digit for digit, as they are hashed.
// clause: A8.7
#[test]
pub(crate) fn numbers_are_signed_as_they_came() {
    for version in RoomVersion::ALL.into_iter().filter(|version| *version <= RoomVersion::V5) {
        let f = Fixture::new(version);
        let key = SigningKey::from_seed("1", [7; 32]).unwrap();
        let signed = r#""a\u0001":[1.0,18446744073709551617],"mxid":"@carol:a","token":"t","x":1e3"#;
        let signature = key.sign(format!("{{{signed}}}").as_bytes());
        let content = json!({ "membership": "invite", "third_party_invite": { "signed": "SIGNED" } });
        let event = f.state("m.room.member", "@carol:a", "@bob:b", content);
        let invitation = json!({ "public_key": key.verify_key().to_base64() });
        let state = f.room(vec![f.state("m.room.third_party_invite", "t", "@bob:b", invitation)]);
        let judge = |signed: &str| {
            let signatures = json!({ "identity.example": { "ed25519:1": signature } });
            let signed = format!(r#"{{"signatures":{signatures},{signed},"unsigned":{{"b":2.5}}}}"#);
            let text = event.canonical_str().replace(r#""SIGNED""#, &signed);
            check(&Pdu::parse(version, text.as_bytes()).unwrap(), &state).map_err(|refusal| refusal.rule)
        };
        assert_eq!(judge(signed), Ok(()), "version {version}");
        for (as_signed, otherwise) in [("1e3", "1000"), ("1e3", "1000.0"), ("1.0", "1"), ("617]", "616]")] {
            assert_eq!(judge(&signed.replace(as_signed, otherwise)), Err("5.3.1.8"), "version {version}: {otherwise}");
        }
    }
}
