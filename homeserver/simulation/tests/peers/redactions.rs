//! Room versions, "Handling redactions": whose redactions take effect, also of those that arrive before the event that they name.

use crate::scene::{BOB, CAROL, DAN, Scene, with_room};
use crate::told::{HOST, History, VERSIONS, answer, message, paged, whole};
use http::Method;
use serde_json::{Value, json};
use simulation::{Network, Peer, PeerEvent, PeerRoom};

#[test]
fn a_redaction_that_comes_first_takes_effect_whoever_else_names_the_event() {
    for version in ["3", "10", "11", "12"] {
        // Several times, as the order of what is kept follows from hashes.
        for seed in 51..55 {
            let network = Network::new(seed, 1);
            network
                .run(async {
                    let scene = Scene::begin(&network, version).await;
                    let room = scene.room().await;
                    let (other, theirs) = scene.dans_peer(&room).await;
                    let content = json!({ "msgtype": "m.text", "body": "a slip" });
                    let target = scene.peer.draft(&room, BOB, "m.room.message", None, content);
                    let target = scene.peer.sign(room.version, target);
                    let valid = redaction(&scene.peer, &room, BOB, &target.id);
                    // Dan has no business redacting bob's message: he belongs to another server and has no power.
                    let void = redaction(&other, &theirs, DAN, &target.id);
                    scene.send(&[&valid]).await.unwrap();
                    other.send(scene.server().name(), std::slice::from_ref(&void)).await.unwrap();
                    scene.send(&[&target]).await.unwrap();
                    let shown = scene.shown(&room, &target).await.unwrap();
                    assert_eq!(shown["content"], json!({}), "version {version}: {shown}");
                    let because = &shown["unsigned"]["redacted_because"];
                    assert_eq!(because["event_id"], json!(valid.id), "version {version}: {shown}");
                })
                .unwrap();
        }
    }
}

#[test]
fn a_redaction_by_who_may_not_redact_does_nothing_before_or_after() {
    with_room(56, "10", async |scene, mut room| {
        let (other, theirs) = scene.dans_peer(&room).await;
        let content = json!({ "msgtype": "m.text", "body": "kept" });
        let targets = [
            scene.peer.event(&mut room, BOB, "m.room.message", None, content.clone()),
            scene.peer.event(&mut room, BOB, "m.room.message", None, content.clone()),
        ];
        for (index, target) in targets.iter().enumerate() {
            let void = redaction(&other, &theirs, DAN, &target.id);
            if index == 0 {
                other.send(scene.server().name(), std::slice::from_ref(&void)).await.unwrap();
            }
            scene.send(&[target]).await.unwrap();
            if index == 1 {
                other.send(scene.server().name(), std::slice::from_ref(&void)).await.unwrap();
            }
            assert_eq!(scene.shown(&room, target).await.unwrap()["content"], content);
        }
    });
}

/// What a client is shown it redacts, by itself.
// clause: R2.4
#[test]
fn a_redaction_is_shown_once_it_takes_effect_and_no_other_is() {
    for version in ["3", "10", "11", "12"] {
        with_room(58, version, async |scene, mut room| {
            let (other, theirs) = scene.dans_peer(&room).await;
            let content = json!({ "msgtype": "m.text", "body": "kept" });
            let hers = scene.peer.event(&mut room, CAROL, "m.room.message", None, content.clone());
            scene.send(&[&hers]).await.unwrap();
            let his = other.sign(room.version, other.draft(&theirs, DAN, "m.room.message", None, content.clone()));
            let void = scene.peer.draft(&room, CAROL, "m.room.topic", Some(""), json!({ "topic": "carol's" }));
            let void = scene.peer.sign(room.version, void);
            scene.send(&[&void]).await.unwrap_err();
            let early = redaction(&scene.peer, &room, BOB, &his.id);
            let redactions = [
                // Of another's event, without the power; of what nobody has; of the event that makes the room.
                redaction(&other, &theirs, DAN, &hers.id),
                redaction(&other, &theirs, DAN, "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
                redaction(&scene.peer, &room, BOB, room.state_id("m.room.create", "").unwrap_or("$none")),
                // Of what is not allowed.
                redaction(&scene.peer, &room, BOB, &void.id),
                // Before what it redacts.
                early.clone(),
            ];
            for redaction in &redactions {
                let peer = if redaction.json["sender"] == DAN { &other } else { &scene.peer };
                let answer = peer.send(scene.server().name(), std::slice::from_ref(redaction)).await.unwrap();
                assert_eq!(answer[&redaction.id], None, "version {version}: it is an event like any other");
            }
            let shown = async || {
                let sync = scene.call(Method::GET, "/sync", Value::Null).await.unwrap();
                let path = format!("/rooms/{}/messages?dir=b&limit=50", room.id);
                let page = scene.call(Method::GET, &path, Value::Null).await.unwrap();
                let sync = sync["rooms"]["join"][&room.id]["timeline"]["events"].clone();
                let ids = |events: &Value| -> Vec<String> {
                    let events = events.as_array().unwrap().iter();
                    let events = events.filter(|event| event["type"] == "m.room.redaction");
                    events.map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
                };
                assert_eq!(ids(&sync), ids(&page["chunk"]), "version {version}");
                ids(&sync)
            };
            assert!(shown().await.is_empty(), "version {version}");
            for redaction in &redactions {
                assert!(scene.shown(&room, redaction).await.is_none(), "version {version}");
            }
            other.send(scene.server().name(), std::slice::from_ref(&his)).await.unwrap();
            assert_eq!(scene.shown(&room, &his).await.unwrap()["content"], json!({}), "version {version}");
            assert_eq!(shown().await, std::slice::from_ref(&early.id), "version {version}");
            assert_eq!(scene.shown(&room, &hers).await.unwrap()["content"], content, "version {version}");
        });
    }
}

// clause: R2.1
/// In room versions 1 and 2 it is the domains of the two events' ids that count, whoever the senders are.
#[test]
fn what_the_old_rules_allow_takes_effect_and_nothing_else() {
    for version in ["1", "2"] {
        for comes_first in [false, true] {
            with_room(57, version, async |scene, room| {
                let (other, theirs) = scene.dans_peer(&room).await;
                let content = json!({ "msgtype": "m.text", "body": "a slip" });
                let target = other.draft(&theirs, DAN, "m.room.message", None, content.clone());
                let target = other.sign(room.version, target);
                // Carol has no power. Her event has an id of the other server's, which has signed it too.
                let mut draft = scene.peer.draft(&room, CAROL, "m.room.redaction", None, json!({}));
                draft.insert("redacts".into(), json!(target.id));
                let void = scene.peer.sign(room.version, draft.clone());
                draft.insert("event_id".into(), json!("$of-both:other.example"));
                let valid = other.sign(room.version, scene.peer.sign(room.version, draft).json);
                let send_target = || other.send(scene.server().name(), std::slice::from_ref(&target));
                if comes_first {
                    scene.send(&[&void]).await.unwrap_err();
                    scene.send(&[&valid]).await.unwrap();
                    send_target().await.unwrap();
                } else {
                    send_target().await.unwrap();
                    scene.send(&[&void]).await.unwrap_err();
                    assert_eq!(scene.shown(&room, &target).await.unwrap()["content"], content, "version {version}");
                    scene.send(&[&valid]).await.unwrap();
                }
                let shown = scene.shown(&room, &target).await.unwrap();
                assert_eq!(shown["content"], json!({}), "version {version}: {shown}");
                let because = &shown["unsigned"]["redacted_because"];
                assert_eq!(because["event_id"], json!(valid.id), "version {version}: {shown}");
            });
        }
    }
}

/// A redaction of the event with this id.
fn redaction(peer: &Peer, room: &PeerRoom, sender: &str, target: &str) -> PeerEvent {
    let mut draft = peer.draft(room, sender, "m.room.redaction", None, json!({}));
    if room.version.rules().redacts_in_content {
        draft["content"]["redacts"] = json!(target);
    } else {
        draft.insert("redacts".into(), json!(target));
    }
    peer.sign(room.version, draft)
}

/// A room of version 3 or later in which erin of another server has joined.
struct Later<'a> {
    scene: &'a Scene<'a>,
    room: PeerRoom,
    other: Peer,
    theirs: PeerRoom,
}

const ERIN: &str = "@erin:sub.peer.example";

impl<'a> Later<'a> {
    async fn new(scene: &'a Scene<'a>) -> Self {
        let room = scene.room().await;
        let other = scene.network.peer("sub.peer.example");
        let theirs = other.join(scene.server().name(), &room.id, ERIN).await.unwrap();
        Later { scene, room, other, theirs }
    }

    /// Gives erin a level, and redacting another or none of its own.
    async fn levels(&mut self, erin: i64, redact: Option<i64>) {
        let path = format!("/rooms/{}/state/m.room.power_levels", self.room.id);
        let before = self.scene.call(Method::GET, &path, Value::Null).await.unwrap();
        let mut levels = before.clone();
        levels["users"][ERIN] = json!(erin);
        match redact {
            Some(level) => levels["redact"] = json!(level),
            None => drop(levels.as_object_mut().unwrap().remove("redact")),
        }
        // What changes nothing makes no event.
        if levels != before {
            let event = self.scene.act(&mut self.room, Method::PUT, "state/m.room.power_levels/", levels).await;
            self.theirs.follow(&event);
        }
    }

    /// A message of bob's that nobody has yet.
    fn target(&mut self) -> PeerEvent {
        self.scene.peer.event(&mut self.room, BOB, "m.room.message", None, json!({ "body": "a slip" }))
    }

    async fn by_erin(&self, target: &str) {
        let event = redaction(&self.other, &self.theirs, ERIN, target);
        let answer = self.other.send(self.scene.server().name(), std::slice::from_ref(&event)).await.unwrap();
        // For the rules it is an event like any other.
        assert_eq!(answer.get(&event.id), Some(&None));
    }

    async fn is_redacted(&self, target: &PeerEvent) -> bool {
        let shown = self.scene.shown(&self.room, target).await.unwrap();
        let is_redacted = shown["content"] == json!({});
        assert_eq!(shown["unsigned"]["redacted_because"].is_object(), is_redacted, "{shown}");
        is_redacted
    }
}

// clause: R2.2
/// From room version 3 on it is the sender's level when the redaction comes, or the domain of both senders, that counts.
#[test]
fn later_versions_look_at_the_level_and_the_domain() {
    for version in ["3", "6", "10", "11", "12"] {
        let network = Network::new(58, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let mut later = Later::new(&scene).await;
                // The redact level is 50 if nobody says otherwise, and neither the kick level nor any other.
                let cases = [
                    (50, None, true),
                    (49, None, false),
                    (60, Some(60), true),
                    (59, Some(60), false),
                    (10, Some(10), true),
                    (9, Some(10), false),
                ];
                for (index, (erin, redact, takes_effect)) in cases.into_iter().enumerate() {
                    later.levels(erin, redact).await;
                    let target = later.target();
                    if index % 2 == 0 {
                        later.by_erin(&target.id).await;
                    }
                    scene.send(&[&target]).await.unwrap();
                    if index % 2 != 0 {
                        later.by_erin(&target.id).await;
                    }
                    let what = format!("version {version}: level {erin} of {redact:?}");
                    assert_eq!(later.is_redacted(&target).await, takes_effect, "{what}");
                }

                // What a redaction may do is settled when it comes. Erin had the level, or has it only now.
                for (then, now) in [(50, 0), (0, 50)] {
                    later.levels(then, None).await;
                    let [before, after] = [later.target(), later.target()];
                    scene.send(&[&before]).await.unwrap();
                    later.by_erin(&before.id).await;
                    later.by_erin(&after.id).await;
                    later.levels(now, None).await;
                    scene.send(&[&after]).await.unwrap();
                    // And whoever sends it again changes nothing.
                    scene.send(&[&before]).await.unwrap();
                    for target in [before, after] {
                        assert_eq!(
                            later.is_redacted(&target).await,
                            then == 50,
                            "version {version}: {then}, then {now}"
                        );
                    }
                }
                // Nor does it help to send one as if from the time when the level was there, and from before that time it has none.
                for (then, now) in [(50, 0), (0, 50)] {
                    later.levels(then, None).await;
                    let earlier = later.theirs.clone();
                    later.levels(now, None).await;
                    let target = later.target();
                    scene.send(&[&target]).await.unwrap();
                    let latest = std::mem::replace(&mut later.theirs, earlier);
                    later.by_erin(&target.id).await;
                    later.theirs = latest;
                    assert!(!later.is_redacted(&target).await, "version {version}: as if from when it was {then}");
                }

                // Carol has no level. Bob is of her server, erin of one whose name ends as hers does.
                later.levels(0, None).await;
                let target = later.target();
                scene.send(&[&target]).await.unwrap();
                scene.send(&[&redaction(&scene.peer, &later.room, CAROL, &target.id)]).await.unwrap();
                assert!(later.is_redacted(&target).await, "version {version}");
                let (room, join) = (&later.room, later.theirs.state_id("m.room.member", ERIN).unwrap().to_owned());
                scene.send(&[&redaction(&scene.peer, room, CAROL, &join)]).await.unwrap();
                let member = PeerEvent { id: join, json: serde_json::Map::new() };
                let shown = scene.shown(room, &member).await.unwrap();
                assert!(shown["unsigned"].get("redacted_because").is_none(), "version {version}: {shown}");

                // Not what is in another room, and not the create event, whoever redacts them.
                let target = later.target();
                scene.send(&[&target]).await.unwrap();
                let elsewhere = scene.room().await;
                scene.send(&[&redaction(&scene.peer, &elsewhere, CAROL, &target.id)]).await.unwrap();
                assert!(!later.is_redacted(&target).await, "version {version}");
                later.levels(90, None).await;
                let create = later.room.state_id("m.room.create", "").unwrap().to_owned();
                later.by_erin(&create).await;
                let create = PeerEvent { id: create, json: serde_json::Map::new() };
                let shown = scene.shown(&later.room, &create).await.unwrap();
                assert!(shown["unsigned"].get("redacted_because").is_none(), "version {version}: {shown}");
                assert_eq!(shown["content"]["room_version"], json!(version));
            })
            .unwrap();
    }
}

// clause: R2.3
/// That an event was redacted outlives what is kept of it: who hands it on again after a purge brings no content back.
#[test]
fn what_was_redacted_stays_so_after_a_purge() {
    for version in ["2", "10", "12"] {
        with_room(59, version, async |scene, mut room| {
            let slips = ["by its sender", "by who may"]
                .map(|body| scene.peer.event(&mut room, BOB, "m.room.message", None, json!({ "body": body })));
            scene.send(&slips.each_ref()).await.unwrap();
            let by_bob = redaction(&scene.peer, &room, BOB, &slips[0].id);
            scene.send(&[&by_bob]).await.unwrap();
            room.follow(&by_bob);
            let path = format!("redact/{}/1", slips[1].id.replace('/', "%2F"));
            scene.act(&mut room, Method::PUT, &path, json!({})).await;
            let old = scene.peer.event(&mut room, CAROL, "m.room.message", None, json!({ "body": "old" }));
            let kept = scene.peer.event(&mut room, BOB, "m.room.message", None, json!({ "body": "kept" }));
            scene.send(&[&old, &kept]).await.unwrap();
            let rooms = &scene.server().services().unwrap().rooms;
            let purged = rooms.purge_history(&room.id, i64::MAX).await.unwrap();
            assert!(purged.events >= 4, "{purged:?}");
            for slip in &slips {
                assert!(scene.shown(&room, slip).await.is_none(), "version {version}");
            }
            // Clients may have what was purged: they hear of its end from who may redact everything.
            let late = redaction(&scene.peer, &room, BOB, &old.id);
            scene.send(&[&late]).await.unwrap();
            assert!(scene.shown(&room, &late).await.is_some(), "version {version}");
            for slip in &slips {
                let state = room.state.values().cloned().collect();
                scene.peer.show_state_before(&slip.id, state);
            }
            scene.send(&slips.each_ref()).await.unwrap();
            for slip in &slips {
                let shown = scene.shown(&room, slip).await.unwrap();
                assert_eq!(shown["content"], json!({}), "version {version}: {shown}");
            }
        });
    }
}

// clause: R2.2
/// Who once had the power to redact cannot use it, by way of older history, on what was said after they lost it.
#[test]
fn older_redactions_take_nothing_away_that_came_after_them() {
    const GUEST: &str = "@guest:elsewhere.example";
    for version in VERSIONS.into_iter().skip(1) {
        let network = Network::new(103, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, version).await;
                let elsewhere = network.peer("elsewhere.example");
                let mut history = History::new(&scene.peer, version);
                history.hides_auth_chain = false;
                history.by(&elsewhere, GUEST, "m.room.member", Some(GUEST), json!({ "membership": "join" }));
                let levels = |guest: i64| {
                    let users =
                        if version == "12" { json!({ GUEST: guest }) } else { json!({ HOST: 100, GUEST: guest }) };
                    json!({ "users": users })
                };
                let before = history.add(&scene.peer, "m.room.message", None, message("before"));
                history.add(&scene.peer, "m.room.power_levels", Some(""), levels(50));
                let (then, place) = (history.room.clone(), history.events.len());
                history.add(&scene.peer, "m.room.power_levels", Some(""), levels(0));
                let after = history.add(&scene.peer, "m.room.message", None, message("after"));
                let redacting = |target: &PeerEvent| {
                    let mut room = then.clone();
                    if room.version.rules().create_event_is_room_id {
                        room.state.remove(&("m.room.create".to_owned(), String::new()));
                    }
                    redaction(&elsewhere, &room, GUEST, &target.id)
                };
                for target in [&before, &after] {
                    history.events.insert(place, (redacting(target), then.state.clone()));
                }
                history.script(&scene.peer, |_| true, whole);
                let room = history.room.id.clone();
                scene.call(Method::POST, &format!("/join/{room}?via=peer.example"), json!({})).await.unwrap();
                let found = paged(&scene, &room).await;
                let content = |event: &PeerEvent| {
                    let found = found.iter().find(|one| one["event_id"] == *event.id);
                    found.unwrap_or_else(|| panic!("version {version}: {} is not in {found:#?}", event.id))["content"]
                        .clone()
                };
                assert_eq!(content(&before), json!({}), "version {version}");
                assert_eq!(content(&after), message("after"), "version {version}");

                // Nor by way of a gap that lies behind what it names.
                let live = history.add(&scene.peer, "m.room.message", None, message("live"));
                history.script(&scene.peer, |_| true, whole);
                scene.send(&[&live]).await.unwrap_or_else(|because| panic!("version {version}: {because}"));
                let unseen = scene.peer.draft(&history.room, HOST, "m.room.message", None, message("unseen"));
                history.room.tips = vec![scene.peer.sign(history.room.version, unseen).id];
                let behind = history.add(&scene.peer, "m.room.message", None, message("behind"));
                let state: Vec<String> = history.room.state.values().cloned().collect();
                let late = redacting(&live);
                let late_id = late.id.clone();
                let state_then: Vec<String> = then.state.values().cloned().collect();
                scene.peer.script(move |asked| match &asked.path {
                    path if path.contains("/get_missing_events/") => answer(json!({ "events": [] })),
                    path if path.contains("/state_ids/") => {
                        let state = if asked.query.contains(&late.id[1..]) { &state_then } else { &state };
                        answer(json!({ "pdu_ids": state, "auth_chain_ids": [] }))
                    }
                    path if path.contains("/backfill/") => {
                        answer(json!({ "origin": "peer.example", "origin_server_ts": 1, "pdus": [late.json] }))
                    }
                    _ => None,
                });
                scene.send(&[&behind]).await.unwrap_or_else(|because| panic!("version {version}: {because}"));
                let found = paged(&scene, &room).await;
                let shown = found.iter().filter(|event| event["type"] == "m.room.redaction").count();
                assert_eq!(shown, 1, "version {version}: that which takes effect");
                // The others are here as well.
                scene.peer.client().event(scene.server().name(), &late_id).await.unwrap();
                assert_eq!(scene.shown(&history.room, &live).await.unwrap()["content"], message("live"), "{version}");
            })
            .unwrap();
    }
}
