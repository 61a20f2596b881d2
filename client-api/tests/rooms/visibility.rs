//! Client-server API, "Room history visibility": every endpoint that gives events out, under every visibility, to users
//! with every kind of past in the room.

use crate::actions::fields;
use crate::server::{Login, Server, with_server};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const VISIBILITIES: [&str; 4] = ["world_readable", "shared", "invited", "joined"];

/// What happens to the user before each of the four messages, and after the last.
const PASTS: [(&str, [&str; 5]); 10] = [
    ("never there", ["", "", "", "", ""]),
    ("invited", ["", "invite", "", "", ""]),
    ("joined later", ["", "invite", "join", "", ""]),
    ("left", ["", "invite", "join", "leave", ""]),
    ("banned", ["", "invite", "join", "ban", ""]),
    ("came back", ["", "invite", "join", "leave", "return"]),
    ("joined at last", ["", "", "", "", "return"]),
    ("turned it down", ["", "invite", "leave", "", ""]),
    ("left at last", ["", "", "join anew", "", "leave"]),
    ("invited again", ["", "invite", "join", "leave", "invite"]),
];

/// Memberships at the four messages, and whether the user is joined at some time after each.
fn walk(past: &[&str; 5]) -> ([&'static str; 4], [bool; 4], bool) {
    let after = |membership: &'static str, step: &str| match step {
        "invite" => "invite",
        "join" | "join anew" | "return" => "join",
        "leave" => "leave",
        "ban" => "ban",
        _ => membership,
    };
    let mut now = "leave";
    let mut at = [now; 5];
    for (index, step) in past.iter().enumerate() {
        now = after(now, step);
        at[index] = now;
    }
    let joined_from = |index: usize| at[index..].contains(&"join");
    let memberships = [at[0], at[1], at[2], at[3]];
    (memberships, [0, 1, 2, 3].map(joined_from), joined_from(0))
}

/// The specification's rules for one event.
fn allowed(visibility: &str, membership: &str, joined_later: bool) -> bool {
    visibility == "world_readable"
        || membership == "join"
        || (visibility == "shared" && joined_later)
        || (visibility == "invited" && membership == "invite")
}

/// A room after a past of `bob`'s: its id, the four messages, a reaction to each.
async fn live(
    server: &Server,
    alice: &Login,
    bob: &Login,
    visibility: &str,
    past: &[&str; 5],
) -> (String, Vec<String>, Vec<String>) {
    let state = json!([{
        "type": "m.room.history_visibility", "state_key": "", "content": { "history_visibility": visibility },
    }]);
    // Rooms made in one millisecond, as all would be in simulated time, are given later and later times.
    server.wait(std::time::Duration::from_secs(1)).await;
    let room = server.room(alice, json!({ "initial_state": state })).await;
    let (mut said, mut reactions) = (Vec::new(), Vec::new());
    for (index, step) in past.iter().enumerate() {
        if matches!(*step, "invite" | "join anew" | "return") {
            server.act(alice, "invite", &room, bob).await.ok();
        }
        match *step {
            "join" | "join anew" | "return" => server.join(bob, &room).await,
            "leave" => server.leave(bob, &room).await,
            "ban" => drop(server.act(alice, "ban", &room, bob).await.ok()),
            _ => {}
        }
        if index < 4 {
            let message = server.say(alice, &room, &format!("message {index}").replace(' ', "-")).await;
            let relation = json!({ "rel_type": "m.annotation", "event_id": message, "key": "+" });
            let content = json!({ "m.relates_to": relation });
            let id = format!("r{index}");
            reactions.push(server.send_as(alice, &room, "m.reaction", &id, content).await.event_id());
            said.push(message);
        }
    }
    (room, said, reactions)
}

/// Which of `wanted` stand in an array of events.
fn among(array: &Value, wanted: &[String]) -> BTreeSet<usize> {
    let found = if array.is_null() { Vec::new() } else { fields(array, "event_id") };
    (0..wanted.len()).filter(|index| found.contains(&wanted[*index])).collect()
}

#[test]
fn every_endpoint_shows_what_the_visibility_allows_and_nothing_else() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        for visibility in VISIBILITIES {
            for (name, past) in &PASTS {
                let (room, said, reactions) = live(&server, &alice, &bob, visibility, past).await;
                let (memberships, later, ever_joined) = walk(past);
                let visible: BTreeSet<usize> =
                    (0..4).filter(|index| allowed(visibility, memberships[*index], later[*index])).collect();
                // Whoever sees something may ask for more.
                let may_page = ever_joined || !visible.is_empty();
                let about = |endpoint: &str| format!("{endpoint}, {visibility}, {name}");

                for dir in ["b", "f"] {
                    let page = server.room_get(&bob, &room, &format!("messages?dir={dir}&limit=100")).await;
                    if may_page {
                        let page = page.ok();
                        assert_eq!(among(&page["chunk"], &said), visible, "{}", about("messages"));
                        assert_eq!(among(&page["chunk"], &reactions), visible, "{}", about("messages"));
                    } else {
                        page.error(403, "M_FORBIDDEN");
                    }
                }
                for (index, event) in said.iter().enumerate() {
                    let one = server.room_get(&bob, &room, &format!("event/{event}")).await;
                    let context = server.room_get(&bob, &room, &format!("context/{event}?limit=100")).await;
                    let path = format!("/_matrix/client/v1/rooms/{room}/relations/{event}");
                    let relations = server.get(&path, &bob.token).await;
                    let of_kind = server.get(&format!("{path}/m.annotation/m.reaction"), &bob.token).await;
                    if !visible.contains(&index) {
                        one.error(404, "M_NOT_FOUND");
                        let (status, code) = if may_page { (404, "M_NOT_FOUND") } else { (403, "M_FORBIDDEN") };
                        context.error(status, code);
                        relations.error(status, code);
                        of_kind.error(status, code);
                        continue;
                    }
                    assert_eq!(one.ok()["event_id"], json!(event), "{}", about("event"));
                    let context = context.ok();
                    let mut around = among(&context["events_before"], &said);
                    around.extend(among(&context["events_after"], &said));
                    around.insert(index);
                    assert_eq!(around, visible, "{}", about("context"));
                    for relations in [relations, of_kind] {
                        assert_eq!(fields(&relations.ok()["chunk"], "event_id"), [reactions[index].clone()]);
                    }
                }
                let at_first = server.room_get(&bob, &room, "initialSync").await;
                if at_first.status == 200 {
                    let shown = among(&at_first.ok()["messages"]["chunk"], &said);
                    assert!(shown.is_subset(&visible), "{}: {shown:?}", about("initialSync"));
                } else {
                    at_first.error(403, "M_FORBIDDEN");
                    assert!(!ever_joined, "{}", about("initialSync"));
                }
                sync_shows(&server, &bob, &room, &said, &visible, &about("sync")).await;
                for dir in ["b", "f"] {
                    let ts = if dir == "b" { i64::MAX } else { 0 };
                    let path = format!("/_matrix/client/v1/rooms/{room}/timestamp_to_event?ts={ts}&dir={dir}");
                    let answer = server.get(&path, &bob.token).await;
                    if may_page {
                        let found = answer.event_id();
                        let one = server.room_get(&bob, &room, &format!("event/{found}")).await;
                        assert_eq!(one.status, 200, "{}", about("timestamp_to_event"));
                    } else {
                        answer.error(403, "M_FORBIDDEN");
                    }
                }
            }
        }
    });
}

/// A first sync shows the same of a room that the user is or was in, and no message of any other.
async fn sync_shows(server: &Server, who: &Login, room: &str, said: &[String], visible: &BTreeSet<usize>, about: &str) {
    let filter = json!({ "room": { "include_leave": true, "rooms": [room], "timeline": { "limit": 100 } } });
    let path = format!("/user/{}/filter", who.user_id);
    let filter = server.post(&path, &who.token, filter).await.ok();
    let sync = server.get(&format!("/sync?filter={}", filter["filter_id"].as_str().unwrap()), &who.token).await.ok();
    let rooms = &sync["rooms"];
    let list = ["join", "leave"].into_iter().find(|list| rooms[list][room].is_object());
    match list {
        Some(list) => {
            let shown = among(&rooms[list][room]["timeline"]["events"], said);
            // Whoever left sees no more than what came before.
            assert!(shown.is_subset(visible), "{about}: {shown:?}");
            if list == "join" {
                assert_eq!(shown, *visible, "{about}");
            }
        }
        None => assert!(!sync.to_string().contains("message-"), "{about}"),
    }
}

#[test]
fn a_change_of_visibility_holds_for_what_comes_after_it() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        let set = async |visibility: &str| {
            let content = json!({ "history_visibility": visibility });
            server.set_state(&alice, &room, "m.room.history_visibility", content).await.event_id()
        };
        let shared = server.say(&alice, &room, "shared").await;
        let changed = set("joined").await;
        let joined = server.say(&alice, &room, "joined").await;
        let back = set("shared").await;
        let later = server.say(&alice, &room, "later").await;
        server.join(&bob, &room).await;
        for (event, seen) in [(&shared, true), (&changed, true), (&joined, false), (&back, true), (&later, true)] {
            let status = server.room_get(&bob, &room, &format!("event/{event}")).await.status;
            assert_eq!(status == 200, seen, "{event}");
        }
    });
}

/// "After this API is called, a user will no longer be able to retrieve history for this room", until they are in it, or invited, again.
#[test]
fn who_has_forgotten_a_room_sees_nothing_of_its_history() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let event = server.say(&alice, &room, "seen").await;
        server.leave(&bob, &room).await;
        let statuses = async || {
            let mut statuses = Vec::new();
            for path in ["messages?dir=b", &format!("context/{event}"), &format!("event/{event}")] {
                statuses.push(server.room_get(&bob, &room, path).await.status.as_u16());
            }
            statuses
        };
        assert_eq!(statuses().await, [200, 200, 200]);
        server.post(&format!("/rooms/{room}/forget"), &bob.token, json!({})).await.ok();
        assert_eq!(statuses().await, [403, 403, 404]);
        server.act(&alice, "invite", &room, &bob).await.ok();
        assert_eq!(statuses().await, [200, 200, 200]);
    });
}

/// Somebody who was never in a room sees what was said while everyone could, wherever they ask for it, and nothing else.
#[test]
fn a_time_when_the_room_was_open_to_all_stays_open() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        let set = async |visibility: &str| {
            let content = json!({ "history_visibility": visibility });
            server.set_state(&alice, &room, "m.room.history_visibility", content).await.event_id()
        };
        let thread = async |root: &str, id: &str| {
            let relation = json!({ "rel_type": "m.thread", "event_id": root });
            let content = json!({ "msgtype": "m.text", "body": id, "m.relates_to": relation });
            server.send_as(&alice, &room, "m.room.message", id, content).await.event_id()
        };
        let threads = format!("/_matrix/client/v1/rooms/{room}/threads");
        let at = |dir: &str| format!("/_matrix/client/v1/rooms/{room}/timestamp_to_event?ts=0&dir={dir}");
        let hidden = server.say(&alice, &room, "hidden").await;
        for path in ["messages?dir=b", "messages?dir=f", &format!("context/{hidden}")] {
            server.room_get(&bob, &room, path).await.error(403, "M_FORBIDDEN");
        }
        for path in [&threads, &at("f")] {
            server.get(path, &bob.token).await.error(403, "M_FORBIDDEN");
        }
        let opened = set("world_readable").await;
        let open = server.say(&alice, &room, "open").await;
        let reply = thread(&open, "reply").await;
        set("shared").await;
        server.say(&alice, &room, "hidden-too").await;
        let closed = set("joined").await;
        set("invited").await;
        thread(&open, "hidden-reply").await;

        let context = server.room_get(&bob, &room, &format!("context/{open}?limit=100")).await.ok();
        assert_eq!(context["event"]["event_id"], json!(open));
        assert!(!context.to_string().contains("hidden"), "{context}");
        let mut seen = Vec::new();
        // Page by page: the end of what they see is no reason to turn them away.
        let mut from = String::new();
        for _ in 0..20 {
            let page = server.room_get(&bob, &room, &format!("messages?dir=f&limit=1{from}")).await.ok();
            seen.extend(fields(&page["chunk"], "event_id"));
            let Some(end) = page["end"].as_str() else { break };
            from = format!("&from={end}");
        }
        let closing = seen.pop().unwrap();
        assert_eq!(seen, [opened.clone(), open.clone(), reply]);
        assert_ne!(closing, closed, "the event that ended the time is seen, the one after it is not");
        let back = server.room_get(&bob, &room, "messages?dir=b&limit=100").await.ok();
        assert_eq!(fields(&back["chunk"], "event_id").len(), 4);
        assert_eq!(fields(&server.get(&threads, &bob.token).await.ok()["chunk"], "event_id"), [open]);
        assert_eq!(server.get(&at("f"), &bob.token).await.event_id(), opened);
        server.room_get(&bob, &room, &format!("context/{hidden}")).await.error(404, "M_NOT_FOUND");
        // The state is the room's of today, which is not for them.
        server.room_get(&bob, &room, "state").await.error(403, "M_FORBIDDEN");
    });
}
