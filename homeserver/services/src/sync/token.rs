//! Sync tokens: format version, the log's incarnation, positions, and the rooms that could not be shown.

use crate::error::{Error, Result};
use state_res::ids::RoomKey;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use storage::Position;

/// Most rooms that one answer leaves out because they cannot be read. Where there are more, it is not single rooms that are damaged.
pub const MAX_LEFT_OUT: usize = 16;

/// Rooms that the answers so far had to leave out, because what is stored about them could not be read: what the client has seen of each.
pub type LeftOut = BTreeMap<RoomKey, Position>;

/// A point up to which a client has seen everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncToken {
    /// Everything durable up to here.
    pub position: Position,
    /// Volatile changes (typing) up to here.
    pub volatile: u64,
    /// To-device messages up to here; behind `position` where there were too many for one answer.
    pub to_device: Position,
}

impl SyncToken {
    /// The form that clients hold: `s1_<incarnation>_<position>_<volatile>_<to-device>`, followed by `_<room>.<position>` for each room
    /// that was left out.
    #[must_use]
    pub fn encode(&self, incarnation: u64, left_out: &LeftOut) -> String {
        let mut text = format!("s1_{incarnation:x}_{}_{}_{}", self.position, self.volatile, self.to_device);
        for (room, seen) in left_out {
            // Writing into a String cannot fail.
            let _ = write!(text, "_{:032x}.{seen}", u128::from_be_bytes(*room.as_bytes()));
        }
        text
    }

    /// Reads a token of this log. `None` for one of another incarnation (the data were restored from a backup since), whose holder has
    /// to start afresh rather than miss events.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for text that is no token.
    pub fn decode(text: &str, incarnation: u64) -> Result<Option<Self>> {
        Ok(Self::decode_whole(text, incarnation)?.map(|(token, _)| token))
    }

    /// [`Self::decode`], with the rooms that were left out.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_whole(text: &str, incarnation: u64) -> Result<Option<(Self, LeftOut)>> {
        let mut parts = text.split('_');
        let parsed = (|| {
            if parts.next()? != "s1" {
                return None;
            }
            let log = u64::from_str_radix(parts.next()?, 16).ok()?;
            let position = parts.next()?.parse().ok()?;
            let volatile = parts.next()?.parse().ok()?;
            let to_device = parts.next()?.parse().ok()?;
            let mut left_out = LeftOut::new();
            for part in parts {
                let (room, seen) = part.split_once('.')?;
                let room = u128::from_str_radix(room, 16).ok()?;
                left_out.insert(RoomKey::from_bytes(room.to_be_bytes()), seen.parse().ok()?);
                if left_out.len() > MAX_LEFT_OUT {
                    return None;
                }
            }
            Some((log, (Self { position, volatile, to_device }, left_out)))
        })();
        match parsed {
            Some((log, token)) => Ok((log == incarnation).then_some(token)),
            None => Err(Error::invalid_param(format!(
                "{:?} is no sync token; use the `next_batch` of an earlier answer.",
                text.chars().take(80).collect::<String>()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LeftOut, MAX_LEFT_OUT, SyncToken};
    use state_res::ids::RoomKey;

    #[test]
    fn tokens_survive_and_old_incarnations_do_not() {
        let token = SyncToken { position: 17, volatile: 4, to_device: 16 };
        let mut left_out = LeftOut::new();
        for rooms in 0..=MAX_LEFT_OUT {
            let text = token.encode(0xabc, &left_out);
            assert_eq!(SyncToken::decode_whole(&text, 0xabc).ok().flatten(), Some((token, left_out.clone())));
            assert_eq!(SyncToken::decode(&text, 0xabd).ok(), Some(None));
            left_out.insert(RoomKey::of(&format!("!{rooms}:example.org")), rooms as u64);
        }
        assert!(SyncToken::decode(&token.encode(0xabc, &left_out), 0xabc).is_err(), "that are too many");
        for bad in [
            "",
            "s1",
            "s2_abc_1_1",
            "s1_abc_1",
            "s1_abc_1_1",
            "s1_abc_1_1_1_1",
            "s1_abc_x_1_1",
            "t1-1",
            "s1_abc_1_1_1_x.1",
        ] {
            assert!(SyncToken::decode(bad, 0xabc).is_err(), "{bad}");
        }
    }
}
