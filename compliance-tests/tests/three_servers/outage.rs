//! A server goes away in the middle of traffic and comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compliance_tests::rig::{Client, Kind};
use futures::future::{try_join, try_join_all};
use serde_json::json;

use crate::compare::Room;
use crate::{Cast, compare, talk};

/// How long the server stays away.
const AWAY: Duration = Duration::from_secs(60);
/// How long all three servers may take to agree after the return.
const CATCH_UP: Duration = Duration::from_secs(30);
/// How long the clients may take beyond that to have fetched and decrypted what they missed.
const CLIENTS_SECONDS: u64 = 30;
/// Messages that each person means to send around the moment at which the server goes.
const MIDDLE: usize = 60;
/// How many of them the server has answered when it goes.
const ANSWERED: usize = 15;
/// What each of the two others sends while the server is away: messages in the first room, in the second, changes of state.
const MISSED: (usize, usize, usize) = (125, 20, 5);

/// How the server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// SIGKILL: nothing is written any more.
    Kill,
    /// SIGTERM: it ends in order.
    Stop,
}

/// The whole scene: traffic, the server goes, 300 events happen elsewhere, it comes back, everybody agrees.
pub(crate) async fn away(cast: &mut Cast, place: usize, how: How, rooms: &[Room], stage: &dyn Fn(&str)) -> Result<()> {
    let [first, second] = rooms else { unreachable!("two rooms") };
    let (first, second) = (&first.id, &second.id);
    let label = cast.servers[place].label().to_owned();
    let part = format!("around {label}'s going");

    // 1. Everybody talks; the server goes while its person does.
    let (mut servers, people) = (std::mem::take(&mut cast.servers), &cast.people);
    let talking = async {
        let all = people.iter().map(|person| {
            let series =
                json!({"room": first, "prefix": talk::prefix(person, &part), "count": MIDDLE, "retry": true, "pause": 0.02});
            person.call("send", series)
        });
        try_join_all(all).await
    };
    let cutting = async {
        let before = answered(&people[place], &part, ANSWERED).await?;
        match how {
            How::Kill => servers[place].kill()?,
            How::Stop => servers[place].stop().await?,
        }
        stage(&format!("{label} is gone ({how:?}); its person had {before} messages answered"));
        let gone = Instant::now();

        // 2. The other two send 300 events.
        let others: Vec<&Client> =
            people.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, who)| who).collect();
        let missed = try_join_all(others.iter().map(|person| miss(person, &label, first, second))).await?;
        let missed: Vec<(String, String)> = missed.into_iter().flatten().collect();
        stage(&format!("{} events sent without {label}", missed.len()));
        ensure!(missed.len() >= 300, "only {} events were sent while {label} was away", missed.len());
        tokio::time::sleep(AWAY.saturating_sub(gone.elapsed())).await;

        // 3. It comes back.
        stage(&format!("{label} starts again after {:.0} s", gone.elapsed().as_secs_f64()));
        servers[place].start().await?;
        let back = Instant::now();
        stage(&format!("{label} answers"));
        anyhow::Ok((missed, back))
    };
    let outcome = try_join(talking, cutting).await;
    cast.servers = servers;
    let (sent, (missed, back)) = outcome?;

    // 4. All three hold the same, what was answered before the cut included.
    for room in rooms {
        let mut wanted: Vec<String> =
            missed.iter().filter(|(at, _)| *at == room.id).map(|(_, id)| id.clone()).collect();
        if room.id == *first {
            wanted.extend(sent.iter().flat_map(talk::event_ids));
        }
        let left = CATCH_UP.checked_sub(back.elapsed()).context("there was no time left to look at all rooms")?;
        compare::wait_equal_with(cast, room, left, &wanted).await?;
    }
    stage(&format!("all servers agree {:.1} s after {label} answered", back.elapsed().as_secs_f64()));

    // 5. The clients see it, in order, and can read it.
    for room in rooms {
        let parts: &[(&str, usize)] = if room.id == *first {
            &[(&part, MIDDLE), (&format!("without {label}"), MISSED.0)]
        } else {
            &[(&format!("without {label} in the second room"), MISSED.1)]
        };
        for (part, count) in parts {
            for (at, speaker) in cast.people.iter().enumerate() {
                if at == place && part.starts_with("without") {
                    continue;
                }
                for (ear, listener) in cast.people.iter().enumerate() {
                    let series = json!({
                        "room": room.id, "prefix": talk::prefix(speaker, part) + " ", "count": count, "timeout": CLIENTS_SECONDS, "walk": talk::walks(cast, ear),
                    });
                    let heard = listener.call("wait_messages", series).await?;
                    let heard = heard["messages"].as_array().context("no messages")?;
                    talk::check_series(cast, ear, speaker, part, heard, *count)?;
                }
            }
        }
    }
    stage(&format!("all clients have read it {:.1} s after {label} answered", back.elapsed().as_secs_f64()));
    for server in &mut cast.servers {
        server.check_alive()?;
    }
    Ok(())
}

/// Waits until the server has answered `count` messages of that part; answers how many it were.
async fn answered(person: &Client, part: &str, count: usize) -> Result<usize> {
    loop {
        let progress = person.call("progress", json!({"prefix": talk::prefix(person, part)})).await?;
        let now = talk::event_ids(&progress).len();
        if now >= count {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One person's share of the 300 events; answers (room, event id) of each.
async fn miss(person: &Client, label: &str, first: &str, second: &str) -> Result<Vec<(String, String)>> {
    let series = |room: &str, part: &str, count: usize| {
        person.call("send", json!({"room": room, "prefix": talk::prefix(person, part), "count": count}))
    };
    let mut sent = Vec::new();
    let state = async {
        // The state differs afterwards in what everybody may change: their own member event.
        let mut changes = Vec::new();
        for number in 0..MISSED.2 {
            let room = if number % 2 == 0 { first } else { second };
            let content =
                json!({"membership": "join", "displayname": format!("{} without {label} {number}", person.label())});
            let id = person.api().set_state(room, "m.room.member", person.user_id(), &content).await?;
            changes.push((room.to_owned(), id));
        }
        anyhow::Ok(changes)
    };
    let (messages, changes) = try_join(series(first, &format!("without {label}"), MISSED.0), state).await?;
    sent.extend(talk::event_ids(&messages).into_iter().map(|id| (first.to_owned(), id)));
    sent.extend(changes);
    let messages = series(second, &format!("without {label} in the second room"), MISSED.1).await?;
    sent.extend(talk::event_ids(&messages).into_iter().map(|id| (second.to_owned(), id)));
    Ok(sent)
}

/// Every client's own timeline has every event of the servers' once, and every sender's messages in the order of sending.
pub(crate) async fn in_order(cast: &Cast, room: &Room) -> Result<()> {
    let view = compare::wait_equal(cast, room, talk::SETTLE).await?;
    for (place, person) in cast.people.iter().enumerate() {
        let who = format!("{}'s timeline of {}", person.label(), room.id);
        let answer = person.call("timeline", json!({"room": room.id})).await?;
        let events = answer["events"].as_array().context("no events")?;
        let twice = answer["twice"].as_array().map(Vec::as_slice).unwrap_or_default();
        // See `check_series` about Synapse.
        let synapse = cast.servers[place].kind() == Kind::Synapse;
        ensure!(twice.is_empty() || synapse, "{who}: these came twice: {twice:?}");
        let seen: BTreeSet<&str> = events.iter().filter_map(|event| event["event_id"].as_str()).collect();
        ensure!(seen.len() == events.len(), "{who} has {} entries and {} events", events.len(), seen.len());
        let missing: Vec<_> = view.events.iter().filter(|(id, _)| !seen.contains(id.as_str())).collect();
        ensure!(missing.is_empty(), "{who} lacks {missing:?}");

        // Per sender and series: numbers rise.
        if synapse {
            continue;
        }
        let mut last: BTreeMap<(String, String), u64> = BTreeMap::new();
        for event in events {
            let (Some(sender), Some(body)) = (event["sender"].as_str(), event["body"].as_str()) else { continue };
            let Some((series, number)) = body.rsplit_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            if let Some(before) = last.insert((sender.to_owned(), series.to_owned()), number) {
                ensure!(before < number, "{who}: {body:?} comes after number {before}");
            }
        }
    }
    Ok(())
}
