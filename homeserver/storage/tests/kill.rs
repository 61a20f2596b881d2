//! SIGKILL at full speed: every acknowledged batch is there afterwards, and no half of one.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use common::{APPEND, COLD, POINT, RANGE, SCHEMA, this_program, world};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use storage::{BatchId, Class, Options, Outcome, PositionedValue, Store, key};

const ROUNDS: u32 = 50;
const WRITERS: u32 = 16;
const FOLDER: &str = "CAUSEWAY_TEST_KILL_FOLDER";
const ROUND: &str = "CAUSEWAY_TEST_KILL_ROUND";

fn open(folder: &Path) -> Store {
    // Small buffers, so that files are written and merged while processes are killed.
    let options = Options { write_buffer_bytes: 1024 * 1024, prepared_log_bytes: 512 * 1024, ..Options::default() };
    Store::open_rocksdb(folder, &SCHEMA, world(), options).unwrap()
}

/// Not a test of its own: what the killed process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let round: u32 = std::env::var(ROUND).unwrap().parse().unwrap();
    let store = open(Path::new(&folder));
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0_u32.. {
                let name = name(round, writer, n);
                let mut batch = storage::Batch::new(BatchId::of("kill", &name));
                if n % 5 == 4 {
                    batch.class(Class::Logged);
                }
                if n > 0 {
                    // The row before it goes, so that deletes are half of the story.
                    batch.delete(RANGE, &self::name(round, writer, n - 1));
                }
                batch
                    .require_absent(POINT, &name)
                    .put_at_position(POINT, &name[..], PositionedValue::with_slot(vec![0; 8], 0))
                    .put(RANGE, &name, b"last")
                    .put(COLD, &name, &vec![n as u8; 700])
                    .put_at_position(APPEND, key::Writer::new().position_slot().finish_positioned(), &name);
                let outcome = store.commit(batch).await;
                let Outcome::Committed(position) = outcome else { panic!("{outcome:?}") };
                let mut line = format!("{position}");
                for byte in &name {
                    line.push_str(&format!(" {byte}"));
                }
                line.push('\n');
                // One write, so that a kill leaves no half lines but the last.
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        })
    });
    futures::future::join_all(writers.collect::<Vec<_>>()).await;
}

fn name(round: u32, writer: u32, n: u32) -> [u8; 12] {
    let mut name = [0; 12];
    for (chunk, number) in name.chunks_mut(4).zip([round, writer, n]) {
        chunk.copy_from_slice(&number.to_be_bytes());
    }
    name
}

/// Starts the writer, lets it acknowledge some batches, kills it, and gives all that it acknowledged.
fn run_and_kill(folder: &Path, round: u32, acknowledged: usize) -> Vec<(u64, [u8; 12])> {
    let mut child = Command::new(this_program())
        .args(["writer", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut found = Vec::new();
    let mut killed = false;
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        // The test harness writes lines of its own, perhaps in front of the first of ours.
        let text = line.trim_end_matches('\n').rsplit("... ").next().unwrap_or_default();
        let numbers: Option<Vec<u64>> = text.split(' ').map(|number| number.parse().ok()).collect();
        if let (Some(numbers), true) = (numbers, line.ends_with('\n'))
            && numbers.len() == 13
        {
            let name: Vec<u8> = numbers[1..].iter().map(|&byte| u8::try_from(byte).unwrap()).collect();
            found.push((numbers[0], name.try_into().unwrap()));
        }
        if !killed && found.len() >= acknowledged {
            child.kill().unwrap();
            killed = true;
        }
        line.clear();
    }
    let status = child.wait().unwrap();
    assert!(killed, "the writer ended by itself: {status}");
    found
}

#[test]
fn every_acknowledged_batch_survives_and_no_half_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder: PathBuf = folder.path().join("store");
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut all_acknowledged, mut unacknowledged) = (0, 0);
    for round in 0..ROUNDS {
        let acknowledged = run_and_kill(&folder, round, rng.random_range(1..600));
        all_acknowledged += acknowledged.len();
        let _guard = runtime.enter();
        let store = open(&folder);
        let snapshot = store.snapshot();
        for (position, name) in &acknowledged {
            let stored = snapshot.get(POINT, name).unwrap().expect("an acknowledged batch is missing");
            assert_eq!(*stored, position.to_be_bytes(), "another position than was acknowledged");
        }
        // Each of the round's batches is there whole, and a writer's batches are there without a gap.
        let prefix = &name(round, 0, 0)[..4];
        let mut last_rows = BTreeSet::new();
        let mut written = 0;
        for row in snapshot.scan_prefix(POINT, prefix) {
            let (name, position) = row.unwrap();
            written += 1;
            let n = u32::from_be_bytes(*name.last_chunk().unwrap());
            assert_eq!(*snapshot.get(COLD, &name).unwrap().unwrap(), vec![n as u8; 700]);
            assert_eq!(snapshot.get(APPEND, &position).unwrap().unwrap(), name);
            assert!(u64::from_be_bytes((*position).try_into().unwrap()) <= snapshot.position());
            if n > 0 {
                let mut before = name.to_vec();
                before[8..].copy_from_slice(&(n - 1).to_be_bytes());
                assert!(snapshot.contains(POINT, &before).unwrap(), "a gap in a writer's batches");
                last_rows.remove(&before);
            }
            last_rows.insert(name.to_vec());
        }
        assert!(written >= acknowledged.len());
        unacknowledged += written - acknowledged.len();
        let found: BTreeSet<Vec<u8>> = snapshot.scan_prefix(RANGE, prefix).map(|row| row.unwrap().0.to_vec()).collect();
        assert_eq!(found, last_rows);
        // The log holds exactly one entry per position, up to the last.
        let logged: Vec<u64> = store.log(0).unwrap().map(|entry| entry.unwrap().position).collect();
        assert_eq!(logged, (1..=snapshot.position()).collect::<Vec<_>>());
        // A retry of what was acknowledged is recognised.
        let (position, name) = acknowledged[rng.random_range(0..acknowledged.len())];
        let mut retry = storage::Batch::new(BatchId::of("kill", &name));
        retry.require_absent(POINT, &name);
        assert_eq!(runtime.block_on(store.commit(retry)), Outcome::Committed(position));
    }
    println!("{ROUNDS} kills, {all_acknowledged} acknowledged batches, {unacknowledged} written but not acknowledged");
}
