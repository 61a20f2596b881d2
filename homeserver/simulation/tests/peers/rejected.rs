//! What it means for an event that it was rejected, and, where senders choose ids, that another one had its id before.

use crate::scene::{BOB, CAROL, Scene};
use http::Method;
use serde_json::{Value, json};
use simulation::{Network, PeerEvent, PeerRoom};

/// The formats of events and their ids differ between these.
const VERSIONS: [&str; 5] = ["2", "3", "6", "10", "12"];

/// An event that is to be rejected.
struct Rejected {
    /// The room as whoever rejects it has it.
    room: PeerRoom,
    event: PeerEvent,
    /// A message that cites it, and is in order otherwise.
    relying: PeerEvent,
}

/// Bob, of level 50, makes himself an admin, which his own auth events do not allow.
async fn by_its_auth_events(scene: &Scene<'_>) -> Rejected {
    let room = scene.room().await;
    let levels = json!({ "users": { BOB: 100 } });
    let event = scene.peer.sign(room.version, scene.peer.draft(&room, BOB, "m.room.power_levels", Some(""), levels));
    let mut after = room.clone();
    after.apply(&event);
    let relying = scene.peer.draft(&after, BOB, "m.room.message", None, json!({ "body": "by right of my levels" }));
    let relying = scene.peer.sign(room.version, relying);
    Rejected { room, event, relying }
}

/// Bob, who has been banned, changes his name, which his own auth events allow and the state before it does not. What relies on that name
/// follows what was before the ban.
async fn by_the_state_before(scene: &Scene<'_>) -> Rejected {
    let mut before = scene.room().await;
    let mut room = before.clone();
    scene.act(&mut room, Method::POST, "ban", json!({ "user_id": BOB })).await;
    let name = json!({ "membership": "join", "displayname": "Robert" });
    let mut his = room.clone();
    his.state.clone_from(&before.state);
    let event = scene.peer.sign(room.version, scene.peer.draft(&his, BOB, "m.room.member", Some(BOB), name));
    before.apply(&event);
    let relying = scene.peer.draft(&before, BOB, "m.room.message", None, json!({ "body": "as Robert" }));
    let relying = scene.peer.sign(room.version, relying);
    Rejected { room, event, relying }
}

fn mentions(what: impl std::fmt::Debug, event: &PeerEvent) -> bool {
    let (what, id) = (format!("{what:?}"), event.id.trim_start_matches('$'));
    what.contains(id) || what.contains(&id.replace('/', "%2F").replace('+', "%2B"))
}

/// The peer gives the rejected event to nobody, so that what the server knows of it is what it has kept.
async fn means_what_it_says(scene: &Scene<'_>, rejected: &Rejected, what: &str) {
    let Rejected { room, event, relying } = rejected;
    let place = (event.json["type"].as_str().unwrap(), event.json["state_key"].as_str().unwrap());
    let state_path = format!("/rooms/{}/state/{}/{}", room.id, place.0, place.1);
    let get = async |path: &str| scene.call(Method::GET, path, Value::Null).await.unwrap();
    let stood = get(&state_path).await;
    let since = get("/sync").await["next_batch"].as_str().unwrap().to_owned();
    let asked_before = scene.peer.asked().len();
    scene.send(&[event]).await.expect_err(what);

    // Nobody sees it, and nothing is built upon it.
    assert!(scene.shown(room, event).await.is_none(), "{what}");
    assert!(!mentions(get(&format!("/sync?since={since}")).await, event), "{what}");
    assert!(!mentions(get(&format!("/rooms/{}/messages?dir=b&limit=100", room.id)).await, event), "{what}");
    assert_eq!(get(&state_path).await, stood, "{what}");
    let next = scene.say(&mut room.clone(), "next").await;
    assert!(!mentions(&next.json, event), "{what}: {:?}", next.json);

    // Whoever cites it is rejected too.
    scene.send(&[relying]).await.expect_err(what);
    assert!(scene.shown(room, relying).await.is_none(), "{what}");

    // What follows it is judged by the state before it, as if it were not there: what is allowed is taken, and what is not is not.
    let mut after = room.clone();
    after.tips = vec![event.id.clone()];
    after.depth += 1;
    let follower = scene.peer.event(&mut after, CAROL, "m.room.message", None, json!({ "body": "I follow it" }));
    scene.send(&[&follower]).await.unwrap_or_else(|because| panic!("{what}: {because}"));
    assert!(scene.shown(room, &follower).await.is_some(), "{what}");
    let topic = scene.peer.draft(&after, CAROL, "m.room.topic", Some(""), json!({ "topic": "hers" }));
    let topic = scene.peer.sign(room.version, topic);
    scene.send(&[&topic]).await.expect_err(what);
    let state = scene.peer.client().state_ids(scene.server().name(), &room.id, &follower.id).await.unwrap();
    let stands = room.state_id(place.0, place.1).unwrap().to_owned();
    assert!(state.pdu_ids.contains(&stands) && !state.pdu_ids.contains(&event.id), "{what}: {state:?}");
    assert_eq!(get(&state_path).await, stood, "{what}");
    // And the server's next event follows that.
    let next = scene.say(&mut after, "after").await;
    assert!(mentions(&next.json["prev_events"], &follower) && !mentions(&next.json["prev_events"], event), "{what}");

    let asked = scene.peer.asked().split_off(asked_before);
    let about_it = asked.iter().find(|asked| mentions(asked, event));
    assert!(about_it.is_none(), "{what}: it was kept and need not be asked for: {about_it:?}");
}

// clause: P8.1, P8.2, P8.3
#[test]
fn rejected_events_are_kept_in_their_place_and_count_for_nothing() {
    for version in VERSIONS {
        let network = Network::new(61, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let rejected = by_its_auth_events(&scene).await;
                means_what_it_says(&scene, &rejected, &format!("version {version}, by its auth events")).await;
                let rejected = by_the_state_before(&scene).await;
                means_what_it_says(&scene, &rejected, &format!("version {version}, by the state before it")).await;
            })
            .unwrap();
    }
}

// clause: E5.1
/// In room versions 1 and 2 two events can have one id. Whatever the second says, in this room or another, the first keeps it.
#[test]
fn the_first_event_of_an_id_keeps_it() {
    for version in ["1", "2"] {
        let network = Network::new(62, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let (mut room, mut elsewhere) = (scene.room().await, scene.room().await);
                let said = |body: &str| json!({ "msgtype": "m.text", "body": body });
                let first = scene.peer.event(&mut room, BOB, "m.room.message", None, said("first"));
                scene.send(&[&first]).await.unwrap();
                let under_its_id = |room: &PeerRoom, event_type: &str, state_key: Option<&str>, content: Value| {
                    let mut draft = scene.peer.draft(room, BOB, event_type, state_key, content);
                    draft.insert("event_id".into(), json!(first.id));
                    let event = scene.peer.sign(room.version, draft);
                    assert_eq!(event.id, first.id);
                    event
                };
                let seconds = [
                    under_its_id(&room, "m.room.message", None, said("second")),
                    under_its_id(&room, "m.room.topic", Some(""), json!({ "topic": "second" })),
                    under_its_id(&elsewhere, "m.room.topic", Some(""), json!({ "topic": "second" })),
                ];
                for second in &seconds {
                    scene.peer.show(second);
                    // Whether the server says that it knows the id or that it does not like the event is its affair.
                    let _ = scene.send(&[second]).await;
                    let shown = scene.shown(&room, &first).await.unwrap();
                    assert_eq!(shown["content"], said("first"), "version {version}: {second:?}");
                    let topic = format!("/rooms/{}/state/m.room.topic", room.id);
                    assert!(scene.call(Method::GET, &topic, Value::Null).await.is_err(), "version {version}");
                }
                // Nor does a second one get in as what another follows or cites.
                scene.peer.show(&seconds[1]);
                room.follow(&seconds[1]);
                let next = scene.peer.event(&mut room, CAROL, "m.room.message", None, said("next"));
                scene.send(&[&next]).await.unwrap();
                let shown = scene.shown(&room, &first).await.unwrap();
                assert_eq!(shown["content"], said("first"), "version {version}");
                let topic = format!("/rooms/{}/state/m.room.topic", room.id);
                assert!(scene.call(Method::GET, &topic, Value::Null).await.is_err(), "version {version}");
                scene.say(&mut elsewhere, "well").await;
            })
            .unwrap();
    }
}
