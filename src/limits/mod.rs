//! Limits: how many connections and streams there may be, and how fast they and events may arrive.
//!
//! Knows counts, addresses and names; no sockets and no HTTP. The HTTP room decides what to answer.

mod address;
mod arrivals;
pub mod available_memory;
mod bodies;
mod buckets;
mod budget;
mod capacity;
mod counts;
mod full_notice;
pub mod open_files;
pub mod proxies;
mod publishing;
mod rate;
mod slots;

use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::event::PipelineId;
use crate::metrics::Rejection;
use address::AddressBlock;
use arrivals::ArrivalRates;
use capacity::{Capacity, MAX_ADMIN_CONNECTIONS, connections_per_address};
use counts::{ClientCounts, PipelineCounts, PipelineHash};
use full_notice::FullNotice;
use publishing::PublishRates;
use slots::CountedConnection;

pub use bodies::{Bodies, BodyRoom, SMALL_BODY};
pub use budget::{Budget, NoRoom, Reservation};
pub use publishing::{Publisher, RateReached};
pub use rate::{InvalidRate, Rate};
pub use slots::{ConnectionSlot, StreamSlot};

/// Section `limits`, as far as it is about connections and rates. `None` means no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct LimitOptions {
    /// Maximum streams on this node; `None` for as many as the open files allow.
    pub streams: Option<usize>,
    /// Maximum streams per client address.
    pub streams_per_address: Option<usize>,
    /// Maximum streams per pipeline on this node.
    pub streams_per_pipeline: Option<usize>,
    /// Maximum rate of new connections on this node.
    pub connection_rate: Option<Rate>,
    /// Maximum rate of new connections per client address.
    pub connection_rate_per_address: Option<Rate>,
    /// Maximum rate of events per publisher.
    pub publish_rate_per_publisher: Option<Rate>,
    /// Maximum rate of events per pipeline through this node.
    pub publish_rate_per_pipeline: Option<Rate>,
}

/// What a node has admitted, and what it may admit.
#[derive(Debug)]
pub struct Limits {
    capacity: Capacity,
    streams: AtomicUsize,
    connections: AtomicUsize,
    admin_connections: AtomicUsize,
    /// Whether there is a limit per client, and a limit per pipeline: without one, `counts` is not looked at.
    counts_clients: bool,
    counts_pipelines: bool,
    /// Written and read when a connection or a stream begins or ends, where those are counted.
    counts: Mutex<Counts>,
    hasher: RandomState,
    arrival_rates: ArrivalRates,
    publish_rates: PublishRates,
    full_notice: FullNotice,
}

#[derive(Debug)]
struct Counts {
    connections: ClientCounts,
    streams: ClientCounts,
    pipelines: PipelineCounts,
}

impl Limits {
    /// Limits of a node that may open this many files, `store_files` of which the store needs.
    ///
    /// A limit on streams that the open files do not allow is lowered, with a warning.
    pub fn new(options: LimitOptions, open_files: u64, store_files: usize) -> Arc<Self> {
        let capacity = Capacity::new(options.streams, open_files, store_files);
        let (per_address, per_pipeline) = (options.streams_per_address, options.streams_per_pipeline);
        let counts = Counts {
            connections: ClientCounts::new(per_address.map(connections_per_address)),
            streams: ClientCounts::new(per_address),
            pipelines: PipelineCounts::new(per_pipeline),
        };
        Arc::new(Self {
            capacity,
            streams: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            admin_connections: AtomicUsize::new(0),
            counts_clients: per_address.is_some(),
            counts_pipelines: per_pipeline.is_some(),
            counts: Mutex::new(counts),
            hasher: RandomState::new(),
            arrival_rates: ArrivalRates::new(options.connection_rate, options.connection_rate_per_address),
            publish_rates: PublishRates::new(options.publish_rate_per_publisher, options.publish_rate_per_pipeline),
            full_notice: FullNotice::new(capacity.max_streams),
        })
    }

    /// Maximum streams on this node.
    pub fn max_streams(&self) -> usize {
        self.capacity.max_streams
    }

    /// Connections open on the public listener.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Admits a stream.
    ///
    /// # Errors
    /// The limit that is reached; then nothing is counted.
    pub fn open_stream(self: &Arc<Self>, client: IpAddr, pipeline: &PipelineId) -> Result<StreamSlot, Rejection> {
        if !take_one(&self.streams, self.capacity.max_streams) {
            self.full_notice.full();
            return Err(Rejection::StreamLimit);
        }
        let (client, pipeline) = (AddressBlock::of(client), PipelineHash::of(pipeline, &self.hasher));
        if let Err(rejection) = self.count_stream(client, pipeline) {
            self.streams.fetch_sub(1, Ordering::Relaxed);
            return Err(rejection);
        }
        Ok(StreamSlot::counted(self, client, pipeline))
    }

    fn count_stream(&self, client: AddressBlock, pipeline: PipelineHash) -> Result<(), Rejection> {
        if !self.counts_streams() {
            return Ok(());
        }
        let mut counts = self.counts.lock();
        if !counts.streams.add(client) {
            return Err(Rejection::AddressStreamLimit);
        }
        if !counts.pipelines.add(pipeline) {
            counts.streams.remove(client);
            return Err(Rejection::PipelineStreamLimit);
        }
        Ok(())
    }

    fn close_stream(&self, client: AddressBlock, pipeline: PipelineHash) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
        if self.counts_streams() {
            let mut counts = self.counts.lock();
            counts.streams.remove(client);
            counts.pipelines.remove(pipeline);
        }
    }

    fn counts_streams(&self) -> bool {
        self.counts_clients || self.counts_pipelines
    }

    /// Admits a connection on the public listener. Call [`ConnectionSlot::arrive`] as soon as its client is known.
    ///
    /// # Errors
    /// The limit that is reached; then nothing is counted.
    pub fn open_connection(self: &Arc<Self>) -> Result<ConnectionSlot, Rejection> {
        if !take_one(&self.connections, self.capacity.max_connections) {
            self.full_notice.full();
            return Err(Rejection::ConnectionLimit);
        }
        Ok(ConnectionSlot::counted(self, CountedConnection::Node))
    }

    /// Admits a connection on the admin listener, which has a small number of its own.
    ///
    /// # Errors
    /// When there are too many.
    pub fn open_admin_connection(self: &Arc<Self>) -> Result<ConnectionSlot, Rejection> {
        if !take_one(&self.admin_connections, MAX_ADMIN_CONNECTIONS) {
            return Err(Rejection::AdminConnectionLimit);
        }
        Ok(ConnectionSlot::counted(self, CountedConnection::Admin))
    }

    /// Counts a connection that the node has admitted for its client too, if there is a limit per client.
    fn count_client_connection(&self, client: AddressBlock) -> Result<CountedConnection, Rejection> {
        if !self.counts_clients {
            return Ok(CountedConnection::Node);
        }
        match self.counts.lock().connections.add(client) {
            true => Ok(CountedConnection::NodeAndClient(client)),
            false => Err(Rejection::AddressConnectionLimit),
        }
    }

    fn take_arrival(&self, client: Option<IpAddr>) -> Result<(), Rejection> {
        self.arrival_rates.take(client)
    }

    fn close_connection(&self, counted: CountedConnection) {
        match counted {
            CountedConnection::Nothing => {}
            CountedConnection::Admin => {
                self.admin_connections.fetch_sub(1, Ordering::Relaxed);
            }
            CountedConnection::Node => {
                self.connections.fetch_sub(1, Ordering::Relaxed);
            }
            CountedConnection::NodeAndClient(client) => {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                self.counts.lock().connections.remove(client);
            }
        }
    }

    /// Admits this many events of a publish, all or none.
    ///
    /// # Errors
    /// The rate that is reached; then nothing is counted.
    pub fn publish(&self, who: Publisher<'_>, pipeline: &PipelineId, events: usize) -> Result<(), RateReached> {
        self.publish_rates.take(who, pipeline, events)
    }

    /// A slot was given back.
    fn freed(&self) {
        // Well below the limits, or each client that leaves a full node and each that comes would be a line in the log.
        let is_low = |count: &AtomicUsize, max: usize| count.load(Ordering::Relaxed) <= max / 10 * 9;
        self.full_notice.freed(|| {
            is_low(&self.streams, self.capacity.max_streams) && is_low(&self.connections, self.capacity.max_connections)
        });
    }
}

/// Counts one more if that is within the limit. Returns whether it was.
fn take_one(count: &AtomicUsize, max: usize) -> bool {
    let taken = |count| (count < max).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_slot_is_small() {
        assert_eq!(size_of::<Option<StreamSlot>>(), 24);
    }

    #[test]
    fn ipv6_network_shares_one_limit() {
        let limits = Limits::new(LimitOptions { streams_per_address: Some(2), ..LimitOptions::default() }, 4096, 0);
        let open = |address: &str| limits.open_stream(address.parse().unwrap(), &"p".parse().unwrap());
        let opened = |addresses: &mut dyn Iterator<Item = String>| -> Vec<_> {
            addresses.filter_map(|address| open(&address).ok()).collect()
        };
        let of_one_block = opened(&mut (0..100).map(|n| format!("2001:db8:1:2::{n:x}")));
        let of_its_56 = opened(&mut (0..256).map(|n| format!("2001:db8:1:{n:x}::1")));
        let of_its_48 = opened(&mut (0..4096).map(|n| format!("2001:db8:1:{n:x}::1")));
        assert_eq!((of_one_block.len(), of_its_56.len(), of_its_48.len()), (2, 6, 24));
        assert!(open("2001:db8:2::1").is_ok() && open("192.0.2.1").is_ok());
        drop((of_one_block, of_its_56, of_its_48));
        assert!(limits.counts.lock().streams.is_empty(), "closed streams are still counted");
        assert!(open("2001:db8:1:2::1").is_ok());
    }

    #[test]
    fn stream_gives_back_the_connection_that_it_took_over() {
        let limits = Limits::new(LimitOptions { streams_per_address: Some(2), ..LimitOptions::default() }, 4096, 0);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for (client, stays) in [(Some("192.0.2.1"), 1), (None, 1), (Some("192.0.2.2"), 0)] {
            let mut connection = limits.open_connection().unwrap();
            connection.arrive(client.map(address)).unwrap();
            let mut stream = limits.open_stream(address("192.0.2.1"), &"p".parse().unwrap()).unwrap();
            stream.hold_connection(connection);
            assert_eq!(limits.connections(), stays, "{client:?}");
            drop(stream);
            assert_eq!(limits.connections(), 0, "{client:?}");
            let counts = limits.counts.lock();
            assert!(counts.connections.is_empty() && counts.streams.is_empty(), "{client:?}");
        }
    }

    #[test]
    fn admin_connections_are_counted_apart() {
        let limits = Limits::new(LimitOptions::default(), 4096, 0);
        let mut open: Vec<_> = (0..MAX_ADMIN_CONNECTIONS).map(|_| limits.open_admin_connection().unwrap()).collect();
        assert!(limits.open_admin_connection().is_err() && limits.connections() == 0);
        open.pop();
        assert!(limits.open_admin_connection().is_ok());
    }
}
