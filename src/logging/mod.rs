//! Where log lines go and what they look like.
//!
//! Logging never hurts the node: a line is formatted by the thread that has something to say, and handed to a bounded
//! buffer ([`LogLines`]) that drops it when it is full. Nothing here waits for whatever reads the log, but for the flush
//! before the process ends, which has a bound.

mod filter;
mod lines;

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;

pub use lines::{Dropped, LogLines};

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Section `log` of the settings.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines there are, see [`check_filter`].
    pub filter: String,
    /// Most bytes of lines that wait to be written.
    pub buffer: usize,
}

/// Looks whether a text is a filter: levels and targets as `tracing_subscriber::EnvFilter` reads them, where a level that
/// stands alone is about Pipecast's own code.
///
/// # Errors
/// What is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(|_| ()).map_err(|error| error.to_string())
}

/// Starts logging to standard error, also of what panics. A second call has no effect on what is logged.
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
    // Set already only where several nodes run in one process, in tests.
    let _ = match options.format {
        LogFormat::Text => builder.with_ansi(is_coloured).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    std::panic::set_hook(Box::new(log_panic));
    Ok(lines)
}

/// In place of the standard hook, which writes to standard error itself and waits for whatever reads that.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let message = panic.payload_as_str().unwrap_or("no message");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(
        thread = thread.name().unwrap_or_default(),
        location,
        message,
        "something panicked, a fault of Pipecast"
    );
}
