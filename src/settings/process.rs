//! Sections `drain` and `log`: how a node stops, and what it logs.

use std::time::Duration;

use super::reader::Reader;
use crate::logging::{LogFormat, LogOptions};

const DAY: Duration = Duration::from_secs(86_400);

/// Section `drain`.
#[derive(Clone, Copy, Debug)]
pub struct DrainSettings {
    /// From the signal until the node accepts no more connections.
    pub lead: Duration,
    /// The period after that over which streams end.
    pub window: Duration,
    /// From the signal until the node exits at the latest.
    pub deadline: Duration,
}

pub(super) fn read_drain(r: &mut Reader) -> DrainSettings {
    DrainSettings {
        lead: r.duration(
            "drain.lead",
            "5s",
            Duration::ZERO..=DAY,
            "How long the node accepts connections after SIGTERM, so that load balancers notice that it is not ready.",
        ),
        window: r.duration(
            "drain.window",
            "20s",
            Duration::ZERO..=DAY,
            "The period after that over which streams end, each at a random moment.",
        ),
        deadline: r.duration(
            "drain.deadline",
            "30s",
            Duration::ZERO..=DAY,
            "Maximum time from the signal until the node exits.",
        ),
    }
}

pub(super) fn read_log(r: &mut Reader) -> LogOptions {
    LogOptions {
        format: r.choice(
            "log.format",
            "text",
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            "Format of the log: `text` or `json`.",
        ),
        filter: r.log_filter("log.filter", "info", "What is logged: `error`, `warn`, `info`, `debug`, `trace`, or a list such as `info,pipecast::store=debug`. A level by itself applies to Pipecast's own code; libraries log only errors unless you name them (`info,h2=debug`)."),
        buffer: r.size("log.buffer", "1MiB", 16 << 10..=1 << 30, "Maximum bytes of log lines that wait for a slow reader of the log. Further lines are dropped and counted."),
    }
}
