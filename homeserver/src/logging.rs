//! What is logged, where, and that panics are.

use crate::config::Settings;
use crate::config::value::LogFormat;
use std::io::IsTerminal as _;
use std::panic;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Starts logging to standard error.
///
/// # Errors
/// If logging was started before.
pub(crate) fn start(settings: &Settings) -> Result<(), TryInitError> {
    // Checked when the key was read; a directive that still fails is left out.
    let filter = EnvFilter::builder().parse_lossy(&settings.log.level.0);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match settings.log.format {
        LogFormat::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()?,
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init()?,
    }
    panic::set_hook(Box::new(report));
    Ok(())
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
