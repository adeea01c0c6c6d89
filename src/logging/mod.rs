//! Where log lines go and how they look.
//!
//! Logging never slows the node down: the thread that logs formats the line and hands it to a bounded buffer ([`LogLines`]), which
//! drops it when it is full. Nothing here waits for the log's reader, except the flush before the process ends, which has a
//! timeout.

mod filter;
mod lines;

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;

pub use lines::{Dropped, LogLines};

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Plain text, for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Section `log` of the settings.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The format of lines.
    pub format: LogFormat,
    /// Which lines are logged, see [`check_filter`].
    pub filter: String,
    /// Maximum bytes of lines that wait to be written.
    pub buffer: usize,
}

/// Checks a filter: levels and targets as `tracing_subscriber::EnvFilter` reads them, except that a level without a target applies
/// to Pipecast's own code.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(|_| ()).map_err(|error| error.to_string())
}

/// Starts logging to standard error, panics included. A second call has no effect on what is logged.
///
/// # Errors
/// When the system has no more threads.
pub fn start(options: &LogOptions) -> io::Result<LogLines> {
    let lines = LogLines::start(io::stderr(), options.buffer, options.format)?;
    let filter = EnvFilter::try_new(filter::about_own_code(&options.filter)).unwrap_or_else(|_| EnvFilter::new("info"));
    // The library reports its own failures with `eprintln!`, which panics when standard error is gone.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let is_coloured = options.format == LogFormat::Text && io::stderr().is_terminal();
    let lines = if is_coloured { lines.in_colour() } else { lines };
    let builder = builder.with_writer(lines.clone());
    // Already set only when several nodes run in one process, in tests.
    let _ = match options.format {
        LogFormat::Text => builder.with_ansi(is_coloured).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    std::panic::set_hook(Box::new(log_panic));
    Ok(lines)
}

/// Replaces the standard hook, which would write to standard error itself and wait for its reader.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let message = panic.payload_as_str().unwrap_or("no message");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(thread = thread.name().unwrap_or_default(), location, message, "panic, a bug in Pipecast");
}
