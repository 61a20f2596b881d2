//! One server.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use net::simulated::{Certificate, Host};
use parking_lot::Mutex;
use serde_json::{Value, json};
use services::{Config, Services, config::RegistrationMode, signing_keys::own_keys};
use std::{sync::Arc, time::Duration};
use storage::{Faults, Store};
use tower::ServiceExt;

/// Where servers listen for each other if nothing says otherwise.
const FEDERATION_PORT: u16 = 8448;
/// The password of everyone.
pub const PASSWORD: &str = "wonderland 1865";
/// How long a synced write takes.
const SYNC_TIME: Duration = Duration::from_millis(2);

/// A server: its machine, its disk, and, while it runs, its services.
pub struct Server {
    host: Host,
    disk: Faults,
    running: Mutex<Option<Running>>,
}

#[derive(Clone)]
struct Running {
    services: Arc<Services>,
    router: axum::Router,
}

/// Someone who is signed in.
#[derive(Clone, Debug)]
pub struct User {
    /// The full user id.
    pub id: String,
    /// An access token.
    pub token: String,
}

/// Why a request came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The server does not run, or crashed before it answered: nobody knows whether it did what it was asked.
    #[error("{0} does not run")]
    Down(String),
    /// It answered an error.
    #[error("{request}: {status} {body}")]
    Refused {
        /// Method and path.
        request: String,
        /// The status.
        status: StatusCode,
        /// The body.
        body: Value,
    },
    /// The request cannot be sent, or the answer cannot be read, or the server cannot start.
    #[error("{0}")]
    Broken(String),
}

impl Server {
    pub(crate) fn new(host: Host) -> Self {
        let disk = Faults::none();
        disk.set_sync_time(SYNC_TIME);
        Self { host, disk, running: Mutex::new(None) }
    }

    /// Its server name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Its disk, to let writes and reads fail.
    #[must_use]
    pub fn disk(&self) -> &Faults {
        &self.disk
    }

    /// Its services, while it runs.
    #[must_use]
    pub fn services(&self) -> Option<Arc<Services>> {
        self.running.lock().as_ref().map(|running| running.services.clone())
    }

    /// Starts it, or starts it again after a crash, with open registration and without limits on rates.
    ///
    /// # Errors
    /// If it cannot read or write its signing keys.
    pub async fn start(&self) -> Result<(), Failure> {
        let world = self.host.world();
        let store = Store::open_memory(&services::tables::SCHEMA, world.clone(), self.disk.clone());
        let keys = own_keys(&store, &world, self.name()).await.map_err(|error| Failure::Broken(error.message))?;
        let mut config = Config::new(self.name());
        config.registration.mode = RegistrationMode::Open;
        config.rate_limits_enabled = false;
        let services = Services::new(config, world, store, keys);
        services.peers.undo_broken_joins().await.map_err(|error| Failure::Broken(error.message))?;
        let router = client_api::router(services.clone());
        let peers = federation::inbound::router(services.inbound());
        self.host.serve(FEDERATION_PORT, Certificate::of(self.name()), peers);
        services.start_clock();
        services.start_federation();
        *self.running.lock() = Some(Running { services, router });
        Ok(())
    }

    /// Ends it in the middle of whatever it is doing. Its disk keeps what was synced.
    pub fn crash(&self) {
        self.host.crash();
        self.disk.lose_power();
        let running = self.running.lock().take();
        drop(running);
    }

    /// Registers someone.
    ///
    /// # Errors
    /// [`Failure`], as with [`Server::call`].
    pub async fn register(&self, name: &str) -> Result<User, Failure> {
        let body = json!({ "username": name, "password": PASSWORD, "auth": { "type": "m.login.dummy" } });
        let answer = self.call(Method::POST, "/register", "", &body).await?;
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        Ok(User { id: text("user_id"), token: text("access_token") })
    }

    /// Sends a client's request and gives the body of the answer. A `path` that does not begin with `/_` is under
    /// `/_matrix/client/v3`. An empty `token` is none, and a `body` of null is none.
    ///
    /// The server works on it in a task of its own, which ends with a crash.
    ///
    /// # Errors
    /// [`Failure`] if there is no answer, or one whose status is not 200.
    pub async fn call(&self, method: Method, path: &str, token: &str, body: &Value) -> Result<Value, Failure> {
        let down = || Failure::Down(self.name().to_owned());
        let running = self.running.lock().clone().ok_or_else(down)?;
        let name = format!("{method} {path}");
        let uri = if path.starts_with("/_") { path.to_owned() } else { format!("/_matrix/client/v3{path}") };
        let mut request = Request::builder().method(method).uri(uri);
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = request.body(body).map_err(|error| Failure::Broken(format!("{name}: {error}")))?;
        let world = running.services.world.clone();
        let task = world.spawn("client's request", async move {
            let answer = running.router.oneshot(request).await.map_err(|error| error.to_string())?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            let body: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            Ok::<_, String>((head.status, body))
        });
        match task.join().await {
            Ok(Ok((StatusCode::OK, body))) => Ok(body),
            Ok(Ok((status, body))) => Err(Failure::Refused { request: name, status, body }),
            Ok(Err(error)) => Err(Failure::Broken(format!("{name}: {error}"))),
            Err(_) => Err(down()),
        }
    }
}
