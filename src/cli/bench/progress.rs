//! What is shown on a terminal while a bench runs.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::figures::count;
use super::clock::Nanos;

/// A line on standard error, if that is a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    phase: &'static str,
    ends: Option<Nanos>,
    shown: Shown,
}

#[derive(Default, Clone, Copy)]
struct Shown {
    at: Nanos,
    deliveries: u64,
    events: u64,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::no_length();
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self { bar, phase: "connecting", ends: None, shown: Shown::default() }
    }

    /// Says what is being done, and until when if that is known.
    pub(super) fn enter(&mut self, phase: &'static str, ends: Option<Nanos>) {
        self.phase = phase;
        self.ends = ends;
    }

    pub(super) fn show(&mut self, now: Nanos, open: usize, wanted: usize, deliveries: u64, events: u64) {
        let elapsed = (now - self.shown.at).max(1);
        let rate = |total: u64, before: u64| {
            let per_second = u128::from(total - before) * 1_000_000_000 / u128::from(elapsed);
            count(u64::try_from(per_second).unwrap_or(u64::MAX))
        };
        let left = self.ends.map(|ends| format!(", {} s left", ends.saturating_sub(now) / 1_000_000_000));
        let streams = if wanted > 0 { format!(" · streams {open}/{wanted}") } else { String::new() };
        self.bar.set_message(format!(
            "{}{}{streams} · published {}/s · delivered {}/s",
            self.phase,
            left.unwrap_or_default(),
            rate(events, self.shown.events),
            rate(deliveries, self.shown.deliveries),
        ));
        self.bar.tick();
        self.shown = Shown { at: now, deliveries, events };
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
