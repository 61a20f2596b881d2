//! A child process whose output goes to a file, and that does not outlive its parent.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How much of a log is shown when something fails.
const TAIL_LINES: usize = 60;

/// A running child. Dropping it kills it.
pub struct Process {
    child: Child,
    what: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    pub fn spawn(what: &str, mut command: Command, log: &Path) -> Result<Self> {
        let out = OpenOptions::new().create(true).append(true).open(log).context("opening a log")?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        die_with_parent(&mut command);
        let child = command.spawn().with_context(|| format!("starting {what} ({:?})", command.get_program()))?;
        Ok(Self { child, what: what.to_owned(), log: log.to_owned() })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends `signal` (SIGTERM, SIGINT) and waits for the end, at most `limit`.
    pub async fn stop(&mut self, signal: i32, limit: Duration) -> Result<ExitStatus> {
        // SAFETY: kill(2) takes two integers and touches no memory; the child is not reaped yet, so the id is still its own.
        unsafe { libc::kill(self.pid() as libc::pid_t, signal) };
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if start.elapsed() > limit {
                self.kill();
                bail!("{} did not end within {limit:?} of signal {signal}\n{}", self.what, self.tail());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        tail(&self.what, &self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log, with a headline.
pub(crate) fn tail(what: &str, log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("--- the last lines of {what} ({}) ---\n{}\n", log.display(), last.join("\n"))
}

/// Lets the kernel kill the child when the test is killed; otherwise a server would stay on its port.
pub(crate) fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl(2) with PR_SET_PDEATHSIG is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}
