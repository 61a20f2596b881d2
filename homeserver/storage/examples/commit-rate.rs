//! Commits per second: at 1, 16 and 256 concurrent writers, in many rooms' keys and all in one room's, with and without sync.
//!
//! `cargo run --release -p storage --example commit-rate -- [--seconds N] [--folder DIR] [--markdown]` prints JSON (or a table).
//! A commit is what a message costs the store, more or less: an event's bytes, its standing, two orders of its room, a
//! transaction id, and a new head that names the one before. The yardstick is measured before each row, since a shared disk is not
//! always as fast: how often it completes a write of 4 KiB with `fdatasync`, in a file whose blocks exist.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use net::{RealOptions, World};
use serde_json::json;
use storage::{
    Access, Batch, BatchId, Class, Options, Outcome, PositionedValue, Schema, Store, Table, Topic, Version, key,
};

const EVENTS: Table = table(1, "EVENTS", Access::Point);
const STANDING: Table = table(2, "STANDING", Access::Point);
const TIMELINE: Table = table(3, "TIMELINE", Access::Append);
const HISTORY: Table = table(4, "HISTORY", Access::Range);
const HEADS: Table = table(5, "HEADS", Access::Point);
const TRANSACTIONS: Table = table(6, "TRANSACTIONS", Access::Point);
static SCHEMA: Schema =
    Schema { version: 1, oldest: 1, tables: &[EVENTS, STANDING, TIMELINE, HISTORY, HEADS, TRANSACTIONS] };

const fn table(id: u8, name: &'static str, access: Access) -> Table {
    Table { id, name, key: "bytes", value: "bytes", access }
}

/// What is asked for on the command line.
struct Arguments {
    seconds: f64,
    folder: PathBuf,
    markdown: bool,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("usage: commit-rate [--seconds N] [--folder DIR] [--markdown]");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let world = World::real(RealOptions::default()).unwrap();
    let folder = tempfile::tempdir_in(&arguments.folder).unwrap();
    let time = Duration::from_secs_f64(arguments.seconds);
    let resident = resident_bytes();
    let mut rows = Vec::new();
    for sync in [true, false] {
        for one_room in [false, true] {
            for writers in [1, 16, 256] {
                let (yardstick, yardstick_cpu) = syncs_per_second(folder.path(), time / 3);
                let folder = folder.path().join(format!("{sync}-{one_room}-{writers}"));
                let options = Options { sync, ..Options::default() };
                let store = Store::open_rocksdb(&folder, &SCHEMA, world.clone(), options).unwrap();
                let row = runtime.block_on(measure(&world, &store, sync, one_room, writers, time));
                rows.push(Row { yardstick, yardstick_cpu, ..row });
                drop(store);
                std::fs::remove_dir_all(&folder).unwrap();
            }
        }
    }
    if arguments.markdown {
        println!(
            "| sync | keys | writers | commits/s | yardstick/s | CPU µs per commit | of the yardstick | MiB in RAM |"
        );
        println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        for row in &rows {
            println!(
                "| {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
                row.sync,
                if row.one_room { "one room" } else { "many rooms" },
                row.writers,
                row.rate,
                row.yardstick,
                row.cpu_micros,
                row.yardstick_cpu,
                row.resident as f64 / f64::from(1 << 20)
            );
        }
    } else {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "sync": row.sync, "keys": if row.one_room { "one room" } else { "many rooms" }, "writers": row.writers,
                    "commits_per_second": row.rate, "cpu_microseconds_per_commit": row.cpu_micros,
                    "conflicts": row.conflicts, "resident_bytes": row.resident,
                    "yardstick": {
                        "fdatasync_per_second": row.yardstick, "cpu_microseconds_each": row.yardstick_cpu,
                    },
                })
            })
            .collect();
        println!("{:#}", json!({ "resident_bytes_before": resident, "commit_rate": rows }));
    }
    ExitCode::SUCCESS
}

fn arguments() -> Option<Arguments> {
    let mut found = Arguments { seconds: 3.0, folder: std::env::temp_dir(), markdown: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => found.seconds = words.next()?.parse().ok().filter(|seconds| *seconds > 0.0)?,
            "--folder" => found.folder = words.next()?.into(),
            "--markdown" => found.markdown = true,
            _ => return None,
        }
    }
    Some(found)
}

/// How often per second the disk completes a small write with `fdatasync`, and what that costs in microseconds of CPU.
fn syncs_per_second(folder: &Path, time: Duration) -> (f64, f64) {
    let mut file = File::create(folder.join("yardstick")).unwrap();
    file.write_all(&vec![1; 4 << 20]).unwrap();
    file.sync_all().unwrap();
    let (start, cpu, mut syncs) = (Instant::now(), cpu_time(), 0_u64);
    while start.elapsed() < time {
        file.seek(SeekFrom::Start(syncs % 1024 * 4096)).unwrap();
        file.write_all(&[syncs as u8; 4096]).unwrap();
        file.sync_data().unwrap();
        syncs += 1;
    }
    (syncs as f64 / start.elapsed().as_secs_f64(), (cpu_time() - cpu).as_secs_f64() * 1e6 / syncs as f64)
}

struct Row {
    sync: bool,
    one_room: bool,
    writers: u64,
    rate: f64,
    cpu_micros: f64,
    conflicts: u64,
    resident: u64,
    yardstick: f64,
    yardstick_cpu: f64,
}

async fn measure(world: &World, store: &Store, sync: bool, one_room: bool, writers: u64, time: Duration) -> Row {
    let stop = Arc::new(AtomicBool::new(false));
    let conflicts = Arc::new(AtomicU64::new(0));
    // Those who write to one room hand each other its head, as the room's queue does; the store sees a chain of batches.
    let shared_head = Arc::new(tokio::sync::Mutex::new(0_u64));
    let (start, cpu) = (Instant::now(), cpu_time());
    let writers_running = (0..writers).map(|writer| {
        let (world, store, stop, conflicts) = (world.clone(), store.clone(), stop.clone(), conflicts.clone());
        let shared_head = shared_head.clone();
        world.clone().spawn("writer", async move {
            let (mut done, mut own_head) = (0_u64, 0_u64);
            let room = BatchId::of("room", &if one_room { 0 } else { writer }.to_be_bytes()).0;
            while !stop.load(Ordering::Relaxed) {
                let commit = if one_room {
                    let mut head = shared_head.lock().await;
                    let batch = message(&world, &room, *head);
                    *head += 1;
                    // Handed over in order; waiting for the answer does not hold up the next writer.
                    let store = store.clone();
                    let mut commit = Box::pin(async move { store.commit(batch).await });
                    let first = futures::poll!(commit.as_mut());
                    drop(head);
                    match first {
                        std::task::Poll::Ready(outcome) => outcome,
                        std::task::Poll::Pending => commit.await,
                    }
                } else {
                    own_head += 1;
                    store.commit(message(&world, &room, own_head - 1)).await
                };
                match commit {
                    Outcome::Committed(_) => done += 1,
                    Outcome::Conflict(_) => _ = conflicts.fetch_add(1, Ordering::Relaxed),
                    Outcome::Unknown(error) => unreachable!("{error}"),
                }
            }
            done
        })
    });
    let running: Vec<_> = writers_running.collect();
    world.sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut done = 0;
    for writer in running {
        done += writer.join().await.unwrap();
    }
    let rate = done as f64 / start.elapsed().as_secs_f64();
    let cpu_micros = (cpu_time() - cpu).as_secs_f64() * 1e6 / done as f64;
    let (conflicts, resident) = (conflicts.load(Ordering::Relaxed), resident_bytes());
    Row { sync, one_room, writers, rate, cpu_micros, conflicts, resident, yardstick: 0.0, yardstick_cpu: 0.0 }
}

fn message(world: &World, room: &[u8; 16], head: u64) -> Batch {
    let event: [u8; 16] = world.random_bytes();
    let mut batch = Batch::with_random_id(world);
    batch.class(Class::Synced);
    match head.checked_sub(1) {
        None => batch.require_absent(HEADS, room),
        Some(before) => batch.require_version(HEADS, room, Version::of(&head_row(before))),
    };
    let at_position = key::Writer::new().id16(room).position_slot().u16(0).finish_positioned();
    batch
        .require_absent(EVENTS, &event)
        .put(EVENTS, &event, &[b'e'; 700])
        .put_at_position(STANDING, &event[..], PositionedValue::with_slot(vec![0; 48], 0))
        .put_at_position(TIMELINE, at_position, &event)
        .put(HISTORY, &key::Writer::new().id16(room).u64(head).finish(), &event)
        .put(TRANSACTIONS, &key::Writer::new().id16(&event).str("device").str("m1").finish(), b"$event")
        .put(HEADS, room, &head_row(head))
        .topic(Topic(*room));
    batch
}

fn head_row(head: u64) -> Vec<u8> {
    let mut row = head.to_be_bytes().to_vec();
    row.resize(80, b'h');
    row
}

/// Memory of this process that is in RAM and not a file's.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields 14 and 15, in ticks of 10 ms; the command's name before them may hold spaces.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = [11, 12].into_iter().filter_map(|field| fields.get(field)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
