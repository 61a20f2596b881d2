//! Gaps in a room's history, and filling them.

use http::Method;
use serde_json::{Value, json};
use simulation::{Network, Server, User};
use std::time::Duration;

/// Less than a write takes.
const BETWEEN_LOOKS: Duration = Duration::from_micros(500);
/// Enough to be there when the gap is filled.
const MOST_LOOKS: usize = 4_000;

async fn call(server: &Server, user: &User, method: Method, path: &str, body: Value) -> Value {
    server.call(method, path, &user.token, &body).await.unwrap()
}

/// The room as a client sees it that knows nothing of it: whether something is missing before its events, their ids, and from where to look
/// further back.
async fn first_look(server: &Server, user: &User, room: &str) -> (bool, Vec<String>, String) {
    let answer = call(
        server,
        user,
        Method::GET,
        "/sync?filter=%7B%22room%22:%7B%22timeline%22:%7B%22limit%22:20%7D%7D%7D",
        Value::Null,
    )
    .await;
    let timeline = &answer["rooms"]["join"][room]["timeline"];
    let from = timeline["prev_batch"].as_str().unwrap().to_owned();
    (timeline["limited"].as_bool().unwrap(), ids(&timeline["events"]), from)
}

fn ids(events: &Value) -> Vec<String> {
    events.as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
}

/// What a room ends with is kept in memory for clients that begin. Once the gap behind it is filled, it ends with more.
#[test]
fn a_gap_that_is_filled_is_gone_for_clients_that_begin() {
    let network = Network::new(86, 2);
    network
        .run(async {
            network.start_all().await.unwrap();
            let (one, two) = (network.server(0), network.server(1));
            let (alice, bob) = (one.register("alice").await.unwrap(), two.register("bob").await.unwrap());
            let body = json!({ "preset": "public_chat" });
            let room =
                call(one, &alice, Method::POST, "/createRoom", body).await["room_id"].as_str().unwrap().to_owned();
            for nth in 0..3 {
                let body = json!({ "msgtype": "m.text", "body": nth.to_string() });
                call(one, &alice, Method::PUT, &format!("/rooms/{room}/send/m.room.message/{nth}"), body).await;
            }
            call(two, &bob, Method::POST, &format!("/join/{room}?via={}", one.name()), json!({})).await;
            let (limited, seen, from) = first_look(two, &bob, &room).await;
            assert_eq!((limited, seen.len()), (true, 1));

            // Others look all the while, also when everything has its place already and the gap is still there.
            let path = format!("/rooms/{room}/messages?dir=b&limit=50&from={from}");
            let filling = call(two, &bob, Method::GET, &path, Value::Null);
            let looking = async {
                for _ in 0..MOST_LOOKS {
                    if !first_look(two, &bob, &room).await.0 {
                        break;
                    }
                    network.wait(BETWEEN_LOOKS).await;
                }
            };
            let (page, ()) = futures::join!(filling, looking);
            let mut all = ids(&page["chunk"]);
            all.reverse();
            all.extend(seen);
            let (limited, seen, _) = first_look(two, &bob, &room).await;
            assert_eq!((limited, seen), (false, all.clone()));
            assert!(all.len() > 9, "{all:?}");
        })
        .unwrap();
}

/// Who joins, leaves and joins again without having looked back has two gaps; filling the later one fetches what belongs into the earlier one.
#[test]
fn history_is_in_order_after_two_stays_whichever_gap_is_filled_first() {
    let network = Network::new(87, 2);
    network
        .run(async {
            network.start_all().await.unwrap();
            let (one, two) = (network.server(0), network.server(1));
            let (alice, bob) = (one.register("alice").await.unwrap(), two.register("bob").await.unwrap());
            for (version, looks_between, limit) in
                [("10", false, 100), ("10", false, 3), ("10", true, 100), ("12", false, 100), ("12", false, 3)]
            {
                let case = format!("version {version}, looks between: {looks_between}, {limit} at a time");
                let body = json!({ "preset": "public_chat", "room_version": version });
                let room =
                    call(one, &alice, Method::POST, "/createRoom", body).await["room_id"].as_str().unwrap().to_owned();
                let say = async |text: &str| {
                    let path = format!("/rooms/{room}/send/m.room.message/{text}{limit}");
                    call(one, &alice, Method::PUT, &path, json!({ "msgtype": "m.text", "body": text })).await;
                    network.wait(Duration::from_secs(5)).await;
                };
                let join = async || {
                    call(two, &bob, Method::POST, &format!("/join/{room}?via={}", one.name()), json!({})).await;
                    network.wait(Duration::from_secs(5)).await;
                };
                say("before").await;
                join().await;
                say("while-there").await;
                if looks_between {
                    pages(two, &bob, &room, "b", limit).await;
                }
                call(two, &bob, Method::POST, &format!("/rooms/{room}/leave"), json!({})).await;
                network.wait(Duration::from_secs(5)).await;
                say("while-gone").await;
                join().await;
                say("back-again").await;

                let truth = pages(one, &alice, &room, "f", 100).await;
                let mut backwards = pages(two, &bob, &room, "b", limit).await;
                backwards.reverse();
                assert_eq!(backwards, truth, "{case}");
                assert_eq!(pages(two, &bob, &room, "f", limit).await, truth, "{case}");
                // No gap is left to be found again.
                let answer = call(two, &bob, Method::GET, "/sync", Value::Null).await;
                let timeline = &answer["rooms"]["join"][&room]["timeline"];
                assert_eq!((&timeline["limited"], ids(&timeline["events"])), (&json!(false), truth), "{case}");
            }
        })
        .unwrap();
}

/// The whole history, page by page.
async fn pages(server: &Server, user: &User, room: &str, direction: &str, limit: usize) -> Vec<String> {
    let (mut all, mut from) = (Vec::new(), String::new());
    loop {
        let path = format!("/rooms/{room}/messages?dir={direction}&limit={limit}{from}");
        let page = call(server, user, Method::GET, &path, Value::Null).await;
        all.extend(ids(&page["chunk"]));
        match page["end"].as_str() {
            Some(end) => from = format!("&from={end}"),
            None => return all,
        }
    }
}
