//! The command's end: asks a running server if there is one, and does it itself otherwise.

use super::operate::{localpart, operate};
use super::password;
use super::protocol::{Answer, Request, SocketPath};
use crate::cli::{CommonArguments, RoomCommand, UserCommand};
use crate::config::{Loaded, check};
use crate::data_dir::DataDir;
use crate::start;
use anyhow::{Context as _, anyhow, bail};
use services::accounts::names::new_user_id;
use services::names;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

/// Carries a command out and prints what came of it.
///
/// # Errors
/// Why it was refused or failed.
pub(crate) fn run(command: &UserCommand) -> anyhow::Result<()> {
    let loaded = common(command).load()?;
    // Directories are made by `serve`; a mistyped one should not become a second, empty server. Except for the first
    // account, which may be made before the server first runs: then everything that can be wrong is looked at before.
    let (data_dir, request) = match command {
        UserCommand::Create { user, .. } if !DataDir::exists(&loaded.settings)? => {
            let request = request(command)?;
            check(&loaded)?;
            let Some(name) = &loaded.settings.server.name else {
                bail!("server.name: no server has run in this data directory yet; name it with --server-name");
            };
            let new = localpart(user, &name.0).and_then(|localpart| new_user_id(localpart, &name.0));
            new.map_err(|error| anyhow!("{}", error.message))?;
            (DataDir::create(&loaded.settings)?, request)
        }
        _ => (DataDir::open(&loaded.settings)?, request(command)?),
    };
    let answers = carry_out(&loaded, &data_dir, request)?;
    print(answers, matches!(command, UserCommand::List { json: true, .. }))
}

/// Carries a command about rooms out and prints what came of it.
///
/// # Errors
/// Why it was refused or failed.
pub(crate) fn run_room(command: &RoomCommand) -> anyhow::Result<()> {
    let RoomCommand::Purge { room, keep_days, all: _, common } = command;
    if !names::is_room_id(room) {
        bail!("{room:?} is no room id, which begins with an exclamation mark; clients show it in the room's settings");
    }
    let room = room.clone();
    let request = match keep_days {
        Some(keep_days) => Request::PurgeRoom { room, keep_days: *keep_days },
        None => Request::RemoveRoom { room },
    };
    let loaded = common.load()?;
    let data_dir = DataDir::open(&loaded.settings)?;
    print(carry_out(&loaded, &data_dir, request)?, false)
}

fn carry_out(loaded: &Loaded, data_dir: &DataDir, request: Request) -> anyhow::Result<Vec<Answer>> {
    match connect(data_dir)? {
        Some(stream) => {
            data_dir.refuse_other_name(&loaded.settings)?;
            ask(stream, &request)
        }
        None => alone(loaded, data_dir, request),
    }
}

fn common(command: &UserCommand) -> &CommonArguments {
    match command {
        UserCommand::Create { common, .. }
        | UserCommand::List { common, .. }
        | UserCommand::Password { common, .. }
        | UserCommand::Deactivate { common, .. } => common,
    }
}

fn request(command: &UserCommand) -> anyhow::Result<Request> {
    Ok(match command {
        UserCommand::Create { user, password, admin, .. } => Request::CreateUser {
            user: user.clone(),
            password: password::obtain(password.password.as_deref(), user)?,
            admin: *admin,
        },
        UserCommand::List { .. } => Request::ListUsers,
        UserCommand::Password { user, password, keep_devices, .. } => Request::SetPassword {
            user: user.clone(),
            password: password::obtain(password.password.as_deref(), user)?,
            keep_devices: *keep_devices,
        },
        UserCommand::Deactivate { user, .. } => Request::Deactivate { user: user.clone() },
    })
}

/// A connection to the running server; nothing if none runs.
fn connect(data_dir: &DataDir) -> anyhow::Result<Option<UnixStream>> {
    let socket = SocketPath::in_dir(data_dir.path())?;
    match UnixStream::connect(socket.path()) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error).with_context(|| {
            format!("the server in {} cannot be asked; run this as the user that it runs as", data_dir.path().display())
        }),
    }
}

fn ask(mut stream: UnixStream, request: &Request) -> anyhow::Result<Vec<Answer>> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).context("the running server does not listen")?;
    let mut answers = Vec::new();
    for line in BufReader::new(stream).lines() {
        let answer = line.map_err(anyhow::Error::from).and_then(|line| Ok(serde_json::from_str(&line)?));
        match answer.context("the running server answered with something else than expected; is it another version?")? {
            Answer::Progress { message } => tell(&message),
            answer => answers.push(answer),
        }
    }
    if !matches!(answers.last(), Some(Answer::Done { .. } | Answer::Error { .. })) {
        bail!("the running server broke off before it answered; its log may say why");
    }
    Ok(answers)
}

fn alone(loaded: &Loaded, data_dir: &DataDir, request: Request) -> anyhow::Result<Vec<Answer>> {
    check(loaded)?;
    start::runtime()?.block_on(async {
        let services = start::services_alone(loaded, data_dir).await?;
        let answers = operate(&services, request, |answer| {
            if let Answer::Progress { message } = answer {
                tell(&message);
            }
        });
        Ok(answers.await)
    })
}

/// Says how far a command has come, beside what it prints.
fn tell(message: &str) {
    // Nothing is left to do where standard error is closed.
    let _ = writeln!(io::stderr(), "{message}");
}

fn print(answers: Vec<Answer>, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for answer in answers {
        match answer {
            Answer::Account(account) if json => writeln!(out, "{}", serde_json::to_string(&account)?)?,
            Answer::Account(account) => {
                let admin = if account.admin { "  administrator" } else { "" };
                let deactivated = if account.deactivated { "  deactivated" } else { "" };
                writeln!(out, "{}{admin}{deactivated}", account.user_id)?;
            }
            Answer::Done { message } if !json => writeln!(out, "{message}")?,
            Answer::Done { .. } | Answer::Progress { .. } => {}
            Answer::Error { message } => bail!("{message}"),
        }
    }
    Ok(())
}
