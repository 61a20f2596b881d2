//! What other servers say of our questions, as clients are told it.

use crate::scene::{BOB, Scene};
use http::Method;
use serde_json::{Value, json};
use simulation::{Failure, Network, Scripted};
use std::time::Duration;

/// More than anybody has to read.
const LONG: usize = 20_000;

/// How clients are told of this answer, by two of the ways on which they hear of such: status and body.
async fn told(scene: &Scene<'_>, status: u16, body: Value) -> [(u16, Value); 2] {
    scene.peer.script(move |asked| {
        let is_asked = ["make_join", "query/profile"].iter().any(|what| asked.path.contains(what));
        is_asked.then(|| Scripted { after: Duration::ZERO, answer: Some((status, body.clone())) })
    });
    let join = scene.call(Method::POST, "/join/!room:peer.example?via=peer.example", json!({})).await;
    let profile = scene.call(Method::GET, &format!("/profile/{BOB}"), Value::Null).await;
    [join, profile].map(|answer| match answer {
        Err(Failure::Refused { status, body, .. }) => (status.as_u16(), body),
        other => panic!("not refused: {other:?}"),
    })
}

#[test]
fn another_servers_words_are_named_as_its_and_bounded() {
    let network = Network::new(85, 1);
    network
        .run(async {
            let scene = Scene::begin(&network, "10").await;
            let words = format!("No\u{7}\r\n entry\u{202e}, {}", "ö".repeat(LONG));
            let body = json!({ "errcode": "M_FORBIDDEN", "error": words, "soft_logout": true, "x": "y".repeat(LONG) });
            for (status, body) in told(&scene, 403, body).await {
                let error = body["error"].as_str().unwrap();
                assert_eq!((status, &body["errcode"]), (403, &json!("M_FORBIDDEN")));
                assert!(error.starts_with("peer.example answered: No entry, ö"), "{error}");
                assert!(error.len() < 600 && !error.contains(char::is_control), "{error}");
                assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
            }

            // What a client goes by is passed on, if it is what it should be.
            let body =
                json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "Slowly", "retry_after_ms": 7, "room_version": {} });
            for answer in told(&scene, 429, body).await {
                let expected = json!({
                    "errcode": "M_LIMIT_EXCEEDED", "error": "peer.example answered: Slowly", "retry_after_ms": 7,
                });
                assert_eq!(answer, (429, expected));
            }
            for (_, body) in told(&scene, 403, json!({ "errcode": "M_FORBIDDEN" })).await {
                let error = body["error"].as_str().unwrap();
                assert_eq!(error, "peer.example answered M_FORBIDDEN and does not say why.");
            }
            for (_, body) in told(&scene, 403, json!({ "errcode": "M <script>", "error": "Ouch" })).await {
                assert_eq!(body, json!({ "errcode": "M_UNKNOWN", "error": "peer.example answered: Ouch" }));
            }
            // Our user's account and tokens are nothing that it could know about.
            for errcode in ["M_UNKNOWN_TOKEN", "M_USER_LOCKED", "M_USER_SUSPENDED", "M_USER_DEACTIVATED"] {
                for (status, body) in told(&scene, 403, json!({ "errcode": errcode, "error": "Ha" })).await {
                    assert_eq!((status, &body["errcode"]), (502, &json!("M_UNKNOWN")), "{errcode}");
                }
            }
        })
        .unwrap();
}
