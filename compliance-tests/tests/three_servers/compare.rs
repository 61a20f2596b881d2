//! What the servers hold, seen through their client APIs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use compliance_tests::api::Api;
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::Cast;

/// Events per page of history.
const PAGE: usize = 500;
/// Between two looks at all servers: looking costs a Synapse time that it needs for catching up.
const PAUSE: Duration = Duration::from_millis(1500);
/// How many differences a failure names.
const SHOWN: usize = 12;

/// A room in which all three are.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    /// Its id.
    pub(crate) id: String,
    /// When the last of the three had joined (milliseconds since 1970). What is older, a server has only by backfilling, and
    /// a Synapse that asks a server that itself has not backfilled yet takes the failure for an answer, for an hour.
    pub(crate) together_since: u64,
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.map_or(0, |time| time.as_millis() as u64)
}

/// One server's view of a room: event id → what the event says; (type, state key) → event id.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    /// Every event that can be paged back to, down to when all three were in the room.
    pub(crate) events: BTreeMap<String, Value>,
    /// The current state.
    pub(crate) state: BTreeMap<(String, String), String>,
}

/// Waits until all three servers show the same events and the same state; answers what they show.
pub(crate) async fn wait_equal(cast: &Cast, room: &Room, limit: Duration) -> Result<View> {
    wait_equal_with(cast, room, limit, &[]).await
}

/// Like [`wait_equal`], and the events named must be among them. No look at the servers begins after `limit`.
pub(crate) async fn wait_equal_with(cast: &Cast, room: &Room, limit: Duration, wanted: &[String]) -> Result<View> {
    let start = Instant::now();
    loop {
        let views = try_join_all(cast.people.iter().map(|person| view(person.api(), room))).await?;
        let missing = |view: &View| wanted.iter().filter(|id| !view.events.contains_key(*id)).count();
        if views.iter().all(|view| *view == views[0] && missing(view) == 0) {
            return views.into_iter().next().context("no servers");
        }
        if start.elapsed() + PAUSE > limit {
            let mut text = format!("after {limit:?} the servers differ about {}:\n", room.id);
            for (server, view) in cast.servers.iter().zip(&views) {
                text += &format!(
                    "{} ({:?}): {} events, {} entries of state, {} of {} awaited events missing\n",
                    server.label(),
                    server.kind(),
                    view.events.len(),
                    view.state.len(),
                    missing(view),
                    wanted.len()
                );
            }
            text += &differences(cast, &views);
            bail!(text);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn view(api: &Api, room: &Room) -> Result<View> {
    let mut view = View::default();
    let history = api.history(&room.id, PAGE).await?;
    let ids: BTreeSet<&str> = history.iter().filter_map(|event| event["event_id"].as_str()).collect();
    ensure!(ids.len() == history.len(), "{} gave an event of {} twice in one walk back", api.base(), room.id);
    for event in &history {
        if event["origin_server_ts"].as_u64() < Some(room.together_since) {
            continue;
        }
        let id = text(&event["event_id"]);
        // What servers and clients add (`unsigned`, the age) is theirs; this is what was signed, or its redacted form. Servers
        // should also add `redacts` to the content of redactions in older room versions: not all do.
        let mut content = event["content"].clone();
        if let Some(content) = content.as_object_mut().filter(|_| event["type"] == "m.room.redaction") {
            content.remove("redacts");
        }
        let told = json!({
            "type": event["type"], "sender": event["sender"], "state_key": event["state_key"],
            "content": content, "origin_server_ts": event["origin_server_ts"],
        });
        view.events.insert(id, told);
    }
    for event in api.state(&room.id).await? {
        view.state.insert((text(&event["type"]), text(&event["state_key"])), text(&event["event_id"]));
    }
    Ok(view)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn differences(cast: &Cast, views: &[View]) -> String {
    let mut lines = Vec::new();
    for (server, view) in cast.servers.iter().zip(views) {
        for (other_server, other) in cast.servers.iter().zip(views) {
            for (id, event) in &view.events {
                let pair = format!("{} and not as such on {}", server.label(), other_server.label());
                match other.events.get(id) {
                    None => lines.push(format!("event {id} on {pair}: {event}")),
                    Some(told) if told != event => {
                        lines.push(format!("event {id} on {pair}: {event}\n   there: {told}"))
                    }
                    Some(_) => {}
                }
            }
            for (key, id) in &view.state {
                if other.state.get(key) != Some(id) {
                    let there = other.state.get(key);
                    lines.push(format!(
                        "state {key:?} is {id} on {}, {there:?} on {}",
                        server.label(),
                        other_server.label()
                    ));
                }
            }
        }
    }
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    format!("{}\n(and {more} more)", lines.join("\n"))
}
