//! Where writers of a room meet: forward extremities, current root, a version chosen by the writer.

use state_res::room_version::RoomVersion;
use state_res::tree::Root;

/// Most forward extremities that an event of ours refers to (server-server API, "PDUs": `prev_events` ≤ 20).
pub const MAX_PREV_EVENTS: usize = 20;

/// Version of the layout below.
const FORMAT: u8 = 2;

/// A forward extremity: an event that no accepted event refers to yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extremity {
    /// Its event id.
    pub event_id: String,
    /// Its depth.
    pub depth: i64,
    /// The state after it.
    pub after: Root,
    /// Whether that is as another server told it (see [`Standing::is_told`](super::standing::Standing::is_told)).
    pub is_told: bool,
}

/// A row of table `HEAD`. Contains no position, so that it can be named by a precondition before it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Grows by one with each change.
    pub version: u64,
    /// The room's version.
    pub room_version: RoomVersion,
    /// The current state.
    pub root: Root,
    /// Forward extremities.
    pub extremities: Vec<Extremity>,
}

impl Head {
    /// The head of a room in which nothing has happened.
    #[must_use]
    pub fn new(room_version: RoomVersion) -> Self {
        Self { version: 0, room_version, root: Root::EMPTY, extremities: Vec::new() }
    }

    /// The row's value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.extremities.len() * 60);
        out.push(FORMAT);
        out.push(self.room_version.number());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(self.root.as_bytes());
        for extremity in &self.extremities {
            out.extend_from_slice(&extremity.depth.to_be_bytes());
            out.extend_from_slice(extremity.after.as_bytes());
            // An event id is at most 255 bytes (checked when the event was parsed).
            out.push(extremity.event_id.len() as u8);
            out.extend_from_slice(extremity.event_id.as_bytes());
            out.push(u8::from(extremity.is_told));
        }
        out
    }

    /// Reads a row; `None` if it is damaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if *bytes.first()? != FORMAT {
            return None;
        }
        let mut head = Self {
            version: u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?),
            room_version: RoomVersion::from_number(*bytes.get(1)?)?,
            root: Root::from_bytes(bytes.get(10..26)?.try_into().ok()?),
            extremities: Vec::new(),
        };
        let mut rest = bytes.get(26..)?;
        while !rest.is_empty() {
            let depth = i64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
            let after = Root::from_bytes(rest.get(8..24)?.try_into().ok()?);
            let length = usize::from(*rest.get(24)?);
            let event_id = std::str::from_utf8(rest.get(25..25 + length)?).ok()?.to_owned();
            let is_told = *rest.get(25 + length)? != 0;
            head.extremities.push(Extremity { event_id, depth, after, is_told });
            rest = &rest[26 + length..];
        }
        Some(head)
    }

    /// The depth of an event that follows the extremities.
    #[must_use]
    pub fn next_depth(&self) -> i64 {
        let deepest = self.extremities.iter().map(|one| one.depth).max();
        deepest.map_or(1, |depth| depth.saturating_add(1).min(self.room_version.max_depth()))
    }
}
