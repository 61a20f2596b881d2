//! Client-server API, "Profiles" and "User Directory".

use crate::server::with_server;
use serde_json::json;

#[test]
fn fields_are_set_read_and_removed() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let profile = "/profile/@alice:example.org";
        assert_eq!(server.ask(profile).await.ok(), json!({}));
        server.ask(&format!("{profile}/displayname")).await.error(404, "M_NOT_FOUND");
        for (field, value) in [
            ("displayname", json!("Alice\n\"A\"")),
            ("avatar_url", json!("mxc://example.org/abc")),
            ("m.tz", json!("Europe/Berlin")),
            ("org.example.job", json!({ "title": ["x", 1, null] })),
            ("org.example.null", json!(null)),
        ] {
            let path = format!("{profile}/{field}");
            server.put(&path, &alice.token, json!({ field: value })).await.ok();
            assert_eq!(server.ask(&path).await.ok(), json!({ field: value }));
        }
        assert_eq!(server.ask(profile).await.ok().as_object().unwrap().len(), 5);
        for field in ["displayname", "org.example.job"] {
            let path = format!("{profile}/{field}");
            server.delete(&path, &alice.token, json!({})).await.ok();
            server.delete(&path, &alice.token, json!({})).await.ok();
            server.ask(&path).await.error(404, "M_NOT_FOUND");
        }
        server.put(&format!("{profile}/avatar_url"), &alice.token, json!({ "avatar_url": "" })).await.ok();
        server.ask(&format!("{profile}/avatar_url")).await.error(404, "M_NOT_FOUND");
    });
}

#[test]
fn fields_that_cannot_be_had_are_refused() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let profile = "/profile/@alice:example.org";
        for (field, body, status, errcode) in [
            ("displayname", json!({}), 400, "M_MISSING_PARAM"),
            ("displayname", json!({ "avatar_url": "x" }), 400, "M_MISSING_PARAM"),
            ("displayname", json!({ "displayname": 5 }), 400, "M_BAD_JSON"),
            ("displayname", json!({ "displayname": "x".repeat(5000) }), 413, "M_TOO_LARGE"),
            ("avatar_url", json!({ "avatar_url": "https://x" }), 400, "M_INVALID_PARAM"),
            ("Name", json!({ "Name": "x" }), 400, "M_INVALID_PARAM"),
            ("name", json!({ "name": "x" }), 400, "M_INVALID_PARAM"),
            ("org.example.big", json!({ "org.example.big": "x".repeat(70_000) }), 400, "M_PROFILE_TOO_LARGE"),
        ] {
            server.put(&format!("{profile}/{field}"), &alice.token, body).await.error(status, errcode);
        }
        let long = format!("org.{}", "x".repeat(300));
        server.put(&format!("{profile}/{long}"), &alice.token, json!({ long: 1 })).await.error(400, "M_KEY_TOO_LARGE");
        let others = json!({ "displayname": "Mallory" });
        server.put(&format!("{profile}/displayname"), &bob.token, others).await.error(403, "M_FORBIDDEN");
        server.delete(&format!("{profile}/displayname"), &bob.token, json!({})).await.error(403, "M_FORBIDDEN");
        assert_eq!(server.ask(profile).await.ok(), json!({}));
        server.ask("/profile/@nobody:example.org").await.error(404, "M_NOT_FOUND");
        server.ask("/profile/alice").await.error(400, "M_INVALID_PARAM");
    });
}

#[test]
fn users_are_found_by_id_and_display_name() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        for (name, display_name) in [("malice", "M"), ("carol", "Dear Alice"), ("alice2", "Zoë"), ("dave", "Dave")] {
            let user = server.user(name).await;
            let path = format!("/profile/{}/displayname", user.user_id);
            server.put(&path, &user.token, json!({ "displayname": display_name })).await.ok();
        }
        let search = async |term: &str, limit: u64| {
            let body = json!({ "search_term": term, "limit": limit });
            let body = server.post("/user_directory/search", &alice.token, body).await.ok();
            let ids = body["results"].as_array().unwrap().iter();
            let ids: Vec<_> =
                ids.map(|user| user["user_id"].as_str().unwrap().split(':').next().unwrap().to_owned()).collect();
            (ids, body["limited"].as_bool().unwrap())
        };
        let all = ["@alice", "@alice2", "@carol", "@malice"].map(str::to_owned).to_vec();
        assert_eq!(search("ALICE", 10).await, (all.clone(), false));
        assert_eq!(search("alice", 2).await, (all[..2].to_vec(), true));
        assert_eq!(search("zoë", 10).await, (vec!["@alice2".to_owned()], false));
        assert_eq!(search("@dave:example.org", 10).await, (vec!["@dave".to_owned()], false));
        assert_eq!(search("nobody", 10).await, (vec![], false));
        server.post("/user_directory/search", &alice.token, json!({})).await.error(400, "M_BAD_JSON");
        let negative = json!({ "search_term": "a", "limit": -1 });
        server.post("/user_directory/search", &alice.token, negative).await.error(400, "M_BAD_JSON");
    });
}
