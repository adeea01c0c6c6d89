//! Section `limits`.

use std::time::Duration;

use super::reader::Reader;
use crate::event::EventLimits;
use crate::limits::LimitOptions;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

const MAX_STREAMS: usize = 10_000_000;

/// Requests in progress need no more memory than this, however large the machine. A quiet node would keep it for long.
const MAX_AUTO_BYTES: u64 = 256 << 20;

/// Limits on requests and their bodies.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Maximum bytes of a request body.
    pub max_request_size: usize,
    /// Memory for all request bodies in progress, in bytes.
    pub bodies_bytes: usize,
    /// Memory for all histories that are being sent as JSON, in bytes.
    pub histories_bytes: usize,
    /// Maximum streams and requests on one HTTP/2 connection.
    pub http2_max_concurrent_streams: u32,
    /// Maximum time for a request head, and again for its body.
    pub request_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub idle_timeout: Duration,
}

pub(super) fn read_events(r: &mut Reader) -> EventLimits {
    EventLimits {
        max_event_size: r.size(
            "limits.max_event_size",
            "256KiB",
            1..=64 << 20,
            "Maximum size of one event: its channel and its compact payload.",
        ),
        max_batch_events: r.count("limits.max_batch_events", "1000", 1..=5000, "Maximum events in one request."),
        max_json_depth: r.count(
            "limits.max_json_depth",
            "128",
            1..=100_000,
            "Maximum nesting of arrays and objects in a payload.",
        ),
    }
}

pub(super) fn read_requests(r: &mut Reader) -> RequestLimits {
    RequestLimits {
        max_request_size: r.size("limits.max_request_size", "4MiB", 64..=1 << 30, "Maximum size of a request body."),
        bodies_bytes: r.memory("limits.bodies", 8, MAX_AUTO_BYTES, "Memory for all request bodies in progress on this node, until their events are stored; a quarter of it is for bodies of up to 64 KiB. A request that gets no memory within 2 s is answered with 503. `auto` means an eighth of the machine's or the container's memory, at most 256 MiB."),
        histories_bytes: r.memory("limits.histories", 16, MAX_AUTO_BYTES, "Memory for all histories that are being sent as JSON on this node; one HTTP/2 connection gets at most a quarter of it. A request that gets no memory within 2 s is answered with 503. `auto` means a sixteenth of the memory, at most 256 MiB."),
        http2_max_concurrent_streams: r.number(
            "limits.http2_max_concurrent_streams",
            "256",
            1..=100_000,
            "Maximum streams and requests that one HTTP/2 connection may have open at the same time.",
        ),
        request_timeout: r.duration("limits.request_timeout", "10s", SECOND / 10..=DAY, "Maximum time for a new connection to begin, for a request head to arrive, and again for its body."),
        idle_timeout: r.duration("limits.idle_timeout", "75s", SECOND / 10..=DAY, "How long a connection may stay open without a request. Keep it above your load balancer's own idle timeout, usually 60 s; otherwise some requests will meet a connection that is closing."),
    }
}

pub(super) fn read_counts_and_rates(r: &mut Reader) -> LimitOptions {
    let streams = r.optional_count("limits.streams", "auto", 1..=MAX_STREAMS, "Maximum open streams on this node; connections may be an eighth more, at least 16 and at most 512. `auto` means as many as the open-file limit allows.");
    let streams_per_address = r.optional_count("limits.streams_per_address", "off", 1..=MAX_STREAMS, "Maximum streams per client address on this node; `off` means no limit. An IPv6 address counts by its /64; a /56 may have four times as many, a /48 sixteen times.");
    let streams_per_pipeline = r.optional_count(
        "limits.streams_per_pipeline",
        "off",
        1..=MAX_STREAMS,
        "Maximum streams per pipeline on this node; `off` means no limit.",
    );
    let connection_rate = r.rate(
        "limits.connection_rate",
        "Maximum rate of new connections on this node, for example `500/s`; more are closed. `off` means no limit.",
    );
    let connection_rate_per_address = r.rate_within("limits.connection_rate_per_address", connection_rate, "Maximum rate of new connections per client address, so that no single client uses up `limits.connection_rate`; more are closed. `auto` means a tenth of that, `off` no limit. An IPv6 address counts by its /64; a /56 may have four times as many, a /48 sixteen times.");
    LimitOptions {
        streams,
        streams_per_address,
        streams_per_pipeline,
        connection_rate,
        connection_rate_per_address,
        publish_rate_per_publisher: r.rate("limits.publish_rate_per_publisher", "Maximum events from one publisher through this node, for example `100/s`, `600/m` or `1000/h`. `off` means no limit."),
        publish_rate_per_pipeline: r.rate("limits.publish_rate_per_pipeline", "The same for all publishers of one pipeline together."),
    }
}
