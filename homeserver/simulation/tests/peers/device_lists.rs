//! Server-server API, "Device Management": servers that a user comes to share a room with hear of the user's devices.

use crate::scene::{BOB, Scene};
use http::Method;
use serde_json::{Value, json};
use simulation::Network;
use std::time::Duration;

#[test]
fn servers_that_are_new_to_a_user_hear_of_the_devices_once() {
    let network = Network::new(31, 1);
    network
        .run(async {
            let scene = Scene::begin(&network, "10").await;
            let server = scene.server();
            let dave = server.register("dave").await.unwrap();
            let me = server.call(Method::GET, "/account/whoami", &dave.token, &Value::Null).await.unwrap();
            let device = me["device_id"].as_str().unwrap();
            let keys = json!({ "device_keys": {
                "user_id": dave.id, "device_id": device, "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
                "keys": { format!("curve25519:{device}"): "c" }, "signatures": {},
            } });
            server.call(Method::POST, "/keys/upload", &dave.token, &keys).await.unwrap();
            let rooms = [scene.empty_room(json!({})).await, scene.empty_room(json!({})).await];
            for room in &rooms {
                scene.peer.join(server.name(), room, BOB).await.unwrap();
            }
            let about_dave = || {
                let edus = scene.peer.received_edus().into_iter();
                edus.filter(|edu| edu["edu_type"] == "m.device_list_update" && edu["content"]["user_id"] == *dave.id)
                    .collect::<Vec<_>>()
            };
            for room in &rooms {
                assert!(about_dave().len() <= 1);
                server.call(Method::POST, &format!("/join/{room}"), &dave.token, &json!({})).await.unwrap();
                network.wait(Duration::from_secs(10)).await;
            }
            let [told] = &about_dave()[..] else { panic!("{:?}", about_dave()) };
            assert_eq!(told["content"]["device_id"], device);
            // It refers to an update that the peer does not know, so that the peer has to ask for the list, which is as of that number.
            let number = told["content"]["stream_id"].as_u64().unwrap();
            assert_eq!(told["content"]["prev_id"], json!([number - 1]));
            let list = scene.peer.client().user_devices(server.name(), &dave.id).await.unwrap();
            assert_eq!(json!(list.stream_id), told["content"]["stream_id"]);
            assert_eq!(list.devices.len(), 1);
            // What comes next follows it.
            let mut keys = keys;
            keys["device_keys"]["keys"]["ed25519:x"] = json!("new");
            server.call(Method::POST, "/keys/upload", &dave.token, &keys).await.unwrap();
            network.wait(Duration::from_secs(10)).await;
            let update = about_dave().pop().unwrap();
            assert_eq!(update["content"]["prev_id"], json!([told["content"]["stream_id"]]));
        })
        .unwrap();
}

/// "For new or deleted devices" and other names servers hear of the list, whether a device has keys or not; clients only where it has.
#[test]
fn servers_hear_of_devices_without_keys() {
    let network = Network::new(32, 1);
    network
        .run(async {
            let scene = Scene::begin(&network, "10").await;
            let (server, room) = (scene.server(), scene.room().await);
            let dave = server.register("dave").await.unwrap();
            let call = async |method: Method, path: &str, token: &str, body: Value| {
                server.call(method, path, token, &body).await.unwrap()
            };
            call(Method::POST, &format!("/join/{}", room.id), &dave.token, json!({})).await;
            network.wait(Duration::from_secs(10)).await;
            let told = || -> Vec<Value> {
                let edus = scene.peer.received_edus().into_iter().map(|edu| edu["content"].clone());
                edus.filter(|content| content["user_id"] == *dave.id).collect()
            };
            let before = told().len();
            assert_eq!(before, 1, "of one who comes to the room without keys, too");
            let since = scene.call(Method::GET, "/sync", Value::Null).await.unwrap()["next_batch"].clone();

            let login = json!({
                "type": "m.login.password", "identifier": { "type": "m.id.user", "user": "dave" },
                "password": simulation::PASSWORD, "device_id": "PHONE",
            });
            let phone = call(Method::POST, "/login", "", login).await;
            let phone = phone["access_token"].as_str().unwrap();
            call(Method::PUT, "/devices/PHONE", &dave.token, json!({ "display_name": "my phone" })).await;
            call(Method::POST, "/logout", phone, json!({})).await;
            network.wait(Duration::from_secs(10)).await;
            let all = told();
            let [added, renamed, removed] = &all[before..] else { panic!("{all:?}") };
            let mut previous = all[before - 1]["stream_id"].clone();
            for told in [added, renamed, removed] {
                assert_eq!(
                    (&told["device_id"], &told["prev_id"], told.get("keys")),
                    (&json!("PHONE"), &json!([previous]), None)
                );
                previous = told["stream_id"].clone();
            }
            assert_eq!((added.get("deleted"), &removed["deleted"]), (None, &json!(true)));
            // Alice's client has nothing to ask for.
            let path = format!("/sync?since={}", since.as_str().unwrap());
            let sync = scene.call(Method::GET, &path, Value::Null).await.unwrap();
            assert_eq!(sync["device_lists"].get("changed").cloned().unwrap_or(json!([])), json!([]), "{sync}");
        })
        .unwrap();
}

/// A list that changes at the same moment at which its user comes to a room is told to the servers there as it is afterwards.
#[test]
fn no_update_is_lost_between_a_join_and_a_change() {
    for seed in 33..45 {
        let network = Network::new(seed, 1);
        network
            .run(async {
                let scene = Scene::begin(&network, "10").await;
                let (server, room) = (scene.server(), scene.room().await);
                let dave = server.register("dave").await.unwrap();
                let (empty, rename) = (json!({}), json!({ "display_name": "another" }));
                let me = server.call(Method::GET, "/account/whoami", &dave.token, &Value::Null).await.unwrap();
                let path = format!("/devices/{}", me["device_id"].as_str().unwrap());
                let join = format!("/join/{}", room.id);
                let (joined, renamed) = futures::join!(
                    server.call(Method::POST, &join, &dave.token, &empty),
                    server.call(Method::PUT, &path, &dave.token, &rename),
                );
                for done in [joined, renamed] {
                    done.unwrap();
                }
                network.wait(Duration::from_secs(10)).await;
                let list = scene.peer.client().user_devices(server.name(), &dave.id).await.unwrap();
                let mut edus = scene.peer.received_edus().into_iter().map(|edu| edu["content"].clone());
                let told = edus.rfind(|content| content["user_id"] == *dave.id).unwrap();
                assert_eq!(told["stream_id"], json!(list.stream_id), "seed {seed}");
            })
            .unwrap();
    }
}
