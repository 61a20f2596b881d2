//! Spaces, and rooms that replace others.

use crate::actions::fields;
use crate::server::{Login, Server, with_server};
use serde_json::json;

async fn add(server: &Server, who: &Login, space: &str, child: &str, order: &str, suggested: bool) {
    let content = json!({ "via": ["example.org"], "order": order, "suggested": suggested });
    server.set_state(who, space, &format!("m.space.child/{child}"), content).await.ok();
}

#[test]
fn a_space_shows_the_rooms_that_one_may_see_or_join() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let make = async |name: &str, preset: &str, kind: &str| {
            let content = if kind.is_empty() { json!({}) } else { json!({ "type": kind }) };
            server.room(&alice, json!({ "name": name, "preset": preset, "creation_content": content })).await
        };
        let space = make("space", "public_chat", "m.space").await;
        let inner = make("inner", "public_chat", "m.space").await;
        let (first, deep) = (make("first", "public_chat", "").await, make("deep", "public_chat", "").await);
        let secret = make("secret", "private_chat", "").await;
        let rules = json!([{
            "type": "m.room.join_rules", "state_key": "",
            "content": { "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": first }] },
        }]);
        let restricted = server.room(&alice, json!({ "name": "restricted", "initial_state": rules })).await;
        add(&server, &alice, &space, &first, "a", true).await;
        add(&server, &alice, &space, &inner, "b", false).await;
        add(&server, &alice, &space, &secret, "c", true).await;
        add(&server, &alice, &space, &restricted, "d", false).await;
        add(&server, &alice, &inner, &deep, "", false).await;
        // A circle ends.
        add(&server, &alice, &inner, &space, "", false).await;
        let path = |room: &str, query: &str| format!("/_matrix/client/v1/rooms/{room}/hierarchy{query}");
        let names = async |who: &Login, query: &str| {
            fields(&server.get(&path(&space, query), &who.token).await.ok()["rooms"], "name")
        };
        assert_eq!(names(&alice, "").await, ["space", "first", "inner", "deep", "secret", "restricted"]);
        assert_eq!(names(&bob, "").await, ["space", "first", "inner", "deep"]);
        server.join(&bob, &first).await;
        assert_eq!(names(&bob, "").await, ["space", "first", "inner", "deep", "restricted"]);
        assert_eq!(names(&alice, "?suggested_only=true").await, ["space", "first", "secret"]);
        assert_eq!(names(&alice, "?max_depth=1").await, ["space", "first", "inner", "secret", "restricted"]);
        assert_eq!(names(&alice, "?max_depth=0").await, ["space"]);
        let (mut found, mut from) = (Vec::new(), String::new());
        loop {
            let page = server.get(&path(&space, &format!("?limit=2{from}")), &alice.token).await.ok();
            found.extend(fields(&page["rooms"], "name"));
            let Some(next) = page["next_batch"].as_str() else { break };
            from = format!("&from={next}");
            let changed = path(&space, &format!("?limit=2&max_depth=1{from}"));
            server.get(&changed, &alice.token).await.error(400, "M_INVALID_PARAM");
        }
        assert_eq!(found, names(&alice, "").await);
        let whole = server.get(&path(&space, ""), &alice.token).await.ok();
        assert_eq!(whole["rooms"][0]["room_type"], "m.space");
        assert_eq!(whole["rooms"][0]["children_state"].as_array().unwrap().len(), 4);
        assert_eq!(whole["rooms"][5]["allowed_room_ids"], json!([first]));
        server.get(&path(&secret, ""), &bob.token).await.error(403, "M_FORBIDDEN");
        server.get(&path("!none:example.org", ""), &bob.token).await.error(403, "M_FORBIDDEN");
        server.get(&path(&space, "?limit=0"), &bob.token).await.error(400, "M_INVALID_PARAM");
    });
}

#[test]
fn an_upgraded_room_is_replaced_with_its_state_and_aliases() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        for (index, (old, new)) in [("9", "11"), ("10", "12"), ("12", "12"), ("12", "10")].into_iter().enumerate() {
            let alias = format!("old{index}");
            let body = json!({
                "room_version": old, "name": "Tea", "visibility": "public", "room_alias_name": alias,
                "creation_content": { "type": "org.example" },
            });
            let room = server.room(&alice, body).await;
            server.join(&bob, &room).await;
            let upgrade = format!("/rooms/{room}/upgrade");
            server.post(&upgrade, &bob.token, json!({ "new_version": new })).await.error(403, "M_FORBIDDEN");
            server
                .post(&upgrade, &alice.token, json!({ "new_version": "x" }))
                .await
                .error(400, "M_UNSUPPORTED_ROOM_VERSION");
            let answer = server.post(&upgrade, &alice.token, json!({ "new_version": new })).await.ok();
            let to = answer["replacement_room"].as_str().unwrap();
            let state =
                async |room: &str, path: &str| server.room_get(&alice, room, &format!("state/{path}")).await.ok();
            assert_eq!(state(&room, "m.room.tombstone").await["replacement_room"], to);
            let create = state(to, "m.room.create").await;
            assert_eq!((&create["room_version"], &create["type"]), (&json!(new), &json!("org.example")));
            assert_eq!(create["predecessor"]["room_id"], json!(room));
            assert_eq!(state(to, "m.room.name").await["name"], "Tea");
            assert_eq!(state(to, "m.room.join_rules").await["join_rule"], "public");
            let name = format!("#{alias}:example.org");
            assert_eq!(state(to, "m.room.canonical_alias").await["alias"], json!(name));
            let found = server.ask(&format!("/directory/room/%23{alias}:example.org")).await.ok();
            assert_eq!(found["room_id"], to);
            assert_eq!(server.ask(&format!("/directory/list/room/{to}")).await.ok()["visibility"], "public");
            assert_eq!(server.ask(&format!("/directory/list/room/{room}")).await.ok()["visibility"], "private");
            // Ordinary members are done in the old room, and welcome in the new one, whose maker rules it still.
            server.send_as(&bob, &room, "m.x", "1", json!({})).await.error(403, "M_FORBIDDEN");
            server.join(&bob, to).await;
            server.say(&bob, to, "hello").await;
            server.set_state(&alice, to, "m.room.topic", json!({ "topic": "t" })).await.ok();
        }
    });
}

#[test]
fn what_a_user_said_of_a_room_holds_for_the_one_that_replaces_it() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let mute = |room: &str| json!({ "actions": [], "conditions": [{ "kind": "event_match", "key": "room_id", "pattern": room }] });
        for who in [&alice, &bob] {
            let own = format!("/user/{}", who.user_id);
            let put = async |path: String, body| server.put(&path, &who.token, body).await.ok();
            put(format!("{own}/rooms/{room}/tags/m.favourite"), json!({ "order": 0.5 })).await;
            put(format!("/pushrules/global/override/{room}"), mute(&room)).await;
            put(format!("/pushrules/global/room/{room}"), json!({ "actions": ["notify"] })).await;
            put(format!("{own}/account_data/m.direct"), json!({ "@carol:x.org": [room, "!o:x.org"], "odd": 1 })).await;
        }
        // A room that only says so itself replaces nothing.
        let content = json!({ "predecessor": { "room_id": room } });
        let body = json!({ "preset": "public_chat", "creation_content": content });
        let impostor = server.room(&alice, body).await;
        server.join(&bob, &impostor).await;
        let upgrade =
            server.post(&format!("/rooms/{room}/upgrade"), &alice.token, json!({ "new_version": "12" })).await;
        let to = upgrade.ok()["replacement_room"].as_str().unwrap().to_owned();
        server.join(&bob, &to).await;

        for who in [&alice, &bob] {
            let own = format!("/user/{}", who.user_id);
            let tags = async |room: &str| server.get(&format!("{own}/rooms/{room}/tags"), &who.token).await.ok();
            for (room, expected) in [
                (&room, json!({ "m.favourite": { "order": 0.5 } })),
                (&to, json!({ "m.favourite": { "order": 0.5 } })),
                (&impostor, json!({})),
            ] {
                assert_eq!(tags(room).await["tags"], expected, "{room} of {}", who.user_id);
            }
            let rule = async |kind: &str, room: &str| {
                server.get(&format!("/pushrules/global/{kind}/{room}"), &who.token).await
            };
            assert_eq!(rule("override", &to).await.ok()["conditions"], mute(&to)["conditions"]);
            assert_eq!(rule("override", &room).await.ok()["conditions"], mute(&room)["conditions"]);
            assert_eq!(rule("room", &to).await.ok()["actions"], json!(["notify"]));
            rule("override", &impostor).await.error(404, "M_NOT_FOUND");
            let direct = server.get(&format!("{own}/account_data/m.direct"), &who.token).await.ok();
            assert_eq!(direct, json!({ "@carol:x.org": [room, "!o:x.org", to], "odd": 1 }));
        }

        // What was taken back stays so for who leaves and comes again.
        let rule = format!("/pushrules/global/override/{to}");
        server.delete(&rule, &bob.token, json!({})).await.ok();
        server.post(&format!("/rooms/{to}/leave"), &bob.token, json!({})).await.ok();
        server.join(&bob, &to).await;
        server.get(&rule, &bob.token).await.error(404, "M_NOT_FOUND");
    });
}
