//! Events of ours: built on the newest ones, authorised, signed by the room's policy server where it has one.

use super::RoomWriter;
use crate::accounts::invite_permission;
use crate::error::{Error, Result};
use crate::rooms::head::MAX_PREV_EVENTS;
use crate::rooms::policy::{PolicyServer, Unsigned};
use serde_json::{Map, Value};
use state_res::auth;
use state_res::build::{self, EventFields};
use state_res::ids::EventKey;
use state_res::pdu::Pdu;
use state_res::tree::Root;
use std::collections::BTreeMap;

/// Events by (type, state key): the part of a state that decides whether an event is allowed.
pub type AuthState = BTreeMap<(String, String), Pdu>;

/// What an event of ours starts from.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// `type`.
    pub event_type: String,
    /// `state_key`, for state events.
    pub state_key: Option<String>,
    /// Who sends it.
    pub sender: String,
    /// `content`.
    pub content: Map<String, Value>,
    /// The event to redact, for `m.room.redaction`.
    pub redacts: Option<String>,
    /// `origin_server_ts`, where an application service dictates it.
    pub timestamp: Option<i64>,
}

impl NewEvent {
    /// A state event.
    #[must_use]
    pub fn state(sender: &str, event_type: &str, state_key: &str, content: Map<String, Value>) -> Self {
        Self {
            event_type: event_type.to_owned(),
            state_key: Some(state_key.to_owned()),
            sender: sender.to_owned(),
            content,
            redacts: None,
            timestamp: None,
        }
    }

    /// A message-like event.
    #[must_use]
    pub fn message(sender: &str, event_type: &str, content: Map<String, Value>) -> Self {
        Self {
            event_type: event_type.to_owned(),
            state_key: None,
            sender: sender.to_owned(),
            content,
            redacts: None,
            timestamp: None,
        }
    }
}

impl RoomWriter<'_> {
    /// The events that `fields` need for authorisation, from the state `root`.
    pub fn auth_state(
        &self,
        root: Root,
        event_type: &str,
        sender: &str,
        state_key: Option<&str>,
        content: &Map<String, Value>,
    ) -> Result<AuthState> {
        let mut found = BTreeMap::new();
        let mut types = auth::auth_types(self.head.room_version, event_type, sender, state_key, content);
        // From version 12 on the create event is not cited, but it decides all the same.
        if event_type != "m.room.create" && !types.contains(&("m.room.create", "")) {
            types.push(("m.room.create", ""));
        }
        for (kind, key) in types {
            if let Some(event) = self.reader.state_event(root, kind, key)? {
                found.insert((kind.to_owned(), key.to_owned()), event);
            }
        }
        Ok(found)
    }

    /// Builds an event of ours on the current extremities, without adding it: fields as they would be sent.
    pub fn fields(&self, event: &NewEvent) -> Result<(EventFields, AuthState)> {
        let root = self.head.root;
        let state =
            self.auth_state(root, &event.event_type, &event.sender, event.state_key.as_deref(), &event.content)?;
        let create_is_room_id = self.head.room_version.rules().create_event_is_room_id;
        let mut auth_events: Vec<String> = state
            .iter()
            .filter(|((kind, _), _)| !(create_is_room_id && kind == "m.room.create"))
            .map(|(_, pdu)| pdu.event_id().to_owned())
            .collect();
        auth_events.sort_unstable();
        let prev_events: Vec<String> =
            self.head.extremities.iter().take(MAX_PREV_EVENTS).map(|one| one.event_id.clone()).collect();
        let mut reference_hashes = BTreeMap::new();
        if self.head.room_version.rules().references_carry_hashes() {
            for id in prev_events.iter().chain(&auth_events) {
                let pdu = self.reader.required(EventKey::of(id))?;
                reference_hashes.insert(id.clone(), pdu.reference_hash());
            }
        }
        let fields = EventFields {
            event_type: event.event_type.clone(),
            state_key: event.state_key.clone(),
            sender: event.sender.clone(),
            room_id: self.room_id.clone(),
            content: event.content.clone(),
            prev_events,
            auth_events,
            depth: self.head.next_depth(),
            origin_server_ts: event.timestamp.unwrap_or_else(|| self.deps.world.now().millis() as i64),
            redacts: event.redacts.clone(),
            reference_hashes,
        };
        Ok((fields, state))
    }

    /// Builds, authorises and adds an event of ours.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` with the rule that refused it (400 `M_BAD_JSON` where its content is no such event's), `M_INVITE_BLOCKED` for an invite of a user who takes none; 413 `M_TOO_LARGE` and 400 `M_BAD_JSON` for what is no event. Where the room's policy
    /// server has yet to be asked, an error that nobody sees: the write begins again with its signature.
    pub fn send(&mut self, event: NewEvent) -> Result<Pdu> {
        let policy = PolicyServer::of(&self.reader, self.head.root)?;
        if let Some(pdu) = self.send_signed(&event, policy.as_ref())? {
            return Ok(pdu);
        }
        let (fields, state) = self.fields(&event)?;
        let pdu = build::build(self.head.room_version, fields, &self.deps.server_name, &self.deps.signing_key())
            .map_err(pdu_error)?;
        auth::check(&pdu, &state).map_err(refused)?;
        self.admit_invite(&event)?;
        if let Some(policy) = policy.filter(|policy| !policy.recommends(&pdu)) {
            let previous = self.head.extremities.iter().take(MAX_PREV_EVENTS);
            let previous = previous.map(|one| (one.event_id.clone(), one.after)).collect();
            self.unsigned.get_or_insert(Unsigned { source: event, event: pdu, previous, policy });
            return Err(Error::contended());
        }
        let before = self.state_at_extremities()?;
        self.place_made(&pdu, before)?;
        Ok(pdu)
    }

    /// Refuses an invite of a user of ours who takes none.
    fn admit_invite(&self, event: &NewEvent) -> Result<()> {
        let invites = event.content.get("membership").and_then(Value::as_str) == Some("invite");
        match &event.state_key {
            Some(target) if event.event_type == "m.room.member" && invites => {
                invite_permission::admit(self.reader.snapshot(), target)
            }
            _ => Ok(()),
        }
    }

    /// Adds the event that was made from `source` earlier, and that the policy server has signed since. It follows what was newest then. `None`
    /// if there is none that still fits.
    fn send_signed(&mut self, source: &NewEvent, policy: Option<&PolicyServer>) -> Result<Option<Pdu>> {
        let Some(signed) = self.signed.iter().find(|signed| signed.source == *source) else { return Ok(None) };
        let pdu = &signed.event;
        if policy.is_some_and(|policy| !policy.recommends(pdu)) || self.reader.new_events.contains_key(&pdu.key()) {
            return Ok(None);
        }
        for (id, _) in &signed.previous {
            // A writer may have meant to place it, and failed.
            let is_here = self.head.extremities.iter().any(|one| one.event_id == *id)
                || self.reader.new_events.contains_key(&EventKey::of(id))
                || self.reader.standing(EventKey::of(id))?.is_some_and(|standing| !standing.is_outlier());
            if !is_here {
                return Ok(None);
            }
        }
        let roots: Vec<Root> = signed.previous.iter().map(|(_, after)| *after).collect();
        let before = self.resolve(&roots)?;
        if before != self.head.root {
            let (kind, sender, content) = (pdu.event_type(), pdu.sender(), pdu.content());
            let state = self.auth_state(self.head.root, kind, sender, pdu.state_key(), content)?;
            auth::check(pdu, &state).map_err(refused)?;
        }
        self.place_made(pdu, before)?;
        Ok(Some(pdu.clone()))
    }

    /// The state before an event that follows the extremities we refer to.
    fn state_at_extremities(&mut self) -> Result<Root> {
        if self.head.extremities.len() <= MAX_PREV_EVENTS {
            return Ok(self.head.root);
        }
        let roots: Vec<Root> = self.head.extremities.iter().take(MAX_PREV_EVENTS).map(|one| one.after).collect();
        self.resolve(&roots)
    }
}

/// What a refused authorisation tells the client.
pub(crate) fn refused(refusal: auth::Refusal) -> Error {
    let because = format!("{} (authorisation rule {})", refusal.because, refusal.rule);
    if refusal.is_malformed { Error::bad_json(because) } else { Error::forbidden(because) }
}

/// What a malformed event tells the client.
pub(crate) fn pdu_error(error: state_res::pdu::PduError) -> Error {
    if error.is_too_large() {
        Error::new(413, "M_TOO_LARGE", error.to_string())
    } else {
        Error::bad_json(error.to_string())
    }
}
