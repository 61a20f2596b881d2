//! Carrying requests out on the services.

use super::protocol::{Account, Answer, Request};
use super::purge;
use services::{Error, Result, Services};

/// Carries a request out; `tell` gets what is to be said meanwhile. The last answer is always `done` or `error`.
pub(super) async fn operate(services: &Services, request: Request, tell: impl Fn(Answer) + Send) -> Vec<Answer> {
    match attempt(services, request, tell).await {
        Ok(answers) => answers,
        Err(error) => vec![Answer::Error { message: error.message }],
    }
}

async fn attempt(services: &Services, request: Request, tell: impl Fn(Answer) + Send) -> Result<Vec<Answer>> {
    let accounts = &services.accounts;
    let done = |message: String| Ok(vec![Answer::Done { message }]);
    match request {
        Request::CreateUser { user, password, admin } => {
            let name = localpart(&user, &services.config.server_name)?;
            let user_id = accounts.create_user(name, &password, admin).await?;
            done(format!("{user_id} can sign in now."))
        }
        Request::ListUsers => {
            let list = accounts.list_users().await?;
            let accounts = list.into_iter().map(|summary| {
                Answer::Account(Account {
                    user_id: summary.user_id,
                    admin: summary.administrator,
                    deactivated: summary.deactivated,
                })
            });
            Ok(accounts.chain([Answer::Done { message: String::new() }]).collect())
        }
        Request::SetPassword { user, password, keep_devices } => {
            accounts.set_password(&user, &password, !keep_devices).await?;
            done(format!("The password of {user} is changed."))
        }
        Request::Deactivate { user } => {
            services.deactivate(&user, false).await?;
            done(format!("{user} is deactivated."))
        }
        Request::PurgeRoom { room, keep_days } => done(purge::history(services, &room, keep_days, tell).await?),
        Request::RemoveRoom { room } => done(purge::whole(services, &room, tell).await?),
    }
}

/// The localpart of a name that may be a whole user id of this server.
///
/// # Errors
/// 400 `M_INVALID_PARAM` for an id of another server.
pub(super) fn localpart<'a>(user: &'a str, server_name: &str) -> Result<&'a str> {
    let Some(rest) = user.strip_prefix('@') else { return Ok(user) };
    match rest.split_once(':') {
        Some((name, server)) if server == server_name => Ok(name),
        Some((_, server)) => Err(Error::invalid_param(format!("{server} is not this server, which is {server_name}"))),
        None => Ok(rest),
    }
}
