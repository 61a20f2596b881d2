//! Checks 4 to 6 on receipt of a PDU, and what is not taken for settled by them: what rests on one server's word condemns no event.

use super::outliers::{auth_events_of, check_by_auth_events};
use super::switches::{ReceiptCheck, on};
use crate::error::{Error, Result};
use crate::rooms::standing::Fate;
use crate::rooms::{RoomReader, RoomWriter, redaction};
use state_res::auth::{self, Refusal};
use state_res::pdu::Pdu;
use state_res::sign::{ContentHash, compare_content_hash};
use state_res::tree::Root;
use std::collections::{BTreeMap, HashMap};

/// What becomes of an event. One of which that is not settled is left alone until it comes again, or something that follows it does: what is
/// stored as rejected stays so for good.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is settled.
    Settled(Fate),
    /// It is refused by a state that another server has told us.
    Told(Error),
    /// It is refused, and all that is here of it is what was left of a copy with another content than its sender's.
    Spoilt(Error),
}

impl Verdict {
    /// How the event fares.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` where it is left alone.
    pub(super) fn settled(self) -> Result<Fate> {
        match self {
            Self::Settled(fate) => Ok(fate),
            Self::Told(error) | Self::Spoilt(error) => Err(error),
        }
    }

    /// That of an event which is refused for certain unless the copy is spoilt.
    fn refused(reader: &RoomReader, event: &Pdu, fate: Fate, by: &str, because: &str) -> Result<Self> {
        if is_spoilt(reader, event)? {
            return Ok(Self::Spoilt(Error::forbidden(format!(
                "The event's content is not what its sender hashed, and what is left of it is not allowed: {because}."
            ))));
        }
        tracing::info!(event = event.event_id(), ?fate, by, because, "refused");
        Ok(Self::Settled(fate))
    }
}

/// Whether this is what was left of a copy with a wrong content hash, rather than what a redaction has left.
pub(super) fn is_spoilt(reader: &RoomReader, event: &Pdu) -> Result<bool> {
    Ok(compare_content_hash(event) == ContentHash::Differs && !redaction::is_redacted(reader, event)?)
}

/// What becomes of an event of older history: the current state has no say. `is_told` as for [`judge`].
pub(super) fn judge_old(writer: &RoomWriter<'_>, event: &Pdu, before: Root, is_told: bool) -> Result<Verdict> {
    let refused = judge_before(writer, event, before, is_told)?;
    Ok(refused.unwrap_or(Verdict::Settled(Fate::Accepted)))
}

/// What becomes of an event with this state before it. `is_told` says that we have the state from another server and not from the events before.
pub(super) fn judge(writer: &RoomWriter<'_>, event: &Pdu, before: Root, is_told: bool) -> Result<Verdict> {
    if let Some(refused) = judge_before(writer, event, before, is_told)? {
        return Ok(refused);
    }
    // Check 6: by the current state.
    if before != writer.head.root
        && on(ReceiptCheck::CurrentState)
        && let Err(refusal) = allowed_in(writer, writer.head.root, event)?
    {
        return Verdict::refused(&writer.reader, event, Fate::SoftFailed, "the current state", &refusal.because);
    }
    // One without content keeps everybody out, and so whoever has it whole.
    if event.is_state_of("m.room.server_acl", "") && is_spoilt(&writer.reader, event)? {
        return Ok(Verdict::Spoilt(Error::forbidden(
            "The server ACL's content is not what its sender hashed, and nothing is left of it.",
        )));
    }
    Ok(Verdict::Settled(Fate::Accepted))
}

/// Checks 4 and 5; `None` where they pass.
fn judge_before(writer: &RoomWriter<'_>, event: &Pdu, before: Root, is_told: bool) -> Result<Option<Verdict>> {
    let refused = |by: &str, refusal: &Refusal| {
        Verdict::refused(&writer.reader, event, Fate::Rejected, by, &refusal.because).map(Some)
    };
    // Check 4: by its own auth events.
    let Some(cited) = auth_events_of(&writer.reader, &HashMap::new(), event)? else {
        return Err(Error::new(502, "M_UNKNOWN", "Auth events of the event are missing."));
    };
    if let Err(refusal) = check_by_auth_events(&writer.reader, &HashMap::new(), event, &cited)? {
        return refused("its auth events", &refusal);
    }
    // Check 5: by the state before it.
    if on(ReceiptCheck::StateBefore)
        && let Err(refusal) = allowed_in(writer, before, event)?
    {
        if is_told {
            return Ok(Some(Verdict::Told(Error::forbidden(format!(
                "The state before the event, as another server tells it, does not allow it: {}.",
                refusal.because
            )))));
        }
        return refused("the state before it", &refusal);
    }
    Ok(None)
}

/// Whether a state allows an event.
pub(super) fn allowed_in(writer: &RoomWriter<'_>, root: Root, event: &Pdu) -> Result<std::result::Result<(), Refusal>> {
    let needed: BTreeMap<(String, String), Pdu> =
        writer.auth_state(root, event.event_type(), event.sender(), event.state_key(), event.content())?;
    Ok(auth::check(event, &needed))
}
