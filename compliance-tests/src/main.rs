//! `causeway-compliance`: checks and measures any homeserver from outside.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use compliance_tests::load::{self, Amounts, CompareOptions, Target};
use compliance_tests::rig::Kind;

/// Checks and measures any Matrix homeserver from outside, through its client-server API.
#[derive(Parser)]
#[command(name = "causeway-compliance", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sends bad input to a server that lets anyone register, and says what it answers wrongly.
    Check {
        /// The server's client API: http://127.0.0.1:8008
        url: String,
    },
    /// Measures what a message, a delivery and an initial sync cost a server, and prints JSON.
    #[command(long_about = LOAD)]
    Load(LoadArguments),
}

const LOAD: &str = "\
Measures what a message, a delivery and an initial sync cost a server, and prints JSON.

The server must run on this machine, its rate limits must be lifted, and it should do nothing else meanwhile. Accounts are \
made by open registration, or with --registration-secret by the shared-secret endpoint. CPU time and memory are those of the \
processes given with --pid and of all their descendants; a database that serves the homeserver is to be given as well.

  sent_message       CPU milliseconds for each of --messages messages, sent by --senders accounts at once to a room in which
                     nobody syncs
  delivered_message  CPU milliseconds for each message that reaches one of --watchers long-polling clients in one room
  initial_sync       CPU milliseconds for each initial sync of an account in --rooms rooms, as a new device, without a filter
  memory_at_rest     before any of this; memory_after: after all of it

\"resident\" memory counts shared pages in every process, \"proportional\" memory divides them among those who share them.

Examples:
  causeway-compliance load --url http://127.0.0.1:8008 --pid $(pidof causeway)
  causeway-compliance load --compare
        starts Causeway and a published Synapse on PostgreSQL, each on fresh data, and measures one after the other";

#[derive(Args)]
struct LoadArguments {
    /// The server's client API, on this machine: http://127.0.0.1:8008
    #[arg(long, required_unless_present = "compare")]
    url: Option<String>,
    /// A process of the server; may be given several times. Without any, only times are measured.
    #[arg(long = "pid")]
    pids: Vec<u32>,
    /// The shared secret for making accounts, when registration is not open.
    #[arg(long)]
    registration_secret: Option<String>,
    /// Starts and measures Causeway and Synapse, instead of a server that runs already.
    #[arg(long, conflicts_with_all = ["url", "pids"])]
    compare: bool,
    /// The causeway to compare; without it, the workspace's is built with optimisation.
    #[arg(long, requires = "compare")]
    causeway: Option<PathBuf>,
    /// Measures only `causeway` or only `synapse`.
    #[arg(long, requires = "compare")]
    only: Option<String>,
    /// Messages sent, in all.
    #[arg(long, default_value_t = Amounts::default().messages)]
    messages: usize,
    /// Accounts that send at the same time.
    #[arg(long, default_value_t = Amounts::default().senders)]
    senders: usize,
    /// Clients that long-poll in one room.
    #[arg(long, default_value_t = Amounts::default().watchers)]
    watchers: usize,
    /// Messages that each of them gets.
    #[arg(long, default_value_t = Amounts::default().deliveries)]
    deliveries: usize,
    /// Rooms of the account whose initial sync is measured.
    #[arg(long, default_value_t = Amounts::default().rooms)]
    rooms: usize,
    /// Messages in each of those rooms.
    #[arg(long, default_value_t = Amounts::default().messages_per_room)]
    messages_per_room: usize,
    /// Initial syncs.
    #[arg(long, default_value_t = Amounts::default().syncs)]
    syncs: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(arguments)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("causeway-compliance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Check { url } => {
            let report = compliance_tests::check::check(&url).await?;
            report.failures.iter().for_each(|failure| println!("{failure}"));
            println!("{} requests, {} answered wrongly", report.requests, report.failures.len());
            if !report.failures.is_empty() {
                bail!("the server does not answer as the specification says");
            }
        }
        Command::Load(arguments) => {
            let amounts = Amounts {
                messages: arguments.messages,
                senders: arguments.senders,
                watchers: arguments.watchers,
                deliveries: arguments.deliveries,
                rooms: arguments.rooms,
                messages_per_room: arguments.messages_per_room,
                syncs: arguments.syncs,
            };
            let figures = match arguments.url {
                Some(url) => {
                    let (pids, registration_secret) = (arguments.pids, arguments.registration_secret);
                    load::measure(&Target { url, pids, registration_secret }, &amounts).await?
                }
                None => {
                    let only = match arguments.only.as_deref() {
                        None => None,
                        Some("causeway") => Some(Kind::Causeway),
                        Some("synapse") => Some(Kind::Synapse),
                        Some(other) => bail!("--only is {other:?}; it can be causeway or synapse"),
                    };
                    load::compare(&CompareOptions { causeway: arguments.causeway, only }, &amounts).await?
                }
            };
            println!("{figures:#}");
        }
    }
    Ok(())
}
