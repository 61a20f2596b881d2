//! Client-server API, "User-Interactive Authentication API".

use super::{Accounts, UserIdentifier, login::PasswordOwner, tokens};
use crate::{Error, Result, limits};
use lru::LruCache;
use net::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{net::IpAddr, time::Duration};
use subtle::ConstantTimeEq;

/// The stage that always succeeds.
pub const DUMMY: &str = "m.login.dummy";
/// The stage that wants the account's password.
pub const PASSWORD: &str = "m.login.password";
/// The stage that wants the token of `registration.token`.
pub const REGISTRATION_TOKEN: &str = "m.login.registration_token";

/// Unfinished sessions kept at once; the one unused for longest goes first.
const MAX_SESSIONS: usize = 10_000;
/// How long a client may take.
const SESSION_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// The `auth` object of a request.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct AuthData {
    /// Which stage is attempted. Absent: only ask how far the session has come.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The session from the server's first answer.
    pub session: Option<String>,
    /// `m.login.password`: whose.
    pub identifier: Option<UserIdentifier>,
    /// The same as clients from before identifiers say it.
    pub user: Option<String>,
    /// `m.login.password`: the password.
    pub password: Option<String>,
    /// `m.login.registration_token`: the token.
    pub token: Option<String>,
}

/// What has to be proved, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Challenge<'a> {
    /// The operation, so that a session made for one cannot be used for another.
    pub operation: &'static str,
    /// What is operated on, where the user has agreed to that and nothing else; may be empty.
    pub subject: &'a str,
    /// The user whose password is wanted; `None` where the request has no access token.
    pub user_id: Option<&'a str>,
    /// The flows, each a list of stages in order. Any one is enough.
    pub flows: &'a [&'a [&'static str]],
}

/// Sessions of user-interactive auth. In memory: a client starts again after a restart.
pub(super) struct UiaSessions(Mutex<LruCache<String, UiaSession>>);

impl Default for UiaSessions {
    fn default() -> Self {
        Self(Mutex::new(LruCache::unbounded()))
    }
}

#[derive(Debug, Clone)]
struct UiaSession {
    operation: &'static str,
    subject: String,
    user_id: Option<String>,
    completed: Vec<&'static str>,
    /// Who the password stage turned out to be about.
    proved: Option<String>,
    started: Timestamp,
}

impl Accounts {
    /// Carries a request through user-interactive auth: `Ok` once a flow is complete, with the user whose password was
    /// proved, if one was.
    ///
    /// # Errors
    ///
    /// 401 with flows, session and completed stages, until then; 403 `M_FORBIDDEN` for a session that was begun for something else of the same
    /// kind; 429 where someone guesses.
    pub async fn interactive_auth(
        &self,
        challenge: Challenge<'_>,
        auth: Option<&AuthData>,
        address: IpAddr,
    ) -> Result<Option<String>> {
        let Some(auth) = auth else { return Err(self.ask(challenge, None, None)) };
        let (id, mut session) = match &auth.session {
            Some(id) => match self.interactive.find(id, challenge, self.world.now()) {
                Some(session) if session.subject != challenge.subject => {
                    return Err(Error::forbidden(
                        "`auth.session` was begun for another request than this; leave `auth` out to begin one for this.",
                    ));
                }
                Some(session) => (Some(id.clone()), session),
                None => {
                    let why = "`auth.session` is not known (any more); start again with the session given here";
                    return Err(self.ask(challenge, None, Some(Error::forbidden(why))));
                }
            },
            // A client that knows what will be asked may answer in its first request.
            None => (None, UiaSession::new(challenge, self.world.now())),
        };
        if let Some(kind) = auth.kind.as_deref() {
            match self.attempt(challenge, &session, kind, auth, address).await {
                Ok((stage, proved)) => {
                    if !session.completed.contains(&stage) {
                        session.completed.push(stage);
                    }
                    session.proved = proved.or(session.proved);
                }
                Err(error) if error.status == 429 || error.status >= 500 => return Err(error),
                Err(error) => return Err(self.ask(challenge, id.map(|id| (id, session)), Some(error))),
            }
        }
        if challenge.flows.iter().any(|flow| *flow == session.completed) {
            if let Some(id) = id {
                self.interactive.0.lock().pop(&id);
            }
            return Ok(session.proved);
        }
        Err(self.ask(challenge, id.map(|id| (id, session)), None))
    }

    /// One stage: its name and, for a password, whose it was.
    async fn attempt(
        &self,
        challenge: Challenge<'_>,
        session: &UiaSession,
        kind: &str,
        auth: &AuthData,
        address: IpAddr,
    ) -> Result<(&'static str, Option<String>)> {
        // The stage must come next in a flow that begins with what is complete, or be complete already.
        let done = session.completed.iter().find(|stage| **stage == kind).copied();
        if let Some(stage) = done {
            return Ok((stage, None));
        }
        let next = challenge.flows.iter().filter(|flow| flow.starts_with(&session.completed));
        let stage = next.filter_map(|flow| flow.get(session.completed.len()).copied()).find(|stage| *stage == kind);
        let Some(stage) = stage else {
            return Err(Error::forbidden("`auth.type` is not a stage that comes next in one of the flows."));
        };
        let proved = match stage {
            DUMMY => None,
            REGISTRATION_TOKEN => {
                self.limits.take(&limits::GUESS_BY_ADDRESS, &limits::of_address(address))?;
                let token = auth.token.as_deref().unwrap_or_default();
                if !self.is_registration_token(token) {
                    return Err(Error::forbidden("`auth.token` is not a valid registration token."));
                }
                None
            }
            PASSWORD => Some(self.password_stage(challenge, auth).await?),
            other => return Err(Error::internal(format!("the flow names the stage {other}, which nobody checks"))),
        };
        Ok((stage, proved))
    }

    async fn password_stage(&self, challenge: Challenge<'_>, auth: &AuthData) -> Result<String> {
        let Some(password) = auth.password.as_deref() else {
            return Err(Error::missing_param("`auth.password` is missing."));
        };
        let user_id = match (&auth.identifier, &auth.user, challenge.user_id) {
            (Some(identifier), _, _) => self.meant(identifier.user()?)?,
            (None, Some(user), _) => self.meant(user)?,
            // The access token already says who it must be.
            (None, None, Some(user_id)) => user_id.to_owned(),
            (None, None, None) => return Err(Error::missing_param("`auth.identifier` is missing.")),
        };
        if challenge.user_id.is_some_and(|expected| expected != user_id) {
            return Err(Error::forbidden("`auth.identifier` names another user than the access token."));
        }
        match self.check_password(&user_id, password).await? {
            PasswordOwner::Proved(_) => Ok(user_id),
            PasswordOwner::Wrong => Err(Error::forbidden("The password is wrong.")),
        }
    }

    /// Whether `token` is the operator's registration token, in time that does not depend on where they differ.
    pub(super) fn is_registration_token(&self, token: &str) -> bool {
        let expected = self.config.registration.token.as_deref().unwrap_or_default();
        !expected.is_empty() && bool::from(expected.as_bytes().ct_eq(token.as_bytes()))
    }

    /// The 401 that asks for the next stage. Starts a session if there is none.
    fn ask(&self, challenge: Challenge<'_>, session: Option<(String, UiaSession)>, why: Option<Error>) -> Error {
        let (id, session) = session
            .unwrap_or_else(|| (tokens::new_session_id(&self.world), UiaSession::new(challenge, self.world.now())));
        let mut members = Map::new();
        let flows: Vec<_> = challenge.flows.iter().map(|flow| json!({ "stages": flow })).collect();
        members.insert("flows".to_owned(), Value::Array(flows));
        members.insert("params".to_owned(), json!({}));
        members.insert("session".to_owned(), Value::String(id.clone()));
        if !session.completed.is_empty() {
            members.insert("completed".to_owned(), json!(session.completed));
        }
        self.interactive.keep(id, session);
        match why {
            Some(why) => Error { status: 401, extra: Some(Box::new(members)), ..why },
            None => Error::bare(401, members),
        }
    }
}

impl UiaSessions {
    fn find(&self, id: &str, challenge: Challenge<'_>, now: Timestamp) -> Option<UiaSession> {
        let mut sessions = self.0.lock();
        let session = sessions.get(id)?;
        if now.since(session.started) > SESSION_LIFETIME {
            sessions.pop(id);
            return None;
        }
        (session.operation == challenge.operation && session.user_id.as_deref() == challenge.user_id)
            .then(|| session.clone())
    }

    fn keep(&self, id: String, session: UiaSession) {
        let mut sessions = self.0.lock();
        sessions.put(id, session);
        if sessions.len() > MAX_SESSIONS {
            sessions.pop_lru();
        }
    }
}

impl UiaSession {
    fn new(challenge: Challenge<'_>, now: Timestamp) -> Self {
        Self {
            operation: challenge.operation,
            subject: challenge.subject.to_owned(),
            user_id: challenge.user_id.map(str::to_owned),
            completed: Vec::new(),
            proved: None,
            started: now,
        }
    }
}
