//! Those who write, and what they had acknowledged.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use anyhow::{Result, ensure};
use compliance_tests::api::{Api, segment};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Writes of one writer in one round.
const WRITES: std::ops::Range<usize> = 30..60;
/// To-device messages in one round.
const POSTS: std::ops::Range<usize> = 10..30;
/// How long a request is repeated while the server is away.
const TRIES: usize = 600;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Repeats a request while there is no HTTP answer, as clients do while their server is away. An error that the server
/// answers is an error.
pub(crate) async fn persistently<T, F: Future<Output = Result<T>>>(mut request: impl FnMut() -> F) -> Result<T> {
    let mut tries = 0;
    loop {
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) if tries < TRIES && error.downcast_ref::<reqwest::Error>().is_some() => tries += 1,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// One acknowledged event.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    room: String,
    event_id: String,
    sender: String,
    number: u64,
}

/// Everything acknowledged so far.
#[derive(Debug, Default)]
pub(crate) struct Written {
    writes: Vec<Write>,
    next: BTreeMap<usize, u64>,
    /// How many to-device messages each device was sent.
    pub(crate) posted: u64,
}

impl Written {
    /// The first number of that writer's next round.
    pub(crate) fn next(&self, writer: usize) -> (usize, u64) {
        (writer, self.next.get(&writer).copied().unwrap_or(0))
    }

    pub(crate) fn next_posted(&self) -> u64 {
        self.posted
    }

    pub(crate) fn record(&mut self, (writer, writes): (usize, Vec<Write>)) {
        if let Some(last) = writes.last() {
            self.next.insert(writer, last.number + 1);
        }
        self.writes.extend(writes);
    }

    pub(crate) fn record_posted(&mut self, posted: u64) {
        self.posted = posted;
    }

    pub(crate) fn count(&self) -> usize {
        self.writes.len()
    }

    /// The acknowledged events of a room.
    pub(crate) fn ids<'a>(&'a self, room: &'a str) -> impl Iterator<Item = &'a str> {
        self.writes.iter().filter(move |write| write.room == room).map(|write| write.event_id.as_str())
    }

    /// Each acknowledged write is in the history once, under the acknowledged id, in its writer's order; and nothing that
    /// these writers sent is there twice under two ids.
    pub(crate) fn check(&self, room: &str, history: &[Value]) -> Result<()> {
        let mut found: BTreeMap<(&str, u64), &str> = BTreeMap::new();
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for event in history {
            let (Some(sender), Some(id)) = (event["sender"].as_str(), event["event_id"].as_str()) else { continue };
            let Some(number) = event["content"]["number"].as_u64() else { continue };
            let twin = found.insert((sender, number), id);
            ensure!(twin.is_none(), "{room}: {sender}'s write {number} is there twice: {twin:?} and {id}");
            if let Some(before) = last.insert(sender, number) {
                ensure!(before < number, "{room}: {sender}'s write {number} comes after write {before}");
            }
        }
        for write in self.writes.iter().filter(|write| write.room == room) {
            let there = found.get(&(write.sender.as_str(), write.number)).copied();
            ensure!(there == Some(write.event_id.as_str()), "{room}: {write:?} was acknowledged; there is {there:?}");
        }
        Ok(())
    }
}

/// Writes into the rooms: messages, now and then state; each under one transaction id until the server answers.
pub(crate) async fn write(
    api: &Api,
    rooms: Vec<&str>,
    (writer, first): (usize, u64),
    mut rng: ChaCha8Rng,
) -> Result<(usize, Vec<Write>)> {
    let mut writes = Vec::new();
    for step in 0..rng.random_range(WRITES) as u64 {
        let number = first + step;
        let room = rooms[rng.random_range(0..rooms.len())];
        let event_id = if rng.random_bool(0.1) {
            // State has no transaction id: a repetition makes another event, so its number would not be there once.
            let content = json!({"topic": format!("topic {writer} {number}")});
            persistently(|| api.set_state(room, "m.room.topic", "", &content)).await?;
            continue;
        } else {
            let content = json!({"msgtype": "m.text", "body": format!("message {writer} {number}"), "number": number});
            let transaction = format!("write-{writer}-{number}");
            persistently(|| api.send(room, "m.room.message", &transaction, &content)).await?
        };
        writes.push(Write { room: room.to_owned(), event_id, sender: api.user_id.clone(), number });
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..80))).await;
    }
    Ok((writer, writes))
}

/// Sends numbered to-device messages to each of the devices; answers the next number.
pub(crate) async fn post(api: &Api, devices: Vec<(String, String)>, first: u64, mut rng: ChaCha8Rng) -> Result<u64> {
    let end = first + rng.random_range(POSTS) as u64;
    for number in first..end {
        let mut messages = json!({});
        for (user, device) in &devices {
            messages[user][device] = json!({"number": number});
        }
        let path = format!("/_matrix/client/v3/sendToDevice/{}/post-{number}", segment("org.example.number"));
        let body = json!({"messages": messages});
        persistently(|| api.put(&path, &body)).await?;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..150))).await;
    }
    Ok(end)
}
