//! `causeway-state resolve`.

use serde_json::json;

use crate::{
    failure::Failure,
    input::{self, MAX_FILE_BYTES, Source},
    keys::Keys,
    room::{Room, States},
};

/// The resolution of a file's states, one entry a line.
pub(crate) fn run(file: &str, keys: Option<&str>) -> Result<String, Failure> {
    let keys = keys.map(Keys::read).transpose()?;
    let bytes = input::read(file, MAX_FILE_BYTES)?;
    let room = Room::read(Source::new(file, &bytes)?, keys.as_ref(), States::Needed)?;
    let resolved = room.resolve()?;
    if resolved.is_empty() {
        return Ok("[]".to_owned());
    }
    let lines: Vec<String> = resolved
        .iter()
        .map(|((event_type, state_key), index)| {
            json!([event_type, state_key, room.events[*index].pdu.event_id()]).to_string()
        })
        .collect();
    Ok(format!("[\n{}\n]", lines.join(",\n")))
}
