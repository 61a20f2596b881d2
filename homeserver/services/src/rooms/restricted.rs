//! Joins to restricted rooms, for which a server whose users may invite has to vouch (room version 8, "Restricted rooms").

use super::power::Power;
use super::reader::damaged;
use super::{Membership, RoomReader, Rooms};
use crate::error::Result;
use crate::tables;
use serde_json::Value;
use state_res::auth::{JoinRule, Level};
use state_res::ids::{RoomKey, UserKey};
use state_res::tree::Root;

/// Whether, and by whom, a join to a restricted room is vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restricted {
    /// The room is not restricted, or the user is invited.
    NotNeeded,
    /// This local user vouches.
    By(String),
    /// The user meets a condition, and nobody here may vouch; somebody of another server that is in the room may.
    NobodyHere,
    /// Whether the user meets a condition, another server may know.
    Unknown,
    /// The user meets none of the conditions.
    Refused,
}

impl Rooms {
    /// Who vouches for a join. What this costs does not grow with the room.
    pub fn authorise_restricted(&self, reader: &RoomReader, root: Root, user_id: &str) -> Result<Restricted> {
        let Some(head) = reader.head()? else { return Ok(Restricted::NotNeeded) };
        let rules = reader.state_event(root, "m.room.join_rules", "")?;
        if !JoinRule::of(rules.as_ref()).is_restricted(head.room_version) {
            return Ok(Restricted::NotNeeded);
        }
        if matches!(reader.membership_in(root, user_id)?, Some(Membership::Join | Membership::Invite)) {
            return Ok(Restricted::NotNeeded);
        }
        let Some(rules) = rules else { return Ok(Restricted::NotNeeded) };
        let mut unknown = false;
        let mut allowed = false;
        for condition in rules.content().get("allow").and_then(Value::as_array).into_iter().flatten() {
            if condition.get("type").and_then(Value::as_str) != Some("m.room_membership") {
                continue;
            }
            let Some(other) = condition.get("room_id").and_then(Value::as_str) else { continue };
            let other_reader = self.reader(RoomKey::of(other));
            if other_reader.head()?.is_none() || !self.is_resident(other)? {
                unknown = true;
                continue;
            }
            if is_joined(&other_reader, user_id)? {
                allowed = true;
                break;
            }
        }
        if !allowed {
            return Ok(if unknown { Restricted::Unknown } else { Restricted::Refused });
        }
        Ok(self.local_authoriser(reader, root)?.map_or(Restricted::NobodyHere, Restricted::By))
    }

    /// A joined user of this server who may invite.
    fn local_authoriser(&self, reader: &RoomReader, root: Root) -> Result<Option<String>> {
        let power = Power::at(reader, root)?;
        let may_vouch = |user_id: &str| -> Result<bool> {
            Ok(self.is_local(user_id) && power.may(user_id, Level::Invite) && is_joined(reader, user_id)?)
        };
        for user_id in power.named() {
            if may_vouch(user_id)? {
                return Ok(Some(user_id.to_owned()));
            }
        }
        if !power.anyone_may(Level::Invite) {
            return Ok(None);
        }
        // Whoever is not named may, so that no more are passed over than are named.
        let mut listed = 0;
        for row in reader.snapshot().scan_prefix(tables::LOCAL_MEMBERS, reader.room().as_bytes()) {
            listed += 1;
            let user_id = String::from_utf8(row?.1.to_vec()).map_err(|_| damaged("LOCAL_MEMBERS"))?;
            if may_vouch(&user_id)? {
                return Ok(Some(user_id));
            }
        }
        // Of a room whose members joined before there was that table, it lists too few.
        if listed < reader.joined_of(&self.deps().server_name)? {
            for member in reader.members()? {
                if may_vouch(&member.user_id)? {
                    return Ok(Some(member.user_id));
                }
            }
        }
        Ok(None)
    }
}

fn is_joined(reader: &RoomReader, user_id: &str) -> Result<bool> {
    Ok(reader.member(UserKey::of(user_id))?.is_some_and(|member| member.membership == Membership::Join))
}
