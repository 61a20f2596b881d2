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

/// A row of table `STANDING`: `flags, root before (16), root after (16), depth (8), position (8, filled in), ordinal (2),
/// history key`.
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
pub(super) const POSITION_OFFSET: usize = 1 + 16 + 16 + 8;

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

    /// Whether clients may see it at all.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.flags & (OUTLIER | SOFT_FAILED | REJECTED) == 0
    }

    /// The row's value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.push(self.flags);
        out.extend_from_slice(self.before.as_bytes());
        out.extend_from_slice(self.after.as_bytes());
        out.extend_from_slice(&self.depth.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
        out.extend_from_slice(&self.ordinal.to_be_bytes());
        if let Some(history) = &self.history {
            out.extend_from_slice(history.as_bytes());
        }
        out
    }

    /// Reads a row; `None` if it is damaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let flags = *bytes.first()?;
        let root = |at: usize| Some(Root::from_bytes(bytes.get(at..at + 16)?.try_into().ok()?));
        let depth = i64::from_be_bytes(bytes.get(33..41)?.try_into().ok()?);
        let position = u64::from_be_bytes(bytes.get(41..49)?.try_into().ok()?);
        let ordinal = u16::from_be_bytes(bytes.get(49..51)?.try_into().ok()?);
        let history = bytes.get(51..)?;
        let live = flags & (OUTLIER | REJECTED | SOFT_FAILED) == 0 && position != 0;
        Some(Self {
            flags,
            before: root(1)?,
            after: root(17)?,
            depth,
            position,
            ordinal,
            history: if !history.is_empty() {
                Some(HistoryKey::from_bytes(history))
            } else if live {
                Some(HistoryKey::live(position, ordinal))
            } else {
                None
            },
        })
    }
}
