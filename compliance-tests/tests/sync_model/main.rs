//! Two devices of one user never see a gap, a duplicate or a reordering.
//!
//! Over HTTP: writers on two servers write at the same time; both devices sync with random limits and time-outs, fill `limited`
//! timelines through `prev_batch`, start again from random old tokens and from nothing; somebody pages back into history that
//! the server has to backfill; and the server is killed with SIGKILL in the middle and started again. At the end of each
//! round each device's view must equal the history that the server shows, and each acknowledged write must be in it once.
//!
//! `MODEL_SEED` repeats a run's choices, `MODEL_ROUNDS` changes how many rounds there are. `RIG_A` and `RIG_B` put another
//! program in a place. With `MODEL_SERVERS=1` everybody is on one server, which makes a failure easier to understand.

#![allow(clippy::disallowed_methods)]

mod device;
mod writers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compliance_tests::api::Api;
use compliance_tests::rig::{Kind, Network, Server, ServerOptions};
use futures::future::{try_join, try_join_all};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use device::{Device, StateMode};
use writers::{Written, persistently};

/// Rounds unless `MODEL_ROUNDS` says otherwise. Each kills the server once or twice.
const ROUNDS: u64 = 4;
/// Messages in the federated room before the user's server joins it: what has to be backfilled.
const EARLIER: usize = 60;
/// How long everything acknowledged may take to reach the devices once the writers have ended.
const SETTLE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "one user with two devices";

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(pub(crate) BTreeMap<&'static str, u64>);

impl Counts {
    pub(crate) fn add(&mut self, what: &'static str, count: usize) {
        *self.0.entry(what).or_default() += count as u64;
    }

    fn merge(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}

#[test]
fn two_devices_never_see_a_gap_a_duplicate_or_a_reordering() {
    let seed = std::env::var("MODEL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    let rounds = std::env::var("MODEL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    eprintln!("MODEL_SEED={seed} MODEL_ROUNDS={rounds}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut network = Network::new().unwrap();
    let mut servers = Vec::new();
    let result = runtime.block_on(run(&network, &mut servers, seed, rounds));
    match result {
        Ok(counts) => {
            let text: Vec<String> = counts.0.iter().map(|(what, count)| format!("{what}: {count}")).collect();
            eprintln!("{}", text.join("\n"));
            for what in
                ["limited timelines filled", "resumed from an old token", "kills", "long polls", "backfilling walks"]
            {
                assert!(
                    counts.0.get(what).is_some_and(|count| *count > 0),
                    "the run had no {what}: it proves too little"
                );
            }
        }
        Err(error) => {
            servers.iter().for_each(|server| eprintln!("{}", server.tail()));
            eprintln!("all logs are kept in {}", network.keep().display());
            panic!("MODEL_SEED={seed} MODEL_ROUNDS={rounds}: {error:#}");
        }
    }
}

async fn run(network: &Network, servers: &mut Vec<Server>, seed: u64, rounds: u64) -> Result<Counts> {
    let places = [("a", "RIG_A", "localhost"), ("b", "RIG_B", "127.0.0.1")];
    let count = if std::env::var("MODEL_SERVERS").is_ok_and(|count| count == "1") { 1 } else { places.len() };
    for (label, variable, host) in &places[..count] {
        let kind = Kind::from_env(variable, Kind::Causeway)?;
        let options = ServerOptions { host: (*host).to_owned(), federates: count > 1, ..Default::default() };
        servers.push(Server::new(network, label, kind, options)?);
    }
    for server in servers.iter_mut() {
        server.start().await?;
    }
    let (a, b) = (servers[0].api(), servers[count - 1].api());
    let user = a.register("two-devices", PASSWORD).await?;
    let second = a.login("two-devices", PASSWORD).await?;
    let local: Vec<Api> = vec![a.register("writer-1", PASSWORD).await?, a.register("writer-2", PASSWORD).await?];
    let remote = b.register("writer-3", PASSWORD).await?;

    let rooms = rooms(&user, &local, &remote).await?;
    let mut counts = Counts::default();
    let mut written = Written::default();
    // The rooms' creation and first messages count as read by nobody yet: both devices begin with an initial sync.
    let mut devices =
        [Device::new("first", user.clone(), StateMode::Classic), Device::new("second", second, StateMode::After)];
    for round in 0..rounds {
        let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(round));
        let start = Instant::now();
        one_round(&mut servers[0], &rooms, &mut devices, &local, &remote, &mut written, &mut rng, &mut counts)
            .await
            .with_context(|| format!("round {round}"))?;
        eprintln!("round {round}: {:.1} s", start.elapsed().as_secs_f64());
    }
    for device in &devices {
        counts.merge(&device.counts);
    }
    counts.add("writes", written.count());
    Ok(counts)
}

/// The rooms of the run.
pub(crate) struct Rooms {
    /// Only on A.
    pub(crate) local: String,
    /// Made on B, with a past; joined by everybody.
    pub(crate) shared: String,
}

impl Rooms {
    pub(crate) fn both(&self) -> [&str; 2] {
        [&self.local, &self.shared]
    }
}

async fn rooms(user: &Api, local: &[Api], remote: &Api) -> Result<Rooms> {
    // Everybody may set the state that writers set.
    let powers = json!({"preset": "public_chat", "power_level_content_override": {"state_default": 0, "events": {}}});
    let mut with_alias = powers.clone();
    with_alias["room_alias_name"] = json!("shared");
    let rooms = Rooms { local: user.create_room(&powers).await?, shared: remote.create_room(&with_alias).await? };
    for number in 0..EARLIER {
        remote.say(&rooms.shared, &format!("earlier {number}")).await?;
    }
    let name = remote.user_id.split_once(':').context("a Matrix ID has a colon")?.1;
    for member in std::iter::once(user).chain(local) {
        if member.user_id != user.user_id {
            member.join(&rooms.local, &[]).await?;
        }
        member.join(&format!("#shared:{name}"), &[]).await.context("joining the shared room")?;
    }
    Ok(rooms)
}

#[allow(clippy::too_many_arguments)]
async fn one_round(
    server: &mut Server,
    rooms: &Rooms,
    devices: &mut [Device; 2],
    local: &[Api],
    remote: &Api,
    written: &mut Written,
    rng: &mut ChaCha8Rng,
    counts: &mut Counts,
) -> Result<()> {
    let over = Arc::new(AtomicBool::new(false));
    let user = devices[0].api().clone();
    let mut seeded = || ChaCha8Rng::seed_from_u64(rng.random());
    let writers: Vec<_> = local
        .iter()
        .chain([remote])
        .enumerate()
        .map(|(number, api)| {
            // The remote writer is not in the local room.
            let choice = if number < local.len() { rooms.both().to_vec() } else { vec![rooms.shared.as_str()] };
            writers::write(api, choice, written.next(number), seeded())
        })
        .collect();
    let to_device = writers::post(&local[0], devices_of(devices), written.next_posted(), seeded());
    let writing = try_join(try_join_all(writers), to_device);
    let (mut pager_rng, first_rng, second_rng) = (seeded(), seeded(), seeded());
    let kills: Vec<Duration> =
        (0..rng.random_range(1..=2)).map(|_| Duration::from_millis(rng.random_range(500..2500))).collect();
    let killing = async {
        for pause in kills {
            tokio::time::sleep(pause).await;
            server.kill()?;
            counts.add("kills", 1);
            server.start().await?;
        }
        anyhow::Ok(())
    };
    let paging = async {
        let mut walks = 0;
        while !over.load(Ordering::Relaxed) {
            let limit = pager_rng.random_range(3..40);
            let history = persistently(|| user.history(&rooms.shared, limit)).await?;
            let earlier = history
                .iter()
                .filter(|event| event["content"]["body"].as_str().is_some_and(|body| body.starts_with("earlier ")));
            ensure!(earlier.count() == EARLIER, "paging back finds other than {EARLIER} messages from before the join");
            walks += 1;
            tokio::time::sleep(Duration::from_millis(pager_rng.random_range(50..500))).await;
        }
        anyhow::Ok(walks)
    };
    let [first, second] = devices;
    let syncing = try_join(first.live(rooms, &over, first_rng), second.live(rooms, &over, second_rng));
    let finishing = async {
        let (done, ()) = try_join(writing, killing).await?;
        over.store(true, Ordering::Relaxed);
        anyhow::Ok(done)
    };
    let ((writes, posted), (walks, _)) = try_join(finishing, try_join(paging, syncing)).await?;
    counts.add("backfilling walks", walks);
    for writes in writes {
        written.record(writes);
    }
    written.record_posted(posted);

    for device in devices.iter_mut() {
        device.settle(rooms, written, SETTLE).await?;
    }
    for room in rooms.both() {
        agree(room, &user, devices, written).await?;
    }
    for device in devices.iter() {
        device.check_state(rooms).await?;
    }
    Ok(())
}

fn devices_of(devices: &[Device; 2]) -> Vec<(String, String)> {
    devices.iter().map(|device| (device.api().user_id.clone(), device.api().device_id.clone())).collect()
}

/// Each device's view is the server's history, forwards and backwards, and each acknowledged write is there once.
async fn agree(room: &str, user: &Api, devices: &[Device; 2], written: &Written) -> Result<()> {
    let id = |event: &Value| event["event_id"].as_str().unwrap_or_default().to_owned();
    let history = user.history(room, 100).await?;
    let backwards: Vec<String> = history.iter().map(id).collect();
    let mut forwards = Vec::new();
    let mut from = None;
    loop {
        let (chunk, end) = user.messages(room, "f", from.as_deref(), 70).await?;
        let done = end.is_none() || chunk.is_empty();
        forwards.extend(chunk.iter().map(id));
        if done {
            break;
        }
        from = end;
    }
    if let Some(difference) = device::first_difference(&backwards, &forwards) {
        anyhow::bail!("{room}: paging forwards is not paging backwards reversed: {difference}");
    }
    for device in devices {
        device.check_view(room, &history)?;
    }
    written.check(room, &history)
}
