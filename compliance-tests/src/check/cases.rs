//! The table of single requests.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use super::Who::{Impostor, Nobody, Owner, Stranger};
use super::{Case, Report, Scene, Who};
use crate::api::{segment, transaction};

const V3: &str = "/_matrix/client/v3";
/// Over the 65,536 bytes that an event may have.
const TOO_LONG: usize = 70_000;
/// Over what any server takes as a body of JSON.
const FAR_TOO_LONG: usize = 64 << 20;

/// Where a server may refuse to say whether a room exists.
const NO_ROOM: [(u16, &str); 2] = [(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")];
const BAD_JSON: [(u16, &str); 1] = [(400, "M_BAD_JSON")];
const NOT_JSON: [(u16, &str); 1] = [(400, "M_NOT_JSON")];
/// A parameter that cannot be what it is; the specification does not always say which code.
const BAD_PARAMETER: [(u16, &str); 3] = [(400, "M_INVALID_PARAM"), (400, "M_BAD_JSON"), (400, "M_UNKNOWN")];

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(routes());
    cases.extend(tokens());
    cases.extend(json());
    cases.extend(events());
    cases.extend(accounts());
    cases.extend(rooms());
    cases.extend(parameters());
    cases.extend(keys());
    cases
}

fn case(
    what: &'static str,
    who: Who,
    method: Method,
    path: &str,
    body: Option<&[u8]>,
    right: &[(u16, &'static str)],
) -> Case {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("{V3}/{path}") };
    Case { what, who, method, path, body: body.map(<[u8]>::to_vec), right: right.to_vec() }
}

fn get(what: &'static str, who: Who, path: &str, right: &[(u16, &'static str)]) -> Case {
    case(what, who, Method::GET, path, None, right)
}

fn post(what: &'static str, who: Who, path: &str, body: &Value, right: &[(u16, &'static str)]) -> Case {
    case(what, who, Method::POST, path, Some(body.to_string().as_bytes()), right)
}

fn put(what: &'static str, who: Who, path: &str, body: &Value, right: &[(u16, &'static str)]) -> Case {
    case(what, who, Method::PUT, path, Some(body.to_string().as_bytes()), right)
}

fn routes() -> Vec<Case> {
    let unknown = [(404, "M_UNRECOGNIZED")];
    let wrong_method = [(405, "M_UNRECOGNIZED")];
    vec![
        get("an unknown route", Nobody, "nonsense", &unknown),
        get("an unknown route below a known one", Owner, "sync/nonsense", &unknown),
        get("an unknown version", Owner, "/_matrix/client/v99/sync", &unknown),
        get("an unknown API", Nobody, "/_matrix/nonsense", &unknown),
        case("a wrong method", Owner, Method::DELETE, "sync", None, &wrong_method),
        case("a wrong method", Nobody, Method::PUT, "login", Some(b"{}"), &wrong_method),
        case("a wrong method", Owner, Method::GET, "createRoom", None, &wrong_method),
        case("OPTIONS on a route", Nobody, Method::OPTIONS, "sync", None, &[(200, ""), (204, "")]),
        case(
            "OPTIONS on a route with ids",
            Nobody,
            Method::OPTIONS,
            "rooms/{room}/state",
            None,
            &[(200, ""), (204, "")],
        ),
        case("OPTIONS on an unknown route", Nobody, Method::OPTIONS, "nonsense", None, &[(200, ""), (204, "")]),
    ]
}

fn tokens() -> Vec<Case> {
    let mut cases = Vec::new();
    for (method, path) in [
        (Method::GET, "sync"),
        (Method::GET, "account/whoami"),
        (Method::GET, "devices"),
        (Method::GET, "joined_rooms"),
        (Method::GET, "rooms/{room}/state"),
        (Method::GET, "rooms/{room}/messages?dir=b"),
        (Method::POST, "createRoom"),
        (Method::POST, "keys/upload"),
        (Method::POST, "keys/query"),
        (Method::POST, "logout"),
        (Method::PUT, "rooms/{room}/send/m.room.message/t"),
        (Method::PUT, "sendToDevice/m.test/t"),
    ] {
        let body: Option<&[u8]> = (method != Method::GET).then_some(b"{}");
        cases.push(case("no token", Nobody, method.clone(), path, body, &[(401, "M_MISSING_TOKEN")]));
        cases.push(case("an unknown token", Impostor, method, path, body, &[(401, "M_UNKNOWN_TOKEN")]));
    }
    cases
}

fn json() -> Vec<Case> {
    let mut cases = Vec::new();
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    for (what, body, right) in [
        ("truncated JSON", br#"{"name": "half"#.as_slice(), &NOT_JSON[..]),
        ("JSON with something after it", br#"{"name": "one"} {"name": "two"}"#, &NOT_JSON),
        ("bytes that are not UTF-8", b"{\"name\": \"\xff\xfe\"}", &NOT_JSON),
        ("no JSON at all", b"name=value", &NOT_JSON),
        ("a lone surrogate", br#"{"name": "\ud800"}"#, &[(400, "M_NOT_JSON"), (400, "M_BAD_JSON")]),
        ("100,000 levels", &deep, &[(400, "M_NOT_JSON"), (400, "M_BAD_JSON"), (413, "M_TOO_LARGE")]),
        ("a list instead of an object", b"[]", &BAD_JSON),
        ("a string instead of an object", br#""name""#, &BAD_JSON),
        ("a number instead of a string", br#"{"name": 5}"#, &BAD_JSON),
        (
            "an unknown word for a preset",
            br#"{"preset": "nonsense"}"#,
            &[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")],
        ),
    ] {
        cases.push(case(what, Owner, Method::POST, "createRoom", Some(body), right));
    }
    cases
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!("the bottom"), |inner, _| json!({"in": inner}))
}

fn events() -> Vec<Case> {
    let path = "rooms/{room}/send/m.room.message/";
    let long = "x".repeat(TOO_LONG);
    let mut cases = Vec::new();
    for (number, (what, body, right)) in [
        ("a fraction in an event", r#"{"body": "x", "n": 1.5}"#.to_owned(), &BAD_JSON[..]),
        (
            "an exponent in an event",
            r#"{"body": "x", "n": 1e400}"#.to_owned(),
            &[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")],
        ),
        ("an integer of 2^53", r#"{"body": "x", "n": 9007199254740992}"#.to_owned(), &BAD_JSON),
        ("an integer of -2^53", r#"{"body": "x", "n": -9007199254740992}"#.to_owned(), &BAD_JSON),
        ("an integer beyond 64 bits", r#"{"body": "x", "n": 18446744073709551616}"#.to_owned(), &BAD_JSON),
        ("an event over 65,536 bytes", json!({"body": long}).to_string(), &[(413, "M_TOO_LARGE")]),
        ("an event that is a list", "[]".to_owned(), &BAD_JSON),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("{path}bad-{number}");
        cases.push(case(what, Owner, Method::PUT, &path, Some(body.as_bytes()), right));
        let state = format!("rooms/{{room}}/state/m.test/bad-{number}");
        cases.push(case(what, Owner, Method::PUT, &state, Some(body.as_bytes()), right));
    }
    cases.push(put(
        "an event 2,000 levels deep",
        Owner,
        &format!("{path}deep"),
        &nested(2000),
        &[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")],
    ));
    let long_type = "x".repeat(300);
    let too_large = [(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM"), (413, "M_TOO_LARGE")];
    cases.push(put(
        "a type over 255 bytes",
        Owner,
        &format!("rooms/{{room}}/send/{long_type}/t"),
        &json!({}),
        &too_large,
    ));
    cases.push(put(
        "a state key over 255 bytes",
        Owner,
        &format!("rooms/{{room}}/state/m.test/{long_type}"),
        &json!({}),
        &too_large,
    ));
    cases.push(put(
        "another m.room.create",
        Owner,
        "rooms/{room}/state/m.room.create/",
        &json!({}),
        &[(403, "M_FORBIDDEN"), (400, "M_BAD_JSON")],
    ));
    cases.push(put(
        "state for another user",
        Owner,
        "rooms/{room}/state/m.test/{stranger}",
        &json!({}),
        &[(403, "M_FORBIDDEN")],
    ));
    cases.push(put(
        "a membership that does not exist",
        Owner,
        "rooms/{room}/state/m.room.member/{owner}",
        &json!({"membership": "nonsense"}),
        &[(403, "M_FORBIDDEN"), (400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")],
    ));
    cases.push(put(
        "power levels that are words",
        Owner,
        "rooms/{room}/state/m.room.power_levels/",
        &json!({"users_default": "high"}),
        &[(403, "M_FORBIDDEN"), (400, "M_BAD_JSON")],
    ));
    cases.push(put(
        "redacting an unknown event",
        Owner,
        "rooms/{room}/redact/$unknown/t",
        &json!({}),
        &[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN"), (400, "")],
    ));
    cases
}

fn accounts() -> Vec<Case> {
    let dummy = json!({"type": "m.login.dummy"});
    let device = json!({"identifier": {"type": "m.id.user", "user": "{owner}"}});
    let login = |change: Value| {
        let mut body = device.clone();
        body["type"] = json!("m.login.password");
        for (key, value) in change.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        body
    };
    vec![
        post("a wrong password", Nobody, "login", &login(json!({"password": "wrong"})), &[(403, "M_FORBIDDEN")]),
        post(
            "an unknown user's login",
            Nobody,
            "login",
            &login(json!({"password": "x", "identifier": {"type": "m.id.user", "user": "nobody-at-all"}})),
            &[(403, "M_FORBIDDEN")],
        ),
        post(
            "an unknown kind of login",
            Nobody,
            "login",
            &login(json!({"type": "m.login.nonsense"})),
            &[(400, "M_UNKNOWN"), (400, "M_UNRECOGNIZED"), (400, "M_INVALID_PARAM")],
        ),
        post("a login without a kind", Nobody, "login", &json!({}), &[(400, "M_BAD_JSON"), (400, "M_MISSING_PARAM")]),
        post(
            "a name that is taken",
            Nobody,
            "register",
            &json!({"username": "{owner}", "password": "long enough for all", "auth": dummy}),
            &[(400, "M_USER_IN_USE"), (400, "M_INVALID_USERNAME")],
        ),
        post(
            "a name with a space",
            Nobody,
            "register",
            &json!({"username": "two words", "password": "long enough for all", "auth": dummy}),
            &[(400, "M_INVALID_USERNAME")],
        ),
        post(
            "a name that is too long",
            Nobody,
            "register",
            &json!({"username": "x".repeat(300), "password": "long enough for all", "auth": dummy}),
            &[(400, "M_INVALID_USERNAME")],
        ),
        post(
            "registering without any stage",
            Nobody,
            "register",
            &json!({"username": "nobody-yet", "password": "long enough for all"}),
            &[(401, "")],
        ),
        post(
            "registering with an unknown session",
            Nobody,
            "register",
            &json!({"username": "nobody-yet", "password": "long enough for all", "auth": {"type": "m.login.dummy", "session": "nonsense"}}),
            &[(400, ""), (401, ""), (403, ""), (404, "")],
        ),
        get(
            "an unknown user's profile",
            Owner,
            "profile/@nobody:{server}",
            &[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")],
        ),
        get(
            "a profile of something that is no user",
            Owner,
            "profile/nonsense",
            &[(400, "M_INVALID_PARAM"), (404, "M_NOT_FOUND")],
        ),
        put(
            "another's display name",
            Stranger,
            "profile/{owner}/displayname",
            &json!({"displayname": "changed"}),
            &[(403, "M_FORBIDDEN"), (400, "")],
        ),
        get("an unknown device", Owner, "devices/NONSENSE", &[(404, "M_NOT_FOUND")]),
        put(
            "renaming an unknown device",
            Owner,
            "devices/NONSENSE",
            &json!({"display_name": "x"}),
            &[(404, "M_NOT_FOUND")],
        ),
        case(
            "deleting a device without a password",
            Owner,
            Method::DELETE,
            "devices/{device}",
            Some(b"{}"),
            &[(401, "")],
        ),
        put(
            "account data that the server keeps itself",
            Owner,
            "user/{owner}/account_data/m.push_rules",
            &json!({}),
            &[(405, "M_BAD_JSON")],
        ),
        put(
            "another's account data",
            Stranger,
            "user/{owner}/account_data/m.test",
            &json!({}),
            &[(403, "M_FORBIDDEN")],
        ),
        get("account data that was never set", Owner, "user/{owner}/account_data/m.never", &[(404, "M_NOT_FOUND")]),
        get(
            "an unknown filter",
            Owner,
            "user/{owner}/filter/nonsense",
            &[(404, "M_NOT_FOUND"), (400, "M_INVALID_PARAM")],
        ),
        post("a filter of the wrong shape", Owner, "user/{owner}/filter", &json!({"room": "nonsense"}), &BAD_JSON),
        post(
            "a filter with a negative limit",
            Owner,
            "user/{owner}/filter",
            &json!({"room": {"timeline": {"limit": -1}}}),
            &[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")],
        ),
    ]
}

fn rooms() -> Vec<Case> {
    vec![
        get("the state of an unknown room", Owner, "rooms/!unknown:localhost/state", &NO_ROOM),
        get("the members of an unknown room", Owner, "rooms/!unknown:localhost/members", &NO_ROOM),
        get("the messages of an unknown room", Owner, "rooms/!unknown:localhost/messages?dir=b", &NO_ROOM),
        put(
            "sending to an unknown room",
            Owner,
            "rooms/!unknown:localhost/send/m.room.message/t",
            &json!({}),
            &NO_ROOM,
        ),
        post(
            "joining an unknown room",
            Owner,
            "join/!unknown",
            &json!({}),
            &[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN"), (400, "")],
        ),
        post("joining an unknown alias", Owner, "join/%23unknown-alias:{server}", &json!({}), &[(404, "M_NOT_FOUND")]),
        get(
            "something that is no room id",
            Owner,
            "rooms/nonsense/state",
            &[(400, "M_INVALID_PARAM"), (403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")],
        ),
        get("a room id that is not UTF-8", Owner, "rooms/%ff%fe/state", &[(400, ""), (403, ""), (404, "")]),
        get("the state of another's room", Stranger, "rooms/{room}/state", &[(403, "M_FORBIDDEN")]),
        get(
            "an event of another's room",
            Stranger,
            "rooms/{room}/event/{event}",
            &[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")],
        ),
        get("the messages of another's room", Stranger, "rooms/{room}/messages?dir=b", &[(403, "M_FORBIDDEN")]),
        get("the members of another's room", Stranger, "rooms/{room}/joined_members", &[(403, "M_FORBIDDEN")]),
        put(
            "sending to another's room",
            Stranger,
            "rooms/{room}/send/m.room.message/t",
            &json!({"body": "x"}),
            &[(403, "M_FORBIDDEN")],
        ),
        post("joining a room by invitation only", Stranger, "join/{room}", &json!({}), &[(403, "M_FORBIDDEN")]),
        post(
            "inviting to another's room",
            Stranger,
            "rooms/{room}/invite",
            &json!({"user_id": "{stranger}"}),
            &[(403, "M_FORBIDDEN")],
        ),
        post(
            "inviting nobody",
            Owner,
            "rooms/{room}/invite",
            &json!({}),
            &[(400, "M_BAD_JSON"), (400, "M_MISSING_PARAM")],
        ),
        post(
            "inviting something that is no user",
            Owner,
            "rooms/{room}/invite",
            &json!({"user_id": "nonsense"}),
            &[(400, "M_INVALID_PARAM"), (400, "M_BAD_JSON")],
        ),
        post(
            "kicking somebody who is not there",
            Owner,
            "rooms/{room}/kick",
            &json!({"user_id": "{stranger}"}),
            &[(403, "M_FORBIDDEN"), (400, "")],
        ),
        post(
            "unbanning somebody who is not banned",
            Owner,
            "rooms/{room}/unban",
            &json!({"user_id": "{stranger}"}),
            &[(403, "M_BAD_STATE"), (403, "M_FORBIDDEN"), (400, "")],
        ),
        get("an unknown event", Owner, "rooms/{room}/event/$unknown", &[(404, "M_NOT_FOUND")]),
        get("the context of an unknown event", Owner, "rooms/{room}/context/$unknown", &[(404, "M_NOT_FOUND")]),
        get("state that was never set", Owner, "rooms/{room}/state/m.never/", &[(404, "M_NOT_FOUND")]),
        post(
            "a room version that does not exist",
            Owner,
            "createRoom",
            &json!({"room_version": "nonsense"}),
            &[(400, "M_UNSUPPORTED_ROOM_VERSION")],
        ),
        post(
            "an alias with a colon",
            Owner,
            "createRoom",
            &json!({"room_alias_name": "a:b"}),
            &[(400, "M_INVALID_PARAM"), (400, "M_BAD_JSON"), (400, "M_INVALID_ROOM_ALIAS")],
        ),
        post(
            "inviting nonsense to a new room",
            Owner,
            "createRoom",
            &json!({"invite": ["nonsense"]}),
            &[(400, "M_INVALID_PARAM"), (400, "M_BAD_JSON")],
        ),
        get(
            "an unknown alias",
            Owner,
            "directory/room/%23unknown-alias:{server}",
            &[(404, "M_NOT_FOUND"), (400, "M_INVALID_PARAM")],
        ),
        put(
            "an alias on another server",
            Owner,
            "directory/room/%23x:elsewhere.invalid",
            &json!({"room_id": "{room}"}),
            &[(400, "M_INVALID_PARAM"), (403, "M_FORBIDDEN"), (400, "M_UNKNOWN")],
        ),
        post(
            "a receipt of an unknown kind",
            Owner,
            "rooms/{room}/receipt/m.nonsense/{event}",
            &json!({}),
            &[(400, "M_INVALID_PARAM"), (400, "M_BAD_JSON"), (400, "M_UNKNOWN")],
        ),
        put(
            "typing for somebody else",
            Owner,
            "rooms/{room}/typing/{stranger}",
            &json!({"typing": true}),
            &[(403, "M_FORBIDDEN"), (400, "")],
        ),
    ]
}

fn parameters() -> Vec<Case> {
    vec![
        get("a token that was never given", Owner, "sync?since=nonsense", &BAD_PARAMETER),
        get("a time-out that is no number", Owner, "sync?timeout=soon", &BAD_PARAMETER),
        get(
            "a filter that is no JSON",
            Owner,
            "sync?filter=%7Bnonsense",
            &[(400, "M_INVALID_PARAM"), (400, "M_BAD_JSON"), (400, "M_NOT_JSON"), (400, "M_UNKNOWN")],
        ),
        get("no direction", Owner, "rooms/{room}/messages", &[(400, "M_MISSING_PARAM"), (400, "M_INVALID_PARAM")]),
        get("a direction that does not exist", Owner, "rooms/{room}/messages?dir=x", &BAD_PARAMETER),
        get("a page token that was never given", Owner, "rooms/{room}/messages?dir=b&from=nonsense", &BAD_PARAMETER),
        get("a limit that is no number", Owner, "rooms/{room}/messages?dir=b&limit=many", &BAD_PARAMETER),
    ]
}

fn keys() -> Vec<Case> {
    vec![
        post("device keys that are a number", Owner, "keys/upload", &json!({"device_keys": 5}), &BAD_JSON),
        post("one-time keys that are a list", Owner, "keys/upload", &json!({"one_time_keys": []}), &BAD_JSON),
        post(
            "another's device keys",
            Owner,
            "keys/upload",
            &json!({"device_keys": {"user_id": "{stranger}", "device_id": "X", "algorithms": [], "keys": {}, "signatures": {}}}),
            &[(400, ""), (403, "")],
        ),
        post("a query of the wrong shape", Owner, "keys/query", &json!({"device_keys": {"{owner}": "all"}}), &BAD_JSON),
        post(
            "a query without users",
            Owner,
            "keys/query",
            &json!({}),
            &[(400, "M_BAD_JSON"), (400, "M_MISSING_PARAM")],
        ),
        post("a claim of the wrong shape", Owner, "keys/claim", &json!({"one_time_keys": {"{owner}": 5}}), &BAD_JSON),
        get("key changes between nothing", Owner, "keys/changes?from=nonsense&to=nonsense", &BAD_PARAMETER),
        put("to-device messages that are a list", Owner, "sendToDevice/m.test/t", &json!({"messages": []}), &BAD_JSON),
        put(
            "to-device messages without any",
            Owner,
            "sendToDevice/m.test/t2",
            &json!({}),
            &[(400, "M_BAD_JSON"), (400, "M_MISSING_PARAM")],
        ),
        get("a backup that was never made", Owner, "room_keys/version", &[(404, "M_NOT_FOUND")]),
        get("keys of an unknown backup", Owner, "room_keys/keys?version=99", &[(404, "M_NOT_FOUND")]),
    ]
}

/// A body far over what a server takes: it says so, or hangs up without reading on; either way it goes on serving.
pub(super) async fn endless_body(scene: &Scene, report: &mut Report) -> Result<()> {
    let mut body = br#"{"name":""#.to_vec();
    body.resize(FAR_TOO_LONG, b'x');
    report.requests += 1;
    if let Ok(answer) = scene.owner.raw(Method::POST, &format!("{V3}/createRoom"), Some(body)).await
        && (answer.status, answer.errcode().as_str()) != (413, "M_TOO_LARGE")
    {
        report.failures.push(format!("a body of {FAR_TOO_LONG} bytes gave {} {}", answer.status, answer.json()));
    }
    scene.owner.get(&format!("{V3}/account/whoami")).await?;
    Ok(())
}

/// A transaction id that comes again gives the same answer and makes nothing new, whatever else the request says; and an
/// empty body counts as `{}`. The last change the room, so they undo themselves in a room of their own.
pub(super) async fn replays(scene: &Scene, report: &mut Report) -> Result<()> {
    let owner = &scene.owner;
    let answer = owner.raw(Method::POST, &format!("{V3}/createRoom"), Some(Vec::new())).await?;
    report.requests += 1;
    let Some(room) = answer.json()["room_id"].as_str().map(str::to_owned) else {
        report.failures.push(format!("createRoom with an empty body gave {} {}", answer.status, answer.json()));
        return Ok(());
    };
    let once = transaction();
    let first = owner.send(&room, "m.room.message", &once, &json!({"msgtype": "m.text", "body": "once"})).await?;
    let again = owner.send(&room, "m.room.message", &once, &json!({"msgtype": "m.text", "body": "twice"})).await?;
    report.requests += 2;
    if first != again {
        report.failures.push(format!("one transaction id made {first} and {again}"));
    }
    let event = owner.get(&format!("{V3}/rooms/{}/event/{}", segment(&room), segment(&first))).await?;
    let history = owner.history(&room, 100).await?;
    let messages = history.iter().filter(|event| event["type"] == "m.room.message").count();
    if event["content"]["body"] != "once" || messages != 1 {
        report.failures.push(format!("a replayed transaction left {messages} messages, the first being {event}"));
    }
    Ok(())
}
