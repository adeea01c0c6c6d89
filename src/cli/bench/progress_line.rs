//! The line on standard error that shows how a run is going, if that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipecast_bench::Progress;

use crate::cli::number_format::count;

/// The line on standard error.
pub(super) struct ProgressLine(ProgressBar);

impl ProgressLine {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::no_length();
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Writes each progress into the line, from the thread that makes it.
    pub(super) fn shower(&self) -> impl FnMut(Progress) + Send + 'static {
        let bar = self.0.clone();
        move |progress| {
            bar.set_message(text(&progress));
            bar.tick();
        }
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

fn text(progress: &Progress) -> String {
    let left = progress.left.map(|left| format!(", {} s left", left.as_secs())).unwrap_or_default();
    let streams = match progress.streams_wanted {
        0 => String::new(),
        wanted => format!(" · streams {}/{wanted}", progress.streams),
    };
    let (published, delivered) = (count(progress.events_per_second), count(progress.deliveries_per_second));
    format!("{}{left}{streams} · published {published}/s · delivered {delivered}/s", progress.phase)
}
