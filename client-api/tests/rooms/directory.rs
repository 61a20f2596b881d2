//! Aliases and the published rooms.

use crate::actions::fields;
use crate::server::with_server;
use serde_json::{Value, json};

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
fn an_alias_may_have_all_characters_but_two() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        for name in ["with%20space", "tab%09", "%C3%A4%E2%98%83", "%23%2F%3F"] {
            let path = format!("/directory/room/%23{name}%3Aexample.org");
            server.put(&path, &alice.token, json!({ "room_id": room })).await.ok();
            assert_eq!(server.ask(&path).await.ok()["room_id"], json!(room), "{name}");
        }
        for name in ["a%3Ab", "%00", ""] {
            let path = format!("/directory/room/%23{name}%3Aexample.org");
            server.put(&path, &alice.token, json!({ "room_id": room })).await.error(400, "M_INVALID_PARAM");
        }
    });
}

#[test]
fn an_alias_that_is_removed_is_named_by_its_room_no_more() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let path = |name: &str| format!("/directory/room/%23{name}:example.org");
        for (name, by) in [("one", &alice), ("two", &alice), ("three", &bob)] {
            server.put(&path(name), &by.token, json!({ "room_id": room })).await.ok();
        }
        let names = ["#one:example.org", "#two:example.org", "#three:example.org"];
        let content = json!({ "alias": names[0], "alt_aliases": names, "org.example": 1 });
        server.set_state(&alice, &room, "m.room.canonical_alias", content).await.ok();
        let canonical = async || server.room_get(&alice, &room, "state/m.room.canonical_alias").await.ok();
        server.delete(&path("two"), &alice.token, json!({})).await.ok();
        let left = json!({ "alias": names[0], "alt_aliases": [names[0], names[2]], "org.example": 1 });
        assert_eq!(canonical().await, left);
        // Who may not set the state may remove what they made all the same.
        server.delete(&path("three"), &bob.token, json!({})).await.ok();
        server.ask(&path("three")).await.error(404, "M_NOT_FOUND");
        assert_eq!(canonical().await, left);
        server.delete(&path("one"), &alice.token, json!({})).await.ok();
        assert_eq!(canonical().await, json!({ "alt_aliases": [names[2]], "org.example": 1 }));
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

/// State that came with the room, or from another server, may hold anything.
#[test]
fn what_is_no_alias_or_no_media_is_not_shown_as_one() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let shown = async |alias: Value, url: Value| {
            let room = server
                .room(
                    &alice,
                    json!({ "preset": "public_chat", "visibility": "public", "initial_state": [
                        { "type": "m.room.canonical_alias", "content": { "alias": alias } },
                        { "type": "m.room.avatar", "content": { "url": url } },
                    ] }),
                )
                .await;
            let list = server.ask("/publicRooms").await.ok();
            let rooms = list["chunk"].as_array().unwrap();
            let published = rooms.iter().find(|one| one["room_id"] == json!(room)).unwrap().clone();
            let tree = server.get(&format!("/_matrix/client/v1/rooms/{room}/hierarchy"), &bob.token).await.ok();
            let summary = server.get(&format!("/_matrix/client/v1/room_summary/{room}"), &bob.token).await.ok();
            let [first, others @ ..] = [published, tree["rooms"][0].clone(), summary]
                .map(|answer| (answer.get("canonical_alias").cloned(), answer.get("avatar_url").cloned()));
            assert!(others.iter().all(|other| *other == first), "{first:?} {others:?}");
            first
        };
        let (alias, url) = (json!("#tea:other.org"), json!("mxc://other.org/aB-_9"));
        assert_eq!(shown(alias.clone(), url.clone()).await, (Some(alias.clone()), Some(url.clone())));
        for none in ["", "garbage", "#", "#tea", "tea:other.org", "#tea:", "#tea:other org"] {
            assert_eq!(shown(json!(none), url.clone()).await, (None, Some(url.clone())), "{none:?}");
        }
        for none in
            ["", "http://x/y", "mxc://", "mxc://other.org", "mxc://other.org/", "mxc:///id", "mxc://other.org/a/b"]
        {
            assert_eq!(shown(alias.clone(), json!(none)).await, (Some(alias.clone()), None), "{none:?}");
        }

        let room = server.public_room(&alice).await;
        for (set, seen) in [(json!(""), None), (json!("http://x/y"), None), (url.clone(), Some(url))] {
            let content = json!({ "membership": "join", "displayname": "Alice", "avatar_url": set });
            server.set_state(&alice, &room, &format!("m.room.member/{}", alice.user_id), content).await.ok();
            let members = server.room_get(&alice, &room, "joined_members").await.ok();
            let member = &members["joined"][&alice.user_id];
            assert_eq!((member.get("avatar_url"), &member["display_name"]), (seen.as_ref(), &json!("Alice")), "{set}");
        }
    });
}

#[test]
fn a_canonical_alias_is_a_string_and_others_are_an_array_of_them() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let set =
            async |content: &Value| server.set_state(&alice, &room, "m.room.canonical_alias", content.clone()).await;
        for bad in [
            json!({ "alias": 5 }),
            json!({ "alias": [] }),
            json!({ "alias": {} }),
            json!({ "alt_aliases": 5 }),
            json!({ "alt_aliases": "#tea:other.org" }),
            json!({ "alt_aliases": {} }),
            json!({ "alt_aliases": [5] }),
            json!({ "alt_aliases": [null] }),
            json!({ "alt_aliases": [""] }),
            json!({ "alias": "", "alt_aliases": [""] }),
        ] {
            set(&bad).await.error(400, "M_INVALID_PARAM");
            server.room_get(&alice, &room, "state/m.room.canonical_alias").await.error(404, "M_NOT_FOUND");
        }
        for right in
            [json!({ "alias": "" }), json!({ "alias": null, "alt_aliases": null }), json!({ "alt_aliases": [] })]
        {
            set(&right).await.ok();
        }
    });
}
