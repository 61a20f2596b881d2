//! Rate limits: bursts, and when to come back.

use crate::server::{Answer, Login, Server, with_config, with_server};
use serde_json::json;
use services::config::Rate;
use std::time::Duration;

/// Does something until it is refused; gives how often it was done, and for how long to wait.
async fn until_refused(mut act: impl AsyncFnMut(usize) -> Answer) -> (usize, Duration) {
    for number in 0..100 {
        let answer = act(number).await;
        if answer.status != 429 {
            answer.ok();
            continue;
        }
        let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        let error = answer.error(429, "M_LIMIT_EXCEEDED");
        let wait = error["retry_after_ms"].as_u64().unwrap();
        assert_eq!(seconds, wait.div_ceil(1000));
        return (number, Duration::from_millis(wait));
    }
    panic!("never refused");
}

#[test]
fn each_thing_that_costs_others_has_its_limit() {
    with_config(
        |config| {
            config.rate_limits_enabled = true;
            let rate = |burst| Rate { burst, per_minute: 6 };
            config.rates.sending = rate(5);
            config.rates.joins = rate(4);
            config.rates.rooms = rate(6);
            config.rates.invites = rate(3);
        },
        async |server: Server| {
            let (alice, bob) = (server.user("alice").await, server.user("bob").await);
            let room = server.public_room(&alice).await;
            server.join(&bob, &room).await;
            let send = async |who: &Login, id: String| {
                server.send_as(who, &room, "m.room.message", &id, json!({ "body": "x" })).await
            };
            let (count, wait) = until_refused(async |number| send(&alice, number.to_string()).await).await;
            assert_eq!(count, 5);
            // A request that is repeated, and other people, are not held up.
            send(&alice, "4".to_owned()).await.ok();
            send(&bob, "0".to_owned()).await.ok();
            for path in ["state/m.x/", "redact/$x/1"] {
                let path = format!("/rooms/{room}/{path}");
                server.put(&path, &alice.token, json!({})).await.error(429, "M_LIMIT_EXCEEDED");
            }
            server.wait(wait).await;
            send(&alice, "6".to_owned()).await.ok();

            let joins =
                until_refused(async |_| server.post(&format!("/join/{room}"), &bob.token, json!({})).await).await;
            assert_eq!(joins.0, 4, "what was used before has come back");
            server.post(&format!("/knock/{room}"), &bob.token, json!({})).await.error(429, "M_LIMIT_EXCEEDED");
            let rooms = until_refused(async |_| server.post("/createRoom", &alice.token, json!({})).await).await;
            assert_eq!(rooms.0, 6, "what was used before has come back");
            let target = server.user("carol").await;
            let closed = server.room(&bob, json!({ "invite": [target.user_id] })).await;
            let body = json!({ "user_id": alice.user_id });
            let path = format!("/rooms/{closed}/invite");
            let invites = until_refused(async |_| server.post(&path, &bob.token, body.clone()).await).await;
            assert_eq!(invites.0, 2, "one was used before");
            let more = json!({ "invite": [target.user_id, alice.user_id] });
            server.post("/createRoom", &bob.token, more).await.error(429, "M_LIMIT_EXCEEDED");
        },
    );
}

/// Ten messages a second for a minute, and a burst: nobody who works notices the defaults.
#[test]
fn the_defaults_let_a_busy_bot_work() {
    with_config(
        |config| config.rate_limits_enabled = true,
        async |server: Server| {
            let alice = server.user("alice").await;
            let room = server.public_room(&alice).await;
            for number in 0..600 {
                server.say(&alice, &room, &number.to_string()).await;
                server.wait(Duration::from_millis(90)).await;
            }
        },
    );
}

#[test]
fn patterns_are_bounded_so_that_all_can_be_evaluated() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let put = async |kind: &str, pattern: String| {
            let condition = json!({ "kind": "event_match", "key": "content.body", "pattern": pattern });
            let rule = match kind {
                "content" => json!({ "actions": ["notify"], "pattern": pattern }),
                _ => json!({ "actions": ["notify"], "conditions": [condition] }),
            };
            server.put(&format!("/pushrules/global/{kind}/r"), &alice.token, rule).await
        };
        for kind in ["content", "override", "underride"] {
            put(kind, "a*b?".repeat(20_000)).await.error(400, "M_INVALID_PARAM");
            put(kind, "x".repeat(513)).await.error(400, "M_INVALID_PARAM");
            put(kind, "a*?b".repeat(128)).await.ok();
            put(kind, "a*b?".repeat(128)).await.ok();
        }
        let long = json!({ "msgtype": "m.text", "body": "ab ".repeat(20_000) });
        let said = server.send_as(&bob, &room, "m.room.message", "1", long).await.event_id();
        let told = server.get("/sync", &alice.token).await.ok();
        assert!(told["rooms"]["join"][&room].to_string().contains(&said));
    });
}
