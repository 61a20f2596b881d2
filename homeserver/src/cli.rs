//! The command line.

use crate::config::{self, Loaded, Problems, Sources};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Causeway, a Matrix homeserver.
#[derive(Debug, Parser)]
#[command(name = "causeway", version, about, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server until it is told to stop (SIGTERM, SIGINT).
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
    /// Read the configuration as `serve` would, and tell what is wrong with it.
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
    /// Delete a room's older events here, and give back the space that they and the room's old states take. The newest event and
    /// the current state stay; other servers keep what they have.
    Purge {
        /// The room's id, such as !abc:example.org.
        room: String,
        /// Keep what was sent in so many days before now.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        keep_days: u32,
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
