//! Order of history within a room, a key of its own: live events sort by their place of announcement, backfilled ones lie
//! between what they follow and what they precede, however often a gap is filled.

use storage::Position;

/// A place in a room's history. Keys compare as bytes.
///
/// A live event's key is `position (8), ordinal (2)`. A backfilled event's key is that of the event it follows (its anchor;
/// nothing for the room's beginning) and 8 bytes more, taken downwards from the middle, so that older events found later
/// still find room between the anchor and what was filled in before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryKey(Vec<u8>);

/// Where the first filling of a gap begins to count down.
const MIDDLE: u64 = 1 << 63;
/// Anchor of what comes before all live events: sorts before any position, as positions start at 1.
const BEGINNING: [u8; 10] = [0; 10];

impl HistoryKey {
    /// The place of a live event.
    #[must_use]
    pub fn live(position: Position, ordinal: u16) -> Self {
        let mut bytes = Vec::with_capacity(10);
        bytes.extend_from_slice(&position.to_be_bytes());
        bytes.extend_from_slice(&ordinal.to_be_bytes());
        Self(bytes)
    }

    /// Reads a stored key or token.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes, which sort.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Keys for `count` events in order, all of them after `previous` (the last event known before the gap, if any) and
    /// before `next`.
    #[must_use]
    pub fn between(previous: Option<&Self>, next: &Self, count: usize) -> Vec<Self> {
        let anchor: &[u8] = previous.map_or(&BEGINNING, |key| key.as_bytes());
        // `next` may itself have been filled in after the same anchor: then we count down from it.
        let upper = next
            .0
            .strip_prefix(anchor)
            .and_then(|rest| rest.get(..8))
            .and_then(|rest| rest.try_into().ok())
            .map_or(MIDDLE, u64::from_be_bytes);
        let count_u64 = count as u64;
        (0..count_u64)
            .map(|index| {
                let mut bytes = anchor.to_vec();
                bytes.extend_from_slice(&(upper.saturating_sub(count_u64) + index).to_be_bytes());
                Self(bytes)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::HistoryKey;
    use proptest::prelude::*;

    proptest! {
        /// Filling gaps in any order keeps all keys distinct and in the order asked for.
        #[test]
        fn gaps_fill_in_order(steps in proptest::collection::vec((0_usize..1000, 1_usize..6), 1..60)) {
            let mut keys: Vec<HistoryKey> = (1..4).map(|position| HistoryKey::live(position, 0)).collect();
            for (gap, count) in steps {
                let gap = gap % keys.len();
                let previous = gap.checked_sub(1).map(|index| keys[index].clone());
                let filled = HistoryKey::between(previous.as_ref(), &keys[gap], count);
                prop_assert_eq!(filled.len(), count);
                keys.splice(gap..gap, filled);
                prop_assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
            }
        }
    }
}
