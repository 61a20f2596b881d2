//! A server made of this crate alone, with answers from memory.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, extract::Request, middleware::Next, response::IntoResponse};
use bytes::Bytes;
use federation::{
    Answers, ApiError, Client, Edu, KeyRing, Queues, RawJson,
    auth::RequestToSign,
    client::Routes,
    discovery::Discovery,
    inbound::{self, Inbound},
    keys::{ForgetfulKeyStore, OldKey, OwnKeys},
    queue::MemoryQueueStore,
    types::*,
};
use http::{HeaderValue, Method, header};
use net::{
    OutboundRequest, World,
    simulated::{Certificate, Host, Simulation},
};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use state_res::sign::SigningKey;

/// A transaction as [`TestAnswers`] was asked to take it.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    pub origin: String,
    pub txn_id: String,
    pub pdus: Vec<String>,
    pub edus: Vec<Edu>,
}

/// Answers every question with something that shows what was asked.
#[derive(Default)]
pub struct TestAnswers {
    /// One line per question.
    pub asked: Mutex<Vec<String>>,
    pub transactions: Mutex<Vec<Taken>>,
    /// Given in place of the next answers.
    pub errors: Mutex<VecDeque<ApiError>>,
    /// Transactions with this text in them are refused with 400.
    pub poison: Mutex<Option<String>>,
    /// How long a transaction takes.
    pub slow: Mutex<Option<(World, Duration)>>,
    pub at_once: AtomicUsize,
    pub most_at_once: AtomicUsize,
    /// The template's sender, in place of the user asked for.
    pub wrong_sender: Mutex<Option<String>>,
}

impl TestAnswers {
    fn ask(&self, question: String) -> Result<(), ApiError> {
        self.asked.lock().push(question);
        match self.errors.lock().pop_front() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn template(&self, room: &str, user: &str, membership: &str) -> Template {
        let sender = self.wrong_sender.lock().clone().unwrap_or_else(|| user.to_owned());
        let event = json!({
            "type": "m.room.member", "room_id": room, "sender": sender, "state_key": user, "content": { "membership": membership }
        });
        Template { room_version: Some("10".to_owned()), event: raw(&event) }
    }

    /// All PDUs taken, in order.
    pub fn pdus(&self) -> Vec<String> {
        self.transactions.lock().iter().flat_map(|taken| taken.pdus.clone()).collect()
    }

    /// All EDUs taken, in order.
    pub fn edus(&self) -> Vec<Edu> {
        self.transactions.lock().iter().flat_map(|taken| taken.edus.clone()).collect()
    }
}

#[async_trait]
impl Answers for TestAnswers {
    async fn transaction(
        &self,
        origin: &str,
        txn_id: &str,
        pdus: Vec<RawJson>,
        edus: Vec<Edu>,
    ) -> Result<TransactionAnswer, ApiError> {
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        let slow = self.slow.lock().clone();
        if let Some((world, duration)) = slow {
            world.sleep(duration).await;
        }
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let pdus: Vec<_> = pdus.iter().map(text).collect();
        self.ask(format!("transaction {txn_id}"))?;
        let poison = self.poison.lock().clone();
        if let Some(poison) = poison
            && pdus.iter().any(|pdu| pdu.contains(&poison))
        {
            return Err(ApiError::bad_json("That is poison."));
        }
        let results = pdus.iter().enumerate().map(|(index, _)| (format!("${index}"), PduResult::handled()));
        let answer = TransactionAnswer { pdus: results.collect() };
        self.transactions.lock().push(Taken { origin: origin.to_owned(), txn_id: txn_id.to_owned(), pdus, edus });
        Ok(answer)
    }

    async fn make_join(&self, origin: &str, room: &str, user: &str, versions: &[String]) -> Result<Template, ApiError> {
        self.ask(format!("{origin} make_join {room} {user} {versions:?}"))?;
        Ok(self.template(room, user, "join"))
    }

    async fn send_join(
        &self,
        origin: &str,
        room: &str,
        event_id: &str,
        event: RawJson,
        omit: bool,
    ) -> Result<JoinAnswer, ApiError> {
        self.ask(format!("{origin} send_join {room} {event_id} {event:?} {omit}"))?;
        let servers_in_room = Some(vec![origin.to_owned()]);
        Ok(JoinAnswer {
            event: Some(event.clone()),
            state: vec![event.clone()],
            auth_chain: vec![event],
            members_omitted: omit,
            servers_in_room,
        })
    }

    async fn make_leave(&self, origin: &str, room: &str, user: &str) -> Result<Template, ApiError> {
        self.ask(format!("{origin} make_leave {room} {user}"))?;
        Ok(self.template(room, user, "leave"))
    }

    async fn send_leave(&self, origin: &str, room: &str, event_id: &str, event: RawJson) -> Result<(), ApiError> {
        self.ask(format!("{origin} send_leave {room} {event_id} {event:?}"))
    }

    async fn make_knock(
        &self,
        origin: &str,
        room: &str,
        user: &str,
        versions: &[String],
    ) -> Result<Template, ApiError> {
        self.ask(format!("{origin} make_knock {room} {user} {versions:?}"))?;
        Ok(self.template(room, user, "knock"))
    }

    async fn send_knock(
        &self,
        origin: &str,
        room: &str,
        event_id: &str,
        event: RawJson,
    ) -> Result<Vec<RawJson>, ApiError> {
        self.ask(format!("{origin} send_knock {room} {event_id} {event:?}"))?;
        Ok(vec![event])
    }

    async fn invite(&self, origin: &str, invite: InviteRequest) -> Result<RawJson, ApiError> {
        let InviteRequest { room_id, event_id, room_version, event, invite_room_state } = invite;
        self.ask(format!("{origin} invite {room_id} {event_id} {room_version} {event:?} {invite_room_state:?}"))?;
        Ok(event)
    }

    async fn backfill(
        &self,
        origin: &str,
        room: &str,
        from: &[String],
        limit: usize,
    ) -> Result<Vec<RawJson>, ApiError> {
        self.ask(format!("{origin} backfill {room} {from:?} {limit}"))?;
        Ok(vec![raw(&json!({ "depth": 1 })), RawJson::from_known(&b"{\"odd\":1.0e3}"[..])])
    }

    async fn missing_events(
        &self,
        origin: &str,
        room: &str,
        request: MissingEventsRequest,
    ) -> Result<Vec<RawJson>, ApiError> {
        self.ask(format!("{origin} missing_events {room} {request:?}"))?;
        Ok(vec![raw(&json!({ "depth": 2 }))])
    }

    async fn state(&self, origin: &str, room: &str, event_id: &str) -> Result<StateAnswer, ApiError> {
        self.ask(format!("{origin} state {room} {event_id}"))?;
        Ok(StateAnswer { pdus: vec![raw(&json!({ "a": 1 }))], auth_chain: vec![raw(&json!({ "b": 1 }))] })
    }

    async fn state_ids(&self, origin: &str, room: &str, event_id: &str) -> Result<StateIds, ApiError> {
        self.ask(format!("{origin} state_ids {room} {event_id}"))?;
        Ok(StateIds { pdu_ids: vec!["$a".into()], auth_chain_ids: vec!["$b".into()] })
    }

    async fn event(&self, origin: &str, event_id: &str) -> Result<RawJson, ApiError> {
        self.ask(format!("{origin} event {event_id}"))?;
        Ok(raw(&json!({ "event": event_id })))
    }

    async fn event_auth(&self, origin: &str, room: &str, event_id: &str) -> Result<Vec<RawJson>, ApiError> {
        self.ask(format!("{origin} event_auth {room} {event_id}"))?;
        Ok(vec![raw(&json!({ "auth": event_id }))])
    }

    async fn event_at_time(
        &self,
        origin: &str,
        room: &str,
        ts: i64,
        direction: Direction,
    ) -> Result<EventAtTime, ApiError> {
        self.ask(format!("{origin} event_at_time {room} {ts} {direction:?}"))?;
        Ok(EventAtTime { event_id: "$t".into(), origin_server_ts: ts + 1 })
    }

    async fn profile(&self, origin: &str, user: &str, field: Option<&str>) -> Result<Map<String, Value>, ApiError> {
        self.ask(format!("{origin} profile {user} {field:?}"))?;
        Ok(Map::from_iter([("displayname".to_owned(), json!("Bé"))]))
    }

    async fn alias(&self, origin: &str, alias: &str) -> Result<AliasAnswer, ApiError> {
        self.ask(format!("{origin} alias {alias}"))?;
        Ok(AliasAnswer { room_id: "!r:b.example".into(), servers: vec!["b.example".into()] })
    }

    async fn user_keys(&self, origin: &str, request: DeviceKeyRequest) -> Result<UserKeys, ApiError> {
        self.ask(format!("{origin} user_keys {request:?}"))?;
        let keys = |user: &str| (user.to_owned(), [("D".to_owned(), json!({}))].into());
        Ok(UserKeys { device_keys: [keys("@b:b.example"), keys("@x:elsewhere.example")].into(), ..UserKeys::default() })
    }

    async fn claim_keys(&self, origin: &str, request: KeyClaimRequest) -> Result<ClaimedKeys, ApiError> {
        self.ask(format!("{origin} claim_keys {request:?}"))?;
        Ok(ClaimedKeys { one_time_keys: [("@b:b.example".to_owned(), Default::default())].into() })
    }

    async fn user_devices(&self, origin: &str, user: &str) -> Result<UserDevices, ApiError> {
        self.ask(format!("{origin} user_devices {user}"))?;
        Ok(UserDevices {
            user_id: user.into(),
            stream_id: 5,
            devices: vec![],
            master_key: None,
            self_signing_key: None,
        })
    }

    async fn public_rooms(&self, origin: &str, request: PublicRoomsRequest) -> Result<Map<String, Value>, ApiError> {
        self.ask(format!("{origin} public_rooms {request:?}"))?;
        Ok(Map::from_iter([("chunk".to_owned(), json!([]))]))
    }

    async fn hierarchy(&self, origin: &str, room: &str, suggested: bool) -> Result<Hierarchy, ApiError> {
        self.ask(format!("{origin} hierarchy {room} {suggested}"))?;
        Ok(Hierarchy { room: Map::new(), children: vec![], inaccessible_children: vec![room.to_owned()] })
    }

    async fn exchange_third_party_invite(&self, origin: &str, room: &str, event: RawJson) -> Result<(), ApiError> {
        self.ask(format!("{origin} exchange_third_party_invite {room} {event:?}"))
    }

    async fn openid_user(&self, access_token: &str) -> Result<String, ApiError> {
        self.ask(format!("openid_user {access_token}"))?;
        Ok("@b:b.example".to_owned())
    }
}

/// What a server keeps when it goes down.
#[derive(Clone, Default)]
pub struct Disk {
    pub keys: Arc<ForgetfulKeyStore>,
    pub queue: Arc<MemoryQueueStore>,
}

/// How a server is set up.
#[derive(Clone)]
pub struct Setup {
    pub disk: Disk,
    /// Seed of the signing key, which is also its version.
    pub key: u8,
    pub old_keys: Vec<OldKey>,
    pub notaries: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { disk: Disk::default(), key: 1, old_keys: Vec::new(), notaries: Vec::new() }
    }
}

/// A server.
pub struct Server {
    pub name: String,
    pub world: World,
    pub setup: Setup,
    pub answers: Arc<TestAnswers>,
    pub own: Arc<OwnKeys>,
    pub client: Client,
    pub ring: KeyRing,
    pub queues: Queues,
    /// Method and path of every request that came in.
    pub requests: Arc<Mutex<Vec<String>>>,
    /// Answers 500 to everything.
    pub broken: Arc<AtomicBool>,
    pub router: Router,
}

impl Server {
    /// A server that answers no requests yet.
    pub fn new(world: World, name: &str, setup: Setup, routes: Arc<dyn Routes>) -> Self {
        let current = SigningKey::from_seed(&format!("k{}", setup.key), [setup.key; 32]).unwrap();
        let own = Arc::new(OwnKeys { server_name: name.to_owned(), current, old: setup.old_keys.clone() });
        let client = Client::new(world.clone(), own.clone(), routes);
        let ring =
            KeyRing::new(world.clone(), client.clone(), own.clone(), setup.disk.keys.clone(), setup.notaries.clone());
        let queues = Queues::new(world.clone(), client.clone(), setup.disk.queue.clone());
        let answers = Arc::new(TestAnswers::default());
        let seen = queues.clone();
        let router = inbound::router(Inbound {
            world: world.clone(),
            answers: answers.clone(),
            keys: ring.clone(),
            seen: Arc::new(move |server| seen.peer_seen(server)),
            version: ServerVersion { name: Some("Test".into()), version: Some("1".into()) },
        });
        let requests = Arc::new(Mutex::new(Vec::new()));
        let broken = Arc::new(AtomicBool::new(false));
        let (record, is_broken) = (requests.clone(), broken.clone());
        let router = router.layer(axum::middleware::from_fn(move |request: Request, next: Next| {
            record.lock().push(format!("{} {}", request.method(), request.uri().path()));
            let is_broken = is_broken.load(Ordering::SeqCst);
            async move {
                if is_broken {
                    http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
                } else {
                    next.run(request).await
                }
            }
        }));
        let name = name.to_owned();
        Self { name, world, setup, answers, own, client, ring, queues, requests, broken, router }
    }

    /// A server of a simulation, found through discovery, that answers requests and sends what waits.
    pub fn start(simulation: &Simulation, name: &str, setup: Setup) -> Self {
        let host = simulation.host(name);
        let world = host.world();
        let discovery = Discovery::new(world.clone(), Default::default());
        let server = Self::new(world, name, setup, Arc::new(discovery));
        server.listen(&host);
        server.queues.start();
        server
    }

    pub fn listen(&self, host: &Host) {
        host.serve(8448, Certificate::of(&self.name), self.router.clone());
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.requests.lock().iter().filter(|request| request.ends_with(path)).count()
    }

    /// Sends a request signed as this server's, with whatever body, and gives status and error code.
    pub async fn send(&self, to: &str, method: Method, uri: &str, body: &[u8]) -> (u16, String) {
        let content = if body.is_empty() { None } else { Some(body) };
        let sign = RequestToSign { method: method.as_str(), uri, origin: &self.name, destination: to, content };
        // What cannot be signed gets the signature of something else.
        let header = sign.sign(&self.own.current);
        let header =
            header.unwrap_or_else(|_| RequestToSign { content: None, ..sign }.sign(&self.own.current).unwrap());
        let (status, body) = ask(&self.world, to, method, uri, &[&header.to_string()], body).await;
        (status, errcode(&body))
    }
}

/// Sends a request to port 8448 of `to`, with these `Authorization` headers, and gives status and body.
pub async fn ask(
    world: &World,
    to: &str,
    method: Method,
    uri: &str,
    authorization: &[&str],
    body: &[u8],
) -> (u16, Value) {
    let mut request = OutboundRequest::new(method, format!("https://{to}:8448{uri}").parse().unwrap());
    for value in authorization {
        request.headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    request.body = Bytes::copy_from_slice(body);
    let response = world.http().send(request).await.unwrap();
    let status = response.status.as_u16();
    assert_eq!(response.headers.get(header::CONTENT_TYPE).unwrap(), "application/json");
    let body = response.bytes(1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

pub fn errcode(body: &Value) -> String {
    body.get("errcode").and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub fn raw(value: &Value) -> RawJson {
    RawJson::from_known(value.to_string())
}

pub fn text(raw: &RawJson) -> String {
    String::from_utf8(raw.as_bytes().to_vec()).unwrap()
}

/// Lets time pass until something holds, a day at most.
pub async fn until(world: &World, what: &str, holds: impl Fn() -> bool) {
    for _ in 0..24 * 60 * 60 * 10 {
        if holds() {
            return;
        }
        world.sleep(Duration::from_millis(100)).await;
    }
    panic!("it never came about that {what}");
}
