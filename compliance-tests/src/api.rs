//! One account's view of a homeserver, in raw JSON over HTTP.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};

/// Longer than any long poll that the tools ask for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(180);

/// What may stand unescaped in one segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

static NEXT_TRANSACTION: AtomicU64 = AtomicU64::new(1);

/// One HTTP client for the process: connections are kept and reused, as clients do.
static HTTP: LazyLock<reqwest::Client> = LazyLock::new(|| {
    // Fails only when a provider is installed already, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(REQUEST_TIMEOUT)
        .pool_max_idle_per_host(256)
        .build()
        .expect("a client without files or proxies to read cannot fail to build")
});

/// A homeserver's client API as one account, or as nobody, sees it.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    /// The access token, if this is somebody.
    pub token: Option<String>,
    /// The account's Matrix ID; empty for nobody.
    pub user_id: String,
    /// The device's ID; empty for nobody.
    pub device_id: String,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// HTTP headers.
    pub headers: reqwest::header::HeaderMap,
    /// The bytes of the body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; `null` when it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The Matrix error code, or an empty string.
    pub fn errcode(&self) -> String {
        self.json()["errcode"].as_str().unwrap_or_default().to_owned()
    }
}

/// `text` as one segment of a path.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A transaction id that this process has not used before.
pub fn transaction() -> String {
    format!("t{}-{}", std::process::id(), NEXT_TRANSACTION.fetch_add(1, Ordering::Relaxed))
}

impl Api {
    /// The server at `base` (`http://127.0.0.1:8008`), for nobody in particular.
    pub fn new(base: &str) -> Self {
        Self {
            base: base.trim_end_matches('/').to_owned(),
            token: None,
            user_id: String::new(),
            device_id: String::new(),
        }
    }

    /// The same server for an account that is signed in already.
    pub fn signed_in(&self, user_id: &str, device_id: &str, token: &str) -> Self {
        Self {
            base: self.base.clone(),
            token: Some(token.to_owned()),
            user_id: user_id.to_owned(),
            device_id: device_id.to_owned(),
        }
    }

    /// The server's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends bytes as they are and gives whatever comes back. Fails only when there is no HTTP answer.
    pub async fn raw(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer> {
        let mut request = HTTP.request(method.clone(), format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.with_context(|| format!("{method} {path}"))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.with_context(|| format!("{method} {path}: the body"))?.to_vec();
        Ok(Answer { status, headers, body })
    }

    /// Sends JSON and gives whatever comes back.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        self.raw(method, path, body.map(|body| body.to_string().into_bytes())).await
    }

    async fn expect_ok(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let answer = self.call(method.clone(), path, body).await?;
        if answer.status != 200 {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            bail!("{method} {path} as {:?} answered {} {text}", self.user_id, answer.status);
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("{method} {path} answered 200 without JSON"))
    }

    /// `GET`, expecting 200.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.expect_ok(Method::GET, path, None).await
    }

    /// `POST`, expecting 200.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.expect_ok(Method::POST, path, Some(body)).await
    }

    /// `PUT`, expecting 200.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.expect_ok(Method::PUT, path, Some(body)).await
    }

    /// Makes an account by open registration (`m.login.dummy` in the first request) and signs it in.
    pub async fn register(&self, name: &str, password: &str) -> Result<Self> {
        let body = json!({"username": name, "password": password, "auth": {"type": "m.login.dummy"}});
        self.session(self.post("/_matrix/client/v3/register", &body).await?)
    }

    /// Signs in an account, as a new device.
    pub async fn login(&self, name: &str, password: &str) -> Result<Self> {
        let body = json!({
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": name},
            "password": password,
        });
        self.session(self.post("/_matrix/client/v3/login", &body).await?)
    }

    fn session(&self, answer: Value) -> Result<Self> {
        let text =
            |key: &str| -> Result<&str> { answer[key].as_str().with_context(|| format!("no {key} in {answer}")) };
        Ok(self.signed_in(text("user_id")?, text("device_id")?, text("access_token")?))
    }

    /// Makes a room; answers its id.
    pub async fn create_room(&self, body: &Value) -> Result<String> {
        let answer = self.post("/_matrix/client/v3/createRoom", body).await?;
        Ok(answer["room_id"].as_str().context("no room_id")?.to_owned())
    }

    /// Joins a room by id or alias; answers its id.
    pub async fn join(&self, room: &str, via: &[&str]) -> Result<String> {
        let query: Vec<String> = via
            .iter()
            .flat_map(|via| [format!("via={}", segment(via)), format!("server_name={}", segment(via))])
            .collect();
        let path = format!("/_matrix/client/v3/join/{}?{}", segment(room), query.join("&"));
        let answer = self.post(&path, &json!({})).await?;
        Ok(answer["room_id"].as_str().context("no room_id")?.to_owned())
    }

    /// Invites a user.
    pub async fn invite(&self, room: &str, user: &str) -> Result<()> {
        self.post(&format!("/_matrix/client/v3/rooms/{}/invite", segment(room)), &json!({"user_id": user})).await?;
        Ok(())
    }

    /// Sends an event under a transaction id; answers its event id.
    pub async fn send(&self, room: &str, kind: &str, transaction: &str, content: &Value) -> Result<String> {
        let path =
            format!("/_matrix/client/v3/rooms/{}/send/{}/{}", segment(room), segment(kind), segment(transaction));
        let answer = self.put(&path, content).await?;
        Ok(answer["event_id"].as_str().context("no event_id")?.to_owned())
    }

    /// Sends a text message; answers its event id.
    pub async fn say(&self, room: &str, body: &str) -> Result<String> {
        self.send(room, "m.room.message", &transaction(), &json!({"msgtype": "m.text", "body": body})).await
    }

    /// Sets a piece of room state; answers the event id.
    pub async fn set_state(&self, room: &str, kind: &str, key: &str, content: &Value) -> Result<String> {
        let path = format!("/_matrix/client/v3/rooms/{}/state/{}/{}", segment(room), segment(kind), segment(key));
        let answer = self.put(&path, content).await?;
        Ok(answer["event_id"].as_str().context("no event_id")?.to_owned())
    }

    /// The room's current state events.
    pub async fn state(&self, room: &str) -> Result<Vec<Value>> {
        match self.get(&format!("/_matrix/client/v3/rooms/{}/state", segment(room))).await? {
            Value::Array(events) => Ok(events),
            other => bail!("the state of {room} is not a list: {other}"),
        }
    }

    /// One sync. `query` holds what is to come beside `since`, such as `timeout=30000`.
    pub async fn sync(&self, since: Option<&str>, query: &str) -> Result<Value> {
        let since = since.map(|since| format!("since={}&", segment(since))).unwrap_or_default();
        self.get(&format!("/_matrix/client/v3/sync?{since}{query}")).await
    }

    /// One page of a room's history (`dir` is `b` or `f`): the events and the token of the next page, if there is one.
    pub async fn messages(
        &self,
        room: &str,
        dir: &str,
        from: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Value>, Option<String>)> {
        let from = from.map(|from| format!("&from={}", segment(from))).unwrap_or_default();
        let path = format!("/_matrix/client/v3/rooms/{}/messages?dir={dir}&limit={limit}{from}", segment(room));
        let mut answer = self.get(&path).await?;
        let Value::Array(chunk) = answer["chunk"].take() else { bail!("{path}: no chunk in {answer}") };
        Ok((chunk, answer["end"].as_str().map(str::to_owned)))
    }

    /// The whole history that this account can page back through, oldest first.
    pub async fn history(&self, room: &str, page: usize) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        let mut from = None;
        loop {
            let (chunk, end) = self.messages(room, "b", from.as_deref(), page).await?;
            if end.is_some() && end == from {
                bail!("paging back through {room} stays at token {from:?}");
            }
            events.extend(chunk);
            match end {
                Some(end) => from = Some(end),
                None => break,
            }
        }
        events.reverse();
        Ok(events)
    }
}
