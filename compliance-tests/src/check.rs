//! How a homeserver answers bad input: with the specification's status and error code, and without changing anything.
//!
//! The cases are data (module `cases`), run one after the other by a fresh account of the server. A case names what may come back;
//! where the specification leaves a choice, it names several. Whatever the case, an answer of 500 or above, or an error without
//! `errcode`, is a failure.

mod cases;
mod rubbish;

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Answer, Api};

pub use cases::cases;

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The account that made the room.
    Owner,
    /// Another account, which is not in the room.
    Stranger,
    /// Nobody: no token.
    Nobody,
    /// Somebody with a token that the server never gave.
    Impostor,
}

/// One request and what may come back. `{room}`, `{owner}`, `{stranger}`, `{event}`, `{device}` and `{server}` in path and body stand for ids.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is, in a few words.
    pub what: &'static str,
    /// Who asks.
    pub who: Who,
    /// HTTP method.
    pub method: Method,
    /// Path with query.
    pub path: String,
    /// The body's bytes, if there is one.
    pub body: Option<Vec<u8>>,
    /// The statuses and error codes that are right; an empty code stands for success or for an answer whose code is free.
    pub right: Vec<(u16, &'static str)>,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// How many requests were made.
    pub requests: usize,
    /// One sentence for each failure.
    pub failures: Vec<String>,
}

/// The accounts and the room that the cases speak of.
struct Scene {
    nobody: Api,
    owner: Api,
    stranger: Api,
    room: String,
    event: String,
    server: String,
}

/// Runs every case on a server that lets anyone register and limits no rates.
pub async fn check(url: &str) -> Result<Report> {
    let scene = Scene::new(Api::new(url)).await.context("making two accounts and a room")?;
    let before = scene.snapshot().await?;
    let mut report = Report::default();
    for case in cases() {
        report.requests += 1;
        let answer = scene.answer(&case).await?;
        if let Some(wrong) = judge(&case, &answer) {
            report.failures.push(wrong);
        }
    }
    rubbish::throw(&scene, &mut report).await?;
    cases::endless_body(&scene, &mut report).await?;
    cases::replays(&scene, &mut report).await?;
    let after = scene.snapshot().await?;
    if before != after {
        report.failures.push(format!("bad input changed something: before {before}, after {after}"));
    }
    Ok(report)
}

impl Scene {
    async fn new(nobody: Api) -> Result<Self> {
        let run = format!("{:08x}", rand::random::<u32>());
        let owner = nobody.register(&format!("owner-{run}"), "the owner's password").await?;
        let stranger = nobody.register(&format!("stranger-{run}"), "the stranger's password").await?;
        let room = owner.create_room(&json!({"name": "Bad input"})).await?;
        let event = owner.say(&room, "the one good message").await?;
        let server = owner.user_id.split_once(':').context("a Matrix ID has a colon")?.1.to_owned();
        Ok(Self { nobody, owner, stranger, room, event, server })
    }

    fn fill(&self, text: &str, escape: bool) -> String {
        let mut text = text.to_owned();
        for (name, value) in [
            ("{room}", &self.room),
            ("{event}", &self.event),
            ("{owner}", &self.owner.user_id),
            ("{stranger}", &self.stranger.user_id),
            ("{device}", &self.owner.device_id),
            ("{server}", &self.server),
        ] {
            let value = if escape { crate::api::segment(value) } else { value.clone() };
            text = text.replace(name, &value);
        }
        text
    }

    async fn answer(&self, case: &Case) -> Result<Answer> {
        let api = match case.who {
            Who::Owner => self.owner.clone(),
            Who::Stranger => self.stranger.clone(),
            Who::Nobody => self.nobody.clone(),
            Who::Impostor => self.nobody.signed_in(&self.owner.user_id, &self.owner.device_id, "not-a-token"),
        };
        let body = case.body.clone().map(|body| match String::from_utf8(body) {
            Ok(text) => self.fill(&text, false).into_bytes(),
            Err(bytes) => bytes.into_bytes(),
        });
        api.raw(case.method.clone(), &self.fill(&case.path, true), body)
            .await
            .with_context(|| format!("{}: the server gave no HTTP answer", case.what))
    }

    /// What must be the same afterwards.
    async fn snapshot(&self) -> Result<Value> {
        let mut state: Vec<String> =
            self.owner.state(&self.room).await?.iter().map(|event| event["event_id"].to_string()).collect();
        state.sort();
        let history: Vec<Value> =
            self.owner.history(&self.room, 100).await?.iter().map(|event| event["event_id"].clone()).collect();
        let mut devices = Vec::new();
        for api in [&self.owner, &self.stranger] {
            let answer = api.get("/_matrix/client/v3/devices").await?;
            let list = answer["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
            devices.push(list.iter().map(|device| device["device_id"].clone()).collect::<Vec<_>>());
        }
        Ok(json!({"state": state, "history": history, "devices": devices}))
    }
}

/// Why an answer is wrong, in a sentence; `None` when it is right.
fn judge(case: &Case, answer: &Answer) -> Option<String> {
    let (status, code) = (answer.status, answer.errcode());
    let right = case.right.iter().any(|(right, wanted)| *right == status && (wanted.is_empty() || *wanted == code));
    let wrong = |why: &str| {
        let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
        Some(format!("{}: {} {}: {why}; got {status} {body}", case.what, case.method, case.path))
    };
    if !right {
        return wrong(&format!("wanted one of {:?}", case.right));
    }
    if !answer.headers.contains_key("access-control-allow-origin") {
        return wrong("no Access-Control-Allow-Origin");
    }
    if status >= 400 && code.is_empty() && !answer.json()["flows"].is_array() {
        return wrong("an error without errcode");
    }
    if status >= 400 && !code.is_empty() && answer.json()["error"].as_str().is_none_or(str::is_empty) {
        return wrong("an error without a sentence");
    }
    None
}
