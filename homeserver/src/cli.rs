//! The command line.

use crate::config::{self, Loaded, Problems, Sources};
use clap::{ArgGroup, Args, Parser, Subcommand};
use std::path::PathBuf;

/// Causeway, a Matrix homeserver.
#[derive(Debug, Parser)]
#[command(
    name = "causeway",
    version,
    about,
    disable_help_subcommand = true,
    after_help = "First steps:\n  \
        causeway config sample > causeway.toml       a configuration to fill in (every key may be left out)\n  \
        causeway serve --server-name example.org     run the server; the name is for ever\n  \
        causeway user create alice --admin           make an account, in another terminal\n\n\
        Commands that manage accounts and rooms find the server through its data directory: give them the same --data-dir or --config."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server until it is told to stop (SIGTERM, SIGINT).
    ///
    /// Without any configuration it serves clients on this machine alone, at http://127.0.0.1:8008, and keeps everything in
    /// /var/lib/causeway (root) or ~/.local/share/causeway (others). Values come from the configuration file, then the environment
    /// (CAUSEWAY_SECTION__KEY), then these flags; each beats the one before.
    #[command(after_help = "Exit status:\n  \
        0   it was told to stop\n  \
        1   it could not start; the last line says why\n  \
        2   the configuration or the command line is wrong\n  \
        74  a write to its store failed (a full disk, say): start it again once the disk can be written")]
    Serve(ServeArguments),
    /// Show a sample configuration or check one.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Manage accounts, whether the server runs or not.
    User(UserArguments),
    /// Manage rooms, whether the server runs or not.
    Room(RoomArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) common: CommonArguments,
    /// Where clients come in, such as 127.0.0.1:8008; several separated by commas [key: client.listen].
    #[arg(long, value_name = "ADDR")]
    pub(crate) client_listen: Option<String>,
    /// Where other servers come in, such as 0.0.0.0:8448; several separated by commas [key: federation.listen].
    #[arg(long, value_name = "ADDR")]
    pub(crate) federation_listen: Option<String>,
}

/// Flags that every command which reads configuration takes.
#[derive(Debug, Args)]
pub(crate) struct CommonArguments {
    /// The configuration file (TOML) [env: CAUSEWAY_CONFIG].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The name in the ids of users and rooms, such as example.org [key: server.name].
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// Where everything is kept [key: server.data_dir].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a configuration file in which every key is explained; as it stands it changes nothing.
    Sample,
    /// Read the configuration as `serve` would, and tell what is wrong with it (exit status 2), or list what differs from the defaults.
    Check(ServeArguments),
}

#[derive(Debug, Args)]
pub(crate) struct UserArguments {
    #[command(subcommand)]
    pub(crate) command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Make an account. Without --password, asks for one (or reads a line, where input is not a terminal).
    ///
    /// The first account may be made before the server first runs; then --server-name has to say the server's name.
    #[command(
        after_help = "Examples:\n  causeway user create alice --admin\n  pass show alice | causeway user create alice"
    )]
    Create {
        /// The part of the user id between @ and the colon, or the whole id.
        user: String,
        #[command(flatten)]
        password: PasswordArguments,
        /// Make the account an administrator's.
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        common: CommonArguments,
    },
    /// List the accounts.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: CommonArguments,
    },
    /// Set a new password and sign the user's devices out. Without --password, asks for one.
    Password {
        /// The user, as for `create`.
        user: String,
        #[command(flatten)]
        password: PasswordArguments,
        /// Leave the user's devices signed in.
        #[arg(long)]
        keep_devices: bool,
        #[command(flatten)]
        common: CommonArguments,
    },
    /// End an account for good: sign it out everywhere and leave its rooms. Its name cannot be taken again.
    Deactivate {
        /// The user, as for `create`.
        user: String,
        #[command(flatten)]
        common: CommonArguments,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RoomArguments {
    #[command(subcommand)]
    pub(crate) command: RoomCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoomCommand {
    /// Delete a room's older events here, or a room that nobody here is in any more, and give the disk space back.
    ///
    /// With --keep-days, the events that are older go, and with them the states of the room that only they had. Events that no
    /// other follows yet (the newest one; where the room has split into branches, the newest of each) and all that the
    /// room's present state needs stay. Users who page back that far see what other servers in the room still have, if there are
    /// any. An event's age is when this server received it, to the hour; of history that was fetched later from other servers, it is what
    /// its sender's server said.
    ///
    /// With --all, everything that is stored about the room goes. That is refused while a user of this server is in the
    /// room, invited to it or knocking on it. Who joins it again gets it from the servers that are still in it.
    ///
    /// Other servers keep what they have in either case. Users can go on while this works, and it can be stopped: what is left
    /// half done is finished when the server next starts, or when the command is given again. What is deleted does not
    /// come back; for a way back, make a copy of the data directory first.
    #[command(
        group(ArgGroup::new("what").required(true).args(["keep_days", "all"])),
        after_help = "Examples:\n  causeway room purge '!abc:example.org' --keep-days 180\n  causeway room purge '!abc:example.org' --all"
    )]
    Purge {
        /// The room's id, such as '!abc:example.org' (in quotes, or the shell may see something else in it).
        room: String,
        /// Keep what came in so many days before now; delete what is older.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        keep_days: Option<u32>,
        /// Delete the room whole: nobody here may be in it.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        common: CommonArguments,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PasswordArguments {
    /// The password. Other users of this machine can see it here; leave it out to be asked.
    #[arg(long, value_name = "PASSWORD")]
    pub(crate) password: Option<String>,
}

impl ServeArguments {
    /// Reads the configuration with these flags on top.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn load(&self) -> Result<Loaded, Problems> {
        let mut flags = self.common.flags();
        let own = [
            ("--client-listen", "client.listen", &self.client_listen),
            ("--federation-listen", "federation.listen", &self.federation_listen),
        ];
        flags.extend(own.into_iter().filter_map(|(flag, key, text)| Some((flag, key, text.clone()?))));
        self.common.load_with(flags)
    }
}

impl CommonArguments {
    /// Reads the configuration with these flags on top.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn load(&self) -> Result<Loaded, Problems> {
        self.load_with(self.flags())
    }

    fn load_with(&self, flags: Vec<(&'static str, &'static str, String)>) -> Result<Loaded, Problems> {
        config::load(&Sources { file: self.config.as_deref(), environment: std::env::vars_os().collect(), flags })
    }

    fn flags(&self) -> Vec<(&'static str, &'static str, String)> {
        [("--server-name", "server.name", &self.server_name), ("--data-dir", "server.data_dir", &self.data_dir)]
            .into_iter()
            .filter_map(|(flag, key, text)| Some((flag, key, text.clone()?)))
            .collect()
    }
}
