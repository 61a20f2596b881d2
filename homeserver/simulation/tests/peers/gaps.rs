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
