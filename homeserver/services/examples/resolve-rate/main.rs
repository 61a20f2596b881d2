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
//! - **Theirs** is handed all events, parsed, in a hash map, and both states as its own maps, which is not timed. What is
//!   timed is its `resolve`, and beside it the auth chains of the whole states, which it wants as well: here a walk over
//!   the events in memory.
//! - *Walking* is ours without the index, on the same store, warm.
//!
//! All three have to give the same state. Memory is measured in a process of its own that opens the store and resolves: its peak
//! against what it had before it began.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod ours;
mod room;
#[path = "../../../../state-res/tests/rooms/ruma_event.rs"]
mod ruma_event;
mod theirs;

use net::{RealOptions, World};
use serde_json::json;
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

/// One room and one conflict, measured. Times in milliseconds.
struct Row {
    version: RoomVersion,
    entries: usize,
    conflicts: usize,
    cold: f64,
    warm: f64,
    walking: f64,
    theirs: f64,
    chains: f64,
    memory: f64,
}

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
        print_tables(&rows)
    } else {
        print_json(&rows)
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
        // By turns, so that a machine that is slower for a while is so for both.
        let (mut theirs, mut cold) = (Vec::new(), Vec::new());
        for _ in 0..THEIRS {
            let one = known.resolve(version, &maps);
            for _ in 0..COLD / THEIRS {
                let store = ours::open(world, folder);
                let caches = ours::caches();
                cold.push(ours::resolve(world, &store, &caches, &room, &roots, one.root).await);
            }
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
        let walking = (0..WALKING).map(|_| ours::walk(&store, &caches, &room, &roots, expected)).collect();
        drop(store);
        rows.push(Row {
            version,
            entries,
            conflicts,
            cold: median(cold),
            warm: median(warm),
            walking: median(walking),
            theirs: median(theirs.iter().map(|one| one.resolving).collect()),
            chains: median(theirs.iter().map(|one| one.chains).collect()),
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

/// The exponent k of the best fit of time = c · sizeᵏ.
fn exponent(points: &[(usize, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(size, time)| ((*size as f64).ln(), time.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let slope: f64 = logs.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    slope / logs.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}

fn print_json(rows: &[Row]) {
    for row in rows {
        println!(
            "{}",
            json!({
                "room_version": row.version.as_str(), "entries": row.entries, "conflicts": row.conflicts,
                "cold_ms": row.cold, "warm_ms": row.warm, "walking_ms": row.walking,
                "ruma_resolve_ms": row.theirs, "ruma_chains_ms": row.chains, "peak_mib_above_baseline": row.memory,
            })
        );
    }
}

fn print_tables(rows: &[Row]) {
    println!(
        "| version | entries | conflicts | cold, ms | warm, ms | walking, ms | ruma `resolve`, ms | its chains, ms | × cold | × warm | MiB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for row in rows {
        let theirs = row.theirs + row.chains;
        println!(
            "| {} | {} | {} | {:.2} | {:.2} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} | {:.1} |",
            row.version,
            row.entries,
            row.conflicts,
            row.cold,
            row.warm,
            row.walking,
            row.theirs,
            row.chains,
            theirs / row.cold,
            theirs / row.warm,
            row.memory
        );
    }
    println!("\n| version | grows with | at | cold | warm | ruma |\n| --- | --- | --- | ---: | ---: | ---: |");
    for version in VERSIONS {
        let of_version: Vec<&Row> = rows.iter().filter(|row| row.version == version).collect();
        let line = |what: &str, at: String, points: Vec<(usize, &Row)>| {
            let fit = |time: fn(&Row) -> f64| {
                exponent(&points.iter().map(|(size, row)| (*size, time(row))).collect::<Vec<_>>())
            };
            let (cold, warm) = (fit(|row| row.cold), fit(|row| row.warm));
            let theirs = fit(|row| row.theirs + row.chains);
            println!("| {version} | {what} | {at} | {cold:.2} | {warm:.2} | {theirs:.2} |");
        };
        for conflicts in CONFLICTS {
            let points: Vec<_> =
                of_version.iter().filter(|row| row.conflicts == conflicts).map(|row| (row.entries, *row)).collect();
            if points.len() > 1 {
                line("the room", format!("{conflicts} conflicts"), points);
            }
        }
        let mut sizes: Vec<usize> = of_version.iter().map(|row| row.entries).collect();
        sizes.dedup();
        for entries in sizes {
            let points: Vec<_> =
                of_version.iter().filter(|row| row.entries == entries).map(|row| (row.conflicts, *row)).collect();
            line("the conflict", format!("{entries} entries"), points);
        }
    }
}
