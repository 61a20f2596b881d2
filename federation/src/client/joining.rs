//! Joining, leaving, knocking, inviting.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Client, Path, Request, RequestError, STATE_TIMEOUT};
use crate::{
    RawJson,
    limits::{MAX_EVENTS_ANSWER, MAX_STATE_ANSWER},
    raw_json::ObjectWriter,
    types::{InviteRequest, JoinAnswer, Template},
};

const V1: &str = "/_matrix/federation/v1";
const V2: &str = "/_matrix/federation/v2";

impl Client {
    /// `GET /make_join`: a join for `user_id`, to complete and sign. The template has been checked as the specification demands.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn make_join(
        &self,
        destination: &str,
        room_id: &str,
        user_id: &str,
        versions: &[&str],
    ) -> Result<Template, RequestError> {
        let path = Path::new(V1)
            .segment("make_join")
            .segment(room_id)
            .segment(user_id)
            .queries("ver", versions.iter().copied());
        self.template(destination, path, room_id, user_id, "join").await
    }

    /// `GET /make_leave`: a leave for `user_id`, to complete and sign; checked like the others.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn make_leave(&self, destination: &str, room_id: &str, user_id: &str) -> Result<Template, RequestError> {
        let path = Path::new(V1).segment("make_leave").segment(room_id).segment(user_id);
        self.template(destination, path, room_id, user_id, "leave").await
    }

    /// `GET /make_knock`: a knock for `user_id`, to complete and sign; checked like the others.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn make_knock(
        &self,
        destination: &str,
        room_id: &str,
        user_id: &str,
        versions: &[&str],
    ) -> Result<Template, RequestError> {
        let path = Path::new(V1)
            .segment("make_knock")
            .segment(room_id)
            .segment(user_id)
            .queries("ver", versions.iter().copied());
        self.template(destination, path, room_id, user_id, "knock").await
    }

    /// `PUT /v2/send_join`: the signed join; gives the room's state.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn send_join(
        &self,
        destination: &str,
        room_id: &str,
        event_id: &str,
        event: Bytes,
        omit_members: bool,
    ) -> Result<JoinAnswer, RequestError> {
        let path = Path::new(V2).segment("send_join").segment(room_id).segment(event_id);
        let path = if omit_members { path.query("omit_members", "true") } else { path };
        let request = Request::put(path, event).timeout(STATE_TIMEOUT).limit(MAX_STATE_ANSWER);
        self.request(destination, request).await?.json()
    }

    /// `PUT /v2/send_leave`: the signed leave.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn send_leave(
        &self,
        destination: &str,
        room_id: &str,
        event_id: &str,
        event: Bytes,
    ) -> Result<(), RequestError> {
        let path = Path::new(V2).segment("send_leave").segment(room_id).segment(event_id);
        self.request(destination, Request::put(path, event)).await.map(drop)
    }

    /// `PUT /send_knock`: the signed knock; gives `knock_room_state`.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn send_knock(
        &self,
        destination: &str,
        room_id: &str,
        event_id: &str,
        event: Bytes,
    ) -> Result<Vec<RawJson>, RequestError> {
        #[derive(Deserialize)]
        struct Body {
            knock_room_state: Vec<RawJson>,
        }
        let path = Path::new(V1).segment("send_knock").segment(room_id).segment(event_id);
        let request = Request::put(path, event).limit(MAX_EVENTS_ANSWER);
        self.request(destination, request).await?.json::<Body>().map(|body| body.knock_room_state)
    }

    /// `PUT /v2/invite`, or version 1 of it if the peer does not know that and the room is of version 1 or 2. Gives the event with the
    /// peer's signature added.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn invite(&self, destination: &str, invite: &InviteRequest) -> Result<RawJson, RequestError> {
        #[derive(Deserialize)]
        struct Body {
            event: RawJson,
        }
        let target =
            |version: &str| Path::new(version).segment("invite").segment(&invite.room_id).segment(&invite.event_id);
        let body = ObjectWriter::new()
            .raw("event", invite.event.as_bytes())
            .list("invite_room_state", &invite.invite_room_state)
            .value("room_version", &invite.room_version)
            .finish();
        match self.request(destination, Request::put(target(V2), body)).await {
            Err(RequestError::Peer { error, .. })
                if matches!(error.status, 400 | 404) && matches!(invite.room_version.as_str(), "1" | "2") => {}
            result => return result?.json::<Body>().map(|body| body.event),
        }
        let body = version_1_invite(invite).map_err(|error| RequestError::Unfit {
            destination: destination.to_owned(),
            because: format!("the invite cannot be put in version 1's form: {error}"),
        })?;
        let answer = self.request(destination, Request::put(target(V1), body)).await?;
        answer.json::<(u16, Body)>().map(|(_, body)| body.event)
    }

    /// `PUT /exchange_third_party_invite`: a partial membership event for the inviter's server to complete.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub async fn exchange_third_party_invite(
        &self,
        destination: &str,
        room_id: &str,
        event: Bytes,
    ) -> Result<(), RequestError> {
        let path = Path::new(V1).segment("exchange_third_party_invite").segment(room_id);
        self.request(destination, Request::put(path, event)).await.map(drop)
    }

    async fn template(
        &self,
        destination: &str,
        path: Path,
        room_id: &str,
        user_id: &str,
        membership: &str,
    ) -> Result<Template, RequestError> {
        let answer = self.request(destination, Request::get(path)).await?;
        let template: Template = answer.json()?;
        check_template(&answer, &template, room_id, user_id, membership)?;
        Ok(template)
    }
}

/// In version 1 the event itself is the body, with the state in `unsigned`.
fn version_1_invite(invite: &InviteRequest) -> Result<Bytes, serde_json::Error> {
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;
    let mut event: BTreeMap<String, Box<RawValue>> = invite.event.parse()?;
    let mut unsigned: BTreeMap<String, Box<RawValue>> = match event.get("unsigned") {
        Some(unsigned) => serde_json::from_str(unsigned.get())?,
        None => BTreeMap::new(),
    };
    let state = invite.invite_room_state.iter().map(RawJson::parse).collect::<Result<Vec<Box<RawValue>>, _>>()?;
    unsigned.insert("invite_room_state".to_owned(), serde_json::value::to_raw_value(&state)?);
    event.insert("unsigned".to_owned(), serde_json::value::to_raw_value(&unsigned)?);
    serde_json::to_vec(&event).map(Bytes::from)
}

/// What the asker must verify before it signs (`make_join`, `make_leave` and `make_knock`).
fn check_template(
    answer: &Answer,
    template: &Template,
    room_id: &str,
    user_id: &str,
    membership: &str,
) -> Result<(), RequestError> {
    let event: Value = template.event.parse().map_err(|error| answer.malformed(error))?;
    let expected = [
        ("room_id", event.get("room_id"), room_id),
        ("sender", event.get("sender"), user_id),
        ("state_key", event.get("state_key"), user_id),
        ("type", event.get("type"), "m.room.member"),
        ("content.membership", event.pointer("/content/membership"), membership),
    ];
    for (name, found, wanted) in expected {
        if found.and_then(Value::as_str) != Some(wanted) {
            return Err(answer.malformed(format!("`{name}` of the template is not {wanted}")));
        }
    }
    Ok(())
}
