//! Power levels as services ask for them.

use super::reader::RoomReader;
use crate::error::{Error, Result};
use state_res::auth::{Level, PowerLevel, PowerLevels};
use state_res::pdu::Pdu;
use state_res::tree::Root;

/// The power levels of a room's state.
pub struct Power {
    create: Pdu,
    levels: Option<Pdu>,
}

impl Power {
    /// Those of the state `root`.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN` for a state without `m.room.create`, where nobody has any power.
    pub fn at(reader: &RoomReader, root: Root) -> Result<Self> {
        let create = reader
            .state_event(root, "m.room.create", "")?
            .ok_or_else(|| Error::forbidden("The room has no create event, so that nobody has any power in it."))?;
        Ok(Self { create, levels: reader.state_event(root, "m.room.power_levels", "")? })
    }

    fn view(&self) -> PowerLevels<'_> {
        PowerLevels::new(&self.create, self.levels.as_ref())
    }

    /// The level of a user; a malformed one counts as none.
    #[must_use]
    pub fn user(&self, user_id: &str) -> PowerLevel {
        self.view().user(user_id).unwrap_or(PowerLevel::Finite(i64::MIN))
    }

    /// Whether a user has the level that sending an event of this type takes.
    #[must_use]
    pub fn may_send(&self, user_id: &str, event_type: &str, is_state: bool) -> bool {
        self.view().event(event_type, is_state).is_ok_and(|level| self.user(user_id).reaches(level))
    }

    /// Whether a user reaches one of the room's named levels.
    #[must_use]
    pub fn may(&self, user_id: &str, level: Level) -> bool {
        self.view().level(level).is_ok_and(|level| self.user(user_id).reaches(level))
    }

    /// Users who may have another level than the rest: creators, and those whose level is given.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        let users = self.levels.as_ref().and_then(|levels| levels.content().get("users")?.as_object());
        state_res::auth::creators(&self.create)
            .chain(users.into_iter().flat_map(|users| users.keys().map(String::as_str)))
    }

    /// Whether a user who is none of [`Self::named`] reaches one of the room's named levels.
    #[must_use]
    pub fn anyone_may(&self, level: Level) -> bool {
        let default = self.view().level(Level::UsersDefault);
        let needed = self.view().level(level);
        default.is_ok_and(|default| needed.is_ok_and(|needed| PowerLevel::Finite(default).reaches(needed)))
    }

    /// Whether a user reaches the level of a notification, such as `room`.
    #[must_use]
    pub fn may_notify(&self, user_id: &str, kind: &str) -> bool {
        self.view().notification(kind).is_ok_and(|level| self.user(user_id).reaches(level))
    }
}
