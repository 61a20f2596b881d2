//! What was measured, as JSON lines or as tables.

use super::{CONFLICTS, VERSIONS};
use serde_json::json;
use state_res::room_version::RoomVersion;

/// One room and one conflict, measured. Times in milliseconds.
pub(crate) struct Row {
    pub(crate) version: RoomVersion,
    pub(crate) entries: usize,
    pub(crate) conflicts: usize,
    pub(crate) cold: f64,
    pub(crate) warm: f64,
    pub(crate) walking: f64,
    /// Of ruma, with everything in memory.
    pub(crate) resolve: f64,
    pub(crate) chains: f64,
    /// Of ruma, from the store.
    pub(crate) theirs_cold: f64,
    pub(crate) theirs_warm: f64,
    /// In MiB.
    pub(crate) memory: f64,
}

impl Row {
    /// What ruma takes with everything in memory.
    fn in_memory(&self) -> f64 {
        self.resolve + self.chains
    }
}

/// How the times grow along one row or column of the cases.
struct Growth {
    version: RoomVersion,
    /// What grows.
    with: &'static str,
    /// What stays: what it is and how many.
    at: (&'static str, usize),
    /// Exponents, of the times in [`TIMES`].
    exponents: [f64; TIMES.len()],
}

/// A name and a time.
type Time = (&'static str, fn(&Row) -> f64);

/// The times of which it is told how they grow.
const TIMES: [Time; 5] = [
    ("cold", |row| row.cold),
    ("warm", |row| row.warm),
    ("ruma_memory", Row::in_memory),
    ("ruma_cold", |row| row.theirs_cold),
    ("ruma_warm", |row| row.theirs_warm),
];

pub(crate) fn print_json(rows: &[Row]) {
    for row in rows {
        let line = json!({
            "room_version": row.version.as_str(), "entries": row.entries, "conflicts": row.conflicts,
            "cold_ms": row.cold, "warm_ms": row.warm, "walking_ms": row.walking,
            "ruma_resolve_ms": row.resolve, "ruma_chains_ms": row.chains,
            "ruma_cold_ms": row.theirs_cold, "ruma_warm_ms": row.theirs_warm,
            "peak_mib_above_baseline": row.memory,
        });
        println!("{line}");
    }
    for growth in growths(rows) {
        let exponents: serde_json::Map<_, _> = TIMES
            .iter()
            .zip(growth.exponents)
            .map(|((name, _), exponent)| ((*name).to_owned(), json!(exponent)))
            .collect();
        let mut line =
            json!({ "room_version": growth.version.as_str(), "grows_with": growth.with, "exponents": exponents });
        line[growth.at.0] = json!(growth.at.1);
        println!("{line}");
    }
}

pub(crate) fn print_tables(rows: &[Row]) {
    println!(
        "| version | entries | conflicts | cold, ms | warm, ms | walking, ms | MiB | ruma in memory: `resolve`, ms | its chains, ms \
         | × cold | × warm | ruma from the store: cold, ms | warm, ms | × cold | × warm |"
    );
    println!("| --- |{}", " ---: |".repeat(14));
    for row in rows {
        println!(
            "| {} | {} | {} | {:.2} | {:.2} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} | {:.1} | {:.1} | {:.0} | {:.0} |",
            row.version,
            row.entries,
            row.conflicts,
            row.cold,
            row.warm,
            row.walking,
            row.memory,
            row.resolve,
            row.chains,
            row.in_memory() / row.cold,
            row.in_memory() / row.warm,
            row.theirs_cold,
            row.theirs_warm,
            row.theirs_cold / row.cold,
            row.theirs_warm / row.warm,
        );
    }
    println!("\n| version | grows with | at | cold | warm | ruma in memory | ruma cold | ruma warm |");
    println!("| --- | --- | --- |{}", " ---: |".repeat(TIMES.len()));
    for Growth { version, with, at: (what, number), exponents } in growths(rows) {
        let exponents = exponents.map(|exponent| format!("{exponent:.2}")).join(" | ");
        println!("| {version} | the {with} | {number} {what} | {exponents} |");
    }
}

fn growths(rows: &[Row]) -> Vec<Growth> {
    let mut sizes: Vec<usize> = rows.iter().map(|row| row.entries).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut found = Vec::new();
    for version in VERSIONS {
        let mut growth = |with, at, size: fn(&Row) -> usize, stays: &dyn Fn(&Row) -> bool| {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.version == version && stays(row)).collect();
            if rows.len() > 1 {
                let exponents =
                    TIMES.map(|(_, time)| exponent(&rows.iter().map(|row| (size(row), time(row))).collect::<Vec<_>>()));
                found.push(Growth { version, with, at, exponents });
            }
        };
        for conflicts in CONFLICTS {
            growth("room", ("conflicts", conflicts), |row| row.entries, &|row| row.conflicts == conflicts);
        }
        for entries in &sizes {
            growth("conflict", ("entries", *entries), |row| row.conflicts, &|row| row.entries == *entries);
        }
    }
    found
}

/// The exponent k of the best fit of time = c · sizeᵏ.
fn exponent(points: &[(usize, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(size, time)| ((*size as f64).ln(), time.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let slope: f64 = logs.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    slope / logs.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}
