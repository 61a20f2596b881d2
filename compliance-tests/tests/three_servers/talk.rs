//! Encrypted conversation: messages each way, reactions, edits, redactions, paging back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use compliance_tests::rig::{Client, Kind};
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::compare::Room;
use crate::{Cast, compare};

/// How many messages each person sends to the other two.
pub(crate) const EACH_WAY: usize = 200;
/// How long a few events may take to be everywhere.
pub(crate) const ARRIVAL_SECONDS: u64 = 60;
/// How long hundreds of messages may take to be everywhere and decrypted: Synapse needs the most of it.
const EXCHANGE_SECONDS: u64 = 240;
/// Between two messages of one person: a Synapse on SQLite takes about twenty events a second.
const PAUSE_SECONDS: f64 = 0.08;
/// How long servers may take to agree when nothing is wrong.
pub(crate) const SETTLE: Duration = Duration::from_secs(30);
/// Small, so that paging has many steps.
const PAGE: usize = 40;

/// Makes an encrypted room of the given version, invites the other two, and waits until all clients know each other's
/// devices: before that, a message would rightly be encrypted for fewer.
pub(crate) async fn encrypted_room(cast: &Cast, version: &str, owner: usize) -> Result<Room> {
    let others: Vec<&Client> = (1..=2).map(|step| &cast.people[(owner + step) % 3]).collect();
    let made = cast.people[owner]
        .call(
            "create_room",
            json!({
                "version": version, "name": format!("Encrypted, version {version}"), "encrypted": true,
                "invite": others.iter().map(|person| person.user_id()).collect::<Vec<_>>(),
            }),
        )
        .await?;
    let room = made["room_id"].as_str().context("no room id")?.to_owned();
    for person in others {
        person.call("wait_invite", json!({"room": room})).await?;
        person.call("join", json!({"target": room})).await?;
    }
    know_each_other(cast, &room).await?;
    Ok(Room { id: room, together_since: compare::now() })
}

async fn know_each_other(cast: &Cast, room: &str) -> Result<()> {
    let users: Vec<&str> = cast.people.iter().map(Client::user_id).collect();
    try_join_all(cast.people.iter().map(|person| person.call("know", json!({"room": room, "users": users})))).await?;
    Ok(())
}

/// The beginning of a person's messages in this part of the run.
pub(crate) fn prefix(person: &Client, part: &str) -> String {
    format!("{} {part}", person.label())
}

/// All three send [`EACH_WAY`] messages at the same time, and decrypt all of the others'. Answers each person's event ids.
pub(crate) async fn exchange(cast: &Cast, room: &str, part: &str) -> Result<Vec<Vec<String>>> {
    let sent = try_join_all(cast.people.iter().map(|person| {
        person.call(
            "send",
            json!({"room": room, "prefix": prefix(person, part), "count": EACH_WAY, "pause": PAUSE_SECONDS}),
        )
    }))
    .await?;
    for (place, listener) in cast.people.iter().enumerate() {
        for speaker in &cast.people {
            let wanted = json!({
                "room": room, "prefix": prefix(speaker, part), "count": EACH_WAY, "timeout": EXCHANGE_SECONDS,
                "walk": walks(cast, place),
            });
            let heard = listener.call("wait_messages", wanted).await?;
            let heard = heard["messages"].as_array().context("no messages")?;
            check_series(cast, place, speaker, part, heard, EACH_WAY)?;
        }
    }
    Ok(sent.iter().map(event_ids).collect())
}

/// Whether the person there has to look through the history now and then to see everything. A Synapse that gets events faster
/// than it takes them throws some away, and fetches them when somebody scrolls to where they should be.
pub(crate) fn walks(cast: &Cast, place: usize) -> bool {
    cast.servers[place].kind() == Kind::Synapse
}

/// The event ids in the answer to `send` or `progress`.
pub(crate) fn event_ids(answer: &Value) -> Vec<String> {
    let list = answer["event_ids"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

/// The messages are numbers 0 to `count`, each once, each encrypted, from the right person; and in order. (A Synapse that gets
/// messages from two servers at the same time shows its own clients one sender's messages out of order now and then, so on
/// Synapse the order is not asked for.)
pub(crate) fn check_series(
    cast: &Cast,
    place: usize,
    speaker: &Client,
    part: &str,
    heard: &[Value],
    count: usize,
) -> Result<()> {
    let who = format!("{} hears {}'s {part}", cast.people[place].label(), speaker.label());
    let mut wanted: Vec<String> = (0..count).map(|number| format!("{} {number}", prefix(speaker, part))).collect();
    let mut bodies: Vec<&str> = heard.iter().map(|message| message["body"].as_str().unwrap_or_default()).collect();
    if cast.servers[place].kind() == Kind::Synapse {
        wanted.sort();
        bodies.sort();
    }
    for message in heard {
        ensure!(message["sender"] == speaker.user_id(), "{who}: {message}");
        ensure!(message["encrypted"] == true, "{who}: {message} was not encrypted");
    }
    let first_wrong = bodies.iter().zip(&wanted).position(|(is, should)| is != should);
    ensure!(bodies.len() == count && first_wrong.is_none(), "{who}: wrong at {first_wrong:?} in {bodies:?}");
    Ok(())
}

/// Everybody reacts to, edits and redacts something; everybody sees the outcome.
pub(crate) async fn annotate(cast: &Cast, room: &str, part: &str, sent: &[Vec<String>]) -> Result<()> {
    let mut wanted: BTreeMap<String, Value> = BTreeMap::new();
    for (place, person) in cast.people.iter().enumerate() {
        let neighbour = &cast.people[(place + 1) % 3];
        let liked = sent[(place + 1) % 3][3].clone();
        person.call("react", json!({"room": room, "event": liked, "key": "👍"})).await.context("reacting")?;
        let reaction = format!("{} 👍", person.user_id());
        let body = format!("{} 3", prefix(neighbour, part));
        wanted.insert(liked, json!({"body": body, "redacted": false, "reactions": [reaction]}));

        let (edited, new) = (sent[place][5].clone(), format!("{} put better", person.label()));
        person.call("edit", json!({"room": room, "event": edited, "body": new})).await.context("editing")?;
        wanted.insert(edited, json!({"body": new, "redacted": false, "reactions": []}));

        let redacted = sent[place][7].clone();
        person
            .call("redact", json!({"room": room, "event": redacted, "reason": "a slip"}))
            .await
            .context("redacting")?;
        wanted.insert(redacted, json!({"body": null, "redacted": true, "reactions": []}));
    }
    for person in &cast.people {
        for (event, wanted) in &wanted {
            let start = Instant::now();
            loop {
                let seen = person.call("effective", json!({"room": room, "event": event})).await?;
                if seen == *wanted {
                    break;
                }
                if start.elapsed() > Duration::from_secs(ARRIVAL_SECONDS) {
                    bail!("{} sees {event} as {seen}, not as {wanted}", person.label());
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    Ok(())
}

/// Everybody pages from the end to the start in small pages and finds and decrypts every message once.
pub(crate) async fn page_back(cast: &Cast, room: &str, part: &str) -> Result<()> {
    for person in &cast.people {
        let walk = person.call("page_back", json!({"room": room, "limit": PAGE})).await?;
        let events = walk["events"].as_array().context("no events")?;
        let ids: BTreeSet<&str> = events.iter().filter_map(|event| event["event_id"].as_str()).collect();
        let who = format!("{} paging back through {room}", person.label());
        ensure!(ids.len() == events.len(), "{who} found {} events, {} different ones", events.len(), ids.len());
        let pages = walk["pages"].as_u64().unwrap_or_default();
        ensure!(
            pages as usize >= 3 * EACH_WAY / PAGE,
            "{who} took {pages} pages of {PAGE} for {} events",
            events.len()
        );
        for speaker in &cast.people {
            let series = prefix(speaker, part) + " ";
            let found: Vec<&str> = events
                .iter()
                .filter_map(|event| event["body"].as_str())
                .filter(|body| body.starts_with(&series))
                .collect();
            // Number 7 was redacted. The edited ones are found in their first form.
            let wanted: Vec<String> =
                (0..EACH_WAY).filter(|number| *number != 7).map(|number| format!("{series}{number}")).collect();
            ensure!(found == wanted, "{who}: {}'s messages are {found:?}", speaker.label());
        }
    }
    Ok(())
}
