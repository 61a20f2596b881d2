//! Client-server API, "Invite permission": users who take no invites.

use super::account_data;
use crate::{Error, Result};
use serde::Deserialize;
use state_res::ids::UserKey;
use storage::Snapshot;

/// The type of the account data that say so.
const CONFIG: &str = "m.invite_permission_config";

/// Whether a user of this server has all invites refused. Someone without account data, a user of another server for instance, has not.
///
/// # Errors
/// A failing store.
pub fn blocks_all(snapshot: &Snapshot, user: UserKey) -> Result<bool> {
    #[derive(Deserialize)]
    struct Content {
        default_action: String,
    }
    let Some(content) = account_data::get(snapshot, user, None, CONFIG)? else { return Ok(false) };
    // What is missing, invalid or unknown lets invites through.
    Ok(serde_json::from_slice::<Content>(&content).is_ok_and(|content| content.default_action == "block"))
}

/// Refuses an invite of a user who takes none.
///
/// # Errors
/// 403 `M_INVITE_BLOCKED`.
pub fn admit(snapshot: &Snapshot, user_id: &str) -> Result<()> {
    if blocks_all(snapshot, UserKey::of(user_id))? {
        return Err(Error::new(403, "M_INVITE_BLOCKED", format!("{user_id} takes no invites.")));
    }
    Ok(())
}
