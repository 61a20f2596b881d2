//! Sync tokens: format version, the log's incarnation, and positions.

use crate::error::{Error, Result};
use storage::Position;

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
    /// The form that clients hold: `s1_<incarnation>_<position>_<volatile>_<to-device>`.
    #[must_use]
    pub fn encode(&self, incarnation: u64) -> String {
        format!("s1_{incarnation:x}_{}_{}_{}", self.position, self.volatile, self.to_device)
    }

    /// Reads a token of this log. `None` for one of another incarnation (the data were restored from a backup since), whose holder has
    /// to start afresh rather than miss events.
    ///
    /// # Errors
    /// 400 `M_INVALID_PARAM` for text that is no token.
    pub fn decode(text: &str, incarnation: u64) -> Result<Option<Self>> {
        let mut parts = text.split('_');
        let parsed = (|| {
            if parts.next()? != "s1" {
                return None;
            }
            let log = u64::from_str_radix(parts.next()?, 16).ok()?;
            let position = parts.next()?.parse().ok()?;
            let volatile = parts.next()?.parse().ok()?;
            let to_device = parts.next()?.parse().ok()?;
            parts.next().is_none().then_some((log, Self { position, volatile, to_device }))
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
    use super::SyncToken;

    #[test]
    fn tokens_survive_and_old_incarnations_do_not() {
        let token = SyncToken { position: 17, volatile: 4, to_device: 16 };
        let text = token.encode(0xabc);
        assert_eq!(SyncToken::decode(&text, 0xabc).ok().flatten(), Some(token));
        assert_eq!(SyncToken::decode(&text, 0xabd).ok(), Some(None));
        for bad in ["", "s1", "s2_abc_1_1", "s1_abc_1", "s1_abc_1_1", "s1_abc_1_1_1_1", "s1_abc_x_1_1", "t1-1"] {
            assert!(SyncToken::decode(bad, 0xabc).is_err(), "{bad}");
        }
    }
}
