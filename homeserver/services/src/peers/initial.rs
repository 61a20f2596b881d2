//! `GET /rooms/{roomId}/initialSync`: a room as it is now, for whoever looks into it without syncing.

use super::Peers;
use crate::accounts::account_data;
use crate::error::Result;
use crate::rooms::filter::EventFilter;
use crate::rooms::record::write_json_string;
use crate::rooms::timeline::{self, Boundary, Direction};
use crate::rooms::visibility::Viewer;
use serde_json::{Value, json};
use state_res::ids::UserKey;
use std::io::Write as _;

/// Newest events that are told.
const MESSAGES: usize = 20;

impl Peers {
    /// State, newest messages, listing and the user's own data of a room that they may look into: JSON text.
    ///
    /// # Errors
    /// 403 `M_FORBIDDEN`.
    pub fn initial_sync(&self, user_id: &str, device_id: &str, room_id: &str) -> Result<Vec<u8>> {
        let (reader, _, root) = self.look(user_id, room_id)?;
        let viewer = Viewer::new(&reader, user_id)?;
        let wanted = timeline::Wanted {
            direction: Direction::Backward,
            from: None,
            to: None,
            limit: MESSAGES,
            filter: &EventFilter::default(),
            past_gap: true,
        };
        let page = timeline::page(&reader, &viewer, &wanted)?;
        let state =
            reader.state(root)?.into_iter().map(|key| reader.required_stored(key)).collect::<Result<Vec<_>>>()?;
        let view = self.view(&reader, &viewer, user_id, device_id, room_id);
        let mut json = b"{\"room_id\":".to_vec();
        write_json_string(&mut json, room_id);
        if let Some(member) = reader.member(UserKey::of(user_id))? {
            let _ = write!(json, ",\"membership\":\"{}\"", member.membership.as_str());
        }
        let visibility = if self.rooms.is_listed(room_id)? { "public" } else { "private" };
        let end = Boundary::after_position(reader.snapshot().position());
        let _ = write!(json, ",\"visibility\":\"{visibility}\",\"messages\":{{\"end\":\"{}\"", end.token());
        if let Some(start) = &page.end {
            let _ = write!(json, ",\"start\":\"{}\"", start.token());
        }
        let _ = write!(json, ",\"chunk\":{}}}", view.json_array(page.events.iter().rev())?);
        let _ = write!(json, ",\"state\":{}", view.json_array(&state)?);
        let data: Vec<Value> = account_data::of_room(reader.snapshot(), UserKey::of(user_id), reader.room())?
            .into_iter()
            .map(|item| {
                let content: Value = serde_json::from_slice(&item.content).unwrap_or_default();
                json!({ "type": item.kind, "content": content })
            })
            .collect();
        let _ = write!(json, ",\"account_data\":{}}}", Value::Array(data));
        Ok(json)
    }
}
