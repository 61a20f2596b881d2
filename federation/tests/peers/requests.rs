//! Requests signed both ways: what is asked arrives, and what is not signed properly changes nothing.

use federation::{
    ApiError,
    auth::{RequestToSign, XMatrix},
    client::RequestError,
    types::*,
};
use http::Method;
use net::simulated::Simulation;
use serde_json::json;
use state_res::sign::SigningKey;

use super::rig::*;

const ROOM: &str = "!r/ü:b.example";
const USER: &str = "@a:a.example";
const EVENT: &str = "$e/+x";

fn pair(simulation: &Simulation) -> (Server, Server) {
    let a = Server::start(simulation, "a.example", Setup::default());
    let b = Server::start(simulation, "b.example", Setup { key: 2, ..Setup::default() });
    (a, b)
}

#[test]
fn every_question_arrives_and_is_answered() {
    let simulation = Simulation::new(1);
    let (a, b) = pair(&simulation);
    let run = simulation.run(async {
        let (ask, to) = (&a.client, "b.example");
        let event = raw(&json!({ "x": "é" }));
        let template = ask.make_join(to, ROOM, USER, &["9", "10"]).await.unwrap();
        assert_eq!(template.room_version.as_deref(), Some("10"));
        assert_eq!(template.event.parse::<serde_json::Value>().unwrap()["content"]["membership"], "join");
        let join = ask.send_join(to, ROOM, EVENT, event.to_bytes(), true).await.unwrap();
        assert!(join.members_omitted && join.event.as_ref() == Some(&event) && join.state == [event.clone()]);
        assert_eq!((join.auth_chain, join.servers_in_room), (vec![event.clone()], Some(vec!["a.example".into()])));
        ask.make_leave(to, ROOM, USER).await.unwrap();
        ask.send_leave(to, ROOM, EVENT, event.to_bytes()).await.unwrap();
        ask.make_knock(to, ROOM, USER, &["10"]).await.unwrap();
        assert_eq!(ask.send_knock(to, ROOM, EVENT, event.to_bytes()).await.unwrap(), std::slice::from_ref(&event));
        let invite = InviteRequest {
            room_id: ROOM.into(),
            event_id: EVENT.into(),
            room_version: "10".into(),
            event: event.clone(),
            invite_room_state: vec![event.clone()],
        };
        assert_eq!(ask.invite(to, &invite).await.unwrap(), event);
        let pdus = ask.backfill(to, ROOM, &["$1", "$2"], 7).await.unwrap();
        assert_eq!(pdus.iter().map(text).collect::<Vec<_>>(), ["{\"depth\":1}", "{\"odd\":1.0e3}"]);
        let missing = MissingEventsRequest {
            limit: 10_000,
            min_depth: 3,
            earliest_events: vec!["$1".into()],
            latest_events: vec!["$2".into()],
        };
        assert_eq!(ask.missing_events(to, ROOM, &missing).await.unwrap().len(), 1);
        let state = ask.state(to, ROOM, EVENT).await.unwrap();
        assert_eq!((text(&state.pdus[0]), text(&state.auth_chain[0])), ("{\"a\":1}".into(), "{\"b\":1}".into()));
        assert_eq!(ask.state_ids(to, ROOM, EVENT).await.unwrap().auth_chain_ids, ["$b"]);
        assert_eq!(ask.event(to, EVENT).await.unwrap(), raw(&json!({ "event": EVENT })));
        assert_eq!(ask.event_auth(to, ROOM, EVENT).await.unwrap(), [raw(&json!({ "auth": EVENT }))]);
        let at_time = ask.event_at_time(to, ROOM, -5, Direction::Backwards).await.unwrap();
        assert_eq!(at_time, EventAtTime { event_id: "$t".into(), origin_server_ts: -4 });
        assert_eq!(ask.profile(to, "@b:b.example", Some("displayname")).await.unwrap()["displayname"], "Bé");
        assert_eq!(ask.alias(to, "#a b:b.example").await.unwrap().servers, ["b.example"]);
        let wanted = DeviceKeyRequest::from([("@b:b.example".to_owned(), vec![])]);
        // A peer cannot speak for users of others.
        assert_eq!(
            ask.user_keys(to, &wanted).await.unwrap().device_keys.into_keys().collect::<Vec<_>>(),
            ["@b:b.example"]
        );
        let wanted = KeyClaimRequest::from([("@b:b.example".to_owned(), [("D".to_owned(), "x".to_owned())].into())]);
        assert_eq!(ask.claim_keys(to, &wanted).await.unwrap().one_time_keys.len(), 1);
        assert_eq!(ask.user_devices(to, "@b:b.example").await.unwrap().stream_id, 5);
        ask.public_rooms(to, &PublicRoomsRequest { limit: Some(3), ..Default::default() }).await.unwrap();
        let search = PublicRoomsRequest {
            search: Some("x y".into()),
            room_types: Some(vec![None, Some("m.space".into())]),
            since: Some("s".into()),
            ..Default::default()
        };
        ask.public_rooms(to, &search).await.unwrap();
        assert_eq!(ask.hierarchy(to, ROOM, true).await.unwrap().inaccessible_children, [ROOM]);
        ask.exchange_third_party_invite(to, ROOM, event.to_bytes()).await.unwrap();
        assert_eq!(ask.openid_user(to, "t&k").await.unwrap(), "@b:b.example");
        assert_eq!(ask.version(to).await.unwrap().name.as_deref(), Some("Test"));
        // And the other way.
        b.client.make_leave("a.example", "!r:a.example", "@b:b.example").await.unwrap();
    });
    run.unwrap();
    let asked = b.answers.asked.lock().join("\n");
    let expected = format!(
        "a.example make_join {ROOM} {USER} [\"9\", \"10\"]\n\
         a.example send_join {ROOM} {EVENT} {{\"x\":\"é\"}} true\n\
         a.example make_leave {ROOM} {USER}\n\
         a.example send_leave {ROOM} {EVENT} {{\"x\":\"é\"}}\n\
         a.example make_knock {ROOM} {USER} [\"10\"]\n\
         a.example send_knock {ROOM} {EVENT} {{\"x\":\"é\"}}\n\
         a.example invite {ROOM} {EVENT} 10 {{\"x\":\"é\"}} [{{\"x\":\"é\"}}]\n\
         a.example backfill {ROOM} [\"$1\", \"$2\"] 7\n\
         a.example missing_events {ROOM} MissingEventsRequest {{ limit: 50, min_depth: 3, earliest_events: [\"$1\"], \
         latest_events: [\"$2\"] }}\n\
         a.example state {ROOM} {EVENT}\n\
         a.example state_ids {ROOM} {EVENT}\n\
         a.example event {EVENT}\n\
         a.example event_auth {ROOM} {EVENT}\n\
         a.example event_at_time {ROOM} -5 Backwards\n\
         a.example profile @b:b.example Some(\"displayname\")\n\
         a.example alias #a b:b.example\n\
         a.example user_keys {{\"@b:b.example\": []}}\n\
         a.example claim_keys {{\"@b:b.example\": {{\"D\": \"x\"}}}}\n\
         a.example user_devices @b:b.example\n\
         a.example public_rooms PublicRoomsRequest {{ limit: Some(3), since: None, search: None, room_types: None, \
         include_all_networks: false, third_party_instance_id: None }}\n\
         a.example public_rooms PublicRoomsRequest {{ limit: None, since: Some(\"s\"), search: Some(\"x y\"), \
         room_types: Some([None, Some(\"m.space\")]), include_all_networks: false, third_party_instance_id: None }}\n\
         a.example hierarchy {ROOM} true\n\
         a.example exchange_third_party_invite {ROOM} {{\"x\":\"é\"}}\n\
         openid_user t&k"
    );
    assert_eq!(asked, expected);
    assert_eq!(*a.answers.asked.lock(), ["b.example make_leave !r:a.example @b:b.example"]);
}

#[test]
fn what_is_not_signed_for_this_server_by_its_origin_is_refused() {
    let simulation = Simulation::new(2);
    let (a, b) = pair(&simulation);
    let uri = "/_matrix/federation/v1/event/%24e";
    let run = simulation.run(async {
        let signed = RequestToSign { method: "GET", uri, origin: "a.example", destination: "b.example", content: None };
        let good = signed.sign(&a.own.current).unwrap();
        let ask_with = async |headers: &[&str]| {
            let (status, body) = ask(&a.world, "b.example", Method::GET, uri, headers, b"").await;
            (status, errcode(&body))
        };
        let refused = (401, "M_UNAUTHORIZED".to_owned());
        assert_eq!(ask_with(&[&good.to_string()]).await, (200, String::new()));
        let stranger = SigningKey::from_seed("k1", [99; 32]).unwrap();
        let forged = signed.sign(&stranger).unwrap();
        let for_other = RequestToSign { destination: "c.example", ..signed }.sign(&a.own.current).unwrap();
        let other_path =
            RequestToSign { uri: "/_matrix/federation/v1/event/%24f", ..signed }.sign(&a.own.current).unwrap();
        let own_name = RequestToSign { origin: "b.example", ..signed }.sign(&b.own.current).unwrap();
        let bad = [
            String::new(),
            "Bearer x".to_owned(),
            "X-Matrix origin=a.example".to_owned(),
            forged.to_string(),
            for_other.to_string(),
            XMatrix { destination: Some("b.example".into()), ..for_other.clone() }.to_string(),
            XMatrix { destination: Some("B.example".into()), ..good.clone() }.to_string(),
            other_path.to_string(),
            own_name.to_string(),
            XMatrix { key: "ed25519:unknown".into(), ..good.clone() }.to_string(),
            XMatrix { origin: "not a server".into(), ..good.clone() }.to_string(),
            XMatrix { origin: "c.example".into(), ..good.clone() }.to_string(),
            XMatrix { signature: "AAAA".into(), ..good.clone() }.to_string(),
            XMatrix { signature: "!".into(), ..good.clone() }.to_string(),
        ];
        for header in &bad {
            assert_eq!(ask_with(&[header]).await, refused, "{header}");
        }
        assert_eq!(ask_with(&[]).await, refused);
        assert_eq!(ask_with(&[&good.to_string(), &own_name.to_string()]).await, refused, "two origins");
        // Servers older than version 1.3 name no destination, and a server may sign with several keys.
        let old = XMatrix { destination: None, ..good.clone() };
        assert_eq!(ask_with(&[&forged.to_string(), &old.to_string()]).await.0, 200);
        // A body that was not signed.
        let (status, _) = ask(&a.world, "b.example", Method::GET, uri, &[&good.to_string()], b"{}").await;
        assert_eq!(status, 401);
    });
    run.unwrap();
    assert_eq!(b.answers.asked.lock().len(), 2, "only the good ones got through");
}

#[test]
fn bad_input_has_the_right_codes_and_changes_nothing() {
    let simulation = Simulation::new(3);
    let (a, b) = pair(&simulation);
    let federation = "/_matrix/federation";
    let deep = |levels: usize| [b"{\"a\":".to_vec(), vec![b'['; levels], vec![b']'; levels], b"}".to_vec()].concat();
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(federation::limits::MAX_REQUEST_BODY));
    let ids = json!({ "earliest_events": vec!["$e"; 600], "latest_events": vec!["$e"; 600] }).to_string();
    let cases: Vec<(Method, String, &[u8], u16, &str)> = vec![
        (Method::PUT, format!("{federation}/v1/send/1"), b"{\"pdus\":[", 400, "M_NOT_JSON"),
        (Method::PUT, format!("{federation}/v1/send/1"), b"{\"pdus\":[\"\xff\"]}", 400, "M_NOT_JSON"),
        (Method::PUT, format!("{federation}/v1/send/1"), b"", 400, "M_NOT_JSON"),
        (Method::PUT, format!("{federation}/v1/send/1"), b"{\"pdus\":7}", 400, "M_BAD_JSON"),
        (Method::PUT, format!("{federation}/v1/send/1"), b"[]", 400, "M_BAD_JSON"),
        (Method::PUT, format!("{federation}/v2/send_join/!r/$e"), b"[]", 400, "M_BAD_JSON"),
        (Method::PUT, format!("{federation}/v2/invite/!r/$e"), b"{\"event\":{}}", 400, "M_BAD_JSON"),
        (
            Method::PUT,
            format!("{federation}/v2/invite/!r/$e"),
            b"{\"event\":7,\"room_version\":\"1\"}",
            400,
            "M_BAD_JSON",
        ),
        (Method::POST, format!("{federation}/v1/user/keys/query"), b"{}", 400, "M_BAD_JSON"),
        (Method::POST, format!("{federation}/v1/get_missing_events/!r"), ids.as_bytes(), 400, "M_INVALID_PARAM"),
        (Method::POST, format!("{federation}/v1/get_missing_events/!r"), b"{\"limit\":-1}", 400, "M_BAD_JSON"),
        (Method::POST, format!("{federation}/v1/publicRooms"), large.as_bytes(), 413, "M_TOO_LARGE"),
        (Method::GET, format!("{federation}/v1/make_join/!r/@u:b.example?ver=1"), b"", 403, "M_FORBIDDEN"),
        (Method::GET, format!("{federation}/v1/make_join/r/@u:a.example?ver=1"), b"", 400, "M_INVALID_PARAM"),
        (Method::GET, format!("{federation}/v1/make_join/!r/%FF"), b"", 400, "M_INVALID_PARAM"),
        (Method::GET, format!("{federation}/v1/make_knock/!r/@u:a.example"), b"", 400, "M_MISSING_PARAM"),
        (Method::GET, format!("{federation}/v1/backfill/!r?limit=5"), b"", 400, "M_MISSING_PARAM"),
        (Method::GET, format!("{federation}/v1/backfill/!r?v=$e"), b"", 400, "M_MISSING_PARAM"),
        (Method::GET, format!("{federation}/v1/backfill/!r?v=$e&limit=-1"), b"", 400, "M_INVALID_PARAM"),
        (Method::GET, format!("{federation}/v1/state/!r"), b"", 400, "M_MISSING_PARAM"),
        (Method::GET, format!("{federation}/v1/timestamp_to_event/!r?ts=1&dir=x"), b"", 400, "M_INVALID_PARAM"),
        (Method::GET, format!("{federation}/v1/hierarchy/!r?suggested_only=yes"), b"", 400, "M_INVALID_PARAM"),
        (Method::GET, format!("{federation}/v1/event/{}", "x".repeat(300)), b"", 400, "M_INVALID_PARAM"),
        (Method::GET, format!("{federation}/v1/query/nonsense"), b"", 404, "M_UNRECOGNIZED"),
        (Method::GET, format!("{federation}/v3/event/$e"), b"", 404, "M_UNRECOGNIZED"),
        (Method::GET, "/".to_owned(), b"", 404, "M_UNRECOGNIZED"),
        (Method::POST, format!("{federation}/v1/event/$e"), b"{}", 405, "M_UNRECOGNIZED"),
        (Method::GET, format!("{federation}/v1/send/1"), b"", 405, "M_UNRECOGNIZED"),
        (Method::GET, "/_matrix/key/v2/query/no_server".to_owned(), b"", 400, "M_INVALID_PARAM"),
    ];
    let run = simulation.run(async {
        for (method, uri, body, status, code) in &cases {
            let what = format!("{method} {uri}");
            assert_eq!(a.send("b.example", method.clone(), uri, body).await, (*status, (*code).to_owned()), "{what}");
        }
        let uri = "/_matrix/federation/v2/send_leave/!r/$e";
        assert_eq!(a.send("b.example", Method::PUT, uri, &deep(100_000)).await, (400, "M_BAD_JSON".to_owned()));
        assert!(b.answers.asked.lock().is_empty());
        // As deep as no event may be, but that is for whoever reads the event to say.
        assert_eq!(a.send("b.example", Method::PUT, uri, &deep(400)).await.0, 200);
    });
    run.unwrap();
}

#[test]
fn a_peers_error_and_nonsense_are_told_apart() {
    let simulation = Simulation::new(4);
    let (a, b) = pair(&simulation);
    let run = simulation.run(async {
        b.answers.errors.lock().push_back(ApiError::incompatible_room_version("3"));
        let error = a.client.make_join("b.example", ROOM, USER, &["1"]).await.unwrap_err();
        let peer = error.peer().unwrap();
        assert_eq!((peer.status, peer.errcode.as_str()), (400, "M_INCOMPATIBLE_ROOM_VERSION"));
        assert_eq!(peer.to_api_error(), ApiError::incompatible_room_version("3"));
        assert!(!error.is_unreachable());
        *b.answers.wrong_sender.lock() = Some("@mallory:b.example".to_owned());
        let error = a.client.make_join("b.example", ROOM, USER, &["1"]).await.unwrap_err();
        assert!(matches!(error, RequestError::Malformed { .. }), "{error}");
        let error = a.client.version("nobody.example").await.unwrap_err();
        assert!(error.is_unreachable() && error.is_unsent(), "{error}");
        for name in ["a.example", "not a server", ""] {
            assert!(matches!(a.client.version(name).await.unwrap_err(), RequestError::Unfit { .. }));
        }
    });
    run.unwrap();
}

#[test]
fn an_old_server_is_invited_by_version_1() {
    let simulation = Simulation::new(5);
    let (a, b) = pair(&simulation);
    let run = simulation.run(async {
        let mut invite = InviteRequest {
            room_id: "!r:a.example".into(),
            event_id: "$e:a.example".into(),
            room_version: "2".into(),
            event: raw(&json!({ "x": 1, "unsigned": { "age": 5 } })),
            invite_room_state: vec![raw(&json!({ "type": "m.room.name" }))],
        };
        b.answers.errors.lock().push_back(ApiError::unrecognized());
        a.client.invite("b.example", &invite).await.unwrap();
        let asked = b.answers.asked.lock().pop().unwrap();
        let event = r#"{"unsigned":{"age":5,"invite_room_state":[{"type":"m.room.name"}]},"x":1}"#;
        assert_eq!(
            asked,
            format!("a.example invite !r:a.example $e:a.example 1 {event} [{{\"type\":\"m.room.name\"}}]")
        );
        // Later room versions have no such way.
        invite.room_version = "3".into();
        b.answers.errors.lock().push_back(ApiError::unrecognized());
        assert!(a.client.invite("b.example", &invite).await.is_err());
    });
    run.unwrap();
}
