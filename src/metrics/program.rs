//! The program itself: its version, its process and its log.

use prometheus::{IntGauge, Opts, Result};

use super::label::label;
use super::registration::{CounterBy, Registration};
use crate::logging::Dropped;

label! {
    /// Why a log line was dropped.
    LineLoss {
        /// `log.buffer` was full: lines are written faster than they are read.
        Full => "full",
        /// It could not be written.
        Failed => "failed",
    }
}

pub(super) struct Program {
    log_lines_dropped: CounterBy<LineLoss>,
}

impl Program {
    pub(super) fn register(registration: &Registration<'_>) -> Result<Self> {
        let build_info = IntGauge::with_opts(
            Opts::new("pipecast_build_info", "Always 1; the label is the version that is running.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build_info.set(1);
        registration.enter(build_info)?;
        #[cfg(target_os = "linux")]
        registration.0.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            log_lines_dropped: registration.counter_by(
                "pipecast_log_lines_dropped_total",
                "Log lines dropped, by reason: log.buffer was full, or writing failed.",
                "reason",
            )?,
        })
    }

    pub(super) fn observe(&self, dropped: Dropped) {
        self.log_lines_dropped.raise(LineLoss::Full, dropped.full);
        self.log_lines_dropped.raise(LineLoss::Failed, dropped.failed);
    }
}
