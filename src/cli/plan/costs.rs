//! What things cost, as `bench/capacity` measured it.

use serde::Deserialize;

use super::args::Way;

/// Written by `bench/capacity`; built in, so that a plan and its numbers are one.
const MEASURED: &str = include_str!("costs.json");

/// Costs in microseconds of CPU time and bytes of memory.
#[derive(Deserialize, Debug)]
pub(super) struct Costs {
    /// A process without streams.
    pub(super) base: Base,
    ways: Ways,
    /// Each KiB that a delivered event has more, us.
    kib_us: f64,
    /// An event, for the node that takes it.
    publishing: Publishing,
    /// One more node that hears an event and gives it to one reader, us.
    hearing_us: f64,
    redis: RedisCosts,
    pub(super) checking: Checking,
    /// A keepalive on a stream of plain HTTP/1.1, us.
    pub(super) keepalive_us: f64,
    /// A client that connects among many and gets 100 events, us.
    pub(super) replay_us: f64,
    /// The kernel's for a connection, both ends.
    kernel_bytes: f64,
    pub(super) histories: Histories,
}

#[derive(Deserialize, Debug)]
pub(super) struct Base {
    pub(super) node: f64,
    pub(super) redis: f64,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
struct Ways {
    http1: WayCosts,
    http2: WayCosts,
    tls: WayCosts,
    tls_http2: WayCosts,
}

/// A stream that comes some way.
#[derive(Deserialize, Debug)]
pub(super) struct WayCosts {
    /// The process' memory for it.
    pub(super) stream_bytes: f64,
    /// A delivery of 128 bytes.
    pub(super) delivery_us: f64,
}

/// CPU of an event, us.
#[derive(Deserialize, Debug, Clone, Copy)]
struct Publishing {
    /// Published alone.
    single_us: f64,
    /// Among a hundred in a request.
    batched_us: f64,
}

/// CPU of a busy Redis, us.
#[derive(Deserialize, Debug)]
struct RedisCosts {
    #[serde(flatten)]
    publishing: Publishing,
    /// One more node that hears a notification.
    announcing_us: f64,
}

/// The regular comparison of one pipeline that is open on one node.
#[derive(Deserialize, Debug)]
pub(super) struct Checking {
    /// CPU of Redis.
    pub(super) redis_us: f64,
    /// To Redis and from it.
    pub(super) redis_bytes: f64,
}

#[derive(Deserialize, Debug)]
pub(super) struct Histories {
    pub(super) node: History,
    pub(super) redis: History,
}

/// Memory of a pipeline's history.
#[derive(Deserialize, Debug)]
pub(super) struct History {
    /// By itself.
    pub(super) pipeline_bytes: f64,
    /// For each event, beside its text.
    pub(super) event_bytes: f64,
}

/// Streams on one connection, as the ways with HTTP/2 were measured.
const STREAMS_A_CONNECTION: f64 = 100.0;

impl Costs {
    /// The costs that were measured.
    ///
    /// # Errors
    /// When the file is not what `bench/capacity` writes.
    pub(super) fn measured() -> serde_json::Result<Self> {
        serde_json::from_str(MEASURED)
    }

    pub(super) fn way(&self, way: Way) -> &WayCosts {
        match way {
            Way::Http1 => &self.ways.http1,
            Way::Http2 => &self.ways.http2,
            Way::Tls => &self.ways.tls,
            Way::TlsHttp2 => &self.ways.tls_http2,
        }
    }

    /// CPU of a delivery, us: a write, and what each further byte takes.
    pub(super) fn delivery_us(&self, way: Way, payload: f64) -> f64 {
        self.way(way).delivery_us + self.kib_us * (payload - 128.0).max(0.0) / 1024.0
    }

    /// CPU of a keepalive, us: a write like another, dearer where that is dearer.
    pub(super) fn keepalive_us(&self, way: Way) -> f64 {
        self.keepalive_us * self.way(way).delivery_us / self.ways.http1.delivery_us
    }

    /// CPU of an event for the node that takes it, us, in requests of `batch` events.
    pub(super) fn publishing_us(&self, batch: f64) -> f64 {
        self.publishing.in_batches_us(batch)
    }

    /// CPU of a node that hears an event, without delivering it, us.
    pub(super) fn hearing_us(&self) -> f64 {
        (self.hearing_us - self.ways.http1.delivery_us).max(0.0)
    }

    /// CPU of an event for Redis, us, in requests of `batch` events that `nodes` nodes hear.
    pub(super) fn redis_us(&self, batch: f64, nodes: f64) -> f64 {
        // A request is one notification, however many events it has.
        self.redis.publishing.in_batches_us(batch) + self.redis.announcing_us * nodes / batch
    }

    /// The kernel's memory for a stream at the node's end.
    pub(super) fn kernel_bytes(&self, way: Way) -> f64 {
        let connection = self.kernel_bytes / 2.0;
        if matches!(way, Way::Http2 | Way::TlsHttp2) { connection / STREAMS_A_CONNECTION } else { connection }
    }
}

impl Publishing {
    /// A cost of the request, shared by its events, and one of the event.
    fn in_batches_us(self, batch: f64) -> f64 {
        let event = (self.batched_us - self.single_us / 100.0) * 100.0 / 99.0;
        event + (self.single_us - event) / batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_can_be_counted_with() {
        let costs = Costs::measured().unwrap();
        for way in [Way::Http1, Way::Http2, Way::Tls, Way::TlsHttp2] {
            assert!(costs.delivery_us(way, 1024.0) > costs.way(way).delivery_us && costs.way(way).delivery_us > 0.0);
            assert!(costs.way(way).stream_bytes > 0.0 && costs.kernel_bytes(way) > 0.0);
        }
        let Publishing { single_us, batched_us } = costs.publishing;
        assert!(
            (costs.publishing_us(1.0) - single_us).abs() < 1e-9
                && (costs.publishing_us(100.0) - batched_us).abs() < 1e-9
        );
        for batch in [1.0, 7.0, 100.0, 1000.0] {
            assert!(costs.publishing_us(batch) > 0.0 && costs.redis_us(batch, 3.0) > costs.redis_us(batch, 1.0));
            assert!(costs.publishing_us(batch) > costs.publishing_us(batch + 1.0));
        }
        assert!(costs.hearing_us() > 0.0 && costs.kib_us > 0.0);
    }
}
