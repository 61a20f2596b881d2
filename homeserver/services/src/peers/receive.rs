//! Receiving events (server-server API, "Checks performed on receipt of a PDU").

use super::Peers;
use super::fetch::State;
use super::judge::{Verdict, allowed_in, cites_newer, judge};
use super::outliers::auth_events_of;
use super::switches::{ReceiptCheck, on};
use super::unanswered;
use crate::error::{Error, Result};
use crate::rooms::policy::{PolicyServer, Whose};
use crate::rooms::standing::{Fate, Standing};
use crate::rooms::{RoomReader, RoomWriter, reader::room_key};
use crate::tables;
use state_res::ids::{EventKey, RoomKey, StateKeyId};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use state_res::steps::Received;
use state_res::tree::{self, Root};
use std::collections::{BTreeMap, HashMap};

/// How often a room's policy server is asked about one event. More than once only where the room changes it meanwhile.
const MAX_ASKED: usize = 3;

/// What became of an event.
#[derive(Debug)]
pub(super) struct Taken {
    /// Its standing.
    pub fate: Fate,
    /// Why the room's policy server does not recommend it, where that is what it was soft-failed for.
    pub refusal: Option<Error>,
}

impl From<Fate> for Taken {
    fn from(fate: Fate) -> Self {
        Self { fate, refusal: None }
    }
}

/// What is known of the policy server's word on an event.
#[derive(Default)]
struct Asked {
    /// Who has been asked.
    of: Option<PolicyServer>,
    /// Why the event has no signature by it.
    refusal: Option<Error>,
    /// Since when, in milliseconds, its word has to be waited for, where it has said nothing.
    waits_since: Option<u64>,
    /// One after the other has been asked, as the room keeps changing it. That is enough.
    is_enough: bool,
}

/// The state before an event as its origin tells it.
struct Given {
    /// `None` where it refuses to say.
    state: Option<State>,
    /// Events before it are not here.
    lacks: bool,
    /// What it tells is enough to reject the event, as the event is its own.
    is_own: bool,
}

/// What placing an event came to.
enum Placing {
    Done(Fate),
    /// The state before it we know from another server only, and it does not fit the event, which it may not allow. Nothing was written.
    Doubtful(Error),
    /// The room's policy server, which has not been asked, has to sign the event first. Nothing was written.
    Unsigned(Box<PolicyServer>),
}

impl Peers {
    /// Takes an event of a room that we are in from `origin`: checks it, fetches what it refers to, and gives it its place.
    ///
    /// # Errors
    /// A sentence for the transaction's answer: why the event was dropped or rejected. Whether the store still takes writes is for the caller to
    /// ask.
    pub(super) async fn receive(
        &self,
        origin: &str,
        room_id: &str,
        received: Received,
    ) -> std::result::Result<(), String> {
        let version = received.event().version();
        if received.event().room_id() != room_id {
            return Err("the event belongs to another room".to_owned());
        }
        let reader = self.rooms.reader(RoomKey::of(room_id));
        let is_placed = Self::is_placed(&reader, received.event().event_id()).map_err(|error| error.message)?;
        if is_placed && !self.is_blank(room_id, received.event().event_id()).map_err(|error| error.message)? {
            return Ok(());
        }
        let checked = self.check_one(origin, version, received).await;
        let event = checked.ok_or_else(|| "the event's signatures do not hold".to_owned())?.into_event();
        if is_placed {
            return Ok(());
        }
        match self.take(origin, version, event, false).await.map(|taken| taken.fate) {
            Ok(Fate::Accepted | Fate::SoftFailed) => Ok(()),
            Ok(Fate::Rejected) => Err("the event is not authorised".to_owned()),
            Err(error) => Err(error.message),
        }
    }

    /// Gives a checked event its place, after the events before it. With `relay` it goes on to the other servers in the room, as its
    /// sender's server is not in it (yet, or any more).
    pub(super) async fn take(&self, origin: &str, version: RoomVersion, event: Pdu, relay: bool) -> Result<Taken> {
        let room = RoomKey::of(event.room_id());
        let connected = {
            // What the event refers to may be on its way in at this moment. The lock is never held while another server is asked:
            // a slow one, or one that means harm, holds up its own events only.
            let lock = self.lock(room);
            let _turn = lock.lock().await;
            self.is_connected(&event)?
        };
        if connected {
            return self.write_judged(origin, event, None, relay).await;
        }
        for missing in self.fill_gap(origin, version, &event).await? {
            let id = missing.event_id().to_owned();
            if let Err(error) = self.place(origin, version, missing, false).await {
                tracing::info!(event = %id, %error, "an event before a gap could not be placed");
            }
        }
        self.place(origin, version, event, relay).await
    }

    /// Whether all that an event refers to is here, so that nobody has to be asked.
    fn is_connected(&self, event: &Pdu) -> Result<bool> {
        let reader = self.rooms.reader(RoomKey::of(event.room_id()));
        Ok(!self.lacks_prev_events(event)? && auth_events_of(&reader, &HashMap::new(), event)?.is_some())
    }

    /// Gives a checked event its place. Where events before it are still missing, the state before it comes from `origin`.
    async fn place(&self, origin: &str, version: RoomVersion, event: Pdu, relay: bool) -> Result<Taken> {
        let room = RoomKey::of(event.room_id());
        let reader = self.rooms.reader(room);
        if let Some(fate) = reader.standing(event.key())?.and_then(|standing| standing.fate()) {
            return Ok(fate.into());
        }
        if auth_events_of(&reader, &HashMap::new(), &event)?.is_none() {
            self.fetch_auth_events(origin, version, &event).await?;
        }
        let given = if self.lacks_prev_events(&event)? {
            let state = self.fetch_state_before(origin, version, event.room_id(), event.event_id()).await?;
            Some(Given { state: Some(state), lacks: true, is_own: false })
        } else {
            None
        };
        self.write_judged(origin, event, given, relay).await
    }

    /// Whether events before this one have no place here.
    fn lacks_prev_events(&self, event: &Pdu) -> Result<bool> {
        let reader = self.rooms.reader(RoomKey::of(event.room_id()));
        let mut lacks = event.prev_events().is_empty();
        for prev in event.prev_events() {
            lacks |= !Self::is_placed(&reader, prev)?;
        }
        Ok(lacks)
    }

    /// Writes an event at its place, with the room's policy server's signature where it needs and gets one. That is asked while nobody holds
    /// the room.
    async fn write_judged(&self, origin: &str, mut event: Pdu, mut given: Option<Given>, relay: bool) -> Result<Taken> {
        let room = RoomKey::of(event.room_id());
        let mut asked = Asked::default();
        for round in 0..=MAX_ASKED {
            asked.is_enough = round == MAX_ASKED;
            let placing = {
                let lock = self.lock(room);
                let _turn = lock.lock().await;
                // Somebody else may have brought the events before it while the state was asked for.
                let given =
                    given.as_ref().filter(|given| !given.lacks || self.lacks_prev_events(&event).unwrap_or(true));
                self.write_placed(&event, given, relay, &asked).await?
            };
            let policy = match placing {
                Placing::Done(fate) => {
                    return Ok(Taken { fate, refusal: asked.refusal.filter(|_| fate == Fate::SoftFailed) });
                }
                Placing::Doubtful(_) if given.is_none() => {
                    given = Some(self.second_opinion(origin, &event).await);
                    continue;
                }
                Placing::Doubtful(error) => return Err(error),
                Placing::Unsigned(policy) => *policy,
            };
            let deps = self.rooms.deps();
            match deps.policy_servers.sign(&policy, &event, Whose::Theirs).await {
                Ok(signed) => (event, asked) = (signed, Asked::default()),
                Err(not_signed) => {
                    let error = not_signed.error;
                    tracing::info!(event = event.event_id(), policy = policy.via(), %error, "not recommended by the policy server");
                    asked.refusal = Some(error);
                    // Who hands an event in is told that it failed.
                    asked.waits_since = (not_signed.is_open && !relay).then(|| deps.world.now().millis());
                }
            }
            asked.of = Some(policy);
        }
        Err(Error::internal("an event was neither placed nor left in its last round"))
    }

    /// Where what we were told of a room does not allow an event, its origin is asked for the state before it. What that says is resolved with
    /// what we know, and stands in for what was kept from us: power levels, for example, that were left out of the answer to our join.
    async fn second_opinion(&self, origin: &str, event: &Pdu) -> Given {
        let is_own = origin == event.sender_server();
        match self.fetch_state_before(origin, event.version(), event.room_id(), event.event_id()).await {
            Ok(state) => Given { state: Some(state), lacks: false, is_own },
            Err(error) => {
                tracing::info!(event = event.event_id(), %origin, %error, "the state before an event cannot be had from its origin");
                // Other errors say nothing of the event.
                Given { state: None, lacks: false, is_own: is_own && error.status == 404 }
            }
        }
    }

    /// Writes an event at its place. The caller holds the room's lock until this is done: a writer of the room does not see what the one before it
    /// has not committed yet, and the same event, brought by two servers at once, would get two places.
    async fn write_placed(&self, event: &Pdu, given: Option<&Given>, relay: bool, asked: &Asked) -> Result<Placing> {
        let placed = self.rooms.write(event.room_id(), |writer| place_in(writer, event, given, relay, asked)).await?;
        Ok(placed.0)
    }
}

/// Checks 4 to 7, and the place.
fn place_in(
    writer: &mut RoomWriter<'_>,
    event: &Pdu,
    given: Option<&Given>,
    relay: bool,
    asked: &Asked,
) -> Result<Placing> {
    if let Some(fate) = writer.reader.standing(event.key())?.and_then(|standing| standing.fate()) {
        return Ok(Placing::Done(fate));
    }
    let told = given.and_then(|given| given.state.as_ref());
    let before = match told {
        Some(told) => {
            let told = with_members_it_lacks(&writer.reader, told)?;
            state_with_told(writer, event.prev_events(), &told)?
        }
        None => state_after_all(writer, event.prev_events())?,
    };
    if given.is_some() {
        writer.take_on_trust(event.key());
    }
    let is_told = writer.is_told(event.key(), event.prev_events())?;
    if given.is_none() && is_told && cites_newer(&writer.reader, event, before)? {
        writer.abandon();
        return Ok(Placing::Doubtful(Error::forbidden(
            "The state before the event, as another server tells it, is older than what it cites.",
        )));
    }
    let mut fate = match judge(writer, event, before, is_told)? {
        Verdict::Settled(fate) => fate,
        Verdict::Told(error) => match given {
            Some(given) if given.is_own && !told_allows(writer, event, told)? => Fate::Rejected,
            _ => {
                writer.abandon();
                return Ok(Placing::Doubtful(error));
            }
        },
        Verdict::Spoilt(error) => return Err(error),
    };
    // Check 7: by the room's policy server. What is not allowed anyway, it is not asked about.
    if fate == Fate::Accepted
        && on(ReceiptCheck::PolicyServer)
        && let Some(policy) = PolicyServer::of(&writer.reader, writer.head.root)?
        && !policy.recommends(event)
    {
        if !asked.is_enough && asked.of.as_ref() != Some(&policy) {
            writer.abandon();
            return Ok(Placing::Unsigned(Box::new(policy)));
        }
        fate = Fate::SoftFailed;
        if let Some(since) = asked.waits_since {
            unanswered::ask_later(writer, since, event)?;
        }
    }
    if given.is_some_and(|given| given.lacks) {
        let row = room_key(writer.reader.room(), event.key().as_bytes());
        writer.batch().put(tables::GAPS, &row, b"");
    }
    writer.place(event.clone(), before, fate, relay)?;
    Ok(Placing::Done(fate))
}

/// The state after all of these events, which have their places.
pub(super) fn state_after_all(writer: &mut RoomWriter<'_>, events: &[String]) -> Result<Root> {
    let mut roots = Vec::with_capacity(events.len());
    for id in events {
        let missing = || Error::new(502, "M_UNKNOWN", format!("The event {id} before it is missing."));
        roots.push(state_after(writer, id)?.ok_or_else(missing)?);
    }
    writer.resolve(&roots)
}

/// The state after these events, of which some are missing, where another server tells it: resolved with what we know to be the state after
/// those that are here. Otherwise whoever names the newest event and one that nobody has could tell us what the room's state is.
fn state_with_told(writer: &mut RoomWriter<'_>, events: &[String], told: &State) -> Result<Root> {
    let mut roots = vec![writer.root_of(told)?];
    for id in events {
        roots.extend(state_after(writer, id)?);
    }
    writer.resolve(&roots)
}

/// A told state, and the members that it must have by what else it has: whoever was a member when one of its events had happened is in it, as a
/// member or as one who left. Else who leaves some out would throw them out of a room that would not let them in again.
fn with_members_it_lacks(reader: &RoomReader, told: &State) -> Result<State> {
    let mut latest: Option<Standing> = None;
    for (_, event) in told {
        let standing = reader.standing(*event)?.filter(Standing::is_accepted);
        if standing.as_ref().is_some_and(|one| latest.as_ref().is_none_or(|latest| one.depth > latest.depth)) {
            latest = standing;
        }
    }
    let Some(latest) = latest else { return Ok(told.clone()) };
    let mut whole: BTreeMap<StateKeyId, EventKey> = BTreeMap::new();
    for entry in tree::entries_of_type(reader, latest.after, "m.room.member") {
        let (place, event) = entry?;
        whole.insert(place, event);
    }
    whole.extend(told.iter().copied());
    Ok(whole.into_iter().collect())
}

/// Whether what another server tells, by itself, allows an event.
fn told_allows(writer: &mut RoomWriter<'_>, event: &Pdu, told: Option<&State>) -> Result<bool> {
    let Some(told) = told else { return Ok(false) };
    let root = writer.root_of(told)?;
    Ok(allowed_in(writer, root, event)?.is_ok())
}

/// The state after an event; `None` if it has no place here.
fn state_after(writer: &RoomWriter<'_>, event_id: &str) -> Result<Option<Root>> {
    if let Some(extremity) = writer.head.extremities.iter().find(|one| one.event_id == event_id) {
        return Ok(Some(extremity.after));
    }
    let standing = writer.reader.standing(EventKey::of(event_id))?;
    Ok(standing.filter(|standing| !standing.is_outlier()).map(|standing| standing.after))
}
