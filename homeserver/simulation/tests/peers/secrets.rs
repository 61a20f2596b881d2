//! What a server says of its network to those who make it ask others: nothing.

use super::scene::Scene;
use http::Method;
use serde_json::json;
use simulation::{Failure, Network, Scripted};
use std::net::IpAddr;
use std::time::Duration;

/// Whether a text names an address or a port.
fn names_an_address(text: &str) -> bool {
    text.split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':')).any(|word| {
        let word = word.trim_end_matches([':', '.']);
        word.parse::<IpAddr>().is_ok() || word.rsplit_once(':').is_some_and(|(host, _)| host.parse::<IpAddr>().is_ok())
    }) || text.contains(":8448")
}

#[test]
fn clients_and_peers_learn_no_addresses_from_errors() {
    assert!(
        names_an_address("cannot connect to 10.0.0.7:8448: refused")
            && names_an_address("it is ::1, which is loopback")
    );
    assert!(!names_an_address("no answer from peer.example: it cannot be reached."));
    let network = Network::new(71, 2);
    network
        .run(async {
            let scene = Scene::begin(&network, "12").await;
            let room = scene.room().await;
            // There, but nobody listens any more; and a server that keeps its name but is cut off.
            scene.peer.vanish();
            network.cut(0, 1);
            for server in [scene.peer.name(), network.server(1).name(), "nowhere.example"] {
                let path = format!("/join/!elsewhere:{server}?via={server}");
                let error = scene.call(Method::POST, &path, json!({})).await.unwrap_err();
                let Failure::Refused { status, body, .. } = error else { panic!("{error}") };
                assert_eq!(status, 502, "{body}");
                assert!(body["error"].as_str().unwrap().contains(server), "{body}");
                assert!(!names_an_address(&body.to_string()), "{body}");
                let query = json!({ "device_keys": { format!("@somebody:{server}"): [] }, "timeout": 60_000 });
                let answer = scene.call(Method::POST, "/keys/query", query).await.unwrap();
                assert!(answer["failures"][server].is_object(), "{answer}");
                assert!(!names_an_address(&answer.to_string()), "{answer}");
                let claim = json!({ "one_time_keys": { format!("@somebody:{server}"): { "D": "signed_curve25519" } } });
                let answer = scene.call(Method::POST, "/keys/claim", claim).await.unwrap();
                assert!(!names_an_address(&answer["failures"].to_string()), "{answer}");
            }
            drop(room);

            // A peer whose keys cannot be fetched: it can ask, and nobody finds it.
            let stranger = network.peer("stranger.example");
            stranger.script(|asked| {
                let is_for_keys = asked.path.contains("/key/");
                is_for_keys.then_some(Scripted { after: Duration::from_secs(3600), answer: None })
            });
            let refused = stranger.client().event(scene.server().name(), "$whatever").await.unwrap_err();
            let said = refused.peer().unwrap();
            assert_eq!(said.status, 401);
            assert!(said.message.contains("stranger.example"), "{said}");
            assert!(!names_an_address(&said.message), "{said}");
        })
        .unwrap();
}
