//! Asking for a password.

use anyhow::{Context as _, bail};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};

/// The longest line that is read as a password.
const MAX_INPUT: usize = 4096;

/// The password given, or else asked for: twice and unseen on a terminal, once as a line where input is a file or pipe.
///
/// # Errors
/// If there is none, or the two differ.
pub(super) fn obtain(given: Option<&str>, user: &str) -> anyhow::Result<String> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    if !io::stdin().is_terminal() {
        let password = read_line().context("the password cannot be read from standard input")?;
        if password.is_empty() {
            bail!("there is no password: give one with --password or as a line of standard input");
        }
        return Ok(password);
    }
    let first = ask(&format!("Password for {user}: "))?;
    if first.is_empty() {
        bail!("an empty password lets nobody in; nothing was changed");
    }
    if ask("The same again: ")? != first {
        bail!("the two differ; nothing was changed");
    }
    Ok(first)
}

fn ask(prompt: &str) -> anyhow::Result<String> {
    let mut terminal = io::stderr();
    terminal.write_all(prompt.as_bytes())?;
    terminal.flush()?;
    let answer = {
        let _unseen = Unseen::start(io::stdin().as_raw_fd())?;
        read_line()
    };
    terminal.write_all(b"\n")?;
    answer.context("the password cannot be read from the terminal")
}

fn read_line() -> io::Result<String> {
    let mut line = String::new();
    io::Read::take(&mut io::stdin().lock(), MAX_INPUT as u64).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// While this lives, the terminal does not show what is typed.
struct Unseen {
    terminal: RawFd,
    before: libc::termios,
}

impl Unseen {
    fn start(terminal: RawFd) -> io::Result<Self> {
        let mut settings = std::mem::MaybeUninit::<libc::termios>::zeroed();
        // SAFETY: the pointer is to a live value of the right type; an all-zero termios is a valid one.
        let before = unsafe {
            if libc::tcgetattr(terminal, settings.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            settings.assume_init()
        };
        let mut unseen = before;
        unseen.c_lflag &= !libc::ECHO;
        set(terminal, &unseen)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // Nothing is left to do if the terminal is gone.
        let _ = set(self.terminal, &self.before);
    }
}

fn set(terminal: RawFd, settings: &libc::termios) -> io::Result<()> {
    // SAFETY: the pointer is to a live value of the right type.
    if unsafe { libc::tcsetattr(terminal, libc::TCSAFLUSH, std::ptr::from_ref(settings)) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
