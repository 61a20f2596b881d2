//! What is said through the socket: one JSON line from the command, then JSON lines from the server, the last of which is
//! `done` or `error`.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// The longest line either side accepts.
pub(super) const MAX_LINE: u64 = 64 * 1024;

/// The socket's name in the data directory.
const SOCKET_FILE: &str = "causeway.sock";

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// Make an account.
    CreateUser {
        /// Localpart or whole id.
        user: String,
        /// The password.
        password: String,
        /// An administrator's account.
        admin: bool,
    },
    /// List all accounts.
    ListUsers,
    /// Set a password.
    SetPassword {
        /// Localpart or whole id.
        user: String,
        /// The new password.
        password: String,
        /// Leave devices signed in.
        keep_devices: bool,
    },
    /// End an account.
    Deactivate {
        /// Localpart or whole id.
        user: String,
    },
    /// Delete a room's older events.
    PurgeRoom {
        /// The room's id.
        room: String,
        /// Keep what was sent in so many days before now.
        keep_days: u32,
    },
    /// Delete all that there is about a room that nobody here is in.
    RemoveRoom {
        /// The room's id.
        room: String,
    },
}

/// One line of the answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(super) enum Answer {
    /// One account of a list; more follows.
    Account(Account),
    /// How far it has come; more follows.
    Progress {
        /// The same, for people.
        message: String,
    },
    /// All went well; nothing follows.
    Done {
        /// What was done, for people.
        message: String,
    },
    /// It was refused or failed; nothing follows and nothing was changed.
    Error {
        /// Why, for people.
        message: String,
    },
}

/// An account in a list.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Account {
    /// The whole user id.
    pub(super) user_id: String,
    /// Whether it is an administrator's.
    pub(super) admin: bool,
    /// Whether it has been ended.
    pub(super) deactivated: bool,
}

/// A path to the socket that fits the system's limit on such paths (107 bytes), however deep the data directory lies.
pub(super) struct SocketPath {
    path: PathBuf,
    /// Kept open while a path through `/proc/self/fd` is in use.
    _directory: Option<File>,
}

/// The most bytes of a socket's path (`sockaddr_un`, less the final zero).
const MAX_SOCKET_PATH: usize = 107;

impl SocketPath {
    /// The socket in `data_dir`.
    ///
    /// # Errors
    /// If the directory cannot be opened.
    pub(super) fn in_dir(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(SOCKET_FILE);
        if path.as_os_str().len() <= MAX_SOCKET_PATH {
            return Ok(Self { path, _directory: None });
        }
        let directory = File::open(data_dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_FILE}", directory.as_raw_fd()));
        Ok(Self { path, _directory: Some(directory) })
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
