//! What the clock said when the log had come how far: the age of what others date as they like.

use crate::commit::commit_freely;
use crate::error::{Error, Result};
use crate::tables;
use net::World;
use std::time::Duration;
use storage::{Batch, Class, Position, PositionedValue, Snapshot, Store, key};
use tokio_util::sync::CancellationToken;

/// How often it is noted.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Notes what the clock says now and then every hour, if the log has moved since, until `stopping` is cancelled.
pub(crate) async fn note_hourly(store: Store, world: World, stopping: CancellationToken) {
    loop {
        if let Err(error) = note(&store, &world).await {
            // Ages are told less exactly, that is all.
            tracing::warn!(%error, "how far the log has come at this hour cannot be noted");
        }
        tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            () = world.sleep(EVERY) => {}
        }
    }
}

async fn note(store: &Store, world: &World) -> Result<()> {
    let snapshot = store.snapshot();
    let last = snapshot.scan_prefix_rev(tables::CLOCK, b"").next().transpose()?;
    let last = last.map_or(Ok(0), |(key, _)| number(&key))?;
    if snapshot.position() <= last {
        return Ok(());
    }
    let mut batch = Batch::with_random_id(world);
    let now = world.now().millis().to_be_bytes().to_vec();
    let key = key::Writer::new().position_slot().finish_positioned();
    batch.put_at_position(tables::CLOCK, key, PositionedValue::from(now));
    // What a loss of power takes with it is an hour's note.
    batch.class(Class::Logged);
    commit_freely(store, batch).await.map(drop)
}

/// Which part of the log is older than a moment, and which is newer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dated {
    /// What has this position or an earlier one is older.
    pub(crate) older: Option<Position>,
    /// What has a later position than this is newer. Of what lies between nothing is known.
    pub(crate) newer: Option<Position>,
}

/// What is known of the log to be older than `before`, or newer; `now` is what the clock says at present. (Both in milliseconds.)
///
/// A clock may have been wrong, so what was noted is believed only where it is no earlier than all that was noted before, and no later than
/// `now`: in doubt, things are younger.
pub(crate) fn dated(snapshot: &Snapshot, before: i64, now: i64) -> Result<Dated> {
    let mut dated = Dated::default();
    let mut latest = 0;
    for row in snapshot.scan_prefix(tables::CLOCK, b"") {
        let (key, value) = row?;
        let (position, at) = (number(&key)?, i64::try_from(number(&value)?).unwrap_or(i64::MAX));
        if at < latest || at > now {
            continue;
        }
        latest = at;
        if at >= before {
            dated.newer = Some(position);
            break;
        }
        dated.older = Some(position);
    }
    Ok(dated)
}

fn number(bytes: &[u8]) -> Result<u64> {
    let bytes = bytes.try_into().map(u64::from_be_bytes);
    bytes.map_err(|_| Error::internal("a row of table CLOCK cannot be read: the data directory is damaged"))
}
