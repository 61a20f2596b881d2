//! Seen from outside, by the system calls: the log is on disk before a commit is answered.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod common;

use std::{io::Write, path::Path, process::Command};

use common::{POINT, SCHEMA, batch, this_program, world};
use storage::{Options, Outcome, Store};

const COMMITS: usize = 40;
const FOLDER: &str = "CAUSEWAY_TEST_SYNCED_FOLDER";

/// Not a test of its own: what runs under strace.
#[tokio::test]
async fn writer() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = Store::open_rocksdb(Path::new(&folder), &SCHEMA, world(), Options::default()).unwrap();
    for n in 0..COMMITS {
        let mut batch = batch();
        let value = format!("<value {n}>");
        batch.put(POINT, &n.to_be_bytes(), value.as_bytes());
        assert!(matches!(store.commit(batch).await, Outcome::Committed(_)));
        std::io::stdout().lock().write_all(format!("<acknowledged {n}>\n").as_bytes()).unwrap();
    }
    // Past the last acknowledgement, whatever closing syncs proves nothing.
    std::process::exit(0);
}

/// A line of the trace that matters here, in the order in which the calls ended.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    /// The batch with this number was written to the log.
    Written(usize),
    /// A sync of the log began, by this thread.
    SyncBegan(String),
    /// It ended well.
    SyncEnded(String),
    /// The commit with this number was answered.
    Acknowledged(usize),
}

fn calls(trace: &str) -> Vec<Call> {
    let number = |line: &str, before: &str| -> Option<usize> {
        line.split_once(before)?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let mut calls = Vec::new();
    for line in trace.lines() {
        let thread = line.split_whitespace().next().unwrap_or_default().to_owned();
        if let Some(n) = number(line, "<acknowledged ") {
            calls.push(Call::Acknowledged(n));
        } else if let Some(n) = number(line, "<value ") {
            assert!(line.contains(".log>"), "a batch was written to something else: {line}");
            calls.push(Call::Written(n));
        } else if line.contains("fdatasync(") || line.contains("fsync(") {
            if !line.contains(".log>") {
                continue;
            }
            calls.push(Call::SyncBegan(thread.clone()));
            if line.trim_end().ends_with("= 0") {
                calls.push(Call::SyncEnded(thread));
            }
        } else if line.contains("sync resumed>") && line.trim_end().ends_with("= 0") {
            calls.push(Call::SyncEnded(thread));
        }
    }
    calls
}

#[test]
fn the_log_is_synced_before_each_acknowledgement() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let run = Command::new("strace")
        .args(["-f", "-y", "-s", "4096", "-e", "trace=write,pwrite64,writev,pwritev,fsync,fdatasync", "-o"])
        .arg(&trace)
        .arg(this_program())
        .args(["writer", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path().join("store"))
        .output()
        .expect("strace runs: `./test` installs it");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let calls = calls(&std::fs::read_to_string(&trace).unwrap());
    for n in 0..COMMITS {
        let at = |call: &Call| calls.iter().position(|other| other == call).unwrap_or_else(|| panic!("no {call:?}"));
        let (written, acknowledged) = (at(&Call::Written(n)), at(&Call::Acknowledged(n)));
        // A sync that began after the batch was written, and ended before the answer.
        let synced = (written..acknowledged).any(|began| {
            let Call::SyncBegan(thread) = &calls[began] else { return false };
            calls[began..acknowledged].contains(&Call::SyncEnded(thread.clone()))
        });
        assert!(synced, "commit {n} was answered before the log was synced: {:?}", &calls[written..=acknowledged]);
    }
    println!("{COMMITS} acknowledgements, each after its fdatasync");
}

/// Bytes of the longest log file.
fn log_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let logs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
    logs.map(|file| file.metadata().unwrap().len()).max().unwrap()
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir(to)?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        std::fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

/// Nothing of what the file was filled with counts, and the log is written over it, whether the store was closed or broke off.
#[tokio::test]
async fn a_prepared_log_is_written_over() {
    const PREPARED: usize = 3 * 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let mut place = folder.path().to_owned();
    let mut position = 0;
    for round in 0..4_u8 {
        let options = Options { prepared_log_bytes: PREPARED, ..Options::default() };
        let store = Store::open_rocksdb(&place, &SCHEMA, world(), options).unwrap();
        assert_eq!(store.position(), position);
        for earlier in 0..round {
            assert_eq!(store.snapshot().get(POINT, &[earlier]).unwrap().unwrap(), vec![earlier; 1000]);
        }
        assert!(log_bytes(&place) >= PREPARED as u64, "round {round}");
        let mut batch = batch();
        batch.put(POINT, &[round], &[round; 1000]);
        assert!(matches!(store.commit(batch).await, Outcome::Committed(_)));
        assert!((PREPARED as u64..2 * PREPARED as u64).contains(&log_bytes(&place)), "the log has grown");
        position = store.position();
        if round % 2 == 0 {
            // As after a loss of power: nothing was closed.
            let copy = copies.path().join(round.to_string());
            // The engine deletes what it does not need any more in the background; then the copy is of no one moment.
            while copy_files(&place, &copy).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
                std::fs::remove_dir_all(&copy).unwrap();
            }
            place = copy;
        }
    }
}
