//! Events of other servers of which their room's policy server has said nothing, because it is away.
//!
//! Such an event is soft-failed, like one that the policy server refuses (server-server API, "Validating Policy Server signatures"), and no
//! other event waits for it. But where a refusal is the end of it, silence is not: a row says that the policy server is still to be asked. Once
//! it has signed the event, or the room does without it, the event is judged by the room's current state once more, and announced as if it came
//! then. Events that others hand in for us to send on ([`Peers::take`] with `relay`) are not kept so: who sent them has been told that they
//! failed.

use super::Peers;
use super::judge::{Verdict, judge};
use crate::commit::commit_freely;
use crate::error::Result;
use crate::rooms::policy::{self, PolicyServer, Whose};
use crate::rooms::reader::room_key;
use crate::rooms::standing::Fate;
use crate::rooms::{RoomReader, RoomWriter};
use crate::tables;
use futures::StreamExt;
use lru::LruCache;
use parking_lot::Mutex;
use state_res::ids::{EventKey, RoomKey};
use state_res::pdu::Pdu;
use std::num::NonZeroUsize;
use std::time::Duration;
use storage::Batch;
use tokio_util::sync::CancellationToken;

/// Most events of a room that wait for its policy server's word; what comes then stays soft-failed.
const MAX_WAITING: usize = 1_000;
/// How long an event waits; after that it stays soft-failed.
const MAX_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// After how long something is tried again that failed otherwise than by the policy server's being away.
const RETRY: Duration = Duration::from_secs(5 * 60);
/// Rooms whose policy servers are asked at a time.
const ROOMS_AT_ONCE: usize = 8;
/// Events about which a policy server that is there is asked in vain, one after the other, before it is taken to be away.
const MAX_IN_VAIN: u32 = 3;
/// Events about which it is remembered how often that was so.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("10,000 is not 0");

/// How often policy servers were asked about events in vain: what nobody answers must not keep others waiting.
struct Silence(Mutex<LruCache<EventKey, InVain>>);

#[derive(Clone, Copy, Default)]
struct InVain {
    /// Asked about to find out whether the policy server is back.
    probed: u32,
    /// Though it had just been there.
    in_vain: u32,
}

impl Silence {
    fn of(&self, event: &Pdu) -> InVain {
        self.0.lock().peek(&event.key()).copied().unwrap_or_default()
    }

    fn note(&self, event: &Pdu, change: impl FnOnce(&mut InVain)) {
        change(self.0.lock().get_or_insert_mut(event.key(), InVain::default));
    }

    fn end(&self, event: &Pdu) {
        self.0.lock().pop(&event.key());
    }
}

/// Adds to what `writer` commits that the policy server is to be asked again about an event that is being soft-failed.
pub(super) fn ask_later(writer: &mut RoomWriter<'_>, now_ms: u64, event: &Pdu) -> Result<()> {
    let room = writer.reader.room();
    let waiting = writer.reader.snapshot().scan_prefix(tables::UNANSWERED, room.as_bytes());
    if waiting.take(MAX_WAITING).count() >= MAX_WAITING {
        tracing::warn!(
            event = event.event_id(),
            "too many events of its room wait for the policy server: it stays soft-failed"
        );
        return Ok(());
    }
    let batch = writer.batch();
    batch.put(tables::UNANSWERED, &room_key(room, event.key().as_bytes()), &now_ms.to_be_bytes());
    batch.topic(policy::topic());
    Ok(())
}

impl Peers {
    /// Asks policy servers again, whenever one may answer, until `stopping` is cancelled.
    pub(crate) async fn ask_again(self, stopping: CancellationToken) {
        let deps = self.rooms.deps();
        let mut changes = deps.store.subscribe(&[policy::topic()]);
        let silence = Silence(Mutex::new(LruCache::new(REMEMBERED)));
        loop {
            let next = tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                next = self.ask_in_all_rooms(&silence) => next,
            };
            let pause = async {
                match next {
                    Some(next) => deps.world.sleep(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                _ = changes.changed() => {}
                () = deps.policy_servers.one_is_back() => {}
                () = pause => {}
            }
        }
    }

    /// Gives after how long there is something to do again, if there is.
    async fn ask_in_all_rooms(&self, silence: &Silence) -> Option<Duration> {
        let rooms = match self.rooms_that_wait() {
            Ok(rooms) => rooms,
            Err(error) => {
                tracing::error!(%error, "the events that wait for policy servers cannot be read");
                return Some(RETRY);
            }
        };
        let asked = futures::stream::iter(rooms).map(async |room| match self.ask_in_room(room, silence).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, "events that wait for a policy server could not be looked at");
                Some(RETRY)
            }
        });
        asked.buffer_unordered(ROOMS_AT_ONCE).filter_map(async |next| next).collect::<Vec<_>>().await.into_iter().min()
    }

    fn rooms_that_wait(&self) -> Result<Vec<RoomKey>> {
        let snapshot = self.rooms.deps().store.snapshot();
        let (mut rooms, mut start) = (Vec::new(), Vec::new());
        while let Some(row) = snapshot.scan(tables::UNANSWERED, start..Vec::new()).next() {
            let (row, _) = row?;
            let Some(room) = row.get(..16).and_then(|room| room.try_into().ok()).map(RoomKey::from_bytes) else {
                break;
            };
            rooms.push(room);
            start = storage::key::prefix_end(room.as_bytes());
            if start.is_empty() {
                break;
            }
        }
        Ok(rooms)
    }

    /// Goes through a room's events. Gives after how long to go on, if anything is left to do.
    async fn ask_in_room(&self, room: RoomKey, silence: &Silence) -> Result<Option<Duration>> {
        let servers = &self.rooms.deps().policy_servers;
        let reader = self.rooms.reader(room);
        let Some(room_id) = self.rooms.room_id(room)? else { return Ok(None) };
        let away = policy_of(&reader)?.and_then(|policy| Some((servers.left_alone_for(&policy)?, policy)));
        if let Some((wait, _)) = &away
            && !wait.is_zero()
        {
            return Ok(Some(*wait));
        }
        let mut events = self.waiting_in(&reader)?;
        let now = self.world().now().millis();
        let is_late = |since: u64| Duration::from_millis(now.saturating_sub(since)) >= MAX_WAIT;
        for (event, _) in events.extract_if(.., |(_, since)| is_late(*since)) {
            tracing::warn!(
                event = event.event_id(),
                "the policy server has said nothing for so long that it stays soft-failed"
            );
            self.forget_waiting(room, event.key()).await?;
        }
        events.sort_by_cached_key(|(event, _)| (silence.of(event).in_vain, event.depth(), event.event_id().to_owned()));
        if let Some((_, policy)) = away {
            // Whether it is back is found out with one event after the other, as it may be one of them that it cannot deal with.
            let probe = events.iter().min_by_key(|(event, _)| (silence.of(event).in_vain, silence.of(event).probed));
            let Some((probe, _)) = probe else { return Ok(None) };
            silence.note(probe, |event| event.probed += 1);
            // Where it says something, that is asked for again when it is this event's turn.
            let _ = servers.sign(&policy, probe, Whose::Theirs).await;
            if let Some(wait) = servers.left_alone_for(&policy) {
                return Ok(Some(wait));
            }
        }
        let (mut next, mut in_vain) = (None, 0);
        for (event, _) in events {
            // As it is by now: whom the room has chosen may have changed.
            let policy = policy_of(&self.rooms.reader(room))?;
            let was_there = policy.as_ref().is_some_and(|policy| in_vain > 0 || servers.is_there(policy));
            let signed = match &policy {
                None => Ok(event.clone()),
                Some(policy) => servers.sign(policy, &event, Whose::Waiting).await,
            };
            match signed {
                Ok(signed) => {
                    in_vain = 0;
                    let lock = self.lock(room);
                    let _turn = lock.lock().await;
                    self.rooms.write(&room_id, |writer| admit(writer, &signed)).await?;
                    silence.end(&event);
                }
                Err(open) if open.is_open => {
                    let wait = policy.as_ref().and_then(|policy| servers.left_alone_for(policy));
                    let pause = wait.unwrap_or(RETRY);
                    next = Some(next.map_or(pause, |next: Duration| next.min(pause)));
                    if wait.is_some() && !was_there {
                        break;
                    }
                    // It is there, but does not answer this: others may have more luck.
                    silence.note(&event, |event| event.in_vain += 1);
                    in_vain += u32::from(wait.is_some());
                    if in_vain >= MAX_IN_VAIN {
                        break;
                    }
                }
                Err(refused) => {
                    in_vain = 0;
                    tracing::info!(event = event.event_id(), error = %refused.error, "stays without the policy server's signature");
                    self.forget_waiting(room, event.key()).await?;
                    silence.end(&event);
                }
            }
        }
        Ok(next)
    }

    /// A room's events that wait, with the time since when, in milliseconds.
    fn waiting_in(&self, reader: &RoomReader) -> Result<Vec<(Pdu, u64)>> {
        let mut events = Vec::new();
        for row in reader.snapshot().scan_prefix(tables::UNANSWERED, reader.room().as_bytes()) {
            let (row, since) = row?;
            let event = row.get(16..).and_then(|event| event.try_into().ok()).map(EventKey::from_bytes);
            let since = since.as_ref().try_into().map_or(0, u64::from_be_bytes);
            if let Some(event) = event.map(|event| reader.pdu(event)).transpose()?.flatten() {
                events.push((event, since));
            }
        }
        Ok(events)
    }

    async fn forget_waiting(&self, room: RoomKey, event: EventKey) -> Result<()> {
        let deps = self.rooms.deps();
        let mut batch = Batch::with_random_id(&deps.world);
        batch.delete(tables::UNANSWERED, &room_key(room, event.as_bytes()));
        commit_freely(&deps.store, batch).await.map(drop)
    }
}

/// The policy server that the room uses now.
fn policy_of(reader: &RoomReader) -> Result<Option<PolicyServer>> {
    reader.head()?.map_or(Ok(None), |head| PolicyServer::of(reader, head.root))
}

/// Gives a waiting event its place, if the room's current state still allows it, and it is not being purged. Does nothing where the room has
/// come to want another policy server's word.
fn admit(writer: &mut RoomWriter<'_>, event: &Pdu) -> Result<()> {
    let policy = PolicyServer::of(&writer.reader, writer.head.root)?;
    if policy.is_some_and(|policy| !policy.recommends(event)) {
        return Ok(());
    }
    let row = room_key(writer.reader.room(), event.key().as_bytes());
    writer.batch().delete(tables::UNANSWERED, &row);
    let standing = writer.reader.standing(event.key())?;
    let Some(standing) = standing.filter(|standing| standing.fate() == Some(Fate::SoftFailed)) else { return Ok(()) };
    if writer.reader.snapshot().contains(tables::CONDEMNED_EVENTS, &row)? {
        return Ok(());
    }
    writer.batch().require_absent(tables::CONDEMNED_EVENTS, &row);
    if matches!(judge(writer, event, standing.before, false)?, Verdict::Settled(Fate::Accepted)) {
        writer.place_late(event.clone(), standing.before)?;
    }
    Ok(())
}
