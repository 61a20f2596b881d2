//! What resolving a room's states costs: rooms of 1,000 to 100,000 state entries, conflicts of 2 to 200 of them, room version 10
//! (algorithm v2) and 12 (v2.1); ours from RocksDB beside `ruma-state-res` from memory.
//!
//! `cargo run --release -p services --example resolve-rate -- [--entries N]… [--folder DIR] [--markdown]` prints JSON lines (or
//! tables). The room: its creator, ten moderators, twenty changes of the power levels while the others join, a tenth of whom later
//! change their names. Two branches then differ in so many entries: joins, leaves, names, bans by moderators and other state, and
//! from 20 on the power levels.
//!
//! - **Ours** includes reading everything from RocksDB and committing the new nodes. *Cold*: the store was just opened, so that
//!   neither its block cache nor the server's caches have anything, while the operating system may have the files. *Warm*: after a
//!   resolution of the same states. The commit is not synced: that is the disk's time, and `commit-rate` in `storage` measures it.
//! - **Theirs in memory** is handed all events, parsed, in a hash map, and both states as its own maps, which is not timed. What is
//!   timed is its `resolve`, and beside it the auth chains of the whole states, which it wants as well: here a walk over
//!   the events in memory.
//! - **Theirs from the store** begins and ends where ours does: with two roots in RocksDB, and with the new nodes committed; *cold* and
//!   *warm* as ours, but events are parsed anew in each resolution. What it reads and how is in `theirs_stored.rs`.
//! - *Walking* is ours without the index, on the same store, warm.
//!
//! All have to give the same state. Memory is measured in a process of its own that opens the store and resolves: its peak
//! against what it had before it began.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod ours;
mod report;
mod room;
#[path = "../../../../state-res/tests/rooms/ruma_event.rs"]
mod ruma_event;
mod theirs;
mod theirs_stored;

use net::{RealOptions, World};
use report::Row;
use state_res::room_version::RoomVersion;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

const CONFLICTS: [usize; 3] = [2, 20, 200];
const VERSIONS: [RoomVersion; 2] = [RoomVersion::V10, RoomVersion::V12];
/// How often each thing is done; the median counts.
const COLD: usize = 15;
const WARM: usize = 31;
const THEIRS: usize = 5;
const WALKING: usize = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--alone") {
        return ours::alone(&arguments[1..]);
    }
    let (mut entries, mut folder, mut markdown) = (Vec::new(), std::env::temp_dir(), false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--entries" => entries.extend(rest.next().and_then(|number| number.parse::<usize>().ok())),
            "--folder" => folder = rest.next().map(PathBuf::from).unwrap_or(folder),
            "--markdown" => markdown = true,
            _ => {
                eprintln!("usage: resolve-rate [--entries N]... [--folder DIR] [--markdown]");
                return ExitCode::from(2);
            }
        }
    }
    if entries.is_empty() {
        entries = vec![1_000, 10_000, 100_000];
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let world = World::real(RealOptions::default()).unwrap();
    let mut rows = Vec::new();
    for version in VERSIONS {
        for entries in &entries {
            let folder = tempfile::tempdir_in(&folder).unwrap();
            rows.extend(runtime.block_on(measure(&world, folder.path(), version, *entries)));
        }
    }
    if markdown {
        report::print_tables(&rows)
    } else {
        report::print_json(&rows)
    }
    ExitCode::SUCCESS
}

async fn measure(world: &World, folder: &Path, version: RoomVersion, entries: usize) -> Vec<Row> {
    let mut room = room::Room::new(version, entries);
    let cases: Vec<room::Case> = CONFLICTS.iter().map(|conflicts| room.case(*conflicts)).collect();
    let roots = ours::store(world, folder, &room, &cases).await;
    let known = theirs::Known::new(&room);
    let mut rows = Vec::new();
    for (case, roots) in cases.iter().zip(roots) {
        let conflicts = case.conflicts();
        eprintln!("version {version}, {entries} entries, {conflicts} conflicts");
        let maps = known.states(case);
        // By turns, so that a machine that is slower for a while is so for all.
        let (mut theirs, mut cold, mut theirs_cold) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..THEIRS {
            let one = known.resolve(version, &maps);
            for _ in 0..COLD / THEIRS {
                let store = ours::open(world, folder);
                let caches = ours::caches();
                cold.push(ours::resolve(world, &store, &caches, &room, &roots, one.root).await);
            }
            let store = ours::open(world, folder);
            let caches = ours::caches();
            theirs_cold.push(theirs_stored::resolve(world, &store, &caches, &room, &roots, one.root).await);
            theirs.push(one);
        }
        let expected = theirs[0].root;
        let store = ours::open(world, folder);
        let caches = ours::caches();
        let mut warm = Vec::new();
        for turn in 0..WARM + 3 {
            let time = ours::resolve(world, &store, &caches, &room, &roots, expected).await;
            if turn >= 3 {
                warm.push(time);
            }
        }
        let mut theirs_warm = Vec::new();
        for turn in 0..THEIRS + 1 {
            let time = theirs_stored::resolve(world, &store, &caches, &room, &roots, expected).await;
            if turn >= 1 {
                theirs_warm.push(time);
            }
        }
        let walking = (0..WALKING).map(|_| ours::walk(&store, &caches, &room, &roots, expected)).collect();
        drop(store);
        rows.push(Row {
            version,
            entries,
            conflicts,
            cold: median(cold),
            warm: median(warm),
            walking: median(walking),
            resolve: median(theirs.iter().map(|one| one.resolving).collect()),
            chains: median(theirs.iter().map(|one| one.chains).collect()),
            theirs_cold: median(theirs_cold),
            theirs_warm: median(theirs_warm),
            memory: memory(folder, &room, &roots),
        });
    }
    rows
}

/// By how many MiB a process of its own grows when it resolves.
fn memory(folder: &Path, room: &room::Room, roots: &[state_res::tree::Root; 2]) -> f64 {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("--alone")
        .arg(folder)
        .args([room.version.as_str(), &hex(room.key.as_bytes())])
        .args(roots.iter().map(|root| hex(root.as_bytes())))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn timed<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}
