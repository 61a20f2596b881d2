//! What a client knows of a room that follows it sync by sync: state, what it is called, what is unread.

use crate::actions::fields;
use crate::server::{Login, Server, with_server};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A client that does what it is told to with the answers to its syncs.
struct Client<'a> {
    server: &'a Server,
    who: &'a Login,
    parameters: String,
    since: String,
    timeline: Vec<String>,
    state: BTreeMap<(String, String), Value>,
    unread: (u64, u64),
}

impl<'a> Client<'a> {
    async fn new(server: &'a Server, who: &'a Login, parameters: &str) -> Self {
        let parameters = parameters.to_owned();
        let mut client = Self {
            server,
            who,
            parameters,
            since: String::new(),
            timeline: vec![],
            state: BTreeMap::new(),
            unread: (0, 0),
        };
        client.take(&client.sync().await);
        client
    }

    async fn sync(&self) -> Value {
        self.server.get(&format!("/sync?{}&since={}", self.parameters, self.since), &self.who.token).await.ok()
    }

    /// Syncs, and gives the object of the only room.
    async fn follow(&mut self) -> Value {
        let answer = self.sync().await;
        self.take(&answer)
    }

    fn take(&mut self, answer: &Value) -> Value {
        self.since = answer["next_batch"].as_str().unwrap().to_owned();
        let rooms = answer["rooms"]["join"].as_object().cloned().unwrap_or_default();
        let Some(room) = rooms.into_iter().map(|(_, room)| room).next() else { return Value::Null };
        let events = |list: &Value| list["events"].as_array().cloned().unwrap_or_default();
        let after = self.parameters.contains("use_state_after=true");
        let state = if after { events(&room["state_after"]) } else { events(&room["state"]) };
        let timeline = events(&room["timeline"]);
        if room["timeline"]["limited"] == true {
            self.timeline.clear();
        }
        self.timeline.extend(timeline.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()));
        for event in state.iter().chain(timeline.iter().filter(|_| !after)) {
            if let Some(key) = event["state_key"].as_str() {
                self.state
                    .insert((event["type"].as_str().unwrap().to_owned(), key.to_owned()), event["content"].clone());
            }
        }
        if let Some(counts) = room.get("unread_notifications") {
            self.unread = (counts["notification_count"].as_u64().unwrap(), counts["highlight_count"].as_u64().unwrap());
        }
        room
    }

    fn at(&self, kind: &str, key: &str) -> &Value {
        self.state.get(&(kind.to_owned(), key.to_owned())).unwrap_or(&Value::Null)
    }
}

/// Query parameters of the ways to follow state.
const WAYS: [&str; 4] = [
    "a",
    "use_state_after=true",
    "filter=%7B%22room%22:%7B%22state%22:%7B%22lazy_load_members%22:true%7D%7D%7D",
    "use_state_after=true&filter=%7B%22room%22:%7B%22state%22:%7B%22lazy_load_members%22:true%7D%7D%7D",
];

#[test]
fn membership_changes_by_others_are_followed() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        for way in WAYS {
            let room = server.public_room(&alice).await;
            server.join(&bob, &room).await;
            server.join(&carol, &room).await;
            server.say(&carol, &room, "hello").await;
            let mut client = Client::new(&server, &bob, way).await;
            for (action, membership) in [("kick", "leave"), ("invite", "invite"), ("ban", "ban"), ("unban", "leave")] {
                server.act(&alice, action, &room, &carol).await.ok();
                client.follow().await;
                let found = &client.at("m.room.member", &carol.user_id)["membership"];
                assert_eq!(found, membership, "{way} {action}");
            }
            server.leave(&bob, &room).await;
        }
    });
}

#[test]
fn who_begins_with_a_room_is_told_of_those_who_speak_the_heroes_and_themselves() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let mut others = Vec::new();
        for number in 0..9 {
            let user = server.user(&format!("user{number}")).await;
            server.join(&user, &room).await;
            others.push(user);
        }
        let [.., quiet, speaks, topic] = &others[..] else { unreachable!() };
        server.say(&alice, &room, "hello").await;
        server.set_state(&alice, &room, "org.example/", json!({ "n": 1 })).await.ok();
        server.say(topic, &room, "one").await;
        server.say(speaks, &room, "two").await;
        let mut left_out = 0;
        for (limit, after) in [1, 2, 5, 50].iter().flat_map(|limit| [(limit, ""), (limit, "use_state_after=true&")]) {
            let ask = async |lazy: bool| {
                let filter = json!({ "room": {
                    "timeline": { "limit": limit },
                    "state": { "lazy_load_members": lazy },
                } });
                let filter: String = filter.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
                let answer = server.get(&format!("/sync?{after}filter={filter}"), &quiet.token).await.ok();
                answer["rooms"]["join"][&room].clone()
            };
            // The state is read at first, and kept in memory from the second time on.
            for turn in 0..3 {
                let (some, all) = (ask(true).await, ask(false).await);
                assert_eq!(some["timeline"], all["timeline"]);
                let mut told = fields(&some["timeline"]["events"], "sender");
                told.extend(
                    some["summary"]["m.heroes"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|hero| hero.as_str().unwrap().to_owned()),
                );
                told.push(quiet.user_id.clone());
                let name = if after.is_empty() { "state" } else { "state_after" };
                let is_told = |event: &&Value| {
                    event["type"] != "m.room.member" || told.iter().any(|member| event["state_key"] == **member)
                };
                let all = all[name]["events"].as_array().unwrap();
                let expected: Vec<&Value> = all.iter().filter(is_told).collect();
                left_out += all.len() - expected.len();
                let some: Vec<&Value> = some[name]["events"].as_array().unwrap().iter().collect();
                assert_eq!(some, expected, "limit {limit}, {name}, turn {turn}");
            }
            // The next limit finds it to be read anew.
            server.set_state(&alice, &room, "org.example/", json!({ "n": limit, "after": after })).await.ok();
        }
        assert!(left_out > 20, "{left_out}");
    });
}

#[test]
fn state_that_changed_out_of_sight_is_not_mistaken_for_what_was_seen_before() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        for way in WAYS {
            for limit in [3, 50] {
                let room = server.public_room(&alice).await;
                server.join(&carol, &room).await;
                let topic = async |topic: &str| {
                    server.set_state(&alice, &room, "m.room.topic/", json!({ "topic": topic })).await.ok();
                };
                topic("old").await;
                let visibility = json!({ "history_visibility": "joined" });
                server.set_state(&alice, &room, "m.room.history_visibility/", visibility).await.ok();
                topic("new").await;
                server.leave(&carol, &room).await;
                server.join(&bob, &room).await;
                let limited =
                    way.replace("%22room%22:%7B", &format!("%22room%22:%7B%22timeline%22:%7B%22limit%22:{limit}%7D,"));
                let client = Client::new(&server, &bob, &limited).await;
                assert_eq!(client.at("m.room.topic", "")["topic"], "new", "{limited}");
                if !way.contains("lazy") {
                    assert_eq!(client.at("m.room.member", &carol.user_id)["membership"], "leave", "{limited}");
                }
                assert_eq!(client.at("m.room.member", &bob.user_id)["membership"], "join", "{limited}");
                server.leave(&bob, &room).await;
            }
        }
    });
}

#[test]
fn who_comes_back_is_not_told_again_what_they_were_told() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        server.say(&alice, &room, "one").await;
        let mut client = Client::new(&server, &bob, "a").await;
        server.leave(&bob, &room).await;
        client.follow().await;
        server.say(&alice, &room, "while-away").await;
        server.join(&bob, &room).await;
        let last = server.say(&alice, &room, "two").await;
        let told = client.follow().await;
        assert_eq!(told["timeline"]["limited"], true, "{told}");
        let events = fields(&told["timeline"]["events"], "event_id");
        assert_eq!(events.len(), 3, "what was said in between, the join and what followed: {told}");
        assert_eq!(events.last(), Some(&last));
        // All state is told, since who left may have forgotten it.
        assert!(!client.at("m.room.create", "").is_null());
        let back = told["timeline"]["prev_batch"].as_str().unwrap();
        let page = server.room_get(&bob, &room, &format!("messages?dir=b&limit=3&from={back}")).await.ok();
        let kinds = fields(&page["chunk"], "type");
        assert_eq!(kinds, ["m.room.member", "m.room.message", "m.room.member"], "{page}");
    });
}

/// Nor is who was invited, or knocked, between the two stays.
#[test]
fn what_was_told_before_a_stay_ended_is_not_told_again_after_an_invite() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let way = "filter=%7B%22room%22:%7B%22timeline%22:%7B%22limit%22:50%7D%7D%7D";
        let knock = json!({ "type": "m.room.join_rules", "content": { "join_rule": "knock" } });
        let ways = [("invite", true), ("invite", false), ("knock", true), ("knock", false), ("forget", true)];
        for (end, (between, synced)) in ["leave", "kick", "ban"].iter().flat_map(|end| ways.map(|way| (end, way))) {
            let case = format!("{end}, {between}, synced: {synced}");
            let room = server.room(&alice, json!({ "preset": "public_chat", "initial_state": [knock] })).await;
            server.say(&alice, &room, "one").await;
            let mut client = Client::new(&server, &bob, way).await;
            // Who was never in the room before learns all of it.
            server.act(&alice, "invite", &room, &bob).await.ok();
            client.follow().await;
            server.join(&bob, &room).await;
            let told = client.follow().await;
            assert_eq!((&told["timeline"]["limited"], client.timeline.len()), (&json!(false), 9), "{case}: {told}");

            match *end {
                "leave" => server.leave(&bob, &room).await,
                other => drop(server.act(&alice, other, &room, &bob).await.ok()),
            }
            client.follow().await;
            if *end == "ban" {
                server.act(&alice, "unban", &room, &bob).await.ok();
            }
            match between {
                "forget" => drop(server.post(&format!("/rooms/{room}/forget"), &bob.token, json!({})).await.ok()),
                "knock" => drop(server.post(&format!("/knock/{room}"), &bob.token, json!({})).await.ok()),
                _ => {}
            }
            if synced {
                client.follow().await;
            }
            server.say(&alice, &room, "while-away").await;
            server.act(&alice, "invite", &room, &bob).await.ok();
            if synced {
                client.follow().await;
            }
            let before = std::mem::take(&mut client.timeline);
            server.join(&bob, &room).await;
            let last = server.say(&alice, &room, "two").await;
            let told = client.follow().await;
            assert_eq!(told["timeline"]["limited"], true, "{case}: {told}");
            assert!(client.timeline.iter().all(|event| !before.contains(event)), "{case}: {told}");
            assert_eq!(client.timeline.last(), Some(&last), "{case}");
            assert!(!client.at("m.room.create", "").is_null());
            // Paging back from there, nothing is missing.
            let back = told["timeline"]["prev_batch"].as_str().unwrap();
            let page = server.room_get(&bob, &room, &format!("messages?dir=b&limit=50&from={back}")).await.ok();
            let mut all = fields(&page["chunk"], "event_id");
            all.reverse();
            all.append(&mut client.timeline);
            let mut shown =
                fields(&server.room_get(&alice, &room, "messages?dir=b&limit=50").await.ok()["chunk"], "event_id");
            shown.reverse();
            assert_eq!(all, shown, "{case}");

            // Nor after a stay of which the client heard nothing.
            server.leave(&bob, &room).await;
            client.follow().await;
            server.act(&alice, "invite", &room, &bob).await.ok();
            server.join(&bob, &room).await;
            let heard = server.say(&alice, &room, "three").await;
            server.leave(&bob, &room).await;
            let told = &client.sync().await["rooms"]["leave"][&room]["timeline"];
            let events = fields(&told["events"], "event_id");
            assert_eq!((&told["limited"], events.len()), (&json!(true), 4), "{case}: {told}");
            assert!(events.contains(&heard) && events.iter().all(|event| !all.contains(event)), "{case}: {told}");
        }
    });
}

#[test]
fn heroes_come_when_the_name_goes() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.room(&alice, json!({ "preset": "public_chat", "name": "Named" })).await;
        server.join(&bob, &room).await;
        let mut client = Client::new(&server, &bob, "a").await;
        server.set_state(&alice, &room, "m.room.name/", json!({ "name": "" })).await.ok();
        let told = client.follow().await;
        assert_eq!(told["summary"]["m.heroes"], json!([alice.user_id]), "{told}");
        server.say(&alice, &room, "no-news-of-names").await;
        assert!(client.follow().await.get("summary").is_none());
    });
}

#[test]
fn state_after_is_there_wherever_a_room_is() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let room = server.public_room(&alice).await;
        let mut client = Client::new(&server, &alice, "use_state_after=true").await;
        let data = format!("/user/{}/rooms/{room}/account_data/m.x", alice.user_id);
        server.put(&data, &alice.token, json!({ "a": 1 })).await.ok();
        let told = client.follow().await;
        assert_eq!(told["state_after"], json!({ "events": [] }), "{told}");
    });
}

#[test]
fn counts_follow_redactions_rules_and_ignored_users() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        // A filter that leaves out what changes the counts.
        let filtered = "filter=%7B%22room%22:%7B%22timeline%22:%7B%22types%22:%5B%22none%22%5D%7D%7D%7D";
        let mut all = Client::new(&server, &bob, "a").await;
        let mut few = Client::new(&server, &bob, filtered).await;
        server.say(&alice, &room, "one").await;
        let second = server.say(&alice, &room, "two-swordfish").await;
        all.follow().await;
        few.follow().await;
        assert_eq!((all.unread, few.unread), ((2, 0), (2, 0)));
        server.put(&format!("/rooms/{room}/redact/{second}/r"), &alice.token, json!({})).await.ok();
        all.follow().await;
        few.follow().await;
        assert_eq!((all.unread, few.unread), ((1, 0), (1, 0)));
        server.say(&alice, &room, "three-swordfish").await;
        all.follow().await;
        assert_eq!(all.unread, (2, 0));
        let rule = json!({ "pattern": "swordfish", "actions": ["notify", { "set_tweak": "highlight" }] });
        server.put("/pushrules/global/content/fish", &bob.token, rule).await.ok();
        all.follow().await;
        few.follow().await;
        assert_eq!((all.unread, few.unread), ((2, 1), (2, 1)));
        let data = format!("/user/{}/account_data/m.ignored_user_list", bob.user_id);
        server.put(&data, &bob.token, json!({ "ignored_users": { &alice.user_id: {} } })).await.ok();
        all.follow().await;
        few.follow().await;
        assert_eq!((all.unread, few.unread), ((0, 0), (0, 0)));
    });
}

/// What the user's rules and ignored users make of rooms where nothing happens is told at once, of those rooms where it is something else.
#[test]
fn only_rooms_with_other_counts_are_told_of_when_rules_change() {
    with_server(async |server| {
        let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
        let mut rooms = Vec::new();
        for speakers in [vec![&alice], vec![&carol], vec![&alice, &carol], vec![]] {
            let room = server.public_room(&alice).await;
            server.join(&bob, &room).await;
            server.join(&carol, &room).await;
            for who in speakers {
                server.say(who, &room, "unread").await;
            }
            rooms.push(room);
        }
        let sync = async |since: &str| server.get(&format!("/sync?since={since}"), &bob.token).await.ok();
        let told = |answer: &Value| {
            let joined = answer["rooms"]["join"].as_object().cloned().unwrap_or_default();
            let count = |room: &Value| room["unread_notifications"]["notification_count"].as_u64();
            let told = joined.iter().map(|(id, room)| (rooms.iter().position(|room| room == id).unwrap(), count(room)));
            told.collect::<BTreeMap<_, _>>()
        };
        let next = |answer: &Value| answer["next_batch"].as_str().unwrap().to_owned();
        let first = sync("").await;
        assert_eq!(told(&first), [(0, Some(1)), (1, Some(1)), (2, Some(2)), (3, Some(0))].into());
        let start = next(&first);
        // One room is muted, as the default rules count it; a client that asks later is told the same.
        let mute = json!({ "actions": [] });
        server.put(&format!("/pushrules/global/room/{}", rooms[2]), &bob.token, mute).await.ok();
        let muted = sync(&start).await;
        assert_eq!(told(&muted), [(2, Some(0))].into(), "{muted}");
        assert_eq!(told(&sync(&start).await), [(2, Some(0))].into());
        assert_eq!(told(&sync(&next(&muted)).await), BTreeMap::new());
        // A rule that matches nothing changes nothing.
        let rule = json!({ "pattern": "swordfish", "actions": ["notify"] });
        server.put("/pushrules/global/content/fish", &bob.token, rule).await.ok();
        let same = sync(&next(&muted)).await;
        assert_eq!(told(&same), BTreeMap::new(), "{same}");
        assert!(same["account_data"].is_object());
        // Who is ignored is not counted, where they had something to count.
        let data = format!("/user/{}/account_data/m.ignored_user_list", bob.user_id);
        server.put(&data, &bob.token, json!({ "ignored_users": { &carol.user_id: {} } })).await.ok();
        let without = sync(&next(&same)).await;
        assert_eq!(told(&without), [(1, Some(0))].into(), "{without}");
        server.put(&data, &bob.token, json!({ "ignored_users": {} })).await.ok();
        let again = sync(&next(&without)).await;
        assert_eq!(told(&again), [(1, Some(1))].into(), "{again}");
        // Also to a client that leaves account data out.
        server.delete(&format!("/pushrules/global/room/{}", rooms[2]), &bob.token, Value::Null).await.ok();
        let filter = "%7B%22account_data%22:%7B%22types%22:%5B%5D%7D%7D";
        let path = format!("/sync?filter={filter}&since={}", next(&again));
        let unmuted = server.get(&path, &bob.token).await.ok();
        assert_eq!(told(&unmuted), [(2, Some(2))].into(), "{unmuted}");
    });
}

#[test]
fn receipts_of_one_user_for_one_event_are_all_shown() {
    with_server(async |server| {
        let (alice, bob) = (server.user("alice").await, server.user("bob").await);
        let room = server.public_room(&alice).await;
        server.join(&bob, &room).await;
        let event = server.say(&alice, &room, "read-me").await;
        let path = format!("/rooms/{room}/receipt/m.read/{event}");
        server.post(&path, &bob.token, json!({})).await.ok();
        server.post(&path, &bob.token, json!({ "thread_id": "main" })).await.ok();
        let sync = server.get("/sync", &alice.token).await.ok();
        let shown: Vec<Value> = sync["rooms"]["join"][&room]["ephemeral"]["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|receipts| receipts["content"][&event]["m.read"][&bob.user_id]["thread_id"].clone())
            .collect();
        assert_eq!(shown, [Value::Null, json!("main")]);
    });
}
