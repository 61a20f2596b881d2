//! What is written on an event.

use serde_json::Value;
use state_res::pdu::Pdu;

/// How many columns of a fixed-width font a line has.
pub(super) const COLUMNS: usize = 32;

/// How many characters of an event id are shown.
const SHORT_ID_CHARS: usize = 11;

/// How many characters of a member of the content are shown in the details.
const DETAILS_COLUMNS: usize = 400;

/// Type, state key and what the content comes to, sender, short id and the states that have it.
pub(super) fn lines(event: &Pdu, sets: &[usize]) -> Vec<String> {
    let mut lines = vec![fit(event.event_type(), COLUMNS)];
    let summary = summary(event);
    match (event.state_key(), summary) {
        (Some(""), Some(summary)) => lines.push(fit(&summary, COLUMNS)),
        (Some(""), None) => lines.push("\"\"".to_owned()),
        (Some(key), Some(summary)) => lines.push(beside(key, &format!(" → {summary}"))),
        (Some(key), None) => lines.push(fit(key, COLUMNS)),
        (None, Some(summary)) => lines.push(fit(&summary, COLUMNS)),
        (None, None) => {}
    }
    lines.push(format!("by {}", fit(event.sender(), COLUMNS - 3)));
    let sets: Vec<String> = sets.iter().map(|set| format!("S{set}")).collect();
    let mut last = short_id(event.event_id());
    if !sets.is_empty() {
        last = beside(&last, &format!("  in {}", sets.join(" ")));
    }
    lines.push(last);
    lines
}

/// Everything, for a tooltip.
pub(super) fn details(event: &Pdu) -> String {
    let state_key = event.state_key().map(|key| format!("\nstate key \"{key}\"")).unwrap_or_default();
    let content = String::from_utf8_lossy(event.content_json()).into_owned();
    format!(
        "{}\n{}{state_key}\nsender {}\norigin_server_ts {}, depth {}\ncontent {}",
        event.event_id(),
        event.event_type(),
        event.sender(),
        event.origin_server_ts(),
        event.depth(),
        fit(&content, DETAILS_COLUMNS),
    )
}

pub(super) fn short_id(id: &str) -> String {
    fit(id, SHORT_ID_CHARS)
}

/// The part of the content that matters to the rules.
fn summary(event: &Pdu) -> Option<String> {
    let content = event.content();
    let text = |name: &str| content.get(name).and_then(Value::as_str).map(str::to_owned);
    match event.event_type() {
        "m.room.member" => text("membership"),
        "m.room.join_rules" => text("join_rule"),
        "m.room.name" => text("name"),
        "m.room.topic" => text("topic"),
        "m.room.message" => text("body"),
        "m.room.history_visibility" => text("history_visibility"),
        "m.room.redaction" => event.redacts().map(|id| format!("of {}", short_id(id))),
        "m.room.power_levels" => {
            let users = content.get("users").and_then(Value::as_object)?;
            let levels: Vec<String> = users.iter().map(|(user, level)| format!("{user}={level}")).collect();
            Some(levels.join(" "))
        }
        _ => None,
    }
}

/// Two texts beside each other, the first one shortened if need be.
fn beside(first: &str, second: &str) -> String {
    let second = fit(second, COLUMNS * 2 / 3);
    format!("{}{second}", fit(first, COLUMNS - columns(&second)))
}

/// A text in at most so many columns, control characters shown as such.
pub(super) fn fit(text: &str, max: usize) -> String {
    let mut fitting = String::new();
    let mut used = 0;
    for character in text.chars() {
        let character = if character.is_control() || turns_text(character) { '␣' } else { character };
        let width = width(character);
        if used + width > max {
            while used + 1 > max {
                match fitting.pop() {
                    Some(last) => used -= self::width(last),
                    None => return fitting,
                }
            }
            fitting.push('…');
            return fitting;
        }
        used += width;
        fitting.push(character);
    }
    fitting
}

/// Whether a character changes the direction in which the text after it is shown, so that it could pass for another.
fn turns_text(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// Scripts of East Asia and pictures take two columns.
fn width(character: char) -> usize {
    match u32::from(character) {
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}
