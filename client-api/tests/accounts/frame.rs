//! What holds for every endpoint: CORS, `OPTIONS`, unknown routes and methods, bodies, tokens.

use crate::server::{Server, with_server};
use axum::body::Body;
use http::{Method, Request};
use serde_json::json;

/// Every endpoint of accounts and devices: method, path, whether it needs a token.
const ENDPOINTS: &[(&str, &str, bool)] = &[
    ("GET", "/_matrix/client/versions", false),
    ("GET", "/.well-known/matrix/client", false),
    ("GET", "/.well-known/matrix/server", false),
    ("GET", "/_synapse/admin/v1/register", false),
    ("POST", "/_synapse/admin/v1/register", false),
    ("GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token=x", false),
    ("GET", "/capabilities", true),
    ("POST", "/register", false),
    ("GET", "/register/available?username=x", false),
    ("GET", "/login", false),
    ("POST", "/login", false),
    ("POST", "/refresh", false),
    ("POST", "/logout", true),
    ("POST", "/logout/all", true),
    ("GET", "/account/whoami", true),
    ("GET", "/account/3pid", true),
    ("POST", "/account/password", false),
    ("POST", "/account/deactivate", false),
    ("GET", "/devices", true),
    ("GET", "/devices/A", true),
    ("PUT", "/devices/A", true),
    ("DELETE", "/devices/A", true),
    ("POST", "/delete_devices", true),
    ("GET", "/profile/@a:example.org", false),
    ("GET", "/profile/@a:example.org/displayname", false),
    ("PUT", "/profile/@a:example.org/displayname", true),
    ("DELETE", "/profile/@a:example.org/displayname", true),
    ("GET", "/user/@a:example.org/account_data/x", true),
    ("PUT", "/user/@a:example.org/account_data/x", true),
    ("GET", "/user/@a:example.org/rooms/!r:x/account_data/x", true),
    ("PUT", "/user/@a:example.org/rooms/!r:x/account_data/x", true),
    ("GET", "/user/@a:example.org/rooms/!r:x/tags", true),
    ("PUT", "/user/@a:example.org/rooms/!r:x/tags/t", true),
    ("DELETE", "/user/@a:example.org/rooms/!r:x/tags/t", true),
    ("POST", "/user/@a:example.org/filter", true),
    ("GET", "/user/@a:example.org/filter/1", true),
    ("POST", "/user_directory/search", true),
];

fn assert_cors(answer: &crate::server::Answer, what: &str) {
    let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("access-control-allow-origin").as_deref(), Some("*"), "{what}");
    let methods = header("access-control-allow-methods").unwrap();
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
        assert!(methods.contains(method), "{what}: {methods}");
    }
    let headers = header("access-control-allow-headers").unwrap();
    for name in ["X-Requested-With", "Content-Type", "Authorization"] {
        assert!(headers.contains(name), "{what}: {headers}");
    }
}

#[test]
fn every_route_answers_options_and_carries_cors_headers() {
    with_server(async |server| {
        let unknown = ("GET", "/no/such/endpoint", false);
        for (method, path, needs_token) in ENDPOINTS.iter().chain([&unknown]) {
            let preflight = server.send(Method::OPTIONS, path, None, Body::empty()).await;
            assert!(preflight.status.is_success(), "OPTIONS {path}: {}", preflight.status);
            assert_cors(&preflight, path);
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = server.send(method.clone(), path, None, Body::empty()).await;
            assert_cors(&answer, path);
            if *needs_token {
                answer.error(401, "M_MISSING_TOKEN");
            } else {
                assert_ne!(answer.body["errcode"], "M_MISSING_TOKEN", "{method} {path}");
            }
        }
    });
}

#[test]
fn r0_has_what_v3_has() {
    with_server(async |server| {
        for (method, path, _) in
            ENDPOINTS.iter().filter(|(_, path, _)| !path.starts_with("/_") && !path.starts_with("/."))
        {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = server.send(method, &format!("/_matrix/client/r0{path}"), None, Body::empty()).await;
            assert_ne!(answer.body["errcode"], "M_UNRECOGNIZED", "{path}");
        }
    });
}

#[test]
fn unknown_routes_and_wrong_methods_are_told_apart() {
    with_server(async |server| {
        for path in
            ["/", "/_matrix/client/v3", "/_matrix/client/v9/login", "/no/such", "/account/3pid/add", "/_matrix/%ff"]
        {
            server.ask(path).await.error(404, "M_UNRECOGNIZED");
        }
        for (method, path, _) in ENDPOINTS {
            let wrong = server.send(Method::PATCH, path, None, Body::empty()).await;
            assert_cors(&wrong, path);
            wrong.error(405, "M_UNRECOGNIZED");
            let others = ["GET", "POST", "PUT", "DELETE"].iter().filter(|other| {
                let has = |other: &str| ENDPOINTS.iter().any(|(m, p, _)| p == path && *m == other);
                *other != method && !has(other)
            });
            for other in others {
                let other = Method::from_bytes(other.as_bytes()).unwrap();
                server.send(other, path, None, Body::empty()).await.error(405, "M_UNRECOGNIZED");
            }
        }
    });
}

#[test]
fn bodies_that_are_not_as_required_are_refused_with_their_reason() {
    with_server(async |server| {
        let deep = |levels: usize| format!(r#"{{"auth":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        let table: Vec<(Vec<u8>, u16, &str, &str)> = vec![
            (br#"{"type":"m.login.password","#.to_vec(), 400, "M_NOT_JSON", "JSON"),
            (br#"{"type":5,"user""#.to_vec(), 400, "M_NOT_JSON", "JSON"),
            (br#"{"type":"m.login.password"}}"#.to_vec(), 400, "M_NOT_JSON", "JSON"),
            (b"{\"type\":\"\xff\"}".to_vec(), 400, "M_NOT_JSON", "UTF-8"),
            (b"\xff\xfe{}".to_vec(), 400, "M_NOT_JSON", "UTF-8"),
            (b"type=m.login.password".to_vec(), 400, "M_NOT_JSON", "JSON"),
            (br#"{"type":"\ud800"}"#.to_vec(), 400, "M_NOT_JSON", "JSON"),
            (b"{\"type\":\"a\nb\"}".to_vec(), 400, "M_NOT_JSON", "JSON"),
            (br#"{"type":01}"#.to_vec(), 400, "M_NOT_JSON", "JSON"),
            (br#"[]"#.to_vec(), 400, "M_BAD_JSON", "object"),
            (br#"["m.login.password"]"#.to_vec(), 400, "M_BAD_JSON", "object"),
            (br#""m.login.password""#.to_vec(), 400, "M_BAD_JSON", "object"),
            (br#"null"#.to_vec(), 400, "M_BAD_JSON", "object"),
            (br#"{}"#.to_vec(), 400, "M_BAD_JSON", "`type`"),
            (b"".to_vec(), 400, "M_BAD_JSON", "`type`"),
            (b" \r\n\t".to_vec(), 400, "M_BAD_JSON", "`type`"),
            (br#"{"type":5}"#.to_vec(), 400, "M_BAD_JSON", "`type`"),
            (br#"{"type":"a","identifier":{"type":"m.id.user","user":5}}"#.to_vec(), 400, "M_BAD_JSON", "identifier"),
            (br#"{"type":"a","refresh_token":"yes"}"#.to_vec(), 400, "M_BAD_JSON", "refresh_token"),
            (br#"{"type":"a","type":"b"}"#.to_vec(), 400, "M_BAD_JSON", "type"),
            (deep(100).into_bytes(), 400, "M_BAD_JSON", "64"),
            (deep(100_000).into_bytes(), 400, "M_BAD_JSON", "64"),
            ("[".repeat(100_000).into_bytes(), 400, "M_BAD_JSON", "64"),
            (format!(r#"{{"type":"{}"}}"#, "a".repeat(2 << 20)).into_bytes(), 413, "M_TOO_LARGE", "1048576"),
        ];
        for (body, status, errcode, part) in table {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            let answer = server.send(Method::POST, "/login", None, body).await;
            assert_cors(&answer, &shown);
            assert_eq!(answer.headers["content-type"], "application/json");
            let error = answer.error(status, errcode);
            assert!(error["error"].as_str().unwrap().contains(part), "{shown}: {error}");
        }
    });
}

#[test]
fn nesting_within_strings_does_not_count() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let content = json!({ "brackets": "[{".repeat(500), "quote": "\"[[[" });
        let path = "/user/@alice:example.org/account_data/org.example.x";
        server.put(path, &alice.token, content.clone()).await.ok();
        assert_eq!(server.get(path, &alice.token).await.ok(), content);
    });
}

#[test]
fn json_is_read_whatever_its_content_type() {
    with_server(async |server| {
        for content_type in
            ["text/plain", "application/x-www-form-urlencoded", "nonsense", "application/json; charset=utf-8"]
        {
            let request = Request::post("/_matrix/client/v3/register")
                .header("Content-Type", content_type)
                .body(Body::from(r#"{"password":"p","auth":{"type":"m.login.dummy"}}"#))
                .unwrap();
            let body = server.request(request).await.ok();
            assert!(body["access_token"].is_string());
        }
    });
}

#[test]
fn tokens_are_taken_from_header_or_query() {
    with_server(async |server| {
        let alice = server.user("alice").await;
        let by_query = format!("/account/whoami?x=y&access_token={}", alice.token);
        assert_eq!(server.ask(&by_query).await.ok()["user_id"], alice.user_id.as_str());
        let lower = Request::get("/_matrix/client/v3/account/whoami")
            .header("authorization", format!("bearer {}", alice.token))
            .body(Body::empty())
            .unwrap();
        server.request(lower).await.ok();
        server.ask("/account/whoami").await.error(401, "M_MISSING_TOKEN");
        for token in ["", "x", "cwa_AAAA", &alice.token[..20], &format!("{}A", alice.token)] {
            let error = server.get("/account/whoami", token).await.error(401, "M_UNKNOWN_TOKEN");
            assert_eq!(error["soft_logout"], false);
        }
        for value in ["Basic YTpi", "Bearer"] {
            let request = Request::get("/_matrix/client/v3/account/whoami").header("Authorization", value);
            server.request(request.body(Body::empty()).unwrap()).await.error(401, "M_MISSING_TOKEN");
        }
    });
}

#[test]
fn query_parameters_that_are_missing_or_wrong_are_named() {
    with_server(async |server| {
        let error = server.ask("/register/available").await.error(400, "M_MISSING_PARAM");
        assert!(error["error"].as_str().unwrap().contains("username"), "{error}");
        server.ask("/register/available?username=%ff").await.error(400, "M_INVALID_USERNAME");
        server.tell("/register?kind=robot", json!({})).await.error(400, "M_INVALID_PARAM");
    });
}

/// What the store holds, all tables.
pub(crate) fn stored_bytes(server: &Server) -> Vec<u8> {
    let snapshot = server.services.store.snapshot();
    let mut all = Vec::new();
    for table in services::tables::ALL {
        for row in snapshot.scan_prefix(*table, &[]) {
            let (key, value) = row.unwrap();
            all.extend_from_slice(&key);
            all.extend_from_slice(&value);
        }
    }
    all
}

#[test]
fn neither_tokens_nor_passwords_are_stored() {
    with_server(async |server| {
        let body = json!({ "username": "alice", "password": "hunter-seventeen", "refresh_token": true, "auth": { "type": "m.login.dummy" } });
        let body = server.tell("/register", body).await.ok();
        let stored = stored_bytes(&server);
        for secret in
            [body["access_token"].as_str().unwrap(), body["refresh_token"].as_str().unwrap(), "hunter-seventeen"]
        {
            let found = stored.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is stored as it is");
        }
        let known = b"@alice:example.org";
        assert!(stored.windows(known.len()).any(|window| window == known), "the scan sees nothing");
    });
}
