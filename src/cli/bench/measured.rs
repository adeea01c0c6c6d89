//! The result of a bench command: what was measured, and where. Its field names in JSON are an interface: scripts read them.

use pipecast_bench::Report;
use serde::Serialize;

/// What was measured, and where.
#[derive(Serialize)]
pub(super) struct Measured {
    pub(super) mode: &'static str,
    /// The load, in words.
    pub(super) what: String,
    pub(super) preset: &'static str,
    pub(super) urls: Vec<String>,
    #[serde(flatten)]
    pub(super) report: Report,
}

impl Measured {
    /// As one JSON object on a line.
    pub(super) fn json(&self) -> String {
        // Only numbers and strings: this cannot fail.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}
