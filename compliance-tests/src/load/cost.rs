//! CPU time and memory of processes and all their descendants, from `/proc` and the kernel's CPU clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::mem::MaybeUninit;

/// Memory in MiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident memory; pages that several processes share count once for each.
    pub resident_mib: f64,
    /// Proportional memory; shared pages are divided among those who share them.
    pub proportional_mib: f64,
}

/// One line of `/proc/PID/stat`: the parent, and the ticks of children that have ended and were waited for.
struct Stat {
    parent: u32,
    ended_children_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may contain anything.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    // proc(5) counts from 1, and two fields are gone: ppid is 4, cutime 16, cstime 17.
    Some(Stat { parent: number(1)? as u32, ended_children_ticks: number(13)? + number(14)? })
}

/// The processes and all their descendants.
fn family(pids: &[u32]) -> BTreeSet<u32> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            && let Some(stat) = stat(pid)
        {
            parents.insert(pid, stat.parent);
        }
    }
    let mut family: BTreeSet<u32> = pids.iter().copied().collect();
    loop {
        let before = family.len();
        for (pid, parent) in &parents {
            if family.contains(parent) {
                family.insert(*pid);
            }
        }
        if family.len() == before {
            return family;
        }
    }
}

/// CPU milliseconds that the processes and all their descendants have used so far, ended descendants included.
pub fn cpu_ms(pids: &[u32]) -> f64 {
    // SAFETY: sysconf(3) takes an integer and touches no memory.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64;
    family(pids)
        .into_iter()
        .map(|pid| {
            let ended = stat(pid).map_or(0.0, |stat| stat.ended_children_ticks as f64 * 1000.0 / ticks_per_second);
            running_ms(pid) + ended
        })
        .sum()
}

/// A live process's own CPU milliseconds, to the nanosecond where `/proc/PID/stat` counts in hundredths of a second.
fn running_ms(pid: u32) -> f64 {
    let mut clock = 0;
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: both calls write only to the places they are given, which live until they return.
    let read = unsafe {
        libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) == 0
            && libc::clock_gettime(clock, time.as_mut_ptr()) == 0
    };
    if !read {
        return 0.0;
    }
    // SAFETY: clock_gettime succeeded, so it has written the whole value.
    let time = unsafe { time.assume_init() };
    time.tv_sec as f64 * 1000.0 + time.tv_nsec as f64 / 1e6
}

/// What the processes and all their descendants hold at the moment.
pub fn memory(pids: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for pid in family(pids) {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        let mib = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
        };
        sum.resident_mib += mib("Rss:");
        sum.proportional_mib += mib("Pss:");
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{cpu_ms, memory};

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let me = [std::process::id()];
        let before = cpu_ms(&me);
        let sum: u64 = (0..20_000_000u64).fold(0, |sum, number| sum ^ number.wrapping_mul(31));
        assert!(cpu_ms(&me) > before, "{sum}");
        assert!(memory(&me).resident_mib > 1.0);
    }

    #[test]
    fn a_process_that_is_not_there_costs_nothing() {
        let nobody = [u32::MAX - 1];
        assert_eq!(cpu_ms(&nobody), 0.0);
        assert_eq!(memory(&nobody).resident_mib, 0.0);
    }
}
