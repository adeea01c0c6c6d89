//! The report: what was measured, as a table for people or as one JSON object.

use std::fmt::Write;

use serde::Serialize;

use super::super::figures::{bytes, count, percent, rate, time};
use super::latencies::Quantiles;
use super::meter::Load;
use super::process::{Kernel, Memory};

/// Above this share of time without a CPU, times say more of the machine than of the server.
const DISTURBED: f64 = 0.05;

/// What one run has found out; what it did not look at is absent.
#[derive(Serialize, Debug, Default)]
pub(super) struct Report {
    pub(super) mode: &'static str,
    /// What was done, in words.
    pub(super) what: String,
    pub(super) preset: String,
    pub(super) urls: Vec<String>,
    /// Whether somebody ended it before its time.
    pub(super) interrupted: bool,
    /// How long was measured.
    pub(super) seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) streams: Option<Streams>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) published: Option<Published>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delivered: Option<Delivered>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replay: Option<Replay>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<MemoryReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<ServerCpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bench: Option<Load>,
}

/// Opening streams.
#[derive(Serialize, Debug)]
pub(super) struct Streams {
    pub(super) wanted: usize,
    pub(super) opened: usize,
    pub(super) failed: usize,
    /// Those that the server ended, or that broke.
    pub(super) ended: usize,
    /// From the first connection until the last stream was open.
    pub(super) open_seconds: f64,
    pub(super) first_problem: Option<String>,
}

/// Publishing, within the window.
#[derive(Serialize, Debug)]
pub(super) struct Published {
    pub(super) requests: u64,
    pub(super) events: u64,
    pub(super) errors: u64,
    /// Events that were due and never left, since all publishers waited for answers.
    pub(super) unsent: u64,
    pub(super) requests_per_second: f64,
    pub(super) events_per_second: f64,
    /// From when a request was to be sent until it was answered.
    pub(super) latency: Option<Quantiles>,
    pub(super) first_problem: Option<String>,
}

/// What came to readers. Times and deliveries are of the window, faults of the whole run.
#[derive(Serialize, Debug)]
pub(super) struct Delivered {
    pub(super) deliveries: u64,
    pub(super) deliveries_per_second: Option<f64>,
    /// Acknowledged events that an open stream did not bring.
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
    /// Gaps that a Pipecast server told readers of: what it left out was not lost in silence.
    pub(super) gaps: u64,
    /// Other events that the bench did not publish.
    pub(super) others: u64,
    /// Whether everything came before it was given up.
    pub(super) settled: bool,
    /// From when an event was to be sent until a reader had it.
    pub(super) latency: Option<Quantiles>,
    /// The same for the last of an event's readers.
    pub(super) last_reader: Option<Quantiles>,
}

/// Clients that connect at once and catch up.
#[derive(Serialize, Debug)]
pub(super) struct Replay {
    pub(super) events_per_client: u64,
    /// Clients that got all of it.
    pub(super) served: usize,
    /// From the first connection until the last of them had all.
    pub(super) seconds: f64,
    pub(super) bytes: u64,
    /// From a client's connection until it had all.
    pub(super) catch_up: Option<Quantiles>,
}

/// Memory before and after.
#[derive(Serialize, Debug)]
pub(super) struct MemoryReport {
    pub(super) server_before: Option<Memory>,
    pub(super) server: Option<Memory>,
    pub(super) pss_bytes_per_stream: Option<f64>,
    pub(super) rss_bytes_per_stream: Option<f64>,
    pub(super) kernel_before: Kernel,
    pub(super) kernel: Kernel,
    /// Both ends of a connection: the bench's is on the same machine.
    pub(super) kernel_bytes_per_stream: f64,
}

/// CPU time of the server's processes.
#[derive(Serialize, Debug)]
pub(super) struct ServerCpu {
    pub(super) cpu_seconds: f64,
    /// How many CPUs were busy with it.
    pub(super) cpus: f64,
    /// What the time is divided by.
    pub(super) unit: &'static str,
    pub(super) us_per_unit: Option<f64>,
}

impl Report {
    /// As one JSON object on a line.
    pub(super) fn json(&self) -> String {
        // Numbers and strings: nothing that could fail.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// As a table.
    pub(super) fn table(&self) -> String {
        let mut text = format!("{}\n{} at {}\n\n", self.what, self.preset, self.urls.join(", "));
        for (label, value) in self.rows() {
            let _ = writeln!(text, "  {label:<12}  {value}");
        }
        let times = self.times();
        if !times.is_empty() {
            let _ = writeln!(text, "\n  {:28}{:>10}{:>10}{:>10}{:>10}{:>10}", "", "p50", "p90", "p99", "p99.9", "max");
        }
        for (label, quantiles) in times {
            let Quantiles { p50_us, p90_us, p99_us, p99_9_us, max_us, .. } = quantiles;
            let _ = write!(text, "  {label:<28}");
            for value in [p50_us, p90_us, p99_us, p99_9_us, max_us] {
                let _ = write!(text, "{:>10}", time(value));
            }
            text.push('\n');
        }
        for warning in self.warnings() {
            let _ = write!(text, "\n  {warning}\n");
        }
        text
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        if let Some(s) = &self.streams {
            let (opened, wanted, after) = (count(s.opened as u64), count(s.wanted as u64), time(s.open_seconds * 1e6));
            rows.push((
                "streams",
                format!("{opened} of {wanted} open after {after}, {} failed, {} ended", s.failed, s.ended),
            ));
        }
        if let Some(p) = &self.published {
            let (events, errors, unsent) = (count(p.events), count(p.errors), count(p.unsent));
            rows.push((
                "published",
                format!("{events} events, {errors} requests failed, {unsent} events not sent in time"),
            ));
            let (requests, events) = (rate(p.requests_per_second), rate(p.events_per_second));
            rows.push(("", format!("{requests} requests/s, {events} events/s")));
        }
        if let Some(d) = &self.delivered {
            let per_second = d.deliveries_per_second.map(|number| format!(", {}/s", rate(number)));
            rows.push(("deliveries", count(d.deliveries) + &per_second.unwrap_or_default()));
            let (lost, doubled, reordered) = (count(d.lost), count(d.doubled), count(d.reordered));
            let others = if d.others > 0 { format!(", {} not ours", count(d.others)) } else { String::new() };
            let gaps = if d.gaps > 0 { format!(" ({} gaps told)", count(d.gaps)) } else { String::new() };
            rows.push(("", format!("{lost} lost{gaps}, {doubled} doubled, {reordered} reordered{others}")));
        }
        if let Some(r) = &self.replay {
            let (served, events, all) = (count(r.served as u64), r.events_per_client, time(r.seconds * 1e6));
            rows.push(("replay", format!("{served} clients had {events} events each after {all}")));
            let (sent, speed) = (bytes(r.bytes as f64), bytes(r.bytes as f64 / r.seconds));
            rows.push(("", format!("{sent}, {speed}/s")));
        }
        if let Some(m) = &self.memory {
            if let (Some(before), Some(now)) = (m.server_before, m.server) {
                let (pss, rss) =
                    (m.pss_bytes_per_stream.unwrap_or_default(), m.rss_bytes_per_stream.unwrap_or_default());
                let (from, to) = (bytes(before.pss_bytes as f64), bytes(now.pss_bytes as f64));
                rows.push(("memory", format!("{} PSS a stream ({} RSS); {from} -> {to}", bytes(pss), bytes(rss))));
            }
            let (from, to) = (bytes(m.kernel_before.slab_bytes as f64), bytes(m.kernel.slab_bytes as f64));
            let each = bytes(m.kernel_bytes_per_stream);
            rows.push(("kernel", format!("{each} a stream, both ends; slab {from} -> {to}")));
        }
        if let Some(s) = &self.server {
            let each = s.us_per_unit.map(|us| format!(", {us:.2} µs a {}", s.unit)).unwrap_or_default();
            rows.push(("server CPU", format!("{:.2} s, {} of a core{each}", s.cpu_seconds, percent(s.cpus))));
        }
        if let Some(b) = &self.bench {
            rows.push((
                "bench",
                format!(
                    "busy {}, on a core {}, waiting for one {}",
                    percent(b.busy),
                    percent(b.cpu),
                    percent(b.queued)
                ),
            ));
        }
        rows
    }

    fn times(&self) -> Vec<(&'static str, Quantiles)> {
        let delivered = self.delivered.as_ref();
        let times = [
            ("publisher to reader", delivered.and_then(|d| d.latency)),
            ("publisher to last reader", delivered.and_then(|d| d.last_reader)),
            ("publisher to answer", self.published.as_ref().and_then(|p| p.latency)),
            ("connection to caught up", self.replay.as_ref().and_then(|r| r.catch_up)),
            ("of which within the bench <", self.bench.and_then(|b| b.delay)),
        ];
        times.into_iter().filter_map(|(label, quantiles)| Some((label, quantiles?))).collect()
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.interrupted {
            warnings.push("Interrupted: this is what was measured until then.".into());
        }
        if self.bench.is_some_and(|bench| bench.was_bottleneck) {
            warnings.push("THE BENCH WAS THE BOTTLENECK: the server can do more than this says.".into());
        }
        if self.bench.is_some_and(|bench| bench.queued > DISTURBED) {
            warnings.push("Something else ran on the bench's CPU: times are longer than they should be.".into());
        }
        if self.published.as_ref().is_some_and(|published| published.unsent > 0) {
            warnings.push("The rate was too high: events were due that no publisher was free to send.".into());
        }
        let problem = |kind: &str, problem: &Option<String>| problem.as_ref().map(|text| format!("{kind}: {text}"));
        warnings.extend(
            self.streams.as_ref().and_then(|streams| problem("First stream that failed", &streams.first_problem)),
        );
        warnings.extend(self.published.as_ref().and_then(|p| problem("First request that failed", &p.first_problem)));
        warnings
    }
}
