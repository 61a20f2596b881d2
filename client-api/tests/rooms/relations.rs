//! `GET /rooms/{roomId}/relations/{eventId}` with `recurse`.

use crate::actions::fields;
use crate::server::with_server;
use serde_json::json;

#[test]
fn recursion_finds_what_relates_indirectly() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        let root = server.say(&alice, &room, "root").await;
        let related = async |kind: &str, rel_type: &str, to: &str, id: &str| {
            let relates = json!({ "rel_type": rel_type, "event_id": to, "key": id });
            let content = json!({ "body": id, "msgtype": "m.text", "m.relates_to": relates });
            server.send_as(&alice, &room, kind, id, content).await.event_id()
        };
        let reply = related("m.room.message", "m.thread", &root, "reply").await;
        let edit = related("m.room.message", "m.replace", &reply, "edit").await;
        let to_root = related("m.reaction", "m.annotation", &root, "to-root").await;
        let to_reply = related("m.reaction", "m.annotation", &reply, "to-reply").await;
        let third = related("m.reaction", "m.annotation", &to_reply, "third").await;
        let fourth = related("m.reaction", "m.annotation", &third, "fourth").await;
        let other = server.say(&alice, &room, "other").await;
        related("m.reaction", "m.annotation", &other, "elsewhere").await;

        let list = async |query: &str| {
            let path = format!("/_matrix/client/v1/rooms/{room}/relations/{root}{query}");
            server.get(&path, &alice.token).await.ok()
        };
        let ids = async |query: &str| fields(&list(query).await["chunk"], "event_id");
        let all = [&reply, &edit, &to_root, &to_reply, &third].map(Clone::clone);
        let direct = [&reply, &to_root].map(Clone::clone);
        assert_eq!(ids("?dir=f&recurse=true").await, all);
        let newest_first: Vec<String> = all.iter().rev().cloned().collect();
        assert_eq!(ids("?recurse=true").await, newest_first);
        assert_eq!(ids("?dir=f").await, direct);
        assert_eq!(ids("?dir=f&recurse=false").await, direct);
        assert_eq!(list("").await.get("recursion_depth"), None);
        assert_eq!(list("?recurse=true").await["recursion_depth"], 3);
        assert_eq!(list("?recurse=false").await["recursion_depth"], 1);

        // What matches, but only through what does not, is left out.
        assert_eq!(ids("/m.annotation?dir=f&recurse=true").await, vec![to_root.clone()]);
        assert_eq!(ids("/m.thread?dir=f&recurse=true").await, vec![reply.clone()]);
        assert_eq!(ids("/m.annotation/m.room.message?recurse=true").await, Vec::<String>::new());

        for (dir, expected) in [("f", all.to_vec()), ("b", newest_first)] {
            for limit in 1..=all.len() {
                let (mut found, mut from) = (Vec::new(), String::new());
                loop {
                    let page = list(&format!("?recurse=true&dir={dir}&limit={limit}{from}")).await;
                    assert_eq!(page["recursion_depth"], 3);
                    found.extend(fields(&page["chunk"], "event_id"));
                    let Some(next) = page["next_batch"].as_str() else { break };
                    from = format!("&from={next}");
                }
                assert_eq!(found, expected, "{dir} by {limit}");
            }
        }

        // From another event the same number of levels is counted anew.
        let of_reply = format!("/_matrix/client/v1/rooms/{room}/relations/{reply}?dir=f&recurse=true");
        let found = server.get(&of_reply, &alice.token).await.ok();
        assert_eq!(fields(&found["chunk"], "event_id"), [edit, to_reply, third, fourth]);
        // What is redacted relates to nothing, and leads no further.
        server.put(&format!("/rooms/{room}/redact/{reply}/1"), &alice.token, json!({})).await.ok();
        assert_eq!(ids("?dir=f&recurse=true").await, [to_root]);

        let path = format!("/_matrix/client/v1/rooms/{room}/relations/{root}");
        for bad in ["foo", "1", "TRUE"] {
            server.get(&format!("{path}?recurse={bad}"), &alice.token).await.error(400, "M_INVALID_PARAM");
        }
        server.get(&format!("{path}?recurse=true"), &bob.token).await.error(403, "M_FORBIDDEN");
    });
}
