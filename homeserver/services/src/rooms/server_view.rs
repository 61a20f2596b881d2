//! Which events of a room another server is shown, and how much of them.
//!
//! The specification leaves a server's view to history visibility (client-server API, "Room History Visibility"), whose rules are about
//! users. A server may see what any of its users may. It gets all other events redacted: redacted, they still have their ids and their
//! places in the graph, so that what comes after them can be placed, and they carry nothing that is hidden.
//!
//! Whole, whatever the visibility, goes out what a server in the room has anyway or cannot do without:
//! - the state events of the room's current state, which every join brings along;
//! - events whose redaction would take away what the authorisation rules look at: with a redacted create event or power levels a server
//!   would come to another result than everybody else.

use super::erasure::is_erased_for;
use super::reader::{Membership, RoomReader};
use super::standing::Standing;
use super::visibility::HistoryVisibility;
use crate::error::Result;
use crate::names::server_of;
use parking_lot::Mutex;
use state_res::ids::EventKey;
use state_res::pdu::Pdu;
use state_res::tree::Root;
use std::collections::HashMap;

/// State events that the authorisation rules look at beyond what redaction keeps in every room version.
const NEEDED_WHOLE: [&str; 4] =
    ["m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.third_party_invite"];

/// What the rules look at in a member event.
const NEEDED_OF_MEMBERS: [&str; 3] = ["membership", "third_party_invite", "join_authorised_via_users_server"];

/// One server, with joined users in it, looking at one room.
pub struct ServerView<'a> {
    reader: &'a RoomReader,
    server: &'a str,
    current: Root,
    by_root: Mutex<HashMap<Root, bool>>,
}

impl<'a> ServerView<'a> {
    /// `server` looking at the room of `reader`, whose current state is `current`.
    #[must_use]
    pub fn new(reader: &'a RoomReader, server: &'a str, current: Root) -> Self {
        Self { reader, server, current, by_root: Mutex::default() }
    }

    /// Whether the server may see all of an event that has this standing.
    pub fn may_see(&self, event: &Pdu, standing: &Standing) -> Result<bool> {
        if standing.is_outlier() {
            // What was the case when it was sent is not known. Where history is open today, it is taken to have been open.
            return Ok(matches!(
                HistoryVisibility::at(self.reader, self.current)?,
                HistoryVisibility::WorldReadable | HistoryVisibility::Shared
            ));
        }
        if self.allows(standing.before)? {
            return Ok(true);
        }
        let own_membership =
            event.event_type() == "m.room.member" && event.state_key().and_then(server_of) == Some(self.server);
        if own_membership || event.is_state_of("m.room.history_visibility", "") {
            return self.allows(standing.after);
        }
        Ok(false)
    }

    /// An event as the server is shown it: whole or redacted. `None` if it is not stored.
    ///
    /// Soft-failed and rejected events are shown too: whoever got an event that refers to them has to judge them for itself.
    pub fn shown(&self, key: EventKey) -> Result<Option<Pdu>> {
        let Some(pdu) = self.reader.pdu(key)? else { return Ok(None) };
        let Some(standing) = self.reader.standing(key)? else { return Ok(None) };
        let whole = needs_whole(&pdu)
            || self.is_current(&pdu)?
            || (self.may_see(&pdu, &standing)? && !is_erased_for(self.reader, self.server, pdu.sender(), &standing)?);
        Ok(Some(if whole { pdu } else { pdu.redacted() }))
    }

    fn is_current(&self, pdu: &Pdu) -> Result<bool> {
        let Some(state_key) = pdu.state_key() else { return Ok(false) };
        Ok(self.reader.state_event_key(self.current, pdu.event_type(), state_key)? == Some(pdu.key()))
    }

    /// Whether history visibility shows the server what happens in the state `root`.
    fn allows(&self, root: Root) -> Result<bool> {
        if let Some(known) = self.by_root.lock().get(&root) {
            return Ok(*known);
        }
        let allows = match HistoryVisibility::at(self.reader, root)? {
            // Under `shared` whoever has joined since may see it, and the server has joined users.
            HistoryVisibility::WorldReadable | HistoryVisibility::Shared => true,
            visibility => self.has_user_in(root, visibility)?,
        };
        self.by_root.lock().insert(root, allows);
        Ok(allows)
    }

    /// Whether one of the server's users is joined in the state `root`, or invited where that suffices.
    fn has_user_in(&self, root: Root, visibility: HistoryVisibility) -> Result<bool> {
        for key in self.reader.state_of_type(root, "m.room.member")? {
            let pdu = self.reader.required(key)?;
            if pdu.state_key().and_then(server_of) != Some(self.server) {
                continue;
            }
            let membership = Membership::of(&pdu);
            if membership == Membership::Join
                || (visibility == HistoryVisibility::Invited && membership == Membership::Invite)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether an event's redaction would change what the authorisation rules make of it or of others.
fn needs_whole(pdu: &Pdu) -> bool {
    if !pdu.is_state() {
        return false;
    }
    if pdu.event_type() == "m.room.member" {
        let redacted = pdu.redacted();
        return NEEDED_OF_MEMBERS.iter().any(|part| pdu.content().get(*part) != redacted.content().get(*part));
    }
    NEEDED_WHOLE.contains(&pdu.event_type())
}
