//! The command's end: asks a running server if there is one, and does it itself otherwise.

use super::operate::operate;
use super::password;
use super::protocol::{Answer, Request, SocketPath};
use crate::cli::{CommonArguments, RoomCommand, UserCommand};
use crate::config::{Loaded, check};
use crate::data_dir::DataDir;
use crate::start;
use anyhow::{Context as _, bail};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

/// Carries a command out and prints what came of it.
///
/// # Errors
/// Why it was refused or failed.
pub(crate) fn run(command: &UserCommand) -> anyhow::Result<()> {
    let loaded = common(command).load()?;
    // Directories are made by `serve`; a mistyped one should not become a second, empty server. Except for the first
    // account, which may be made before the server first runs.
    let data_dir = match command {
        UserCommand::Create { .. } => DataDir::create(&loaded.settings)?,
        _ => DataDir::open(&loaded.settings)?,
    };
    let answers = carry_out(&loaded, &data_dir, request(command)?)?;
    print(answers, matches!(command, UserCommand::List { json: true, .. }))
}

/// Carries a command about rooms out and prints what came of it.
///
/// # Errors
/// Why it was refused or failed.
pub(crate) fn run_room(command: &RoomCommand) -> anyhow::Result<()> {
    let RoomCommand::Purge { room, keep_days, common } = command;
    let loaded = common.load()?;
    let data_dir = DataDir::open(&loaded.settings)?;
    print(carry_out(&loaded, &data_dir, Request::PurgeRoom { room: room.clone(), keep_days: *keep_days })?, false)
}

fn carry_out(loaded: &Loaded, data_dir: &DataDir, request: Request) -> anyhow::Result<Vec<Answer>> {
    match connect(data_dir)? {
        Some(stream) => ask(stream, &request),
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
    let answers: Vec<Answer> = BufReader::new(stream)
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<anyhow::Result<_>>()
        .context("the running server answered with something else than expected; is it another version?")?;
    if !matches!(answers.last(), Some(Answer::Done { .. } | Answer::Error { .. })) {
        bail!("the running server broke off before it answered; its log may say why");
    }
    Ok(answers)
}

fn alone(loaded: &Loaded, data_dir: &DataDir, request: Request) -> anyhow::Result<Vec<Answer>> {
    check(loaded)?;
    start::runtime()?.block_on(async {
        let services = start::services_alone(loaded, data_dir).await?;
        let answers = operate(&services, request).await;
        Ok(answers)
    })
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
            Answer::Done { .. } => {}
            Answer::Error { message } => bail!("{message}"),
        }
    }
    Ok(())
}
