//! What the tests of rooms do all the time.

use crate::server::{Answer, Login, Server};
use serde_json::{Value, json};

impl Server {
    /// Makes a room.
    pub(crate) async fn room(&self, by: &Login, body: Value) -> String {
        self.post("/createRoom", &by.token, body).await.ok()["room_id"].as_str().unwrap().to_owned()
    }

    /// Makes a room that anyone may join.
    pub(crate) async fn public_room(&self, by: &Login) -> String {
        self.room(by, json!({ "preset": "public_chat" })).await
    }

    pub(crate) async fn join(&self, who: &Login, room: &str) {
        self.post(&format!("/rooms/{room}/join"), &who.token, json!({})).await.ok();
    }

    pub(crate) async fn leave(&self, who: &Login, room: &str) {
        self.post(&format!("/rooms/{room}/leave"), &who.token, json!({})).await.ok();
    }

    /// `invite`, `kick`, `ban` or `unban`.
    pub(crate) async fn act(&self, by: &Login, action: &str, room: &str, target: &Login) -> Answer {
        self.post(&format!("/rooms/{room}/{action}"), &by.token, json!({ "user_id": target.user_id })).await
    }

    /// Sends an event under a transaction id.
    pub(crate) async fn send_as(&self, who: &Login, room: &str, kind: &str, id: &str, content: Value) -> Answer {
        self.put(&format!("/rooms/{room}/send/{kind}/{id}"), &who.token, content).await
    }

    /// Says something, and gives the event id.
    pub(crate) async fn say(&self, who: &Login, room: &str, text: &str) -> String {
        let content = json!({ "msgtype": "m.text", "body": text });
        self.send_as(who, room, "m.room.message", text, content).await.event_id()
    }

    pub(crate) async fn set_state(&self, who: &Login, room: &str, path: &str, content: Value) -> Answer {
        self.put(&format!("/rooms/{room}/state/{path}"), &who.token, content).await
    }

    pub(crate) async fn room_get(&self, who: &Login, room: &str, path: &str) -> Answer {
        self.get(&format!("/rooms/{room}/{path}"), &who.token).await
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn event_id(self) -> String {
        let body = self.ok();
        body["event_id"].as_str().unwrap_or_else(|| panic!("event_id in {body}")).to_owned()
    }
}

/// The `field`s of the objects in an array.
#[track_caller]
pub(crate) fn fields(array: &Value, field: &str) -> Vec<String> {
    array.as_array().unwrap().iter().map(|event| event[field].as_str().unwrap_or_default().to_owned()).collect()
}
