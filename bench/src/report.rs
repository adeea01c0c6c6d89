//! The report: what a run measured. Data only; a caller prints it. As JSON its field names are an interface: scripts read them.

use serde::Serialize;

pub use crate::engine::OwnLoad;
pub use crate::kernel::{KernelMemory, ProcessMemory};
pub use crate::tally::Quantiles;

/// What a run measured; a part that its workload does not measure is absent.
#[derive(Serialize, Debug, Default)]
pub struct Report {
    /// Whether it was stopped early.
    pub interrupted: bool,
    /// How long was measured.
    pub seconds: f64,
    /// How opening streams went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<Streams>,
    /// How publishing went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    /// What subscribers received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Delivered>,
    /// How clients caught up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// Memory of the server and of the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryReport>,
    /// CPU time of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerCpu>,
    /// The load generator's own part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bench: Option<OwnLoad>,
}

/// Opening streams.
#[derive(Serialize, Debug)]
pub struct Streams {
    /// How many were to open.
    pub wanted: usize,
    /// How many opened.
    pub opened: usize,
    /// How many never opened.
    pub failed: usize,
    /// Opened streams that the server ended, or whose connection broke.
    pub ended: usize,
    /// From the first connection until the last stream was open.
    pub open_seconds: f64,
    /// Why the first one failed, partly in the server's own words.
    pub first_problem: Option<String>,
}

/// Publishing, within the measured time.
#[derive(Serialize, Debug)]
pub struct Published {
    /// Requests that the server accepted.
    pub requests: u64,
    /// Events that the server accepted.
    pub events: u64,
    /// Requests that were rejected, broken off or not answered in time.
    pub errors: u64,
    /// Events that were due and never left, since all publishers waited for answers.
    pub unsent: u64,
    /// Accepted requests per second.
    pub requests_per_second: f64,
    /// Accepted events per second.
    pub events_per_second: f64,
    /// From when a request was to be sent until it was answered.
    pub latency: Option<Quantiles>,
    /// Why the first request failed, partly in the server's own words.
    pub first_problem: Option<String>,
}

/// What subscribers received. Times and deliveries are of the measured time, faults of the whole run.
#[derive(Serialize, Debug)]
pub struct Delivered {
    /// Events received, counted once per subscriber.
    pub deliveries: u64,
    /// The same per second.
    pub deliveries_per_second: Option<f64>,
    /// Acknowledged events that an open stream did not bring.
    pub lost: u64,
    /// Events that a subscriber received again.
    pub doubled: u64,
    /// Events that arrived after a later one of the same publisher.
    pub reordered: u64,
    /// Gaps that a Pipecast server reported to subscribers: the events missing there were not lost silently.
    pub gaps: u64,
    /// Events that this run did not publish.
    pub others: u64,
    /// Whether everything arrived before the wait for it ended.
    pub settled: bool,
    /// From when an event was to be sent until a subscriber had it.
    pub latency: Option<Quantiles>,
    /// The same for the last of an event's subscribers.
    pub last_reader: Option<Quantiles>,
}

/// Clients that connected at once and caught up.
#[derive(Serialize, Debug)]
pub struct Replay {
    /// Events that each client waited for.
    pub events_per_client: u64,
    /// Clients that received all of them.
    pub served: usize,
    /// From the first connection until the last of them had everything.
    pub seconds: f64,
    /// What all clients received.
    pub bytes: u64,
    /// From a client's connection until it had everything.
    pub catch_up: Option<Quantiles>,
}

/// Memory before and after.
#[derive(Serialize, Debug)]
pub struct MemoryReport {
    /// The server's before; absent unless its processes are known.
    pub server_before: Option<ProcessMemory>,
    /// The server's after.
    pub server: Option<ProcessMemory>,
    /// Growth of the server's proportional set size per open stream.
    pub pss_bytes_per_stream: Option<f64>,
    /// Growth of the server's resident set size per open stream.
    pub rss_bytes_per_stream: Option<f64>,
    /// The kernel's before.
    pub kernel_before: KernelMemory,
    /// The kernel's after.
    pub kernel: KernelMemory,
    /// Growth for both ends of a connection: the load generator's is on the same machine.
    pub kernel_bytes_per_stream: f64,
}

/// CPU time of the server's processes.
#[derive(Serialize, Debug)]
pub struct ServerCpu {
    /// In all.
    pub cpu_seconds: f64,
    /// How many CPUs it kept busy.
    pub cpus: f64,
    /// What the time is divided by, such as `delivery`.
    pub unit: &'static str,
    /// Microseconds per unit; absent when there was none.
    pub us_per_unit: Option<f64>,
}
