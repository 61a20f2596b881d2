//! Standard output, which may be closed, full, or not for writing.

use std::io::{self, Write as _};

/// Writes the answer, and the end of a line where it does not end in one.
///
/// # Errors
/// Standard output does not take all of it.
pub(crate) fn write(answer: &str) -> io::Result<()> {
    let mut output = standard_output()?;
    output.write_all(answer.as_bytes())?;
    if !answer.ends_with('\n') {
        output.write_all(b"\n")?;
    }
    output.flush()
}

/// Standard output as a file: [`io::Stdout`] takes what it has nowhere to write for written.
#[cfg(unix)]
fn standard_output() -> io::Result<std::fs::File> {
    use std::os::fd::AsFd as _;

    #[cfg(target_os = "linux")]
    if at_start::WAS_CLOSED.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(io::Error::other("it is closed"));
    }
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

#[cfg(not(unix))]
fn standard_output() -> io::Result<io::StdoutLock<'static>> {
    Ok(io::stdout().lock())
}

/// Before `main`, the standard library opens `/dev/null` in the place of a standard output that is closed. So whether it was has to be
/// found out before that.
#[cfg(target_os = "linux")]
mod at_start {
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Whether standard output was closed when the program started.
    pub(super) static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

    extern "C" fn look() {
        // SAFETY: it asks about a number, whether or not that is a file.
        let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
        WAS_CLOSED.store(flags == -1, Ordering::Relaxed);
    }

    // SAFETY: the C library calls what this section lists, with arguments that a function may ignore, before `main`. `look` needs
    // nothing that is set up only there.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static LOOK: extern "C" fn() = look;
}
