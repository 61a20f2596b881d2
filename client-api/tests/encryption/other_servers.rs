//! What clients here see of rooms that only another server is in.

use crate::federation::with_two_servers;
use serde_json::json;
use std::time::Duration;

#[test]
fn rooms_of_other_servers_are_asked_for_there() {
    with_two_servers(async |simulation, a, b, alice, bob, _| {
        let made = json!({ "preset": "public_chat", "name": "Far", "room_alias_name": "far", "room_version": "12" });
        let open = a.post("/createRoom", &alice.token, made).await.ok()["room_id"].as_str().unwrap().to_owned();
        let closed = a.post("/createRoom", &alice.token, json!({})).await.ok()["room_id"].as_str().unwrap().to_owned();
        let ask = async |name: &str| b.get(&format!("/_matrix/client/v1/room_summary/{name}"), &bob.token).await;
        // By an alias, which says where; by an id without a server, only with one named.
        for name in ["%23far:a.example".to_owned(), format!("{open}?via=nowhere.example&via=a.example")] {
            let summary = ask(&name).await.ok();
            assert_eq!(
                (&summary["room_id"], &summary["name"], &summary["num_joined_members"], summary.get("membership")),
                (&json!(open), &json!("Far"), &json!(1), None),
                "{name}"
            );
            assert_eq!(summary.get("children_state"), None);
        }
        ask(&open).await.error(404, "M_NOT_FOUND");
        ask(&format!("{closed}?via=a.example")).await.error(404, "M_NOT_FOUND");
        simulation.network().cut("a.example", "b.example");
        ask(&format!("{open}?via=a.example")).await.error(404, "M_NOT_FOUND");
    });
}

#[test]
fn invites_of_ignored_users_elsewhere_are_not_shown() {
    with_two_servers(async |_, a, b, alice, bob, _| {
        let invite = async || {
            let made = json!({ "invite": [bob.user_id], "name": "x" });
            a.post("/createRoom", &alice.token, made).await.ok()["room_id"].as_str().unwrap().to_owned()
        };
        let shown = invite().await;
        let invites = b.get("/sync", &bob.token).await.ok()["rooms"]["invite"].clone();
        assert!(invites[&shown].is_object(), "{invites}");
        let data = format!("/user/{}/account_data/m.ignored_user_list", bob.user_id);
        b.put(&data, &bob.token, json!({ "ignored_users": { alice.user_id.clone(): {} } })).await.ok();
        invite().await;
        assert_eq!(b.get("/sync", &bob.token).await.ok()["rooms"].get("invite"), None);
    });
}

#[test]
fn a_user_who_blocks_invites_is_not_invited_from_elsewhere_either() {
    with_two_servers(async |_, a, b, alice, bob, room| {
        b.post(&format!("/rooms/{room}/leave"), &bob.token, json!({})).await.ok();
        a.wait(Duration::from_secs(5)).await;
        let data = format!("/user/{}/account_data/m.invite_permission_config", bob.user_id);
        b.put(&data, &bob.token, json!({ "default_action": "block" })).await.ok();
        let invite = json!({ "user_id": bob.user_id });
        for room in [room, a.room(&alice).await] {
            let path = format!("/rooms/{room}/invite");
            a.post(&path, &alice.token, invite.clone()).await.error(403, "M_INVITE_BLOCKED");
        }
        assert_eq!(b.get("/sync", &bob.token).await.ok()["rooms"].get("invite"), None);
    });
}
