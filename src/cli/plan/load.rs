//! A load, and what follows from it alone.

use super::args::Way;

/// Channel of an event, bytes: what stands in no plan.
const CHANNEL: f64 = 10.0;
/// `id: 1764000000000-12345`, `event: `, `data: ` and their line feeds.
const FRAME: f64 = 40.0;
/// Around a frame as a chunk of HTTP/1.1.
const CHUNK: f64 = 7.0;
/// Around a segment: 32 bytes of TCP with time stamps, 20 of IPv4, 38 of Ethernet with its gap.
const SEGMENT: f64 = 90.0;
/// What a segment carries.
const SEGMENT_DATA: f64 = 1448.0;
/// `:keepalive` and a blank line.
const KEEPALIVE: f64 = 12.0;
/// `hub.check_interval`, seconds.
const CHECK_INTERVAL: f64 = 30.0;

/// What readers and publishers do.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// Open at the same time.
    pub(super) streams: f64,
    /// Events a second, over all pipelines.
    pub(super) rate: f64,
    pub(super) pipelines: f64,
    /// Bytes of an event's payload.
    pub(super) payload: f64,
    /// Events in a request.
    pub(super) batch: f64,
    /// Events kept a pipeline.
    pub(super) history: f64,
    /// Seconds between two keepalives of a stream.
    pub(super) keepalive: f64,
    pub(super) way: Way,
    /// Share of streams whose clients do not keep up.
    pub(super) slow: f64,
}

impl Load {
    /// Streams of a pipeline.
    pub(super) fn readers(&self) -> f64 {
        self.streams / self.pipelines
    }

    /// Deliveries a second.
    pub(super) fn deliveries(&self) -> f64 {
        self.rate * self.readers()
    }

    /// Keepalives a second.
    pub(super) fn keepalives(&self) -> f64 {
        self.streams / self.keepalive
    }

    /// Of so many nodes, those that have a reader of a pipeline, when streams come to nodes by chance.
    pub(super) fn reach(&self, nodes: f64) -> f64 {
        let readers = self.readers();
        if readers < 1.0 {
            // Not every pipeline has one.
            return readers;
        }
        nodes * (1.0 - (1.0 - 1.0 / nodes).powf(readers))
    }

    /// Comparisons of open pipelines with Redis a second, by so many nodes.
    pub(super) fn checks(&self, nodes: f64) -> f64 {
        self.pipelines * self.reach(nodes) / CHECK_INTERVAL
    }

    /// Bytes of an event's text.
    pub(super) fn frame(&self) -> f64 {
        self.payload + CHANNEL + FRAME
    }

    /// Bits a second that all nodes send to clients.
    pub(super) fn bits_to_clients(&self) -> f64 {
        8.0 * (self.deliveries() * on_the_wire(self.frame() + CHUNK)
            + self.keepalives() * on_the_wire(KEEPALIVE + CHUNK))
    }

    /// Bits a second that Redis sends to the nodes, a notification a request. Those of requests that arrive together share
    /// segments; it is counted as if they did not.
    pub(super) fn bits_from_redis(&self, nodes: f64) -> f64 {
        8.0 * self.rate * self.reach(nodes) * on_the_wire(self.frame() * self.batch) / self.batch
    }
}

/// Bytes with everything around them.
fn on_the_wire(data: f64) -> f64 {
    data + SEGMENT * (data / SEGMENT_DATA).ceil().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(streams: f64, pipelines: f64) -> Load {
        let (rate, payload, batch, history, keepalive) = (100.0, 206.0, 1.0, 100.0, 15.0);
        Load { streams, rate, pipelines, payload, batch, history, keepalive, way: Way::Http1, slow: 0.0 }
    }

    #[test]
    fn an_event_reaches_the_nodes_that_have_a_reader() {
        let is_about = |load: Load, nodes, expected: f64| {
            assert!((load.reach(nodes) - expected).abs() < 1e-6, "{}", load.reach(nodes))
        };
        is_about(load(1000.0, 1.0), 4.0, 4.0);
        is_about(load(1000.0, 1.0), 1.0, 1.0);
        // Two readers on two nodes: on the same in half of the cases.
        is_about(load(20.0, 10.0), 2.0, 1.5);
        is_about(load(10.0, 10.0), 7.0, 1.0);
        is_about(load(5.0, 10.0), 7.0, 0.5);
    }

    #[test]
    fn bits_are_those_of_frames_chunks_and_segments() {
        // 256 bytes of frame, 7 of chunk, 90 of segment; 19 and 90 for each of 1,000 / 15 keepalives.
        let expected = 8.0 * (100.0 * 1000.0 * 353.0 + 1000.0 / 15.0 * 109.0);
        assert!((load(1000.0, 1.0).bits_to_clients() - expected).abs() < 1.0);
        assert!((on_the_wire(1449.0) - (1449.0 + 180.0)).abs() < 1e-9);
        assert!((load(1000.0, 1.0).bits_from_redis(3.0) - 8.0 * 100.0 * 3.0 * 346.0).abs() < 1.0);
    }
}
