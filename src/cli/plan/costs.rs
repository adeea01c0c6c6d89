//! What each thing costs, as `bench/capacity` measured it.

use serde::Deserialize;

use super::protocol::Protocol;

/// Written by `bench/capacity`. Built in, so a plan always counts with the numbers of its own version.
const MEASURED: &str = include_str!("costs.json");

/// Costs in microseconds of CPU time and bytes of memory.
#[derive(Deserialize, Debug)]
pub(super) struct Costs {
    /// A process without streams.
    pub(super) base: Base,
    protocols: PerProtocol,
    /// A delivery of an event that is one KiB larger: so much more, us.
    kib_us: f64,
    /// An event, for the node that accepts it.
    publishing: Publishing,
    /// An event, for each further node that receives it and delivers it to one subscriber, us.
    receiving_us: f64,
    redis: RedisCosts,
    pub(super) checking: Checking,
    /// A keepalive on a plain HTTP/1.1 stream, us.
    pub(super) keepalive_us: f64,
    /// A client that connects among many others and receives 100 events, us.
    pub(super) replay_us: f64,
    /// Kernel memory of a connection, both ends.
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
struct PerProtocol {
    http1: StreamCosts,
    http2: StreamCosts,
    tls: StreamCosts,
    tls_http2: StreamCosts,
}

/// A stream with one protocol.
#[derive(Deserialize, Debug)]
pub(super) struct StreamCosts {
    /// Memory of the node's process.
    pub(super) stream_bytes: f64,
    /// A delivery of 128 bytes.
    pub(super) delivery_us: f64,
}

/// CPU of an event, us.
#[derive(Deserialize, Debug, Clone, Copy)]
struct Publishing {
    /// One event per request.
    single_us: f64,
    /// A hundred events per request.
    batched_us: f64,
}

/// CPU of a busy Redis, us.
#[derive(Deserialize, Debug)]
struct RedisCosts {
    #[serde(flatten)]
    publishing: Publishing,
    /// A notification to each further node.
    notifying_us: f64,
}

/// The regular comparison of an open pipeline with Redis, by one node.
#[derive(Deserialize, Debug)]
pub(super) struct Checking {
    /// CPU of Redis.
    pub(super) redis_us: f64,
    /// Sent to Redis and back.
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
    /// Without events.
    pub(super) pipeline_bytes: f64,
    /// Per event, in addition to its text.
    pub(super) event_bytes: f64,
}

/// Streams per connection in the measurements of HTTP/2.
const STREAMS_PER_CONNECTION: f64 = 100.0;

impl Costs {
    /// The measured costs.
    ///
    /// # Errors
    /// When the file does not have the form that `bench/capacity` writes.
    pub(super) fn measured() -> serde_json::Result<Self> {
        serde_json::from_str(MEASURED)
    }

    pub(super) fn stream(&self, protocol: Protocol) -> &StreamCosts {
        match protocol {
            Protocol::Http1 => &self.protocols.http1,
            Protocol::Http2 => &self.protocols.http2,
            Protocol::Tls => &self.protocols.tls,
            Protocol::TlsHttp2 => &self.protocols.tls_http2,
        }
    }

    /// CPU of a delivery, us: a write, and its bytes.
    pub(super) fn delivery_us(&self, protocol: Protocol, payload: f64) -> f64 {
        self.stream(protocol).delivery_us + self.kib_us * (payload - 128.0).max(0.0) / 1024.0
    }

    /// CPU of a keepalive, us: a write, so it scales with the protocol as a delivery does.
    pub(super) fn keepalive_us(&self, protocol: Protocol) -> f64 {
        self.keepalive_us * self.stream(protocol).delivery_us / self.protocols.http1.delivery_us
    }

    /// CPU of an event for the node that accepts it, us, in requests of `batch` events.
    pub(super) fn publishing_us(&self, batch: f64) -> f64 {
        self.publishing.in_batches_us(batch)
    }

    /// CPU of an event for a node that receives it, without its delivery, us.
    pub(super) fn receiving_us(&self) -> f64 {
        (self.receiving_us - self.protocols.http1.delivery_us).max(0.0)
    }

    /// CPU of an event for Redis, us, in requests of `batch` events, with notifications to `nodes` nodes.
    pub(super) fn redis_us(&self, batch: f64, nodes: f64) -> f64 {
        // One notification per request, however many events it has.
        self.redis.publishing.in_batches_us(batch) + self.redis.notifying_us * nodes / batch
    }

    /// Kernel memory for the node's end of a stream.
    pub(super) fn kernel_bytes(&self, protocol: Protocol) -> f64 {
        let connection = self.kernel_bytes / 2.0;
        if matches!(protocol, Protocol::Http2 | Protocol::TlsHttp2) {
            connection / STREAMS_PER_CONNECTION
        } else {
            connection
        }
    }
}

impl Publishing {
    /// The events of a request share its cost; each has a cost of its own too.
    fn in_batches_us(self, batch: f64) -> f64 {
        let event = (self.batched_us - self.single_us / 100.0) * 100.0 / 99.0;
        event + (self.single_us - event) / batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_costs_are_plausible() {
        let costs = Costs::measured().unwrap();
        for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Tls, Protocol::TlsHttp2] {
            assert!(
                costs.delivery_us(protocol, 1024.0) > costs.stream(protocol).delivery_us
                    && costs.stream(protocol).delivery_us > 0.0
            );
            assert!(costs.stream(protocol).stream_bytes > 0.0 && costs.kernel_bytes(protocol) > 0.0);
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
        assert!(costs.receiving_us() > 0.0 && costs.kib_us > 0.0);
    }
}
