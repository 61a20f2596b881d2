//! What was announced in a room of late: rows of table TIMELINE, of which the newest are kept in memory.
//!
//! Rows up to a position never change once readers can see that position. So whoever reads the end of a timeline leaves it for the
//! others whom the same event has woken, and whoever comes later reads only what has been added.

use super::reader::{RoomReader, damaged, room_key};
use crate::error::Result;
use crate::tables;
use state_res::ids::EventKey;
use storage::{Position, key};

/// Rows kept of one room.
const TAIL: usize = 64;

/// A row: an event, and where it was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The position.
    pub position: Position,
    /// The ordinal within it.
    pub ordinal: u16,
    /// The event.
    pub event: EventKey,
}

/// All rows of a stretch of a room's timeline.
#[derive(Debug, Clone)]
pub struct Tail {
    /// The stretch begins after this position.
    after: Position,
    /// It ends with this one.
    to: Position,
    /// Oldest first.
    rows: Vec<Announced>,
}

impl Tail {
    /// Whether rows after `since` are all in it, as far as it goes.
    fn begins_by(&self, since: Position) -> bool {
        self.after <= since && since <= self.to
    }

    /// Its rows after `since` and up to `until`, newest first.
    fn between(&self, since: Position, until: Position) -> Vec<Announced> {
        let start = self.rows.partition_point(|row| row.position <= since);
        let end = self.rows.partition_point(|row| row.position <= until);
        self.rows.get(start..end).unwrap_or_default().iter().rev().copied().collect()
    }

    /// Whether it goes further than another.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        self.to > other.to
    }

    /// Adds what follows it, newest first, up to `to`; the oldest rows go.
    fn extend(&mut self, newer: &[Announced], to: Position) {
        self.rows.extend(newer.iter().rev());
        self.to = to;
        let Some(last_gone) = self.rows.len().checked_sub(TAIL + 1) else { return };
        // Rows of one position stay together: the stretch begins after a position.
        self.after = self.rows[last_gone].position;
        self.rows.retain(|row| row.position > self.after);
    }
}

impl RoomReader {
    /// What was announced after `since` and up to `until`, newest first, as far as the snapshot holds it.
    ///
    /// # Errors
    /// A failing store, or damage; each row may have one too.
    pub fn announced(
        &self,
        since: Position,
        until: Position,
    ) -> Result<Box<dyn Iterator<Item = Result<Announced>> + '_>> {
        let until = until.min(self.snapshot.position());
        let tail = self.caches.tail(self.room).filter(|tail| tail.begins_by(since));
        let (known, from) = match &tail {
            Some(tail) if until <= tail.to || self.is_quiet_after(tail.to)? => {
                return Ok(Box::new(tail.between(since, until).into_iter().map(Ok)));
            }
            Some(tail) => (tail.between(since, tail.to), tail.to),
            None => (Vec::new(), since),
        };
        let mut rest = self.rows(from, until);
        let newer: Vec<Announced> = rest.by_ref().take(TAIL + 1).collect::<Result<_>>()?;
        let some = newer.into_iter();
        if some.len() <= TAIL {
            let mut tail = tail.map_or(Tail { after: since, to: since, rows: Vec::new() }, |tail| (*tail).clone());
            tail.extend(some.as_slice(), until);
            self.caches.put_tail(self.room, tail, self.epoch);
            return Ok(Box::new(some.chain(known).map(Ok)));
        }
        Ok(Box::new(some.map(Ok).chain(rest).chain(known.into_iter().map(Ok))))
    }

    /// The position of the first of the newest `count` announced events; `None` unless they are in memory.
    ///
    /// # Errors
    /// A failing store.
    pub fn before_newest(&self, count: usize) -> Result<Option<Position>> {
        let until = self.snapshot.position();
        let Some(tail) = self.caches.tail(self.room) else { return Ok(None) };
        if tail.to < until && !self.is_quiet_after(tail.to)? {
            return Ok(None);
        }
        let rows = tail.rows.get(..tail.rows.partition_point(|row| row.position <= until)).unwrap_or_default();
        Ok(rows.len().checked_sub(count).and_then(|first| rows.get(first)).map(|row| row.position))
    }

    /// Whether nothing happened in the room after `position`.
    ///
    /// # Errors
    /// A failing store.
    pub fn is_quiet_after(&self, position: Position) -> Result<bool> {
        Ok(!self.caches.activity.may_have_changed(&self.snapshot, self.room, position)?)
    }

    fn rows(&self, since: Position, until: Position) -> impl Iterator<Item = Result<Announced>> + '_ {
        let start = room_key(self.room, &since.saturating_add(1).to_be_bytes());
        let end = room_key(self.room, &until.saturating_add(1).to_be_bytes());
        self.snapshot.scan_rev(tables::TIMELINE, start..end).map(|row| {
            let (key, value) = row?;
            let mut place = key::Reader::new(key.get(16..).unwrap_or_default());
            let (position, ordinal) = (place.u64()?, place.u16()?);
            let event = value.get(..16).and_then(|event| event.try_into().ok()).ok_or_else(|| damaged("TIMELINE"))?;
            Ok(Announced { position, ordinal, event: EventKey::from_bytes(event) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Announced, TAIL, Tail};
    use state_res::ids::EventKey;

    fn row(position: u64, ordinal: u16) -> Announced {
        Announced { position, ordinal, event: EventKey::of(&format!("{position} {ordinal}")) }
    }

    #[test]
    fn a_tail_keeps_whole_positions_and_says_where_it_begins() {
        let mut tail = Tail { after: 10, to: 10, rows: Vec::new() };
        let all: Vec<Announced> =
            (11..100).flat_map(|position| (0..3).map(move |ordinal| row(position, ordinal))).collect();
        for chunk in all.chunks(20) {
            let newer: Vec<Announced> = chunk.iter().rev().copied().collect();
            tail.extend(&newer, chunk.last().map_or(0, |row| row.position));
        }
        assert!(tail.rows.len() <= TAIL);
        assert_eq!(tail.to, 99);
        for since in 10..99 {
            assert_eq!(tail.begins_by(since), since >= tail.after);
            if !tail.begins_by(since) {
                continue;
            }
            for until in since..=99 {
                let wanted: Vec<Announced> =
                    all.iter().rev().filter(|row| row.position > since && row.position <= until).copied().collect();
                assert_eq!(tail.between(since, until), wanted);
            }
        }
    }
}
