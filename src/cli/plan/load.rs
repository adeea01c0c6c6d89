//! A load, and what follows from it, whatever carries it.

use super::protocol::Protocol;

/// Bytes of an event's channel; no flag sets it.
const CHANNEL: f64 = 10.0;
/// `id: 1764000000000-12345`, `event: `, `data: ` and their line feeds.
const FRAME: f64 = 40.0;
/// Around a frame, as an HTTP/1.1 chunk.
const CHUNK: f64 = 7.0;
/// Around a segment: 32 bytes of TCP with timestamps, 20 of IPv4, 38 of Ethernet with its gap.
const SEGMENT: f64 = 90.0;
/// Payload of a segment.
const SEGMENT_DATA: f64 = 1448.0;
/// `:keepalive` and a blank line.
const KEEPALIVE: f64 = 12.0;
/// `hub.check_interval`, seconds.
const CHECK_INTERVAL: f64 = 30.0;

/// What subscribers and publishers do.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// Open at the same time.
    pub(super) streams: f64,
    /// Events per second, over all pipelines.
    pub(super) rate: f64,
    pub(super) pipelines: f64,
    /// Bytes of an event's payload.
    pub(super) payload: f64,
    /// Events per request.
    pub(super) batch: f64,
    /// Events kept per pipeline.
    pub(super) history: f64,
    /// Seconds between two keepalives of a stream.
    pub(super) keepalive: f64,
    pub(super) protocol: Protocol,
    /// Share of clients that do not keep up, 0 to 1.
    pub(super) slow_clients: f64,
}

impl Load {
    /// Subscribers per pipeline.
    pub(super) fn subscribers(&self) -> f64 {
        self.streams / self.pipelines
    }

    /// Deliveries per second.
    pub(super) fn deliveries(&self) -> f64 {
        self.rate * self.subscribers()
    }

    /// Keepalives per second.
    pub(super) fn keepalives(&self) -> f64 {
        self.streams / self.keepalive
    }

    /// How many of the nodes have a subscriber of a pipeline, when streams are spread at random.
    pub(super) fn reach(&self, nodes: f64) -> f64 {
        let subscribers = self.subscribers();
        if subscribers < 1.0 {
            // Not every pipeline has a subscriber.
            return subscribers;
        }
        nodes * (1.0 - (1.0 - 1.0 / nodes).powf(subscribers))
    }

    /// Comparisons of open pipelines with Redis per second, by all nodes.
    pub(super) fn checks(&self, nodes: f64) -> f64 {
        self.pipelines * self.reach(nodes) / CHECK_INTERVAL
    }

    /// Bytes of an event as SSE text.
    pub(super) fn frame(&self) -> f64 {
        self.payload + CHANNEL + FRAME
    }

    /// Bits per second that all nodes send to clients.
    pub(super) fn bits_to_clients(&self) -> f64 {
        8.0 * (self.deliveries() * on_the_wire(self.frame() + CHUNK)
            + self.keepalives() * on_the_wire(KEEPALIVE + CHUNK))
    }

    /// Bits per second that Redis sends to the nodes, one notification per request. Notifications of requests that arrive together
    /// share segments; the count ignores that.
    pub(super) fn bits_from_redis(&self, nodes: f64) -> f64 {
        8.0 * self.rate * self.reach(nodes) * on_the_wire(self.frame() * self.batch) / self.batch
    }
}

/// Bytes including the headers of all segments.
fn on_the_wire(data: f64) -> f64 {
    data + SEGMENT * (data / SEGMENT_DATA).ceil().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(streams: f64, pipelines: f64) -> Load {
        let (rate, payload, batch, history, keepalive) = (100.0, 206.0, 1.0, 100.0, 15.0);
        Load {
            streams,
            rate,
            pipelines,
            payload,
            batch,
            history,
            keepalive,
            protocol: Protocol::Http1,
            slow_clients: 0.0,
        }
    }

    #[test]
    fn event_reaches_the_nodes_that_have_a_subscriber() {
        let is_about = |load: Load, nodes, expected: f64| {
            assert!((load.reach(nodes) - expected).abs() < 1e-6, "{}", load.reach(nodes))
        };
        is_about(load(1000.0, 1.0), 4.0, 4.0);
        is_about(load(1000.0, 1.0), 1.0, 1.0);
        // Two subscribers on two nodes: half of the time on the same one.
        is_about(load(20.0, 10.0), 2.0, 1.5);
        is_about(load(10.0, 10.0), 7.0, 1.0);
        is_about(load(5.0, 10.0), 7.0, 0.5);
    }

    #[test]
    fn bits_are_those_of_frames_chunks_and_segments() {
        // 256 bytes of frame, 7 of chunk, 90 of segment; 19 and 90 for each of the 1,000 / 15 keepalives.
        let expected = 8.0 * (100.0 * 1000.0 * 353.0 + 1000.0 / 15.0 * 109.0);
        assert!((load(1000.0, 1.0).bits_to_clients() - expected).abs() < 1.0);
        assert!((on_the_wire(1449.0) - (1449.0 + 180.0)).abs() < 1e-9);
        assert!((load(1000.0, 1.0).bits_from_redis(3.0) - 8.0 * 100.0 * 3.0 * 346.0).abs() < 1.0);
    }
}
