//! `causeway room purge`: deleting, giving the space back, and telling about it.

use super::protocol::Answer;
use net::World;
use services::rooms::sweep::{Progress, Stage, Swept};
use services::{Result, Services};
use std::future::Future;
use std::time::Duration;

/// Milliseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1000;
/// How often whoever waits is told how far it has come.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Deletes the events of a room that are older than `keep_days`; gives the sentences that say what came of it.
///
/// # Errors
/// Why it was refused or failed.
pub(super) async fn history(
    services: &Services,
    room: &str,
    keep_days: u32,
    tell: impl Fn(Answer) + Send,
) -> Result<String> {
    let before = services.world.now().millis() as i64 - i64::from(keep_days) * DAY;
    let work = async {
        let bytes = services.rooms.disk_bytes().await?;
        let purged = services.rooms.purge_history(room, before).await?;
        if purged.events + purged.outliers + purged.deleted == 0 {
            return Ok(nothing(room, keep_days, &purged));
        }
        let space = space(services, room, bytes).await?;
        Ok(format!("{} {space}", deleted(room, keep_days, &purged)))
    };
    telling(services, room, work, tell).await
}

/// Deletes all that there is about a room; gives the sentences that say what came of it.
///
/// # Errors
/// Why it was refused or failed.
pub(super) async fn whole(services: &Services, room: &str, tell: impl Fn(Answer) + Send) -> Result<String> {
    let work = async {
        let bytes = services.rooms.disk_bytes().await?;
        let removed = services.peers.remove_room(room).await?;
        let space = space(services, room, bytes).await?;
        let unsent = match removed.unsent {
            0 => String::new(),
            unsent => format!(" {} had not reached other servers yet, and are not sent any more.", events(unsent)),
        };
        Ok(format!("{room} is deleted, with {}.{unsent} {space}", events(removed.events)))
    };
    telling(services, room, work, tell).await
}

/// Waits for `work`, and says now and then how far it is.
async fn telling<R>(services: &Services, room: &str, work: impl Future<Output = R>, tell: impl Fn(Answer) + Send) -> R {
    now_and_then(&services.world, work, || {
        tell(Answer::Progress { message: sentence(services.rooms.sweep_progress(room)) });
    })
    .await
}

async fn now_and_then<R>(world: &World, work: impl Future<Output = R>, tell: impl Fn()) -> R {
    let mut work = std::pin::pin!(work);
    loop {
        match world.timeout(TELL_EVERY, work.as_mut()).await {
            Ok(result) => return result,
            Err(_) => tell(),
        }
    }
}

fn sentence(progress: Option<Progress>) -> String {
    let Some(Progress { stage, done, of }) = progress else { return "looking at the room".to_owned() };
    let of = of.map(|of| format!(" of {}", grouped(of))).unwrap_or_default();
    match stage {
        Stage::Reading => "looking for what can go".to_owned(),
        Stage::Events => format!("deleting events: {}{of}", grouped(done)),
        Stage::Nodes => format!("deleting nodes of old states: {}{of}", grouped(done)),
        Stage::Space => format!("giving the space back: {}{of} tables", grouped(done)),
    }
}

/// Gives the space of what was deleted back; says how much, where events and states took `before` bytes.
async fn space(services: &Services, room: &str, before: u64) -> Result<String> {
    services.rooms.give_space_back(room).await?;
    let after = services.rooms.disk_bytes().await?;
    Ok(match before.checked_sub(after) {
        Some(freed) if freed > 0 => {
            format!("{} of disk space are given back; events and states now take {}.", size(freed), size(after))
        }
        // Others wrote more meanwhile.
        _ => format!("The space is given back; events and states now take {}.", size(after)),
    })
}

/// What to say where nothing was deleted.
fn nothing(room: &str, keep_days: u32, purged: &Swept) -> String {
    let age = days(keep_days);
    match (purged.unfollowed, purged.misplaced) {
        (0, 0) => format!("No event of {room} is older than {age}: nothing is deleted."),
        (0, 1) => format!(
            "Nothing of {room} is deleted: 1 event says that it is older than {age}, but newer ones come before it in the room's history."
        ),
        (0, count) => format!(
            "Nothing of {room} is deleted: {} say that they are older than {age}, but newer ones come before them in the room's history.",
            events(count)
        ),
        (1, _) => format!("Nothing of {room} is deleted: no other event follows the only one older than {age}."),
        (count, _) => {
            format!(
                "Nothing of {room} is deleted: no other event follows any of the {} older than {age}.",
                events(count)
            )
        }
    }
}

/// What to say of what was deleted.
fn deleted(room: &str, keep_days: u32, purged: &Swept) -> String {
    let needed = match purged.outliers {
        0 => String::new(),
        count => format!(
            " {} of that age {} because the room's present state needs {}.",
            events(count),
            stay(count),
            them(count)
        ),
    };
    let unfollowed = match purged.unfollowed {
        0 => String::new(),
        count => {
            format!(" {} of that age {} because no other follows {} yet.", events(count), stay(count), them(count))
        }
    };
    format!(
        "{} of {room} older than {} {} deleted, and {} nodes of states that only they had.{needed}{unfollowed}",
        events(purged.events),
        days(keep_days),
        if purged.events == 1 { "is" } else { "are" },
        grouped(purged.deleted),
    )
}

fn stay(count: u64) -> &'static str {
    if count == 1 { "stays," } else { "stay," }
}

fn them(count: u64) -> &'static str {
    if count == 1 { "it" } else { "them" }
}

fn events(count: u64) -> String {
    format!("{} event{}", grouped(count), if count == 1 { "" } else { "s" })
}

fn days(count: u32) -> String {
    format!("{} day{}", grouped(count.into()), if count == 1 { "" } else { "s" })
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes, for people.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use net::simulated::Simulation;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn whoever_waits_is_told_every_two_seconds() {
        let simulation = Simulation::new(1);
        let world = simulation.host("test.example").world();
        let told = AtomicU32::new(0);
        let tell = || _ = told.fetch_add(1, Ordering::Relaxed);
        let work = {
            let world = world.clone();
            async move {
                world.sleep(Duration::from_millis(7_500)).await;
                "done"
            }
        };
        simulation
            .run(async {
                assert_eq!(now_and_then(&world, work, tell).await, "done");
                assert_eq!(told.load(Ordering::Relaxed), 3);
                let quick = now_and_then(&world, async { "at once" }, tell).await;
                assert_eq!((quick, told.load(Ordering::Relaxed)), ("at once", 3));
            })
            .unwrap();
    }

    #[test]
    fn what_stays_is_not_said_to_be_missing() {
        let purged = |unfollowed, misplaced| Swept { unfollowed, misplaced, ..Swept::default() };
        let said = |unfollowed, misplaced| nothing("!room:test.example", 3, &purged(unfollowed, misplaced));
        assert_eq!(said(0, 0), "No event of !room:test.example is older than 3 days: nothing is deleted.");
        for (unfollowed, misplaced) in [(1, 0), (2, 0), (0, 1), (0, 2)] {
            let said = said(unfollowed, misplaced);
            assert!(
                said.starts_with("Nothing of !room:test.example is deleted: ") && !said.contains("No event"),
                "{said}"
            );
        }
        assert_eq!(
            deleted("!room:test.example", 1, &Swept { events: 398, outliers: 6, unfollowed: 1, ..Swept::default() }),
            "398 events of !room:test.example older than 1 day are deleted, and 0 nodes of states that only they had. 6 events of that \
             age stay, because the room's present state needs them. 1 event of that age stays, because no other follows it yet."
        );
    }

    #[test]
    fn figures_are_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1_000, 1_536, 5 << 20, 3 << 40].map(size), ["1000 bytes", "1.5 KiB", "5.0 MiB", "3.0 TiB"]);
        let progress = Progress { stage: Stage::Events, done: 12_000, of: Some(50_000) };
        assert_eq!(sentence(Some(progress)), "deleting events: 12,000 of 50,000");
    }
}
