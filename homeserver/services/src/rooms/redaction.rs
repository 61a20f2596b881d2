//! Which redactions take effect on which events (room versions, "Handling redactions").
//!
//! Whose events a redaction may redact is settled when it gets its place, and stands in its row: levels change later, and the state by
//! which it was settled may be purged. So what was redacted stays so, and what was not stays so too, also where it goes and comes again.

use super::history::HistoryKey;
use super::power::Power;
use super::reader::RoomReader;
use super::record::StoredEvent;
use crate::error::Result;
use crate::names::server_of;
use crate::tables;
use state_res::auth::Level;
use state_res::ids::{EventKey, RoomKey};
use state_res::pdu::Pdu;
use state_res::tree::Root;
use storage::key;

/// Whose events a redaction, which was accepted, may redact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Everybody's.
    All,
    /// Those of users of its sender's server.
    Server(String),
}

impl Reach {
    /// In room versions 1 and 2 the authorisation rules have decided that it may redact. From version 3 on its sender needs the power to
    /// redact in all of `states`, or is of the same server as the sender of what it redacts.
    pub fn of(reader: &RoomReader, redaction: &Pdu, states: &[Root]) -> Result<Self> {
        let mut may = true;
        if !redaction.version().rules().auth.special_redaction {
            for root in states {
                may &= Power::at(reader, *root)?.may(redaction.sender(), Level::Redact);
            }
        }
        Ok(if may { Self::All } else { Self::Server(redaction.sender_server().to_owned()) })
    }

    /// Whether `target`, of the same room, is within it.
    #[must_use]
    pub fn includes(&self, target: &Pdu) -> bool {
        target.event_type() != "m.room.create"
            && match self {
                Self::All => true,
                Self::Server(server) => server_of(target.sender()) == Some(server),
            }
    }

    fn name(&self) -> &str {
        match self {
            Self::All => "",
            Self::Server(server) => server,
        }
    }
}

/// Where an event that may be redacted lies.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// That is not known, or does not matter.
    Anywhere,
    /// At this place in history.
    At(&'a HistoryKey),
    /// It is the newest event.
    Newest,
}

impl Place<'_> {
    /// Whether what lies here may be redacted by a redaction whose row has this value: what was fetched as older history says nothing of what
    /// comes after it, or whoever had the power once could use it for ever.
    #[must_use]
    pub fn is_before(self, redaction: &[u8]) -> bool {
        match self {
            _ if redaction.is_empty() => true,
            Self::Anywhere => true,
            Self::At(place) => place.as_bytes() < redaction,
            Self::Newest => false,
        }
    }
}

/// The row's value: the place in history of a redaction that is older history; nothing for one that came live.
#[must_use]
pub fn value(place: Option<&HistoryKey>) -> &[u8] {
    place.map_or(&[], HistoryKey::as_bytes)
}

/// Key of the row which says that `redaction` names `target`.
#[must_use]
pub fn row(room: RoomKey, target: EventKey, reach: &Reach, redaction: EventKey) -> Vec<u8> {
    let mut row = prefix(room, target, reach.name());
    row.extend_from_slice(redaction.as_bytes());
    row
}

fn prefix(room: RoomKey, target: EventKey, reach: &str) -> Vec<u8> {
    key::Writer::new().id16(room.as_bytes()).id16(target.as_bytes()).str(reach).finish()
}

/// The redactions that take effect on `target`, of those that are known: anybody can name any event in a redaction, also before it
/// arrives. They need not be there any more themselves.
fn effective<'r>(
    reader: &'r RoomReader,
    target: &Pdu,
    place: Place<'r>,
) -> impl Iterator<Item = Result<EventKey>> + 'r {
    let (room, key) = (reader.room(), target.key());
    let of_target = [*room.as_bytes(), *key.as_bytes()].concat();
    // Nearly nothing is redacted, which one look tells.
    let is_named = reader.snapshot().scan_prefix(tables::REDACTIONS, &of_target).next().is_some();
    let server = server_of(target.sender()).unwrap_or_default().to_owned();
    let reaches = (is_named && target.event_type() != "m.room.create").then(|| [String::new(), server]);
    let rows = move |reach: String| reader.snapshot().scan_prefix(tables::REDACTIONS, &prefix(room, key, &reach));
    reaches.into_iter().flatten().flat_map(rows).filter_map(move |row| match row {
        Ok((_, value)) if !place.is_before(&value) => None,
        Ok((row, _)) => row.last_chunk().map(|key| Ok(EventKey::from_bytes(*key))),
        Err(error) => Some(Err(error.into())),
    })
}

/// Whether clients are shown a redaction: not before what it redacts is there, and not if it does not take effect on that, as they would redact
/// it all the same (room versions, "Handling redactions"). In versions 1 and 2 the authorisation rules have decided.
pub fn is_shown(reader: &RoomReader, redaction: EventKey) -> Result<bool> {
    let redaction = reader.required(redaction)?;
    if redaction.version().rules().auth.special_redaction {
        return Ok(true);
    }
    // Of one that was redacted itself it is no longer said what it redacted: nobody can do anything by it.
    let Some(key) = redaction.redacts().map(EventKey::of) else { return Ok(true) };
    let Some(target) = reader.pdu(key)?.filter(|target| target.room_id() == redaction.room_id()) else {
        // What came before us or was purged here, clients and other servers may have all the same.
        let is_of_all = row(reader.room(), key, &Reach::All, redaction.key());
        return Ok(reader.has_gaps()? && reader.snapshot().contains(tables::REDACTIONS, &is_of_all)?);
    };
    let Some(standing) = reader.standing(key)?.filter(|standing| standing.is_outlier() || standing.is_accepted())
    else {
        return Ok(false);
    };
    let place = standing.history.as_ref().map_or(Place::Anywhere, Place::At);
    // By its own rows: anybody can redact one event over and over, so that all its redactions are not gone through for each.
    for reach in [Reach::All, Reach::Server(redaction.sender_server().to_owned())] {
        let row = reader.snapshot().get(tables::REDACTIONS, &row(reader.room(), key, &reach, redaction.key()))?;
        if row.is_some_and(|value| reach.includes(&target) && place.is_before(&value)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a redaction takes effect on an event at this place, be it stored or not.
pub fn is_redacted(reader: &RoomReader, event: &Pdu, place: Place<'_>) -> Result<bool> {
    Ok(effective(reader, event, place).next().transpose()?.is_some())
}

/// The form in which an event of this room is to be stored: redacted, if a redaction takes effect on it that came before.
pub fn to_be_stored(reader: &RoomReader, event: &Pdu, place: Place<'_>) -> Result<StoredEvent> {
    let room = reader.room();
    Ok(if is_redacted(reader, event, place)? { redacted(room, event) } else { StoredEvent::encode(room, event) })
}

/// The redacted form of an event, to be stored.
#[must_use]
pub fn redacted(room: RoomKey, event: &Pdu) -> StoredEvent {
    StoredEvent::encode(room, &event.redacted()).marked_redacted()
}

/// The redaction to name beside `target`, which was redacted; `None` if it is not there any more.
pub fn because(reader: &RoomReader, target: &Pdu) -> Result<Option<StoredEvent>> {
    for redaction in effective(reader, target, Place::Anywhere) {
        if let Some(redaction) = reader.stored(redaction?)? {
            return Ok(Some(redaction));
        }
    }
    Ok(None)
}
