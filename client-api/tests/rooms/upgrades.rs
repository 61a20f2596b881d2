//! Room upgrades between versions that write numbers differently.

use crate::server::with_server;
use serde_json::{Value, json};

/// Versions 1 to 5 take any number, and levels that are strings; later ones refuse the former, and from 10 on the latter too.
#[test]
fn numbers_of_old_versions_do_not_keep_a_room_from_being_upgraded() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        for (old, new) in [("1", "12"), ("5", "10"), ("3", "6"), ("5", "5"), ("9", "11")] {
            let has_floats = old != "9";
            let odd = |number: Value| if has_floats { number } else { json!(number.as_f64().unwrap() as i64) };
            let about = json!({ "org.example.ratio": odd(json!(-1.5)) });
            let room = server.room(&alice, json!({ "room_version": old, "creation_content": about })).await;
            let encryption = json!({
                "algorithm": "m.megolm.v1.aes-sha2", "rotation_period_ms": odd(json!(604_800_000.0)),
                "org.example": [{ "deep": odd(json!(2.5)) }, "1.5", null],
            });
            server.set_state(&alice, &room, "m.room.encryption", encryption).await.ok();
            let huge = if has_floats {
                json!({ "name": "Tea", "more": 1e300, "less": -1e300 })
            } else {
                json!({ "name": "Tea" })
            };
            server.set_state(&alice, &room, "m.room.name", huge).await.ok();
            let levels = json!({
                "users": { &alice.user_id: 100, &bob.user_id: odd(json!(50.9)), "@carol:b.example": " +075 " },
                "events": { "m.x": "60", "m.room.tombstone": odd(json!(99.5)) },
                "notifications": { "room": "20" },
                "users_default": odd(json!(0.5)), "events_default": "55", "ban": "50",
            });
            server.set_state(&alice, &room, "m.room.power_levels", levels).await.ok();

            let body = json!({ "new_version": new });
            let answer = server.post(&format!("/rooms/{room}/upgrade"), &alice.token, body).await.ok();
            let to = answer["replacement_room"].as_str().unwrap();
            let state =
                async |room: &str, path: &str| server.room_get(&alice, room, &format!("state/{path}")).await.ok();
            let what = format!("from {old} to {new}");

            let levels = state(to, "m.room.power_levels").await;
            let mut users = json!({ &bob.user_id: 50, "@carol:b.example": 75 });
            if new != "12" {
                users[&alice.user_id] = json!(100);
            }
            assert_eq!(levels["users"], users, "{what}");
            assert_eq!(levels["events"], json!({ "m.x": 60, "m.room.tombstone": 99 }), "{what}");
            assert_eq!(levels["notifications"], json!({ "room": 20 }), "{what}");
            assert_eq!(
                (&levels["users_default"], &levels["events_default"], &levels["ban"]),
                (&json!(0), &json!(55), &json!(50)),
                "{what}"
            );

            let encryption = state(to, "m.room.encryption").await;
            let name = state(to, "m.room.name").await;
            let about = state(to, "m.room.create").await["org.example.ratio"].clone();
            if new == "5" {
                // Which takes them as they were.
                assert_eq!((&encryption["org.example"][0]["deep"], about), (&json!(2.5), json!(-1.5)), "{what}");
                assert_eq!(name["more"], json!(1e300), "{what}");
            } else {
                assert_eq!(encryption["rotation_period_ms"], json!(604_800_000), "{what}");
                assert_eq!(encryption["org.example"], json!([{ "deep": 2 }, "1.5", null]), "{what}");
                assert_eq!(about, json!(-1), "{what}");
                if has_floats {
                    let most = 9_007_199_254_740_991_i64;
                    assert_eq!(name, json!({ "name": "Tea", "more": most, "less": -most }), "{what}");
                }
            }

            // The old room is closed to those below what it took before, too.
            let closed = state(&room, "m.room.power_levels").await;
            assert_eq!((&closed["events_default"], &closed["invite"]), (&json!(55), &json!(50)), "{what}");
        }
    });
}
