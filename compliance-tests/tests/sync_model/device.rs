//! The simple model of one device: what it has seen, and what the next answer may therefore contain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use compliance_tests::api::{Api, segment};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::writers::{Written, persistently};
use crate::{Counts, Rooms};

/// How the device asks for state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateMode {
    /// `state`, to which the timeline's own state events are added.
    Classic,
    /// `use_state_after`: `state_after` alone tells.
    After,
}

type State = BTreeMap<(String, String), String>;

/// What is known of one room.
#[derive(Clone, Debug, Default)]
struct View {
    /// From the room's first event on; oldest first.
    events: Vec<String>,
    state: State,
}

/// A moment to which the device can go back.
#[derive(Clone, Debug)]
struct Moment {
    since: Option<String>,
    views: BTreeMap<String, View>,
}

/// One device.
pub(crate) struct Device {
    label: &'static str,
    api: Api,
    mode: StateMode,
    now: Moment,
    past: Vec<Moment>,
    /// To-device messages seen: numbers from 0 to this.
    received: u64,
    pub(crate) counts: Counts,
}

impl Device {
    pub(crate) fn new(label: &'static str, api: Api, mode: StateMode) -> Self {
        let now = Moment { since: None, views: BTreeMap::new() };
        Self { label, api, mode, now, past: Vec::new(), received: 0, counts: Counts::default() }
    }

    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// Syncs in every way until the round is over.
    pub(crate) async fn live(&mut self, rooms: &Rooms, over: &AtomicBool, mut rng: ChaCha8Rng) -> Result<()> {
        while !over.load(Ordering::Relaxed) {
            match rng.random_range(0..100) {
                0..8 => {
                    if let Some(moment) = self.past.choose(&mut rng) {
                        self.now = moment.clone();
                        self.counts.add("resumed from an old token", 1);
                    }
                }
                8..11 => {
                    self.now = Moment { since: None, views: BTreeMap::new() };
                    self.counts.add("started from nothing", 1);
                }
                _ => {}
            }
            let limit = *[1, 1, 2, 3, 5, 10, 50].choose(&mut rng).expect("the list is not empty");
            let timeout = *[0, 0, 200, 3000].choose(&mut rng).expect("the list is not empty");
            self.sync(rooms, limit, timeout, &mut rng).await?;
            if rng.random_bool(0.2) {
                self.past.push(self.now.clone());
            }
            // Gaps arise while a device does not look.
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..250))).await;
        }
        Ok(())
    }

    /// Syncs until everything acknowledged is there.
    pub(crate) async fn settle(&mut self, rooms: &Rooms, written: &Written, limit: Duration) -> Result<()> {
        let start = Instant::now();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        loop {
            self.sync(rooms, 20, 0, &mut rng).await?;
            let missing: Vec<&str> = rooms
                .both()
                .into_iter()
                .flat_map(|room| {
                    let seen: BTreeSet<&str> = self
                        .now
                        .views
                        .get(room)
                        .into_iter()
                        .flat_map(|view| view.events.iter().map(String::as_str))
                        .collect();
                    written.ids(room).filter(move |id| !seen.contains(id)).collect::<Vec<_>>()
                })
                .collect();
            if missing.is_empty() && self.received == written.posted {
                return Ok(());
            }
            if start.elapsed() > limit {
                bail!(
                    "the {} device lacks events {missing:?} and has {} of {} to-device messages, {limit:?} after the last write",
                    self.label,
                    self.received,
                    written.posted
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn sync(&mut self, rooms: &Rooms, limit: usize, timeout: u64, rng: &mut ChaCha8Rng) -> Result<()> {
        let filter = json!({"room": {"timeline": {"limit": limit}}}).to_string();
        let after = if self.mode == StateMode::After { "&use_state_after=true" } else { "" };
        let query = format!("filter={}&timeout={timeout}{after}", segment(&filter));
        let since = self.now.since.clone();
        let answer = persistently(|| self.api.sync(since.as_deref(), &query)).await?;
        self.counts.add("syncs", 1);
        if timeout > 0 && since.is_some() {
            self.counts.add("long polls", 1);
        }
        for room in rooms.both() {
            let part = &answer["rooms"]["join"][room];
            if part.is_object() {
                self.take(room, part, since.is_none(), limit, rng)
                    .await
                    .with_context(|| format!("the {} device, {room}, since {since:?}, limit {limit}", self.label))?;
            } else if since.is_none() {
                bail!("the {} device: the initial sync lacks {room}", self.label);
            }
        }
        self.take_to_device(&answer)?;
        let next = answer["next_batch"].as_str().context("no next_batch")?.to_owned();
        // Asking with the new token is what acknowledges the to-device messages.
        self.now.since = Some(next);
        Ok(())
    }

    async fn take(
        &mut self,
        room: &str,
        part: &Value,
        initial: bool,
        limit: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<()> {
        let timeline = &part["timeline"];
        let events = timeline["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        let limited = timeline["limited"] == true;
        ensure!(events.len() <= limit, "{} events where {limit} were asked for", events.len());
        let mut view = self.now.views.remove(room).unwrap_or_default();
        let fresh: Vec<String> = events.iter().map(id).collect();
        let mut gap = Vec::new();
        if limited || initial {
            match timeline["prev_batch"].as_str() {
                Some(token) => gap = self.fill(room, token, &view, rng).await?,
                None => ensure!(!limited, "a limited timeline without prev_batch"),
            }
            let filled = if initial { "initial timelines walked to their start" } else { "limited timelines filled" };
            self.counts.add(filled, 1);
            self.counts.add("events got through prev_batch", gap.len());
        }
        self.counts.add("events got in timelines", fresh.len());
        let seen: BTreeSet<&String> = view.events.iter().collect();
        if let Some(twice) = gap.iter().chain(&fresh).find(|id| seen.contains(id)) {
            let place = view.events.iter().position(|id| id == twice);
            bail!("{twice} came again: it is number {place:?} of {} that the device has", view.events.len());
        }
        view.events.extend(gap);
        view.events.extend(fresh);
        let count = view.events.iter().collect::<BTreeSet<_>>().len();
        ensure!(count == view.events.len(), "one answer and its gap hold an event twice");

        match self.mode {
            StateMode::Classic => {
                ensure!(part["state_after"].is_null(), "state_after without having been asked for");
                apply(&mut view.state, &part["state"]["events"]);
                apply(&mut view.state, &timeline["events"]);
            }
            StateMode::After => {
                ensure!(part["state"].is_null(), "state although state_after was asked for");
                apply(&mut view.state, &part["state_after"]["events"]);
            }
        }
        self.now.views.insert(room.to_owned(), view);
        Ok(())
    }

    /// Pages back from `prev_batch` to the newest event that the device has, or to the room's beginning.
    async fn fill(&mut self, room: &str, token: &str, view: &View, rng: &mut ChaCha8Rng) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        let mut from = Some(token.to_owned());
        while let Some(token) = from {
            let limit = rng.random_range(1..30);
            let (chunk, end) = persistently(|| self.api.messages(room, "b", Some(&token), limit)).await?;
            self.counts.add("pages", 1);
            for event in &chunk {
                let id = id(event);
                if let Some(place) = view.events.iter().rposition(|known| *known == id) {
                    ensure!(
                        place + 1 == view.events.len(),
                        "paging back from a limited timeline meets {id}, number {place} of {} that the device has: {} newer ones are missing from the walk",
                        view.events.len(),
                        view.events.len() - place - 1
                    );
                    missing.reverse();
                    return Ok(missing);
                }
                missing.push(id);
            }
            ensure!(end.as_deref() != Some(token.as_str()), "paging back stays at {token}");
            from = end;
        }
        ensure!(view.events.is_empty(), "paging back reaches the start without meeting what the device has");
        missing.reverse();
        Ok(missing)
    }

    /// Numbered messages come in order; after going back to an old token, those not yet acknowledged may come again.
    fn take_to_device(&mut self, answer: &Value) -> Result<()> {
        let mut within = None;
        for message in answer["to_device"]["events"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let Some(number) = message["content"]["number"].as_u64() else { continue };
            ensure!(within.is_none_or(|before| before < number), "to-device message {number} after {within:?}");
            within = Some(number);
            ensure!(number <= self.received, "to-device message {number} came; number {} did not yet", self.received);
            if number == self.received {
                self.received += 1;
                self.counts.add("to-device messages", 1);
            }
        }
        Ok(())
    }

    /// The view is the server's history.
    pub(crate) fn check_view(&self, room: &str, history: &[Value]) -> Result<()> {
        let truth: Vec<String> = history.iter().map(id).collect();
        let view = &self.now.views.get(room).with_context(|| format!("the {} device lacks {room}", self.label))?.events;
        match first_difference(view, &truth) {
            None => Ok(()),
            Some(difference) => {
                bail!("{room}: the {} device's view is not the server's history: {difference}", self.label)
            }
        }
    }

    /// The state that the device has put together is the server's.
    pub(crate) async fn check_state(&self, rooms: &Rooms) -> Result<()> {
        for room in rooms.both() {
            // In a room of two servers the timeline alone cannot tell the state: that is what `state_after` is for.
            if self.mode == StateMode::Classic && room == rooms.shared {
                continue;
            }
            let mut truth = State::new();
            apply(&mut truth, &Value::Array(self.api.state(room).await?));
            let mine = &self.now.views.get(room).context("no view")?.state;
            let different: Vec<_> = truth
                .iter()
                .filter(|(key, id)| mine.get(*key) != Some(id))
                .map(|(key, id)| format!("{key:?} is {id}, the device has {:?}", mine.get(key)))
                .collect();
            ensure!(different.is_empty(), "{room}: the {} device's state differs: {different:?}", self.label);
        }
        Ok(())
    }
}

fn apply(state: &mut State, events: &Value) {
    for event in events.as_array().map(Vec::as_slice).unwrap_or_default() {
        if let (Some(kind), Some(key)) = (event["type"].as_str(), event["state_key"].as_str()) {
            state.insert((kind.to_owned(), key.to_owned()), id(event));
        }
    }
}

fn id(event: &Value) -> String {
    event["event_id"].as_str().unwrap_or_default().to_owned()
}

/// Where two lists part, in words; `None` when they are equal.
pub(crate) fn first_difference(left: &[String], right: &[String]) -> Option<String> {
    let at = left.iter().zip(right).position(|(left, right)| left != right);
    if at.is_none() && left.len() == right.len() {
        return None;
    }
    let at = at.unwrap_or(left.len().min(right.len()));
    let place = |list: &[String], id: Option<&String>| id.and_then(|id| list.iter().position(|other| other == id));
    Some(format!(
        "{} against {} events; at {at} there is {:?} (number {:?} of the other) against {:?} (number {:?} of the other)",
        left.len(),
        right.len(),
        left.get(at),
        place(right, left.get(at)),
        right.get(at),
        place(left, right.get(at)),
    ))
}
