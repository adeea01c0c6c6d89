//! Sections `history`, `store`, `stream`, `hub` and `fanout`: what is kept of events, and how they reach subscribers.

use std::time::Duration;

use super::reader::Reader;
use crate::hub::HubOptions;
use crate::log::LogLimits;
use crate::store::Retention;
use crate::stream::StreamOptions;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Section `history`.
pub(super) fn read_history(r: &mut Reader) -> Retention {
    Retention {
        limit: r.count("history.limit", "100", 1..=10_000, "Maximum events kept per pipeline."),
        bytes: r.size(
            "history.bytes",
            "32MiB",
            1 << 10..=1 << 30,
            "Maximum bytes of these events, as SSE text. The oldest are dropped first; the newest is always kept.",
        ),
        ttl: r.duration(
            "history.ttl",
            "24h",
            SECOND..=DAY * 365,
            "How long a pipeline's history is kept after its last event. It is kept longer while there are subscribers.",
        ),
    }
}

/// `store.memory`, in bytes.
pub(super) fn read_store_memory(r: &mut Reader) -> usize {
    // The rest is for sockets, requests and the allocator.
    const PARTS: u64 = 4;
    r.memory("store.memory", PARTS, u64::MAX, "Memory for the embedded store, and the same amount again for the histories of pipelines that are open on a node. A full store deletes the least recently used pipelines without subscribers; an eighth of it holds answers to `Idempotency-Key`. When open pipelines need more, those without subscribers are closed first, then streams of further pipelines are asked to reconnect later. `auto` means a quarter of the machine's or the container's memory.")
}

/// Section `stream`.
pub(super) fn read_stream(r: &mut Reader) -> StreamOptions {
    StreamOptions {
        keepalive: r.duration(
            "stream.keepalive",
            "15s",
            SECOND / 10..=DAY,
            "Time between two keepalive comments. Keep it below the idle timeout of every proxy between client and node.",
        ),
        keepalive_min: r.duration(
            "stream.keepalive_min",
            "5s",
            SECOND..=SECOND * 60,
            "Shortest `keepalive=` that a client may ask for.",
        ),
        write_timeout: r.duration(
            "stream.write_timeout",
            "30s",
            SECOND / 10..=DAY,
            "Closes the connection if the client reads nothing for this long.",
        ),
        max_age: r.optional_duration("stream.max_age", "off", SECOND..=DAY * 365, "Ends each stream after 80-100 % of this time, so that clients spread over new nodes. `off` means never."),
        send_buffer: r.size(
            "stream.send_buffer",
            "64KiB",
            4 << 10..=112 << 10,
            "Size of the kernel's send buffer per connection. The kernel doubles it for its own bookkeeping.",
        ),
        compresses: r.choice(
            "stream.compression",
            "false",
            &[("true", true), ("false", false)],
            "Whether clients that accept gzip get it. Each event is compressed once for all of them.",
        ),
    }
}

/// Section `hub`.
pub(super) fn read_hub(r: &mut Reader, retention: Retention, log_memory: usize, stream: &StreamOptions) -> HubOptions {
    let linger = r.duration(
        "hub.linger",
        "30s",
        Duration::ZERO..=DAY,
        "How long a pipeline stays open on a node after its last subscriber has left.",
    );
    let check = r.duration("hub.check_interval", "30s", SECOND / 10..=DAY, "How often open pipelines are compared with the store, and kept from expiring. At most a sixth of `history.ttl` is used.");
    let backlog_bytes = r.size("hub.backlog", "4MiB", 0..=1 << 30, "Maximum bytes of events, older than the history, that a node keeps per pipeline for connected subscribers that have fallen behind.");
    let backlog_age = r.duration("hub.backlog_age", "5s", Duration::ZERO..=DAY, "How long such events are kept.");
    let hold = r.duration("hub.hold", "1s", Duration::ZERO..=SECOND * 10, "Maximum delay added to a publish response while most of the pipeline's subscribers on this node are behind but catching up. `0s` means never.");
    HubOptions {
        log_memory,
        log: LogLimits {
            history: retention.limit,
            history_bytes: retention.bytes,
            backlog_bytes,
            backlog_age,
            compresses: stream.compresses,
        },
        hold,
        linger,
        check_interval: check.min(retention.ttl / 6),
    }
}

/// `fanout.threads`; zero means that hyper carries the streams.
pub(super) fn read_fanout_threads(r: &mut Reader) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    r.count_or("fanout.threads", "auto", cores, 0..=1024, "Threads that write streams to plain HTTP/1.1 connections. `auto` means one per core. With 0, the HTTP library writes them, as it does all other streams, at several times the cost.")
}
