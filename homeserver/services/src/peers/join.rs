//! Joining and knocking through another server.

use super::fetch::State;
use super::{Peers, remote_error, remote_refusal};
use crate::error::{Error, Result};
use crate::rooms::Membership;
use crate::rooms::memberships::Outside;
use crate::rooms::policy::{PolicyServer, Whose};
use crate::rooms::reader::{Member, encode_member, room_key};
use crate::rooms::standing::Fate;
use crate::rooms::sweep::Epoch;
use crate::tables;
use federation::types::{JoinAnswer, Template};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use state_res::build::build_from_template;
use state_res::ids::{EventKey, RoomKey, StateKeyId, UserKey};
use state_res::pdu::Pdu;
use state_res::room_version::RoomVersion;
use state_res::sign::merge_signatures;
use state_res::steps::{Checked, Received};
use state_res::tree::{self, NodeHash, Root};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use storage::{Batch, Outcome};

/// Most servers asked for one join.
pub(super) const MAX_SERVERS: usize = 8;
/// How often a join begins anew because the room's old states are swept meanwhile.
const MAX_SWEEPS: usize = 20;
/// For how long it waits before.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Bytes of one step of bulk work.
const STEP: usize = 256 * 1024;

/// What a server says of a room, verified and stored.
struct Told {
    /// The state before the join.
    state: State,
    /// The events of the state and of the auth chain, and whether each is rejected.
    known: HashMap<EventKey, (Pdu, bool)>,
}

impl Told {
    /// The event at (type, state key) in the state.
    fn event(&self, event_type: &str, state_key: &str) -> Option<&Pdu> {
        let id = StateKeyId::of(event_type, state_key);
        let (_, key) = self.state.iter().find(|(entry, _)| *entry == id)?;
        self.known.get(key).map(|(event, _)| event)
    }

    /// The member events of the state, with whose they are.
    fn members(&self) -> impl Iterator<Item = (&str, &Pdu)> {
        let events = self.state.iter().filter_map(|(_, key)| self.known.get(key)).map(|(event, _)| event);
        events
            .filter(|event| event.event_type() == "m.room.member")
            .filter_map(|event| Some((event.state_key()?, event)))
    }
}

/// Names of all room versions, for `make_join`.
fn versions() -> Vec<&'static str> {
    RoomVersion::ALL.iter().map(|version| version.as_str()).collect()
}

impl Peers {
    /// Joins a local user to a room by way of one of `servers`.
    ///
    /// # Errors
    /// What the last server said; 404 `M_NOT_FOUND` where there is nobody to ask.
    pub async fn join(
        &self,
        user_id: &str,
        room_id: &str,
        servers: &[String],
        content: &Map<String, Value>,
    ) -> Result<()> {
        let attempt = |server| self.join_through(server, user_id, room_id, content).boxed();
        self.through_any(servers, room_id, "join", attempt).await
    }

    /// Tries to do something to a room by way of one server after the other, until it is done or refused for good.
    async fn through_any<'a, T>(
        &self,
        servers: &'a [String],
        room_id: &str,
        what: &str,
        attempt: impl Fn(&'a str) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let mut last =
            Error::not_found(format!("No server is known through which to {what} {room_id}; name one with `via`."));
        for server in servers.iter().filter(|server| *server != self.server_name()).take(MAX_SERVERS) {
            match attempt(server).await {
                Ok(done) => return Ok(done),
                Err(error) => {
                    tracing::info!(%server, room = room_id, %error, what, "this server could not help");
                    let refused = matches!(error.errcode.as_ref(), "M_FORBIDDEN" | "M_INCOMPATIBLE_ROOM_VERSION");
                    last = error;
                    if refused {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    async fn join_through(
        &self,
        server: &str,
        user_id: &str,
        room_id: &str,
        content: &Map<String, Value>,
    ) -> Result<()> {
        let template =
            self.client.make_join(server, room_id, user_id, &versions()).await.map_err(|error| remote_error(&error))?;
        let (version, join) = self.complete(&template, "join", user_id, room_id, content)?;
        // From here on the room may send us events: they wait until the join has its place.
        let _under_way = self.joins.begin(RoomKey::of(room_id), self.world().now().millis());
        self.wait_until_removed(room_id).await?;
        let answer = self
            .client
            .send_join(server, room_id, join.event_id(), join.canonical().to_vec().into(), false)
            .await
            .map_err(|error| remote_refusal(&error))?;
        let mut join = match &answer.event {
            Some(copy) => match Pdu::parse(version, copy.as_bytes()) {
                Ok(copy) if copy.event_id() == join.event_id() => {
                    merge_signatures(&join, &copy).map_err(Error::internal)?
                }
                _ => join,
            },
            None => join,
        };
        // Without the signature of the server whose user vouches for it, no server may take the join.
        if version.rules().auth.restricted_joins && join.content().contains_key("join_authorised_via_users_server") {
            let signed = self.check_one(server, version, Received::new(join)).await;
            join = signed.map(Checked::into_event).ok_or_else(|| {
                let because = "answered the join without the signature of the server that vouches for it";
                Error::new(502, "M_UNKNOWN", format!("{server} {because}."))
            })?;
        }
        if !self.rooms.is_resident(room_id)? {
            self.note_join(room_id).await?;
            let told = self.fetch_told(server, room_id, version, answer).await?;
            join = self.recommended(join, &told).await?;
            let lock = self.lock(RoomKey::of(room_id));
            let _turn = lock.lock().await;
            // Another join may have come first.
            if !self.rooms.is_resident(room_id)? {
                return self.enter_anew(room_id, version, &join, &told).await;
            }
        }
        // We hold the room, and could not allow the join by ourselves, or came into it while this was under way: then the join is an
        // event like others, and what we know of the room stands.
        let taken = self.take(server, version, join, false).await?;
        match (taken.fate, taken.refusal) {
            (Fate::Accepted, _) => Ok(()),
            (_, Some(refusal)) => Err(refusal),
            _ => Err(Error::forbidden("The room's state here does not allow the join.")),
        }
    }

    /// Enters a room that we are not in. The caller holds its lock.
    async fn enter_anew(&self, room_id: &str, version: RoomVersion, join: &Pdu, told: &Told) -> Result<()> {
        if self.rooms.is_known(room_id)? {
            return self.enter(room_id, version, join, told).await;
        }
        // What an earlier one left when the server could not undo it.
        self.undo_join(RoomKey::of(room_id)).await?;
        let entered = self.enter(room_id, version, join, told).await;
        if entered.is_err()
            && let Err(error) = self.undo_join(RoomKey::of(room_id)).await
        {
            tracing::error!(room = room_id, %error, "a join that broke off could not be undone; the next start does it");
        }
        entered
    }

    /// Verifies and stores what a server says of a room that we are to enter: its state before the join, and the auth chain.
    async fn fetch_told(&self, server: &str, room_id: &str, version: RoomVersion, answer: JoinAnswer) -> Result<Told> {
        let bad = |what: &str| Error::new(502, "M_UNKNOWN", format!("{server} answered the join with {what}."));
        let state_count = answer.state.len();
        let checked_state = self.check_all(server, version, room_id, answer.state).await;
        let state_ids: Vec<String> = checked_state.iter().map(|event| event.event().event_id().to_owned()).collect();
        if state_ids.len() < state_count {
            tracing::warn!(%server, room = room_id, dropped = state_count - state_ids.len(), "events of the room's state do not pass their checks");
        }
        let mut all = checked_state;
        all.extend(self.check_all(server, version, room_id, answer.auth_chain).await);
        let known = self.store_outliers(room_id, all).await?;
        let kept = state_ids
            .iter()
            .map(String::as_str)
            .filter(|id| known.get(&EventKey::of(id)).is_some_and(|(_, rejected)| !rejected));
        let state = self.state_of(room_id, kept)?;
        let create = known.values().find(|(pdu, rejected)| pdu.is_state_of("m.room.create", "") && !rejected);
        let Some((create, _)) = create else { return Err(bad("a state without a create event")) };
        let says = create.content().get("room_version").map_or(Some("1"), Value::as_str);
        if create.room_id() != room_id || says != Some(version.as_str()) {
            return Err(bad("the create event of another room or version"));
        }
        Ok(Told { state, known })
    }

    /// The join with the signature of the room's policy server, if it has one. The server through which we join should have asked for it.
    async fn recommended(&self, join: Pdu, told: &Told) -> Result<Pdu> {
        let Some(named) = told.event("m.room.policy", "") else { return Ok(join) };
        let is_joined = |server: &str| {
            Ok(told.members().any(|(user, event)| {
                crate::names::server_of(user) == Some(server) && Membership::of(event) == Membership::Join
            }))
        };
        match PolicyServer::named_by(named, is_joined)? {
            Some(policy) => {
                self.rooms.deps().policy_servers.sign(&policy, &join, Whose::Ours).await.map_err(Error::from)
            }
            None => Ok(join),
        }
    }

    /// Completes and signs a template, after making sure that it is what we asked for.
    pub(super) fn complete(
        &self,
        template: &Template,
        membership: &str,
        user_id: &str,
        room_id: &str,
        content: &Map<String, Value>,
    ) -> Result<(RoomVersion, Pdu)> {
        let name = template.room_version.as_deref().unwrap_or("1");
        let version: RoomVersion = name.parse().map_err(|_| {
            Error::new(
                400,
                "M_INCOMPATIBLE_ROOM_VERSION",
                format!("The room has version {name:?}, which this server does not know."),
            )
            .with("room_version", name)
        })?;
        let mut event: Map<String, Value> = template.event.parse().map_err(|error| {
            Error::new(502, "M_UNKNOWN", format!("The other server's template is no event: {error}."))
        })?;
        let is = |name: &str, value: &str| event.get(name).and_then(Value::as_str) == Some(value);
        if !is("type", "m.room.member")
            || !is("sender", user_id)
            || !is("state_key", user_id)
            || !is("room_id", room_id)
        {
            return Err(Error::new(
                502,
                "M_UNKNOWN",
                "The other server's template is for another event than the one asked for.",
            ));
        }
        let mut full = content.clone();
        if let Some(authoriser) =
            event.get("content").and_then(|content| content.get("join_authorised_via_users_server"))
        {
            full.insert("join_authorised_via_users_server".into(), authoriser.clone());
        }
        full.insert("membership".into(), json!(membership));
        event.insert("content".into(), Value::Object(full));
        event.insert("origin".into(), json!(self.server_name()));
        event.insert("origin_server_ts".into(), json!(self.world().now().millis()));
        let pdu = build_from_template(version, event, self.server_name(), &self.rooms.deps().signing_key()).map_err(
            |error| Error::new(502, "M_UNKNOWN", format!("The other server's template makes no valid event: {error}.")),
        )?;
        Ok((version, pdu))
    }

    /// Makes the room ours: its state before the join, and the join on top.
    async fn enter(&self, room_id: &str, version: RoomVersion, join: &Pdu, told: &Told) -> Result<()> {
        for _ in 0..MAX_SWEEPS {
            if self.try_enter(room_id, version, join, told).await? {
                return Ok(());
            }
            self.world().sleep(SWEEP_PAUSE).await;
        }
        Err(Error::new(503, "M_UNKNOWN", format!("The old states of {room_id} are being swept; try again.")))
    }

    /// [`Self::enter`]; `false` if a sweep may have taken what was written for litter, or would.
    async fn try_enter(&self, room_id: &str, version: RoomVersion, join: &Pdu, told: &Told) -> Result<bool> {
        let room = RoomKey::of(room_id);
        let reader = self.rooms.reader(room);
        let (before, nodes) = tree::insert(&reader, Root::EMPTY, &told.state)?;
        let is_new = reader.head()?.is_none();
        // Bulk work in steps; none of it shows before the head does. See `super::intent` for joins that break off.
        let epoch = Epoch::read(reader.snapshot(), room)?;
        if epoch.is_condemned() || epoch.is_removing() {
            return Ok(false);
        }
        if !self.write_nodes(room, &epoch, nodes).await? {
            return Ok(false);
        }
        let step = || {
            let mut batch = Batch::with_random_id(self.world());
            epoch.require(&mut batch);
            batch
        };
        let mut batch = step();
        if is_new {
            let mut counts: BTreeMap<String, u32> = BTreeMap::new();
            for (user_id, pdu) in told.members() {
                let membership = Membership::of(pdu);
                let member = Member { user_id: user_id.to_owned(), membership, event: pdu.key() };
                batch.put(tables::MEMBERS, &room_key(room, UserKey::of(user_id).as_bytes()), &encode_member(&member));
                if membership == Membership::Join {
                    if self.rooms.is_local(user_id) {
                        let row = room_key(room, UserKey::of(user_id).as_bytes());
                        batch.put(tables::LOCAL_MEMBERS, &row, user_id.as_bytes());
                    }
                    *counts.entry(crate::names::server_of(user_id).unwrap_or_default().to_owned()).or_default() += 1;
                }
                if batch.encoded_len() >= STEP && !self.commit_in_epoch(std::mem::replace(&mut batch, step())).await? {
                    return Ok(false);
                }
            }
            for (server, count) in counts {
                batch.put(tables::ROOM_SERVERS, &room_key(room, server.as_bytes()), &count.to_be_bytes());
            }
        }
        if !batch.is_empty() && !self.commit_in_epoch(batch).await? {
            return Ok(false);
        }
        self.rooms
            .write_new(room_id, version, |writer| {
                if Epoch::read(writer.reader.snapshot(), room)? != epoch {
                    return Ok(false);
                }
                if writer.reader.standing(join.key())?.is_some_and(|standing| !standing.is_outlier()) {
                    return Ok(true);
                }
                if is_new && writer.head.version == 0 {
                    writer.assume_state(before);
                } else {
                    // What we knew of the room ended when we left it; the join continues from the others' present.
                    writer.head.extremities.clear();
                    writer.head.root = before;
                }
                writer.take_on_trust(join.key());
                let fate = super::judge::judge(writer, join, before, true)?.settled()?;
                if fate != Fate::Accepted {
                    return Err(Error::forbidden("The room's state does not allow the join."));
                }
                let row = room_key(room, join.key().as_bytes());
                writer.batch().put(tables::GAPS, &row, b"");
                writer.batch().delete(tables::JOINS, room.as_bytes());
                writer.place(join.clone(), before, fate, false)?;
                Ok(true)
            })
            .await
            .map(|(entered, _)| entered)
    }

    /// Writes nodes of a state in steps, which nobody sees before something refers to them; `false` if a sweep came between.
    pub(super) async fn write_nodes(
        &self,
        room: RoomKey,
        epoch: &Epoch,
        nodes: Vec<(NodeHash, Vec<u8>)>,
    ) -> Result<bool> {
        let mut left = nodes.into_iter().peekable();
        while left.peek().is_some() {
            let mut batch = Batch::with_random_id(self.world());
            epoch.require(&mut batch);
            while batch.encoded_len() < STEP
                && let Some((hash, bytes)) = left.next()
            {
                batch.put(tables::NODES, &room_key(room, hash.as_bytes()), &bytes);
            }
            if !self.commit_in_epoch(batch).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Commits a step that names the room's sweep epoch; `false` if a sweep came between.
    async fn commit_in_epoch(&self, batch: Batch) -> Result<bool> {
        match self.rooms.deps().store.commit(batch).await {
            Outcome::Committed(_) => Ok(true),
            Outcome::Conflict(_) => Ok(false),
            Outcome::Unknown(cause) => Err(cause.into()),
        }
    }

    /// Knocks on a room by way of one of `servers`.
    ///
    /// # Errors
    /// What the last server said.
    pub async fn knock(
        &self,
        user_id: &str,
        room_id: &str,
        servers: &[String],
        content: &Map<String, Value>,
    ) -> Result<()> {
        let attempt = |server| self.knock_through(server, user_id, room_id, content).boxed();
        let (server, stripped, version) = self.through_any(servers, room_id, "knock on", attempt).await?;
        let outside = Outside { stripped: &stripped, version: Some(version), via: Some(server) };
        self.write_membership(user_id, room_id, Membership::Knock, outside).await
    }

    /// Gives the server, the stripped state and the room's version.
    async fn knock_through<'s>(
        &self,
        server: &'s str,
        user_id: &str,
        room_id: &str,
        content: &Map<String, Value>,
    ) -> Result<(&'s str, String, RoomVersion)> {
        let template = self
            .client
            .make_knock(server, room_id, user_id, &versions())
            .await
            .map_err(|error| remote_error(&error))?;
        let (version, knock) = self.complete(&template, "knock", user_id, room_id, content)?;
        let bytes = knock.canonical().to_vec().into();
        let state = self
            .client
            .send_knock(server, room_id, knock.event_id(), bytes)
            .await
            .map_err(|error| remote_refusal(&error))?;
        let mut stripped: Vec<Value> = state.iter().filter_map(super::invite::strip).collect();
        stripped.push(json!({
            "type": "m.room.member", "sender": user_id, "state_key": user_id, "content": knock.content(),
            "event_id": knock.event_id(), "origin_server_ts": knock.origin_server_ts(),
        }));
        Ok((server, Value::Array(stripped).to_string(), version))
    }
}
