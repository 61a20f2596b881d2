//! Invites to an address, which an identity server signs for whoever turns out to own it, used a second time.

use serde_json::{Map, Value, json};
use state_res::sign::sign_json;

use super::room::*;
use crate::proposals::identity_keys;

fn token(key: bool) -> Deed {
    let content = if key { json!({ "public_key": identity_keys()[0].verify_key().to_base64() }) } else { json!({}) };
    state("m.room.third_party_invite", "token", content)
}

/// An invite of someone that redeems a token which was signed for Eve.
fn redeem(target: &str) -> Deed {
    let mut signed: Map<String, Value> = Map::new();
    signed.insert("mxid".to_owned(), json!(user("eve")));
    signed.insert("token".to_owned(), json!("token"));
    sign_json(&mut signed, "identity.example", &identity_keys()[0]).unwrap();
    let content = json!({ "membership": "invite", "third_party_invite": { "signed": signed } });
    state("m.room.member", &user(target), content)
}

fn closed(r: &mut Room) {
    r.begin(&[("bob", 50)]);
    r.put("closed", "alice", join_rule("invite"));
    r.put("token", "alice", token(true));
}

/// Somebody else's server has seen the signature: it neither invites another user nor is it another's to use.
#[test]
fn a_signature_serves_one_user_and_one_sender() {
    in_versions(ALL, |r| {
        closed(r);
        // `mxid` is the state key.
        r.refused("other", "alice", redeem("mallory"), ".1.4");
        r.fork(&["token"]);
        // The sender is that of the token.
        r.refused("by_other", "bob", redeem("eve"), ".1.6");
        r.fork(&["token"]);
        r.put("invite", "alice", redeem("eve"));
        r.put("eve", "eve", join("eve"));
    });
}

/// Eve, invited so, is banned. The same signature does not lift the ban, nor does one used beside it.
///
/// Rule 5.3.1.1 refuses it after the ban. Beside the ban the invite is accepted, and replayed after the ban, a power event, it is
/// refused. In version 1 the ban is allowed on top of the invite.
#[test]
fn a_replay_does_not_lift_a_ban() {
    in_versions(ALL, |r| {
        closed(r);
        r.put("ban", "bob", ban("eve"));
        r.refused("replayed", "alice", redeem("eve"), ".1.1");
        r.fork(&["token"]);
        r.at(1).at_depth(1).put("beside", "alice", redeem("eve"));
        r.resolve(&[after("ban"), after("beside")]).has(&["ban"]);
    });
}

/// Eve, invited so, is kicked; the token still stands. Whoever made it can redeem it again, for Eve alone: an invite like any
/// other. It does not last longer than the token: once that is withdrawn the signature matches no key.
#[test]
fn a_withdrawn_token_invites_nobody() {
    in_versions(ALL, |r| {
        closed(r);
        r.put("invite", "alice", redeem("eve"));
        r.put("eve", "eve", join("eve"));
        r.put("kick", "bob", leave("eve"));
        r.put("again", "alice", redeem("eve"));
        r.fork(&["kick"]);
        r.put("withdrawn", "alice", token(false));
        r.refused("too_late", "alice", redeem("eve"), ".1.8");
        r.fork(&["withdrawn"]);
        r.citing_as_after("token").refused_by_state("stale", "alice", redeem("eve"), ".1.8");
    });
}

/// The token is withdrawn while it is redeemed.
///
/// Tokens and invites are no power events, so the time decides: dated after the withdrawal the invite fails, dated before it
/// stays, and the withdrawal with it. Version 1 does not look at what only one state has.
#[test]
fn a_token_is_withdrawn_meanwhile() {
    in_versions(ALL, |r| {
        closed(r);
        r.at(500).put("withdrawn", "alice", token(false));
        for (name, ts, in_time) in [("after", 600, false), ("before", 400, true)] {
            r.fork(&["token"]);
            r.at(ts).put(name, "alice", redeem("eve"));
            let stays = in_time || r.is_v1();
            let outcome = r.resolve(&[after("withdrawn"), after(name)]);
            if stays {
                outcome.has(&[name]);
            } else {
                outcome.has_nothing_like(&[name]);
            }
        }
    });
}
