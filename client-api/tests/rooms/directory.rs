//! Aliases and the published rooms.

use crate::actions::fields;
use crate::server::with_server;
use serde_json::json;

#[test]
fn aliases_are_made_found_and_removed() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        let alias = "/directory/room/%23tea:example.org";
        server.ask(alias).await.error(404, "M_NOT_FOUND");
        server.ask("/directory/room/tea").await.error(400, "M_INVALID_PARAM");
        let body = json!({ "room_id": room });
        server.put(alias, &bob.token, body.clone()).await.error(403, "M_FORBIDDEN");
        server.put(alias, &alice.token, body.clone()).await.ok();
        server.put(alias, &alice.token, body.clone()).await.error(409, "M_UNKNOWN");
        server.put("/directory/room/%23tea:elsewhere.org", &alice.token, body).await.error(400, "M_INVALID_PARAM");
        assert_eq!(server.ask(alias).await.ok(), json!({ "room_id": room, "servers": ["example.org"] }));
        let listed = server.room_get(&alice, &room, "aliases").await.ok();
        assert_eq!(listed, json!({ "aliases": ["#tea:example.org"] }));
        let canonical = |alias: &str| json!({ "alias": alias });
        server
            .set_state(&alice, &room, "m.room.canonical_alias", canonical("#other:example.org"))
            .await
            .error(400, "M_BAD_ALIAS");
        server.set_state(&alice, &room, "m.room.canonical_alias", canonical("tea")).await.error(400, "M_INVALID_PARAM");
        server.set_state(&alice, &room, "m.room.canonical_alias", canonical("#tea:example.org")).await.ok();
        let joined = server.post("/join/%23tea:example.org", &bob.token, json!({})).await.ok();
        assert_eq!(joined, json!({ "room_id": room }));
        server.delete(alias, &bob.token, json!({})).await.error(403, "M_FORBIDDEN");
        server.delete(alias, &alice.token, json!({})).await.ok();
        server.delete(alias, &alice.token, json!({})).await.error(404, "M_NOT_FOUND");
        assert_eq!(server.room_get(&alice, &room, "aliases").await.ok(), json!({ "aliases": [] }));
    });
}

#[test]
fn listed_rooms_are_found_searched_and_paged() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let make = async |name: &str, visibility: &str| {
            let body = json!({ "name": name, "visibility": visibility, "room_alias_name": name });
            server.room(&alice, body).await
        };
        let (tea, coffee) = (make("Tea", "public").await, make("Coffee", "public").await);
        let hidden = make("Hidden", "private").await;
        server.join(&bob, &coffee).await;
        let all = server.ask("/publicRooms").await.ok();
        assert_eq!(fields(&all["chunk"], "room_id"), [coffee.clone(), tea.clone()], "most members first");
        assert_eq!(all["total_room_count_estimate"], 2);
        let first = &all["chunk"][0];
        assert_eq!((&first["name"], &first["num_joined_members"]), (&json!("Coffee"), &json!(2)));
        assert_eq!((&first["canonical_alias"], &first["join_rule"]), (&json!("#Coffee:example.org"), &json!("public")));
        assert_eq!((&first["world_readable"], &first["guest_can_join"]), (&json!(false), &json!(false)));
        let page = server.ask("/publicRooms?limit=1&server=example.org").await.ok();
        assert_eq!(fields(&page["chunk"], "room_id"), [coffee]);
        let next = format!("/publicRooms?limit=1&since={}", page["next_batch"].as_str().unwrap());
        let page = server.ask(&next).await.ok();
        assert_eq!(fields(&page["chunk"], "room_id"), std::slice::from_ref(&tea));
        assert_eq!(page.get("next_batch"), None);
        let search = json!({ "filter": { "generic_search_term": "tea" } });
        let found = server.post("/publicRooms", &alice.token, search).await.ok();
        assert_eq!(fields(&found["chunk"], "room_id"), std::slice::from_ref(&tea));
        let spaces = json!({ "filter": { "room_types": ["m.space"] } });
        assert_eq!(server.post("/publicRooms", &alice.token, spaces).await.ok()["chunk"], json!([]));
        server.tell("/publicRooms", json!({})).await.error(401, "M_MISSING_TOKEN");
        server.ask("/publicRooms?since=x").await.error(400, "M_INVALID_PARAM");
        server.ask("/publicRooms?server=%2F").await.error(400, "M_INVALID_PARAM");

        let listing = |room: &str| format!("/directory/list/room/{room}");
        assert_eq!(server.ask(&listing(&hidden)).await.ok(), json!({ "visibility": "private" }));
        assert_eq!(server.ask(&listing(&tea)).await.ok(), json!({ "visibility": "public" }));
        server.ask(&listing("!none:example.org")).await.error(404, "M_NOT_FOUND");
        server.put(&listing(&tea), &bob.token, json!({ "visibility": "private" })).await.error(403, "M_FORBIDDEN");
        server.put(&listing(&tea), &alice.token, json!({ "visibility": "secret" })).await.error(400, "M_BAD_JSON");
        server.put(&listing(&tea), &alice.token, json!({ "visibility": "private" })).await.ok();
        server.put(&listing(&hidden), &alice.token, json!({})).await.ok();
        let mut names = fields(&server.ask("/publicRooms").await.ok()["chunk"], "name");
        names.sort();
        assert_eq!(names, ["Coffee", "Hidden"]);
    });
}
