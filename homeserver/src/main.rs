//! `causeway`: configuration, start-up, listeners, command line, metrics. Everything else is in the crates it wires together.

mod admin;
mod cli;
mod config;
mod data_dir;
mod first_steps;
mod http;
mod limits;
mod logging;
mod metrics;
mod serve;
mod start;
mod tls;

use clap::Parser as _;
use cli::{Cli, Command, ConfigCommand};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Faster than the system's, and gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command failed.
const FAILED: u8 = 1;
/// The configuration is wrong (command-line mistakes end with clap's own 2).
const WRONG_CONFIGURATION: u8 = 2;
/// The store could not be written (`EX_IOERR`): started again, the server goes on, if the disk can be written again.
const STORE_FAILED: u8 = 74;

fn main() -> ExitCode {
    // Pages of 2 MiB, of which most would stay unused, double what a small server takes and make nothing faster (docs/benchmarks.md). A
    // kernel that does not know the request does no harm.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let outcome = match Cli::parse().command {
        Command::Serve(arguments) => serve::run(&arguments).inspect_err(logging::fatal),
        Command::Config { command: ConfigCommand::Sample } => print(&config::sample()),
        Command::Config { command: ConfigCommand::Check(arguments) } => check(&arguments),
        Command::User(arguments) => admin::run(&arguments.command),
        Command::Room(arguments) => admin::run_room(&arguments.command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !logging::is_for_machines() {
                // Nothing is left to do where standard error is closed.
                let _ = writeln!(io::stderr(), "causeway: {error:#}");
            }
            ExitCode::from(if error.is::<config::Problems>() {
                WRONG_CONFIGURATION
            } else if error.is::<serve::StoreFailed>() {
                STORE_FAILED
            } else {
                FAILED
            })
        }
    }
}

fn check(arguments: &cli::ServeArguments) -> anyhow::Result<()> {
    let loaded = arguments.load()?;
    let checked = config::check(&loaded)?;
    let mut text = String::from("The configuration is right.\n");
    for (key, origin) in &loaded.origins {
        let value = loaded.settings.shown(key).unwrap_or_else(|| "(not shown)".to_owned());
        text.push_str(&format!("  {key} = {value} ({origin})\n"));
    }
    for warning in checked.warnings {
        text.push_str(&format!("Note: {warning}\n"));
    }
    print(&text)
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // As in `causeway config sample | head`.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
