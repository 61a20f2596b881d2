//! The work whose cost is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;
use tokio::sync::mpsc;

use super::{Amounts, Target, cost};
use crate::api::{Api, segment};

/// What a server does after its answer belongs to the request's cost; it gets this long to do it.
const SETTLE: Duration = Duration::from_millis(1500);
/// Before a measurement, so that first-time costs are not in it.
const WARM_UP: usize = 20;
/// Requests at the same time while accounts and rooms are made.
const PREPARING: usize = 8;
/// How long one message may take to reach every watcher.
const DELIVERY_LIMIT: Duration = Duration::from_secs(120);
/// Between two deliveries: the watchers' next long polls are to be waiting.
const BETWEEN_DELIVERIES: Duration = Duration::from_millis(150);
const PASSWORD: &str = "load and nothing but load";

pub(super) struct Work<'a> {
    api: Api,
    target: &'a Target,
    amounts: &'a Amounts,
    /// Keeps accounts of several runs on one server apart.
    run: String,
}

impl<'a> Work<'a> {
    pub(super) fn new(api: Api, target: &'a Target, amounts: &'a Amounts) -> Self {
        Self { api, target, amounts, run: format!("{:08x}", rand::random::<u32>()) }
    }

    pub(super) async fn run(&self) -> Result<Value> {
        tokio::time::sleep(SETTLE).await;
        let rest = cost::memory(&self.target.pids);
        let sent = self.sends().await.context("measuring sent messages")?;
        let delivered = self.deliveries().await.context("measuring deliveries")?;
        let synced = self.initial_syncs().await.context("measuring initial syncs")?;
        tokio::time::sleep(SETTLE).await;
        let after = cost::memory(&self.target.pids);
        let memory = |memory: cost::Memory| json!({"resident_mib": round(memory.resident_mib), "proportional_mib": round(memory.proportional_mib)});
        Ok(json!({
            "sent_message": sent,
            "delivered_message": delivered,
            "initial_sync": synced,
            "memory_at_rest": memory(rest),
            "memory_after": memory(after),
        }))
    }

    /// Messages sent to one room whose members do not sync.
    async fn sends(&self) -> Result<Value> {
        let senders = self.accounts("sender", self.amounts.senders).await?;
        let room = self.room_of(&senders).await?;
        for number in 0..WARM_UP {
            senders[number % senders.len()].say(&room, "warming up").await?;
        }
        let next = AtomicUsize::new(0);
        let costs = self.begin().await;
        let times = try_join_all(senders.iter().map(|sender| async {
            let mut times = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < self.amounts.messages {
                let start = Instant::now();
                sender.say(&room, "a message of the usual length, which is to say a short one").await?;
                times.push(start.elapsed());
            }
            anyhow::Ok(times)
        }))
        .await?;
        Ok(self.figures(costs, self.amounts.messages, times.concat()).await)
    }

    /// Messages to a room in which many clients long-poll. Each is sent when all have the one before.
    async fn deliveries(&self) -> Result<Value> {
        let watchers = self.accounts("watcher", self.amounts.watchers).await?;
        let sender = self.account("speaker").await?;
        let mut members = vec![sender.clone()];
        members.extend(watchers.iter().cloned());
        let room = self.room_of(&members).await?;

        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let polling = Polls(
            watchers
                .into_iter()
                .map(|watcher| {
                    let (room, arrived) = (room.clone(), arrived.clone());
                    tokio::spawn(async move {
                        if let Err(error) = watch(&watcher, &room, &arrived).await {
                            let _ = arrived.send(Err(error));
                        }
                    })
                })
                .collect(),
        );
        // Everybody's first word is that it is ready.
        wait_for_all(&mut arrivals, self.amounts.watchers, None).await.context("waiting for the first syncs")?;
        tokio::time::sleep(SETTLE).await;

        let deliver = async |arrivals: &mut mpsc::UnboundedReceiver<_>| {
            let start = Instant::now();
            let event = sender.say(&room, "to all of you").await?;
            let times = wait_for_all(arrivals, self.amounts.watchers, Some((&event, start))).await?;
            tokio::time::sleep(BETWEEN_DELIVERIES).await;
            anyhow::Ok(times)
        };
        for _ in 0..WARM_UP.min(3) {
            deliver(&mut arrivals).await?;
        }
        let costs = self.begin().await;
        let mut times = Vec::new();
        for _ in 0..self.amounts.deliveries {
            times.extend(deliver(&mut arrivals).await?);
        }
        let figures = self.figures(costs, self.amounts.deliveries * self.amounts.watchers, times).await;
        drop(polling);
        Ok(figures)
    }

    /// Initial syncs of one account with many rooms, each as a new device.
    async fn initial_syncs(&self) -> Result<Value> {
        let reader = self.account("reader").await?;
        let friend = self.account("friend").await?;
        let rooms: Vec<usize> = (0..self.amounts.rooms).collect();
        stream::iter(rooms)
            .map(|_| self.room_with_messages(&reader, &friend))
            .buffer_unordered(PREPARING)
            .try_collect::<Vec<_>>()
            .await?;
        let mut devices = Vec::new();
        for _ in 0..=self.amounts.syncs {
            devices.push(self.api.login(&reader.user_id, PASSWORD).await?);
        }
        let first = devices.pop().context("a device for warming up")?;
        let all = first.sync(None, "timeout=0").await?;
        let joined = all["rooms"]["join"].as_object().map_or(0, |rooms| rooms.len());
        if joined != self.amounts.rooms {
            bail!("the initial sync has {joined} rooms, not {}", self.amounts.rooms);
        }
        let costs = self.begin().await;
        let mut times = Vec::new();
        for device in &devices {
            let start = Instant::now();
            device.sync(None, "timeout=0").await?;
            times.push(start.elapsed());
        }
        Ok(self.figures(costs, self.amounts.syncs, times).await)
    }

    async fn room_with_messages(&self, reader: &Api, friend: &Api) -> Result<()> {
        let room = self.room_of(&[reader.clone(), friend.clone()]).await?;
        for number in 0..self.amounts.messages_per_room {
            let speaker = if number % 2 == 0 { reader } else { friend };
            speaker.say(&room, "something that was said earlier").await?;
        }
        Ok(())
    }

    async fn accounts(&self, role: &str, count: usize) -> Result<Vec<Api>> {
        stream::iter(0..count)
            .map(|number| self.account_named(format!("load-{}-{role}-{number}", self.run)))
            .buffered(PREPARING)
            .try_collect()
            .await
    }

    async fn account(&self, role: &str) -> Result<Api> {
        self.account_named(format!("load-{}-{role}", self.run)).await
    }

    async fn account_named(&self, name: String) -> Result<Api> {
        match &self.target.registration_secret {
            None => self.api.register(&name, PASSWORD).await,
            Some(secret) => {
                let path = "/_synapse/admin/v1/register";
                let nonce = self.api.get(path).await?["nonce"].as_str().context("no nonce")?.to_owned();
                let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).map_err(|error| anyhow!("{error}"))?;
                mac.update([&nonce, name.as_str(), PASSWORD, "notadmin"].join("\0").as_bytes());
                let mac: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                let body = json!({"nonce": nonce, "username": name, "password": PASSWORD, "admin": false, "mac": mac});
                self.api.post(path, &body).await?;
                self.api.login(&name, PASSWORD).await
            }
        }
    }

    /// A public room of the first, which all the others join.
    async fn room_of(&self, members: &[Api]) -> Result<String> {
        let (first, others) = members.split_first().context("a room needs somebody")?;
        let room = first.create_room(&json!({"preset": "public_chat", "name": "A room under load"})).await?;
        stream::iter(others)
            .map(|member| member.join(&room, &[]))
            .buffer_unordered(PREPARING)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(room)
    }

    async fn begin(&self) -> (f64, Instant) {
        tokio::time::sleep(SETTLE).await;
        (cost::cpu_ms(&self.target.pids), Instant::now())
    }

    async fn figures(&self, (before, start): (f64, Instant), count: usize, mut times: Vec<Duration>) -> Value {
        let elapsed = start.elapsed();
        tokio::time::sleep(SETTLE).await;
        let used = cost::cpu_ms(&self.target.pids) - before;
        times.sort();
        let at = |share: f64| {
            let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |time| round(time.as_secs_f64() * 1000.0))
        };
        let cpu = if self.target.pids.is_empty() { Value::Null } else { json!(round(used / count as f64)) };
        json!({
            "cpu_ms": cpu,
            "count": count,
            "seconds": round(elapsed.as_secs_f64()),
            "wait_ms": {"median": at(0.5), "p99": at(0.99), "longest": at(1.0)},
        })
    }
}

/// Aborts the watchers when the measurement ends, however it ends.
struct Polls(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Polls {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

type Arrived = Result<(Option<String>, Instant)>;

/// Long-polls, and says of every message in the room when it came. Its first word, with no event, is that it is ready.
async fn watch(watcher: &Api, room: &str, arrived: &mpsc::UnboundedSender<Arrived>) -> Result<()> {
    let filter =
        segment(&json!({"room": {"timeline": {"limit": 10}, "state": {"lazy_load_members": true}}}).to_string());
    let query = format!("filter={filter}&set_presence=offline");
    let first = watcher.sync(None, &format!("{query}&timeout=0")).await?;
    let mut since = first["next_batch"].as_str().context("no next_batch")?.to_owned();
    arrived.send(Ok((None, Instant::now()))).ok();
    loop {
        let answer = watcher.sync(Some(&since), &format!("{query}&timeout=30000")).await?;
        let now = Instant::now();
        since = answer["next_batch"].as_str().context("no next_batch")?.to_owned();
        let events = answer["rooms"]["join"][room]["timeline"]["events"].as_array();
        for event in events.map(Vec::as_slice).unwrap_or_default() {
            if event["type"] == "m.room.message" {
                let id = event["event_id"].as_str().map(str::to_owned);
                arrived.send(Ok((id, now))).ok();
            }
        }
    }
}

/// Waits until `count` watchers have said that the event came (or that they are ready); answers how long each took.
async fn wait_for_all(
    arrivals: &mut mpsc::UnboundedReceiver<Arrived>,
    count: usize,
    event: Option<(&str, Instant)>,
) -> Result<Vec<Duration>> {
    let progress = Arc::new(AtomicUsize::new(0));
    let all = async {
        let mut times = Vec::new();
        while times.len() < count {
            let (id, when) = arrivals.recv().await.context("the watchers are gone")??;
            if id.as_deref() == event.map(|(event, _)| event) {
                times.push(event.map_or(Duration::ZERO, |(_, start)| when.saturating_duration_since(start)));
                progress.store(times.len(), Ordering::Relaxed);
            }
        }
        anyhow::Ok(times)
    };
    match tokio::time::timeout(DELIVERY_LIMIT, all).await {
        Ok(times) => times,
        Err(_) => bail!("only {} of {count} watchers got {event:?}", progress.load(Ordering::Relaxed)),
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
