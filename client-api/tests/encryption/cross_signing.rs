//! Client-server API, "Cross-signing".

use crate::actions::{identity, key, public, signed};
use crate::server::{Login, PASSWORD, password_auth, with_server};
use serde_json::{Value, json};

const UPLOAD: &str = "/keys/device_signing/upload";
const SIGNATURES: &str = "/keys/signatures/upload";

/// A cross-signing key made from a name.
fn cross_signing_key(who: &Login, usage: &str, name: &str) -> Value {
    json!({ "user_id": &who.user_id, "usage": [usage], "keys": { format!("ed25519:{}", public(name)): public(name) } })
}

/// A master key and what it signed.
fn three_keys(who: &Login, name: &str) -> Value {
    let of = |usage: &str| cross_signing_key(who, usage, &format!("{name} {usage}"));
    let master = format!("{name} master");
    let by_master = |object: &Value| signed(object, &who.user_id, &public(&master), &key(&master));
    json!({
        "master_key": of("master"),
        "self_signing_key": by_master(&of("self_signing")),
        "user_signing_key": by_master(&of("user_signing")),
    })
}

#[test]
fn new_keys_need_the_password_and_first_or_known_ones_do_not() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let first = three_keys(&alice, "first");
        server.post(UPLOAD, &alice.token, first.clone()).await.ok();
        // The answer was lost.
        server.post(UPLOAD, &alice.token, first.clone()).await.ok();
        server.post(UPLOAD, &alice.token, json!({ "self_signing_key": first["self_signing_key"] })).await.ok();

        let mut second = three_keys(&alice, "second");
        let session = server.post(UPLOAD, &alice.token, second.clone()).await.challenge("m.login.password");
        let own = server.query(&alice, &[&alice.user_id]).await;
        assert_eq!(own["master_keys"][&alice.user_id], first["master_key"]);
        assert_eq!(own["user_signing_keys"][&alice.user_id], first["user_signing_key"]);
        second["auth"] = password_auth(&session, "alice", PASSWORD);
        server.post(UPLOAD, &alice.token, second.clone()).await.ok();

        // Others see all but the user-signing key.
        let seen = server.query(&bob, &[&alice.user_id]).await;
        assert_eq!(seen["master_keys"], json!({ &alice.user_id: second["master_key"] }));
        assert_eq!(seen["self_signing_keys"], json!({ &alice.user_id: second["self_signing_key"] }));
        assert_eq!(seen["user_signing_keys"], json!({}));

        // A new master key alone ends what the old one signed.
        let mut third = json!({ "master_key": cross_signing_key(&alice, "master", "third") });
        let session = server.post(UPLOAD, &alice.token, third.clone()).await.challenge("m.login.password");
        third["auth"] = password_auth(&session, "alice", PASSWORD);
        server.post(UPLOAD, &alice.token, third).await.ok();
        let own = server.query(&alice, &[&alice.user_id]).await;
        assert_eq!((&own["self_signing_keys"], &own["user_signing_keys"]), (&json!({}), &json!({})));
    });
}

#[test]
fn keys_that_cannot_be_are_refused() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let good = three_keys(&alice, "a");
        let change = |pointer: &str, value: Value| {
            let mut keys = good.clone();
            *keys.pointer_mut(pointer).unwrap() = value;
            keys
        };
        let unsigned = json!({ "master_key": good["master_key"],
            "self_signing_key": cross_signing_key(&alice, "self_signing", "x") });
        let by_another = three_keys(&alice, "b")["self_signing_key"].clone();
        for (body, code) in [
            (json!({ "self_signing_key": good["self_signing_key"] }), "M_MISSING_PARAM"),
            (unsigned, "M_INVALID_SIGNATURE"),
            (change("/self_signing_key", by_another), "M_INVALID_SIGNATURE"),
            (change("/master_key/user_id", json!("@bob:example.org")), "M_INVALID_PARAM"),
            (change("/master_key/usage", json!(["self_signing"])), "M_INVALID_PARAM"),
            (change("/master_key/keys", json!({ "ed25519:a": "b" })), "M_INVALID_PARAM"),
            (change("/master_key/keys", json!({ "ed25519:AAAA": "AAAA" })), "M_INVALID_PARAM"),
            (change("/master_key/keys", json!(5)), "M_BAD_JSON"),
        ] {
            server.post(UPLOAD, &alice.token, body).await.error(400, code);
        }
        let seen = server.query(&alice, &[&alice.user_id]).await;
        assert_eq!(seen["master_keys"], json!({}));
        // A device of this name would make signatures mean two things.
        let mut login = crate::server::password_login("alice", PASSWORD);
        login["device_id"] = json!(public("a master"));
        server.tell("/login", login).await.login();
        server.post(UPLOAD, &alice.token, good).await.error(403, "M_FORBIDDEN");
    });
}

#[test]
fn signatures_are_checked_one_by_one_and_shown_to_whom_they_concern() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        for who in [&alice, &bob] {
            server.post(UPLOAD, &who.token, three_keys(who, &who.user_id)).await.ok();
        }
        let device = server.upload_identity(&alice).await;
        let user = alice.user_id.as_str();
        let (self_signing, user_signing) = (format!("{user} self_signing"), format!("{user} user_signing"));
        let master = three_keys(&alice, user)["master_key"].clone();
        let bobs = three_keys(&bob, &bob.user_id)["master_key"].clone();
        let bobs_public = public(&format!("{} master", bob.user_id));

        let device_name = format!("{user}{}", alice.device_id);
        let by_self_signing = signed(&device, user, &public(&self_signing), &key(&self_signing));
        let by_device = signed(&master, user, &alice.device_id, &key(&device_name));
        let by_user_signing = signed(&bobs, user, &public(&user_signing), &key(&user_signing));
        let mut changed = by_self_signing.clone();
        changed["algorithms"] = json!([]);
        let forged = signed(&device, user, &public(&self_signing), &key("somebody else"));
        let upload = async |body: Value| server.post(SIGNATURES, &alice.token, body).await.ok()["failures"].clone();

        for (object, code) in [(changed, "M_INVALID_PARAM"), (forged, "M_INVALID_SIGNATURE"), (json!(5), "M_BAD_JSON")]
        {
            let failures = upload(json!({ user: { &alice.device_id: object } })).await;
            assert_eq!(failures[user][&alice.device_id]["errcode"], code, "{failures}");
        }
        let failures = upload(json!({
            user: { &alice.device_id: by_self_signing, public(&format!("{user} master")): by_device, "NOPE": device },
            &bob.user_id: { &bobs_public: by_user_signing },
        }))
        .await;
        assert_eq!(failures.as_object().unwrap().len(), 1, "{failures}");
        assert_eq!(failures[user]["NOPE"]["errcode"], "M_NOT_FOUND");

        let signatures = |answer: &Value, what: &str, whose: &str| answer[what][whose]["signatures"].clone();
        let seen = server.query(&carol, &[user, &bob.user_id]).await;
        let of_device = &seen["device_keys"][user][&alice.device_id]["signatures"][user];
        assert!(of_device[format!("ed25519:{}", public(&self_signing))].is_string(), "{seen}");
        assert!(of_device[format!("ed25519:{}", alice.device_id)].is_string(), "{seen}");
        let of_master = signatures(&seen, "master_keys", user);
        assert!(of_master[user][format!("ed25519:{}", alice.device_id)].is_string(), "{seen}");
        // Whom alice has verified is her own business.
        for (who, sees) in [(&alice, true), (&bob, false), (&carol, false)] {
            let seen = server.query(who, &[&bob.user_id]).await;
            let signature = &signatures(&seen, "master_keys", &bob.user_id)[user];
            assert_eq!(signature[format!("ed25519:{}", public(&user_signing))].is_string(), sees, "{}", who.user_id);
        }
        // A device that uploads its keys again keeps what signed them.
        server.upload(&alice, json!({ "device_keys": identity(&alice) })).await;
        let again = server.query(&carol, &[user]).await;
        assert_eq!(again["device_keys"][user][&alice.device_id]["signatures"][user], *of_device);
    });
}
