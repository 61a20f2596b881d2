//! What is logged, where, and that panics are.

use crate::config::value::LogFormat;
use crate::config::{Problems, Settings};
use std::io::IsTerminal as _;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Whether machines read standard error, so that everything there has to be JSON.
static FOR_MACHINES: AtomicBool = AtomicBool::new(false);

/// Starts logging to standard error.
///
/// # Errors
/// If logging was started before.
pub(crate) fn start(settings: &Settings) -> Result<(), TryInitError> {
    start_with(&settings.log.level.0, settings.log.format)?;
    panic::set_hook(Box::new(report));
    Ok(())
}

fn start_with(level: &str, format: LogFormat) -> Result<(), TryInitError> {
    // Checked when the key was read; a directive that still fails is left out.
    let filter = EnvFilter::builder().parse_lossy(level);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()?,
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init()?,
    }
    FOR_MACHINES.store(format == LogFormat::Json, Ordering::Relaxed);
    Ok(())
}

/// Says why the server cannot start, or has to end, where machines read it. (Who reads it as a person gets one plain line.)
pub(crate) fn fatal(error: &anyhow::Error) {
    if let Some(problems) = error.downcast_ref::<Problems>()
        && problems.format == LogFormat::Json
        && start_with("error", LogFormat::Json).is_ok()
    {
        for problem in &problems.list {
            tracing::error!(key = problem.key, origin = %problem.origin, "the configuration is wrong: {problem}");
        }
    } else if is_for_machines() {
        tracing::error!("{error:#}");
    }
}

/// Whether standard error is JSON.
pub(crate) fn is_for_machines() -> bool {
    FOR_MACHINES.load(Ordering::Relaxed)
}

/// A panic is a defect: it goes where the operator looks, with where it happened.
fn report(panic: &panic::PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("a panic without a message");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(thread = thread.name().unwrap_or("unnamed"), location, %backtrace, "panic: {message}");
}
