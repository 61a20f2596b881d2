//! Another server, worked by hand: it signs requests and events, rightly or wrongly, and answers what it is told to answer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use ed25519_dalek::SigningKey;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::Method;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::api::{Answer, segment};
use crate::event;
use crate::rig::{Network, free_port};

/// How long a server may take to answer it.
const TIMEOUT: Duration = Duration::from_secs(90);
/// The key it signs with.
pub const KEY_ID: &str = "ed25519:now";
/// How long its keys are valid, in milliseconds.
const VALIDITY_MS: i64 = 3_600_000;

/// What is wrong with a request's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Nothing.
    None,
    /// There is none.
    Unsigned,
    /// It is by a key that is not the one named.
    OtherKey,
    /// It names a key that the peer does not publish.
    UnknownKey,
    /// It is meant for another server.
    OtherDestination,
    /// It is of another path.
    OtherPath,
    /// It is of another body.
    OtherBody,
    /// It cannot be read.
    Garbled,
}

/// All that are wrong.
pub const FORGERIES: [Forgery; 7] = [
    Forgery::Unsigned,
    Forgery::OtherKey,
    Forgery::UnknownKey,
    Forgery::OtherDestination,
    Forgery::OtherPath,
    Forgery::OtherBody,
    Forgery::Garbled,
];

/// A server worked by hand. A clone is the same server.
#[derive(Clone)]
pub struct Peer {
    name: String,
    key: SigningKey,
    http: reqwest::Client,
    answers: Arc<Mutex<BTreeMap<String, Value>>>,
}

/// A room as the peer sees it.
#[derive(Clone, Debug)]
pub struct PeerRoom {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: u8,
    /// The state, by type and state key.
    pub state: BTreeMap<(String, String), Map<String, Value>>,
    /// What the next event follows.
    pub tip: Map<String, Value>,
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A key made of one number, for tests.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

impl Peer {
    /// Starts one on loopback, with a certificate of the network's authority, that signs with `key(number)` and publishes that.
    pub async fn start(network: &Network, number: u8) -> Result<Self> {
        let port = free_port()?;
        let folder = network.folder().join(format!("peer-{port}"));
        fs::create_dir_all(&folder)?;
        let (certificate, tls_key) = network.authority().issue("localhost", &folder)?;
        // Fails only when a provider is installed already, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain = CertificateDer::pem_file_iter(&certificate)?.collect::<Result<Vec<_>, _>>()?;
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&tls_key)?)?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let answers: Arc<Mutex<BTreeMap<String, Value>>> = Arc::default();
        tokio::spawn(listen(listener, TlsAcceptor::from(Arc::new(tls)), answers.clone()));
        let authority = reqwest::Certificate::from_pem(&fs::read(network.authority().certificate_file())?)?;
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).add_root_certificate(authority).build()?;
        let peer = Self { name: format!("localhost:{port}"), key: key(number), http, answers };
        peer.publish(json!({}));
        Ok(peer)
    }

    /// Its server name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A user of it.
    pub fn user(&self, local: &str) -> String {
        format!("@{local}:{}", self.name)
    }

    /// Publishes its key, with these members of the document changed.
    pub fn publish(&self, changes: Value) {
        let public = event::base64(self.key.verifying_key().as_bytes());
        let mut document = Map::new();
        document.insert("server_name".into(), json!(self.name));
        document.insert("verify_keys".into(), json!({ KEY_ID: { "key": public } }));
        document.insert("old_verify_keys".into(), json!({}));
        document.insert("valid_until_ts".into(), json!(now() + VALIDITY_MS));
        document.extend(changes.as_object().cloned().unwrap_or_default());
        event::sign_json(&mut document, &self.name, KEY_ID, &self.key);
        self.answer("/_matrix/key/v2/server", Value::Object(document));
    }

    /// Answers this to requests whose path begins so.
    pub fn answer(&self, path: &str, body: Value) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), body);
    }

    /// Sends a signed request to the server of that name.
    pub async fn ask(&self, server: &str, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        self.ask_with(server, method, path, body, Forgery::None).await
    }

    /// The same with a signature that is wrong in some way.
    pub async fn ask_with(
        &self,
        server: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        forgery: Forgery,
    ) -> Result<Answer> {
        let mut signed = Map::new();
        signed.insert("method".into(), json!(method.as_str()));
        signed.insert("uri".into(), json!(if forgery == Forgery::OtherPath { "/_matrix/other" } else { path }));
        signed.insert("origin".into(), json!(self.name));
        let destination = if forgery == Forgery::OtherDestination { "elsewhere.example" } else { server };
        signed.insert("destination".into(), json!(destination));
        match (forgery, body) {
            (Forgery::OtherBody, _) => drop(signed.insert("content".into(), json!({ "other": true }))),
            (_, Some(body)) => drop(signed.insert("content".into(), body.clone())),
            (_, None) => {}
        }
        let key_id = if forgery == Forgery::UnknownKey { "ed25519:unknown" } else { KEY_ID };
        let other = key(200);
        let by = if matches!(forgery, Forgery::OtherKey | Forgery::UnknownKey) { &other } else { &self.key };
        event::sign_json(&mut signed, &self.name, key_id, by);
        let signature = signed["signatures"][&self.name][key_id].as_str().unwrap_or_default();
        let mut header = format!(
            "X-Matrix origin=\"{}\",destination=\"{destination}\",key=\"{key_id}\",sig=\"{signature}\"",
            self.name
        );
        if forgery == Forgery::Garbled {
            header.truncate(header.len() / 2);
        }
        let mut request = self.http.request(method.clone(), format!("https://{server}{path}"));
        if forgery != Forgery::Unsigned {
            request = request.header("authorization", header);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(event::canonical(body));
        }
        let response = request.send().await.with_context(|| format!("{method} {path}"))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.with_context(|| format!("{method} {path}: the body"))?.to_vec();
        Ok(Answer { status, headers, body })
    }

    /// Sends a transaction.
    pub async fn send(&self, server: &str, pdus: &[Value], edus: &[Value]) -> Result<Answer> {
        let body = json!({ "origin": self.name, "origin_server_ts": now(), "pdus": pdus, "edus": edus });
        self.ask(server, Method::PUT, &transaction_path(), Some(&body)).await
    }

    /// Joins a user of it to a room.
    pub async fn join(&self, server: &str, room: &str, user: &str) -> Result<PeerRoom> {
        let versions: Vec<String> = (1..=12).map(|version| format!("ver={version}")).collect();
        let path =
            format!("/_matrix/federation/v1/make_join/{}/{}?{}", segment(room), segment(user), versions.join("&"));
        let template = expect_ok(self.ask(server, Method::GET, &path, None).await?, &path)?;
        let version: u8 = template["room_version"].as_str().unwrap_or("1").parse()?;
        let mut join = template["event"].as_object().context("a template without event")?.clone();
        join.insert("origin".into(), json!(self.name));
        join.insert("origin_server_ts".into(), json!(now()));
        if version < 3 {
            join.insert("event_id".into(), json!(self.fresh_id()));
        }
        self.finish(version, &mut join);
        let path =
            format!("/_matrix/federation/v2/send_join/{}/{}", segment(room), segment(&event::event_id(version, &join)));
        let answer = self.ask(server, Method::PUT, &path, Some(&Value::Object(join.clone()))).await?;
        let answer = expect_ok(answer, &path)?;
        let mut view = PeerRoom { id: room.to_owned(), version, state: BTreeMap::new(), tip: join.clone() };
        for state in answer["state"].as_array().into_iter().flatten().filter_map(Value::as_object) {
            view.apply(state);
        }
        view.apply(&join);
        Ok(view)
    }

    /// An event id of the peer's own choice, for room versions 1 and 2.
    pub fn fresh_id(&self) -> String {
        format!("${}:{}", crate::api::transaction(), self.name)
    }

    /// An event on the room's tip that is right, but for hash and signature.
    pub fn draft(&self, room: &PeerRoom, sender: &str, kind: &str, content: Value) -> Map<String, Value> {
        let mut draft = Map::new();
        draft.insert("type".into(), json!(kind));
        draft.insert("room_id".into(), json!(room.id));
        draft.insert("sender".into(), json!(sender));
        draft.insert("content".into(), content);
        draft.insert("origin_server_ts".into(), json!(now()));
        draft.insert("depth".into(), json!(room.tip["depth"].as_i64().unwrap_or_default() + 1));
        draft.insert("prev_events".into(), room.references(&[&room.tip]));
        let mut auth: Vec<&Map<String, Value>> = Vec::new();
        for (kind, key) in [("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", sender)] {
            if kind != "m.room.create" || room.version < 12 {
                auth.extend(room.state.get(&(kind.to_owned(), key.to_owned())));
            }
        }
        draft.insert("auth_events".into(), room.references(&auth));
        if room.version < 3 {
            draft.insert("event_id".into(), json!(self.fresh_id()));
        }
        draft
    }

    /// Hashes and signs an event.
    pub fn finish(&self, version: u8, event: &mut Map<String, Value>) {
        event::finish(version, event, &self.name, KEY_ID, &self.key);
    }

    /// A message that is right in every way.
    pub fn message(&self, room: &PeerRoom, sender: &str, body: &str) -> Map<String, Value> {
        let mut event = self.draft(room, sender, "m.room.message", json!({ "msgtype": "m.text", "body": body }));
        self.finish(room.version, &mut event);
        event
    }
}

impl PeerRoom {
    /// Puts a state event into the state.
    pub fn apply(&mut self, event: &Map<String, Value>) {
        if let (Some(kind), Some(key)) =
            (event.get("type").and_then(Value::as_str), event.get("state_key").and_then(Value::as_str))
        {
            self.state.insert((kind.to_owned(), key.to_owned()), event.clone());
        }
    }

    /// An event's id here.
    pub fn id_of(&self, event: &Map<String, Value>) -> String {
        event::event_id(self.version, event)
    }

    /// `prev_events` or `auth_events` naming these.
    pub fn references(&self, events: &[&Map<String, Value>]) -> Value {
        let one = |event: &&Map<String, Value>| match self.version {
            1 | 2 => {
                let hash = event::base64(&event::reference_hash(self.version, event));
                json!([self.id_of(event), { "sha256": hash }])
            }
            _ => json!(self.id_of(event)),
        };
        events.iter().map(one).collect()
    }
}

/// The path of a new transaction.
pub fn transaction_path() -> String {
    format!("/_matrix/federation/v1/send/{}", crate::api::transaction())
}

fn expect_ok(answer: Answer, path: &str) -> Result<Value> {
    if answer.status != 200 {
        bail!("{path} answered {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    }
    Ok(answer.json())
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, answers: Arc<Mutex<BTreeMap<String, Value>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, answers) = (acceptor.clone(), answers.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request: Request<Incoming>| {
                let answers = answers.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    // All of it, or the next request on this connection cannot be read.
                    let _ = request.into_body().collect().await;
                    Ok::<_, Infallible>(reply(&answers, &path))
                }
            });
            // The other side may close the connection whenever it likes.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn reply(answers: &Mutex<BTreeMap<String, Value>>, path: &str) -> Response<Full<Bytes>> {
    let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    let found = answers.iter().rev().find(|(prefix, _)| path.starts_with(prefix.as_str()));
    let (status, body) = match found {
        Some((_, body)) => (200, body.to_string()),
        None => (404, json!({ "errcode": "M_NOT_FOUND", "error": "not here" }).to_string()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    response
}
