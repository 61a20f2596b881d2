//! A server in simulated time, and the requests that tests make to it.

use axum::body::Body;
use federation::keys::OwnKeys;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use net::{World, simulated::Simulation};
use serde_json::{Value, json};
use services::{Config, Services, config::RegistrationMode};
use state_res::sign::SigningKey;
use std::{sync::Arc, time::Duration};
use storage::{Faults, Store};
use tower::ServiceExt;

/// A server on an empty store.
pub(crate) struct Server {
    pub(crate) services: Arc<Services>,
    router: axum::Router,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// `Null` if there is no body.
    pub(crate) body: Value,
}

/// Someone who is signed in.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) user_id: String,
    pub(crate) device_id: String,
    pub(crate) token: String,
}

/// The password of everyone whom [`Server::user`] registers.
pub(crate) const PASSWORD: &str = "wonderland 1865";

/// Runs a test against a server with open registration and no rate limits.
pub(crate) fn with_server(test: impl AsyncFnOnce(Server)) {
    with_config(|_| {}, test);
}

/// The same, with a configuration that the test changes.
pub(crate) fn with_config(change: impl FnOnce(&mut Config), test: impl AsyncFnOnce(Server)) {
    let simulation = Simulation::new(7);
    let world = simulation.host("server").world();
    let mut config = Config::new("example.org");
    config.registration.mode = RegistrationMode::Open;
    config.rate_limits_enabled = false;
    change(&mut config);
    simulation
        .run(async {
            let store = Store::open_memory(&services::tables::SCHEMA, world.clone(), Faults::none());
            test(Server::start(config, world, store)).await;
        })
        .unwrap();
}

impl Server {
    /// A server over what is in `store`.
    pub(crate) fn start(config: Config, world: World, store: Store) -> Self {
        let own = OwnKeys {
            server_name: config.server_name.clone(),
            current: SigningKey::from_seed("a", [1; 32]).unwrap(),
            old: Vec::new(),
        };
        let services = Services::new(config, world, store, own);
        let router = client_api::router(services.clone());
        Self { services, router }
    }

    /// Sends a request. A `path` that does not begin with `/_` or `/.` is under `/_matrix/client/v3`.
    pub(crate) async fn send(&self, method: Method, path: &str, token: Option<&str>, body: impl Into<Body>) -> Answer {
        let uri = match path {
            _ if path.starts_with("/_") || path.starts_with("/.") => path.to_owned(),
            _ => format!("/_matrix/client/v3{path}"),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.request(request.body(body.into()).unwrap()).await
    }

    /// Sends any request.
    pub(crate) async fn request(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(Method::GET, path, Some(token), Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(token), body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(token), body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str, body: Value) -> Answer {
        self.send(Method::DELETE, path, Some(token), body.to_string()).await
    }

    /// `GET` without a token.
    pub(crate) async fn ask(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, Body::empty()).await
    }

    /// `POST` without a token.
    pub(crate) async fn tell(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, None, body.to_string()).await
    }

    /// Registers someone.
    pub(crate) async fn user(&self, name: &str) -> Login {
        let body = json!({ "username": name, "password": PASSWORD, "auth": { "type": "m.login.dummy" } });
        self.tell("/register", body).await.login()
    }

    /// Signs in once more.
    pub(crate) async fn login(&self, name: &str) -> Login {
        self.tell("/login", password_login(name, PASSWORD)).await.login()
    }

    /// Lets time pass.
    pub(crate) async fn wait(&self, duration: Duration) {
        self.services.world.sleep(duration).await;
    }
}

impl Answer {
    /// Asserts 200.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }

    /// Asserts an error, which must come with a sentence. Gives the body.
    #[track_caller]
    pub(crate) fn error(self, status: u16, errcode: &str) -> Value {
        assert_eq!((self.status.as_u16(), self.body["errcode"].as_str()), (status, Some(errcode)), "{}", self.body);
        assert!(self.body["error"].as_str().is_some_and(|error| error.len() > 10), "{}", self.body);
        self.body
    }

    /// Asserts that the answer is a 401 that asks for user-interactive auth, and gives its session.
    #[track_caller]
    pub(crate) fn challenge(&self, stage: &str) -> String {
        assert_eq!(self.status, StatusCode::UNAUTHORIZED, "{}", self.body);
        assert_eq!(self.body["flows"], json!([{ "stages": [stage] }]), "{}", self.body);
        assert!(self.body["params"].is_object(), "{}", self.body);
        self.body["session"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn login(self) -> Login {
        let body = self.ok();
        let text = |key: &str| body[key].as_str().unwrap_or_else(|| panic!("{key} in {body}")).to_owned();
        Login { user_id: text("user_id"), device_id: text("device_id"), token: text("access_token") }
    }
}

/// The body of a login.
pub(crate) fn password_login(user: &str, password: &str) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": user },
        "password": password,
    })
}

/// The `auth` of a password stage.
pub(crate) fn password_auth(session: &str, user: &str, password: &str) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": user },
        "password": password,
        "session": session,
    })
}
