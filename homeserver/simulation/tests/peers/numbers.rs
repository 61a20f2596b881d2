//! Numbers of room versions 1 to 5, which go into events as they came: also such as no double can hold.

use crate::scene::{BOB, with_room};
use http::Method;
use serde_json::{Value, json};
use services::rooms::RoomWriter;
use services::rooms::standing::Fate;
use state_res::pdu::Pdu;

#[test]
fn a_number_beyond_all_doubles_is_read_by_everyone() {
    for version in ["1", "5"] {
        with_room(81, version, async |scene, room| {
            let content = json!({ "msgtype": "m.text", "body": "a big one", "number": "?" });
            let event = scene.peer.sign(room.version, scene.peer.draft(&room, BOB, "m.room.message", None, content));
            // As it is once it has been checked: no JSON value of ours holds it, so that the peer cannot sign it.
            let text = Value::Object(event.json).to_string().replace("\"?\"", "1e400");
            let pdu = Pdu::parse(room.version, text.as_bytes()).unwrap();
            let place =
                |writer: &mut RoomWriter<'_>| writer.place(pdu.clone(), writer.head.root, Fate::Accepted, false);
            scene.server().services().unwrap().rooms.write(&room.id, place).await.unwrap();
            let only_bodies = "/sync?filter=%7B%22event_fields%22%3A%5B%22content.body%22%5D%7D";
            let mut answer = scene.call(Method::GET, only_bodies, Value::Null).await.unwrap();
            let shown = answer["rooms"]["join"][&room.id].take();
            assert_eq!(shown["unread_notifications"]["notification_count"], 1, "version {version}: {shown}");
            let newest = shown["timeline"]["events"].as_array().unwrap().last().unwrap();
            assert_eq!(newest["content"], json!({ "body": "a big one" }), "version {version}: {shown}");
            // Clients get the number as it is, which the one of these tests cannot read.
            for path in ["/sync", "/notifications"] {
                let answer = scene.call(Method::GET, path, Value::Null).await.unwrap_err();
                assert!(answer.to_string().contains("number out of range"), "version {version}: {path}: {answer}");
            }
        });
    }
}
