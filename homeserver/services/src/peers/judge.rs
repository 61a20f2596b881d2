//! Checks 4 to 6 on receipt of a PDU, and what is not taken for settled by them: what rests on one server's word condemns no event.

use super::outliers::{auth_events_of, check_by_auth_events};
use super::switches::{ReceiptCheck, on};
use crate::error::{Error, Result};
use crate::rooms::redaction::{self, Place};
use crate::rooms::standing::Fate;
use crate::rooms::writer::AuthState;
use crate::rooms::{RoomReader, RoomWriter};
use state_res::auth::{self, Refusal};
use state_res::ids::EventKey;
use state_res::pdu::Pdu;
use state_res::sign::{ContentHash, compare_content_hash};
use state_res::tree::Root;
use std::collections::HashMap;

/// What becomes of an event. One of which that is not settled is left alone until it comes again, or something that follows it does: what is
/// stored as rejected stays so for good.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is settled.
    Settled(Fate),
    /// It is refused by a state that another server has told us.
    Told(Error),
    /// It is refused, and all that is here of it, or of something by which it was judged, is what was left of a copy with another content than
    /// its sender's.
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

    /// That of an event which is refused for certain, unless it or one of those by which it was judged is a spoilt copy.
    fn refused<'p>(
        reader: &RoomReader,
        event: &'p Pdu,
        judged_by: impl Iterator<Item = &'p Pdu>,
        fate: Fate,
        because: &str,
    ) -> Result<Self> {
        for one in std::iter::once(event).chain(judged_by) {
            if is_spoilt(reader, one)? {
                return Ok(Self::Spoilt(Error::forbidden(format!(
                    "The content of {} is not what its sender hashed, and with what is left of it the event is not allowed: {because}.",
                    one.event_id()
                ))));
            }
        }
        tracing::info!(event = event.event_id(), ?fate, because, "refused");
        Ok(Self::Settled(fate))
    }
}

/// Whether this is what was left of a copy with a wrong content hash, rather than what a redaction has left.
pub(super) fn is_spoilt(reader: &RoomReader, event: &Pdu) -> Result<bool> {
    Ok(compare_content_hash(event) == ContentHash::Differs && !redaction::is_redacted(reader, event, Place::Anywhere)?)
}

/// What becomes of an event of older history: the current state has no say. `is_told` as for [`judge`].
pub(super) fn judge_old(writer: &RoomWriter<'_>, event: &Pdu, before: Root, is_told: bool) -> Result<Verdict> {
    let refused = judge_before(writer, event, before, is_told)?;
    Ok(refused.unwrap_or(Verdict::Settled(Fate::Accepted)))
}

/// What becomes of an event with this state before it. `is_told` says that we have the state from another server and not from the events before.
pub(super) fn judge(writer: &mut RoomWriter<'_>, event: &Pdu, before: Root, is_told: bool) -> Result<Verdict> {
    if let Some(refused) = judge_before(writer, event, before, is_told)? {
        return Ok(refused);
    }
    // Check 6: by the current state. Where that is one server's word, too, by what comes of both.
    let mut current = writer.head.root;
    if is_told && before != current && writer.head.extremities.iter().all(|one| one.is_told) {
        current = writer.resolve(&[current, before])?;
    }
    if before != current
        && on(ReceiptCheck::CurrentState)
        && let Err(refused) = allowed_in(writer, current, event)?
    {
        return refused.verdict(&writer.reader, event, Fate::SoftFailed);
    }
    Ok(Verdict::Settled(Fate::Accepted))
}

/// Checks 4 and 5; `None` where they pass.
fn judge_before(writer: &RoomWriter<'_>, event: &Pdu, before: Root, is_told: bool) -> Result<Option<Verdict>> {
    // Check 4: by its own auth events.
    let Some(cited) = auth_events_of(&writer.reader, &HashMap::new(), event)? else {
        return Err(Error::new(502, "M_UNKNOWN", "Auth events of the event are missing."));
    };
    if let Err(refusal) = check_by_auth_events(&writer.reader, &HashMap::new(), event, &cited)? {
        let judged_by = cited.iter().map(|(cited, _)| cited);
        return Verdict::refused(&writer.reader, event, judged_by, Fate::Rejected, &refusal.because).map(Some);
    }
    // Check 5: by the state before it.
    if on(ReceiptCheck::StateBefore)
        && let Err(refused) = allowed_in(writer, before, event)?
    {
        if is_told {
            return Ok(Some(Verdict::Told(Error::forbidden(format!(
                "The state before the event, as another server tells it, does not allow it: {}.",
                refused.refusal.because
            )))));
        }
        return refused.verdict(&writer.reader, event, Fate::Rejected).map(Some);
    }
    Ok(None)
}

/// That a state does not allow an event.
pub(super) struct Refused {
    refusal: Refusal,
    /// What of the state the rules look at.
    judged_by: AuthState,
}

impl Refused {
    fn verdict(&self, reader: &RoomReader, event: &Pdu, fate: Fate) -> Result<Verdict> {
        Verdict::refused(reader, event, self.judged_by.values(), fate, &self.refusal.because)
    }
}

/// Whether a state allows an event.
pub(super) fn allowed_in(writer: &RoomWriter<'_>, root: Root, event: &Pdu) -> Result<std::result::Result<(), Refused>> {
    let judged_by = writer.auth_state(root, event.event_type(), event.sender(), event.state_key(), event.content())?;
    Ok(auth::check(event, &judged_by).map_err(|refusal| Refused { refusal, judged_by }))
}

/// Whether an event cites, as its auth events, something newer than what is at its place in the state before it: then that state lacks what its
/// sender's server knows.
pub(super) fn cites_newer(reader: &RoomReader, event: &Pdu, before: Root) -> Result<bool> {
    for id in event.auth_events() {
        let Some(cited) = reader.pdu(EventKey::of(id))? else { continue };
        let Some(state_key) = cited.state_key() else { continue };
        if reader.standing(cited.key())?.is_some_and(|standing| standing.is_rejected()) {
            continue;
        }
        let ours = reader.state_event(before, cited.event_type(), state_key)?;
        if ours.is_none_or(|ours| ours.key() != cited.key() && ours.depth() < cited.depth()) {
            return Ok(true);
        }
    }
    Ok(false)
}
