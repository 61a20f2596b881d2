//! A homeserver worked by hand: it signs what a test tells it to sign, right or wrong, and answers as the test lays out.

use crate::{Failure, Network};
use bytes::Bytes;
use federation::{
    Client, RawJson,
    client::RequestError,
    discovery::{Discovery, Options},
    keys::OwnKeys,
};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use net::{
    World,
    simulated::{Certificate, Host},
};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use state_res::{
    auth::auth_types,
    build::build_from_template,
    hash,
    room_version::{EventIdFormat, RoomVersion},
    sign::{SigningKey, countersign, hash_and_sign_event},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

/// Where it listens.
const FEDERATION_PORT: u16 = 8448;

/// A request that came in.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The path, decoded.
    pub path: String,
    /// The query, as it came.
    pub query: String,
    /// The body; null if there is none.
    pub body: Value,
}

/// What a test lets the peer answer in place of what it would.
#[derive(Clone, Debug)]
pub struct Scripted {
    /// How long it takes.
    pub after: Duration,
    /// Status and body; without, the peer's own answer.
    pub answer: Option<(u16, Value)>,
}

type Script = dyn Fn(&Asked) -> Option<Scripted> + Send + Sync;

/// A homeserver worked by hand.
pub struct Peer {
    host: Host,
    world: World,
    own: Arc<OwnKeys>,
    client: Client,
    shown: Arc<Shown>,
}

/// What it shows to whoever asks.
struct Shown {
    world: World,
    own: Arc<OwnKeys>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Events, by id.
    events: BTreeMap<String, Map<String, Value>>,
    /// The state before events.
    before: BTreeMap<String, Vec<String>>,
    asked: Vec<Asked>,
    /// The servers in the room before the last join, as its answer told.
    joined_among: Vec<String>,
    script: Option<Arc<Script>>,
}

/// A room as the peer sees it.
#[derive(Clone, Debug)]
pub struct PeerRoom {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: RoomVersion,
    /// Ids of the state events.
    pub state: BTreeMap<(String, String), String>,
    /// What the next event follows.
    pub tips: Vec<String>,
    /// The next event's depth.
    pub depth: i64,
}

/// An event made by the peer.
#[derive(Clone, Debug)]
pub struct PeerEvent {
    /// Its id.
    pub id: String,
    /// All of it.
    pub json: Map<String, Value>,
}

impl Network {
    /// A homeserver of that name, worked by hand, which listens.
    #[must_use]
    pub fn peer(&self, name: &str) -> Peer {
        Peer::new(self.host(name))
    }
}

impl Peer {
    fn new(host: Host) -> Self {
        let world = host.world();
        let current = SigningKey::from_seed("hand", world.random_bytes()).expect("the version is well-formed");
        let own = Arc::new(OwnKeys { server_name: host.name().to_owned(), current, old: Vec::new() });
        let routes = Arc::new(Discovery::new(world.clone(), Options::default()));
        let client = Client::new(world.clone(), own.clone(), routes);
        let shown = Arc::new(Shown { world: world.clone(), own: own.clone(), state: Mutex::default() });
        let peer = Self { host, world, own, client, shown };
        peer.listen();
        peer
    }

    fn listen(&self) {
        let shown = self.shown.clone();
        let service = tower::service_fn(move |request: Request<Full<Bytes>>| {
            let shown = shown.clone();
            async move { Ok::<_, Infallible>(shown.answer(request).await) }
        });
        self.host.serve(FEDERATION_PORT, Certificate::of(self.name()), service);
    }

    /// Is gone for good: it neither answers nor asks any more.
    pub fn vanish(&self) {
        self.host.crash();
    }

    /// Its server name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Its world.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What signs and sends its questions.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Everything that came in, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.shown.state.lock().asked.clone()
    }

    /// The events that came in transactions, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Map<String, Value>> {
        self.in_transactions("pdus")
    }

    /// The EDUs that came in transactions, in order.
    #[must_use]
    pub fn received_edus(&self) -> Vec<Map<String, Value>> {
        self.in_transactions("edus")
    }

    fn in_transactions(&self, what: &str) -> Vec<Map<String, Value>> {
        let asked = self.asked();
        let sent = asked.iter().filter(|asked| asked.path.starts_with("/_matrix/federation/v1/send/"));
        sent.flat_map(|asked| asked.body[what].as_array().cloned().unwrap_or_default())
            .filter_map(|one| one.as_object().cloned())
            .collect()
    }

    /// Decides what is answered: `script` is asked about every request first.
    pub fn script(&self, script: impl Fn(&Asked) -> Option<Scripted> + Send + Sync + 'static) {
        self.shown.state.lock().script = Some(Arc::new(script));
    }

    /// Answers everything by itself again.
    pub fn no_script(&self) {
        self.shown.state.lock().script = None;
    }

    /// Gives an event to whoever asks for it.
    pub fn show(&self, event: &PeerEvent) {
        self.shown.state.lock().events.insert(event.id.clone(), event.json.clone());
    }

    /// An event that it gives out.
    #[must_use]
    pub fn shown(&self, event_id: &str) -> Option<Map<String, Value>> {
        self.shown.state.lock().events.get(event_id).cloned()
    }

    /// Says what the state before an event is, by ids.
    pub fn show_state_before(&self, event_id: &str, state: Vec<String>) {
        self.shown.state.lock().before.insert(event_id.to_owned(), state);
    }

    /// Joins a user of this peer to a room of `server`.
    ///
    /// # Errors
    /// What the server says.
    pub async fn join(&self, server: &str, room_id: &str, user_id: &str) -> Result<PeerRoom, Failure> {
        let versions: Vec<_> = RoomVersion::ALL.iter().map(|version| version.as_str()).collect();
        let template = self.client.make_join(server, room_id, user_id, &versions).await.map_err(refused)?;
        let broken = |error: String| Failure::Broken(format!("join of {user_id}: {error}"));
        let version: RoomVersion =
            template.room_version.as_deref().unwrap_or("1").parse().map_err(|_| broken("its version".into()))?;
        let mut event: Map<String, Value> = template.event.parse().map_err(|error| broken(error.to_string()))?;
        event.insert("origin".into(), json!(self.name()));
        event.insert("origin_server_ts".into(), json!(self.world.now().millis()));
        let join = build_from_template(version, event, self.name(), &self.own.current)
            .map_err(|error| broken(error.to_string()))?;
        let text = Bytes::from(join.canonical().to_vec());
        let answer = self.client.send_join(server, room_id, join.event_id(), text, false).await.map_err(refused)?;
        let mut room = PeerRoom {
            id: room_id.to_owned(),
            version,
            state: BTreeMap::new(),
            tips: vec![join.event_id().to_owned()],
            depth: join.depth() + 1,
        };
        self.shown.state.lock().joined_among = answer.servers_in_room.unwrap_or_default();
        for raw in answer.auth_chain.iter().chain(&answer.state) {
            self.learn(version, raw)?;
        }
        for raw in &answer.state {
            room.apply(&self.learn(version, raw)?);
        }
        let own = PeerEvent { id: join.event_id().to_owned(), json: join.to_object() };
        self.show(&own);
        room.apply(&own);
        Ok(room)
    }

    /// The servers that were in the room before the last join of this peer, as the answer to it said.
    pub fn joined_among(&self) -> Vec<String> {
        self.shown.state.lock().joined_among.clone()
    }

    /// Takes over an event that some server gave.
    ///
    /// # Errors
    /// If it is none.
    pub fn learn(&self, version: RoomVersion, raw: &RawJson) -> Result<PeerEvent, Failure> {
        let json: Map<String, Value> = raw.parse().map_err(|error| Failure::Broken(error.to_string()))?;
        let event = PeerEvent { id: id_of(version, &json), json };
        self.show(&event);
        Ok(event)
    }

    /// An event as it would be right, but for hashes, signatures and id: on the room's tips, with the auth events that its state gives.
    #[must_use]
    pub fn draft(
        &self,
        room: &PeerRoom,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Map<String, Value> {
        let content = content.as_object().cloned().unwrap_or_default();
        let auth: Vec<String> = auth_types(room.version, event_type, sender, state_key, &content)
            .into_iter()
            .filter_map(|(kind, key)| room.state.get(&(kind.to_owned(), key.to_owned())).cloned())
            .collect();
        let mut draft = Map::new();
        draft.insert("type".into(), json!(event_type));
        draft.insert("room_id".into(), json!(room.id));
        draft.insert("sender".into(), json!(sender));
        draft.insert("content".into(), Value::Object(content));
        draft.insert("origin_server_ts".into(), json!(self.world.now().millis()));
        draft.insert("depth".into(), json!(room.depth));
        draft.insert("auth_events".into(), self.references(room.version, &auth));
        draft.insert("prev_events".into(), self.references(room.version, &room.tips));
        if let Some(state_key) = state_key {
            draft.insert("state_key".into(), json!(state_key));
        }
        if room.version.rules().event_id == EventIdFormat::Sent {
            let random: [u8; 8] = self.world.random_bytes();
            draft.insert("event_id".into(), json!(format!("${:x}:{}", u64::from_be_bytes(random), self.name())));
        }
        draft
    }

    /// References to events, in the form of the room version.
    #[must_use]
    pub fn references(&self, version: RoomVersion, ids: &[String]) -> Value {
        if !version.rules().references_carry_hashes() {
            return json!(ids);
        }
        let state = self.shown.state.lock();
        let pair = |id: &String| {
            let hash = state.events.get(id).and_then(|event| hash::reference_hash(version, event).ok());
            json!([id, { "sha256": hash::encode(&hash.unwrap_or_default()) }])
        };
        ids.iter().map(pair).collect()
    }

    /// Hashes and signs a draft, whatever it says, as its last step.
    #[must_use]
    pub fn sign(&self, version: RoomVersion, draft: Map<String, Value>) -> PeerEvent {
        self.sign_with(version, draft, &self.own.current)
    }

    /// The same with any key.
    #[must_use]
    pub fn sign_with(&self, version: RoomVersion, mut draft: Map<String, Value>, key: &SigningKey) -> PeerEvent {
        hash_and_sign_event(version, &mut draft, self.name(), key).expect("drafts of tests have a canonical form");
        PeerEvent { id: id_of(version, &draft), json: draft }
    }

    /// A right event on the room's tips, which it then follows: shown to whoever asks, not yet sent.
    pub fn event(
        &self,
        room: &mut PeerRoom,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> PeerEvent {
        let event = self.sign(room.version, self.draft(room, sender, event_type, state_key, content));
        self.show(&event);
        room.follow(&event);
        event
    }

    /// Sends events in a transaction; gives what the server says about each of which it says something: `None` for taken.
    ///
    /// # Errors
    /// What the server says of the whole.
    pub async fn send(
        &self,
        server: &str,
        events: &[PeerEvent],
    ) -> Result<BTreeMap<String, Option<String>>, RequestError> {
        let pdus: Vec<&Map<String, Value>> = events.iter().map(|event| &event.json).collect();
        self.send_body(server, json!({ "pdus": pdus, "edus": [] })).await
    }

    /// Sends a transaction with this body, to which what is missing of the envelope is added.
    ///
    /// # Errors
    /// What the server says of the whole.
    pub async fn send_body(
        &self,
        server: &str,
        mut body: Value,
    ) -> Result<BTreeMap<String, Option<String>>, RequestError> {
        let id: [u8; 8] = self.world.random_bytes();
        body["origin"] = json!(self.name());
        body["origin_server_ts"] = json!(self.world.now().millis());
        let id = format!("{:x}", u64::from_be_bytes(id));
        let answer = self.client.send_transaction(server, &id, body.to_string().into()).await?;
        Ok(answer.pdus.into_iter().map(|(id, result)| (id, result.error)).collect())
    }
}

impl PeerRoom {
    /// Puts a state event into the state.
    pub fn apply(&mut self, event: &PeerEvent) {
        let text = |name: &str| event.json.get(name).and_then(Value::as_str).map(str::to_owned);
        if let (Some(kind), Some(key)) = (text("type"), text("state_key")) {
            self.state.insert((kind, key), event.id.clone());
        }
    }

    /// The next event follows this one, which is in the state if it is a state event.
    pub fn follow(&mut self, event: &PeerEvent) {
        self.apply(event);
        self.tips = vec![event.id.clone()];
        self.depth = event.json.get("depth").and_then(Value::as_i64).unwrap_or_default() + 1;
    }

    /// The id of a state event.
    #[must_use]
    pub fn state_id(&self, event_type: &str, state_key: &str) -> Option<&str> {
        self.state.get(&(event_type.to_owned(), state_key.to_owned())).map(String::as_str)
    }
}

fn refused(error: RequestError) -> Failure {
    match error.peer() {
        Some(peer) => Failure::Refused {
            request: error.to_string(),
            status: http::StatusCode::from_u16(peer.status).unwrap_or_default(),
            body: Value::Object(peer.body.clone()),
        },
        None => Failure::Broken(error.to_string()),
    }
}

/// An event's id, whatever else may be wrong with it.
fn id_of(version: RoomVersion, event: &Map<String, Value>) -> String {
    let hash = || hash::encode(&hash::reference_hash(version, event).unwrap_or_default());
    match version.rules().event_id {
        EventIdFormat::Sent => event.get("event_id").and_then(Value::as_str).unwrap_or_default().to_owned(),
        EventIdFormat::Base64Hash => format!("${}", hash()),
        EventIdFormat::UrlSafeBase64Hash => format!("${}", hash().replace('+', "-").replace('/', "_")),
    }
}

impl Shown {
    async fn answer(&self, request: Request<Full<Bytes>>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let decode = |text: &str| {
            url::form_urlencoded::parse(text.replace('+', "%2B").as_bytes())
                .next()
                .map(|(name, _)| name.into_owned())
                .unwrap_or_default()
        };
        let asked = Asked {
            method: head.method,
            path: head.uri.path().split('/').map(decode).collect::<Vec<_>>().join("/"),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let script = {
            let mut state = self.state.lock();
            state.asked.push(asked.clone());
            state.script.clone()
        };
        let scripted = script.and_then(|script| script(&asked));
        let mut answer = None;
        if let Some(scripted) = scripted {
            self.world.sleep(scripted.after).await;
            answer = scripted.answer;
        }
        let (status, body) = answer.unwrap_or_else(|| self.own_answer(&asked));
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        let kind = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        response
    }

    fn own_answer(&self, asked: &Asked) -> (u16, Value) {
        let missing = || (404, json!({ "errcode": "M_NOT_FOUND", "error": "There is no such thing here." }));
        let parameter = |wanted: &str| {
            let mut pairs = url::form_urlencoded::parse(asked.query.as_bytes());
            pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let parts: Vec<&str> = asked.path.trim_start_matches("/_matrix/").split('/').collect();
        let state = self.state.lock();
        let whole =
            |ids: &[String]| -> Vec<&Map<String, Value>> { ids.iter().filter_map(|id| state.events.get(id)).collect() };
        match parts.as_slice() {
            ["key", "v2", "server"] => (200, Value::Object(self.own.document(self.world.now()))),
            ["federation", "v1", "send", _] => (200, json!({ "pdus": {} })),
            ["federation", "v1", "event", id] => match state.events.get(*id) {
                Some(event) => (200, json!({ "pdus": [event] })),
                None => missing(),
            },
            ["federation", "v1", "event_auth", _, id] => {
                (200, json!({ "auth_chain": whole(&state.chain(&[(*id).to_owned()])) }))
            }
            ["federation", "v1", "get_missing_events", _] => (200, json!({ "events": state.between(&asked.body) })),
            ["federation", "v1", "state_ids", _] => match state.before.get(&parameter("event_id")) {
                Some(ids) => (200, json!({ "pdu_ids": ids, "auth_chain_ids": state.chain(ids) })),
                None => missing(),
            },
            ["federation", "v1", "state", _] => match state.before.get(&parameter("event_id")) {
                Some(ids) => (200, json!({ "pdus": whole(ids), "auth_chain": whole(&state.chain(ids)) })),
                None => missing(),
            },
            ["federation", "v2", "invite", _, _] => {
                let version = asked.body["room_version"].as_str().unwrap_or_default().parse();
                let signed = version.ok().and_then(|version: RoomVersion| {
                    let event = state_res::pdu::Pdu::from_value(version, asked.body["event"].as_object()?).ok()?;
                    countersign(&event, &self.own.server_name, &self.own.current).ok()
                });
                signed.map_or_else(missing, |event| (200, json!({ "event": event.to_object() })))
            }
            _ => (404, json!({ "errcode": "M_UNRECOGNIZED", "error": "This peer does not do that." })),
        }
    }
}

impl State {
    /// Ids of the auth chains of these events, without those events that only they name.
    fn chain(&self, ids: &[String]) -> Vec<String> {
        let mut queue: Vec<String> = ids.iter().flat_map(|id| self.named(id, "auth_events")).collect();
        let mut found = BTreeSet::new();
        while let Some(id) = queue.pop() {
            if self.events.contains_key(&id) && found.insert(id.clone()) {
                queue.extend(self.named(&id, "auth_events"));
            }
        }
        found.into_iter().collect()
    }

    /// The ids in `prev_events` or `auth_events` of an event.
    fn named(&self, id: &str, member: &str) -> Vec<String> {
        let list = self.events.get(id).and_then(|event| event.get(member)?.as_array().cloned()).unwrap_or_default();
        list.iter().filter_map(|one| one.as_str().or(one[0].as_str()).map(str::to_owned)).collect()
    }

    /// The answer to `get_missing_events`, oldest first.
    fn between(&self, question: &Value) -> Vec<&Map<String, Value>> {
        let ids = |name: &str| -> Vec<String> {
            let list = question[name].as_array().cloned().unwrap_or_default();
            list.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()
        };
        let limit = question["limit"].as_u64().unwrap_or(10);
        let mut seen: BTreeSet<String> = ids("earliest_events").into_iter().collect();
        let mut queue: VecDeque<String> =
            ids("latest_events").iter().flat_map(|id| self.named(id, "prev_events")).collect();
        let mut found = Vec::new();
        while let Some(id) = queue.pop_front() {
            if (found.len() as u64) < limit
                && seen.insert(id.clone())
                && let Some(event) = self.events.get(&id)
            {
                found.push(event);
                queue.extend(self.named(&id, "prev_events"));
            }
        }
        found.sort_by_key(|event| event.get("depth").and_then(Value::as_i64));
        found
    }
}
