//! The standing of an event: what we think of it, apart from its bytes.

use super::history::HistoryKey;
use state_res::tree::Root;
use storage::Position;

/// The event is known but has no place in the room's graph here (an auth event, or one fetched by itself).
const OUTLIER: u8 = 1;
/// Authorised by its own auth events and the state before it, but not by the room's current state.
const SOFT_FAILED: u8 = 2;
/// Refused by its auth events or by the state before it.
const REJECTED: u8 = 4;
/// The state after the event is the one before it; its root is not written twice.
const UNCHANGED: u8 = 8;
/// The event was announced: position and ordinal follow.
const ANNOUNCED: u8 = 16;

/// An outlier that had a place until what lay around it was purged; it goes when nothing needs it any more.
const LEFTOVER: u8 = 32;

/// What state was before the event, another server has told us, of this one or of all that it follows.
const TOLD: u8 = 64;

/// A row of table `STANDING`: `flags`; if the event was announced, `position (8, filled in), ordinal (2)`; `depth (LEB128 of its
/// zigzag form)`; if the event has a place, `root before (16)` and, if it changed the state, `root after (16)`; for an event of
/// older history, its `history key`.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    flags: u8,
    /// The state before the event; [`Root::EMPTY`] for outliers.
    pub before: Root,
    /// The state after it.
    pub after: Root,
    /// Depth as the event says it.
    pub depth: i64,
    /// Where it was announced; 0 for outliers and for what was not announced.
    pub position: Position,
    /// Its ordinal within that position.
    pub ordinal: u16,
    /// Its place in the room's history; `None` where it has none (outliers; what was refused).
    pub history: Option<HistoryKey>,
}

/// Offset at which the store fills in the position.
pub(super) const POSITION_OFFSET: usize = 1;

/// How an event fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Accepted.
    Accepted,
    /// Accepted, but hidden from clients and not built upon (server-server API, "Soft failure").
    SoftFailed,
    /// Rejected.
    Rejected,
}

impl Standing {
    /// The standing of an event without a place in the graph.
    #[must_use]
    pub fn outlier(depth: i64, rejected: bool) -> Self {
        Self {
            flags: OUTLIER | if rejected { REJECTED } else { 0 },
            before: Root::EMPTY,
            after: Root::EMPTY,
            depth,
            position: 0,
            ordinal: 0,
            history: None,
        }
    }

    /// The standing of an event that lost its place in a purge, and is kept for the sake of others.
    #[must_use]
    pub fn leftover(depth: i64, rejected: bool) -> Self {
        let mut standing = Self::outlier(depth, rejected);
        standing.flags |= LEFTOVER;
        standing
    }

    /// Whether it is such an event's.
    #[must_use]
    pub fn is_leftover(&self) -> bool {
        self.flags & LEFTOVER != 0
    }

    /// The standing of an event with a place; position and history key of live events are filled in by the store.
    #[must_use]
    pub fn placed(
        fate: Fate,
        before: Root,
        after: Root,
        depth: i64,
        ordinal: u16,
        history: Option<HistoryKey>,
    ) -> Self {
        let flags = match fate {
            Fate::Accepted => 0,
            Fate::SoftFailed => SOFT_FAILED,
            Fate::Rejected => REJECTED,
        };
        Self { flags, before, after, depth, position: 0, ordinal, history }
    }

    /// The same, with the state before the event being as another server told it, or not.
    #[must_use]
    pub fn told(mut self, is_told: bool) -> Self {
        self.flags = if is_told { self.flags | TOLD } else { self.flags & !TOLD };
        self
    }

    /// Whether the state before the event is as another server told it, and not what we made of the events before it.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.flags & TOLD != 0
    }

    /// The standing of an accepted event as it is once the store has announced it at this position.
    #[must_use]
    pub fn announced_at(self, position: Position) -> Self {
        Self { position, history: Some(HistoryKey::live(position, self.ordinal)), ..self }
    }

    /// Whether the event has no place in the graph here.
    #[must_use]
    pub fn is_outlier(&self) -> bool {
        self.flags & OUTLIER != 0
    }

    /// Whether it was rejected.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.flags & REJECTED != 0
    }

    /// Whether it was soft-failed.
    #[must_use]
    pub fn is_soft_failed(&self) -> bool {
        self.flags & SOFT_FAILED != 0
    }

    /// How it fared, if it has a place in the graph.
    #[must_use]
    pub fn fate(&self) -> Option<Fate> {
        match (self.is_outlier(), self.is_rejected(), self.is_soft_failed()) {
            (true, _, _) => None,
            (_, true, _) => Some(Fate::Rejected),
            (_, _, true) => Some(Fate::SoftFailed),
            _ => Some(Fate::Accepted),
        }
    }

    /// Whether clients may see it at all.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.flags & (OUTLIER | SOFT_FAILED | REJECTED) == 0
    }

    /// The row's value. Without a history key it is that of an event that is announced with it, at `POSITION_OFFSET`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let announced = !self.is_outlier() && self.history.as_ref().is_none_or(|key| self.is_live_key(key));
        let unchanged = self.before == self.after;
        out.push(self.flags | if unchanged { UNCHANGED } else { 0 } | if announced { ANNOUNCED } else { 0 });
        if announced {
            out.extend_from_slice(&self.position.to_be_bytes());
            out.extend_from_slice(&self.ordinal.to_be_bytes());
        }
        let mut depth = ((self.depth << 1) ^ (self.depth >> 63)) as u64;
        while depth >= 0x80 {
            out.push(depth as u8 | 0x80);
            depth >>= 7;
        }
        out.push(depth as u8);
        if self.is_outlier() {
            return out;
        }
        out.extend_from_slice(self.before.as_bytes());
        if !unchanged {
            out.extend_from_slice(self.after.as_bytes());
        }
        if let Some(history) = self.history.as_ref().filter(|_| !announced) {
            out.extend_from_slice(history.as_bytes());
        }
        out
    }

    fn is_live_key(&self, key: &HistoryKey) -> bool {
        self.position != 0 && *key == HistoryKey::live(self.position, self.ordinal)
    }

    /// Reads a row; `None` if it is damaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&first, mut rest) = bytes.split_first()?;
        let flags = first & (OUTLIER | SOFT_FAILED | REJECTED | LEFTOVER | TOLD);
        let (mut position, mut ordinal) = (0, 0);
        if first & ANNOUNCED != 0 {
            let (announced, after) = rest.split_first_chunk::<10>()?;
            let [.., high, low] = *announced;
            position = u64::from_be_bytes(*announced.first_chunk()?);
            ordinal = u16::from_be_bytes([high, low]);
            rest = after;
        }
        let mut depth = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, after) = rest.split_first()?;
            depth |= u64::from(byte & 0x7f) << shift;
            rest = after;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let depth = (depth >> 1) as i64 ^ -((depth & 1) as i64);
        let mut standing =
            Self { flags, before: Root::EMPTY, after: Root::EMPTY, depth, position, ordinal, history: None };
        if standing.is_outlier() {
            return rest.is_empty().then_some(standing);
        }
        let (before, after) = rest.split_first_chunk::<16>()?;
        (standing.before, standing.after, rest) = (Root::from_bytes(*before), Root::from_bytes(*before), after);
        if first & UNCHANGED == 0 {
            let (after, history) = rest.split_first_chunk::<16>()?;
            (standing.after, rest) = (Root::from_bytes(*after), history);
        }
        standing.history = if first & ANNOUNCED == 0 {
            Some(HistoryKey::from_bytes(rest))
        } else if standing.is_accepted() {
            Some(HistoryKey::live(position, ordinal))
        } else {
            None
        };
        Some(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn root() -> impl Strategy<Value = Root> {
        any::<[u8; 16]>().prop_map(Root::from_bytes)
    }

    proptest! {
        /// What is written is read again, once the store has filled in the position.
        #[test]
        fn rows_are_read_as_they_were_written(
            fate in 0..3_usize, before in root(), after in root(), changes in any::<bool>(), depth in any::<i64>(),
            told in any::<bool>(),
            place in prop_oneof![
                (1..u64::MAX, any::<u16>()).prop_map(Ok),
                proptest::collection::vec(any::<u8>(), 11..40).prop_map(Err),
            ],
        ) {
            let fate = [Fate::Accepted, Fate::SoftFailed, Fate::Rejected][fate];
            let after = if changes { after } else { before };
            let (ordinal, old) = match &place {
                Ok((_, ordinal)) => (*ordinal, None),
                Err(key) => (0, Some(HistoryKey::from_bytes(key))),
            };
            let mut standing = Standing::placed(fate, before, after, depth, ordinal, old).told(told);
            let mut bytes = standing.encode();
            if let Ok((position, ordinal)) = place {
                bytes[POSITION_OFFSET..POSITION_OFFSET + 8].copy_from_slice(&position.to_be_bytes());
                standing.position = position;
                standing.history = (fate == Fate::Accepted).then(|| HistoryKey::live(position, ordinal));
            }
            prop_assert_eq!(Standing::decode(&bytes), Some(standing.clone()));
            if let Some(read) = Standing::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
            for outlier in [Standing::outlier, Standing::leftover].map(|make| make(depth, fate == Fate::Rejected)) {
                prop_assert_eq!(Standing::decode(&outlier.encode()), Some(outlier));
            }
        }
    }
}
