//! Limits: how many connections and streams there may be, and how fast they and events may come.
//!
//! Knows counts, addresses and names; no sockets and no HTTP. What to answer is the server's business.

mod address;
mod arrivals;
pub mod available_memory;
mod bodies;
mod buckets;
mod budget;
pub mod open_files;
pub mod proxies;
mod publishing;
mod rate;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::event::PipelineId;
use crate::metrics::Rejection;
use address::{AddressBlock, Network};
use arrivals::ArrivalRates;
use publishing::PublishRates;

pub use bodies::{Bodies, BodyRoom, SMALL_BODY};
pub use budget::{Budget, NoRoom, Reservation};
pub use publishing::{Publisher, RateReached};
pub use rate::{InvalidRate, Rate};

/// Open files that are kept from clients: listeners, fan-out threads, logs, and the admin listener's connections.
const RESERVED_FILES: u64 = 64 + MOST_ADMIN_SOCKETS as u64;

/// Connections to the admin listener: a few probes and scrapes, and no way to use up the open files.
const MOST_ADMIN_SOCKETS: usize = 64;

/// What `auto` never goes beyond, however many files may be open: the memory of a large machine.
const MOST_AUTO: usize = 1_000_000;

/// Section `limits`, as far as it is about connections and rates.
#[derive(Clone, Copy, Debug, Default)]
pub struct LimitOptions {
    /// Streams on this node; none for as many as files may be open.
    pub streams: Option<usize>,
    /// Streams of one client address.
    pub streams_per_address: Option<usize>,
    /// Streams of one pipeline on this node.
    pub streams_per_pipeline: Option<usize>,
    /// New connections on this node.
    pub connection_rate: Option<Rate>,
    /// New connections of one client address.
    pub connection_rate_per_address: Option<Rate>,
    /// Events of one publisher.
    pub publish_rate_per_publisher: Option<Rate>,
    /// Events of one pipeline through this node.
    pub publish_rate_per_pipeline: Option<Rate>,
}

/// What a node has let in, and what it may.
#[derive(Debug)]
pub struct Limits {
    most_streams: usize,
    most_sockets: usize,
    most_per_address: Option<usize>,
    most_per_pipeline: Option<usize>,
    streams: AtomicUsize,
    sockets: AtomicUsize,
    admin_sockets: AtomicUsize,
    /// Written and read when a socket or a stream opens or ends, where those are counted by address or pipeline.
    counts: Mutex<Counts>,
    hasher: RandomState,
    began: Instant,
    arrival_rates: ArrivalRates,
    publish_rates: PublishRates,
    /// Whether the log has been told that the node is full.
    is_told: AtomicBool,
    /// From when on it may be told so again, in seconds since the node began.
    next_told_at: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    sockets: HashMap<Network, usize>,
    streams: HashMap<Network, usize>,
    pipelines: HashMap<PipelineHash, usize>,
}

/// A pipeline's name, hashed with keys that nobody outside knows: two of a million pipelines meet with a chance
/// below one in a hundred thousand, and then share a limit. Seven bytes, so that a [`Place`] has 24.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct PipelineHash([u8; 7]);

/// A stream's place on the node. Given back when dropped.
#[derive(Debug)]
pub struct Place {
    limits: Arc<Limits>,
    address: AddressBlock,
    pipeline: PipelineHash,
    /// The stream's own socket, once nobody else has it.
    socket: Held,
}

/// A socket's place on the node. Given back when dropped.
#[derive(Debug)]
pub struct SocketPlace {
    limits: Arc<Limits>,
    address: AddressBlock,
    held: Held,
}

/// As what a socket is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Nothing,
    /// One on the admin listener.
    Admin,
    /// One of the node's.
    Node,
    /// One of the node's, and of its address'.
    NodeAndAddress,
}

/// Room beyond a limit on streams: for publishers, and for those who ask for a stream and are sent elsewhere politely.
fn headroom(streams: usize, least: usize) -> usize {
    (streams / 8).clamp(least, MOST_HEADROOM)
}

/// Headroom of a node and of an address, at least.
const NODE_HEADROOM: usize = 16;
const ADDRESS_HEADROOM: usize = 8;

/// And at most.
const MOST_HEADROOM: usize = 512;

/// Between two warnings that the node is full.
const SECONDS_BETWEEN_WARNINGS: u64 = 60;

impl Limits {
    /// Limits of a node that may have so many files open, of which the store needs some.
    ///
    /// A limit on streams that the open files do not allow is lowered, with a warning.
    pub fn new(options: LimitOptions, open_files: u64, store_files: usize) -> Arc<Self> {
        let available = open_files.saturating_sub(RESERVED_FILES).saturating_sub(store_files as u64);
        let available = usize::try_from(available).unwrap_or(usize::MAX);
        // So that they and their headroom are what is available.
        let possible = (available / 9 * 8).min(available.saturating_sub(NODE_HEADROOM));
        let possible = possible.max(available.saturating_sub(MOST_HEADROOM)).max(1);
        let most_streams = options.streams.unwrap_or(MOST_AUTO).min(possible);
        if let Some(wanted) = options.streams.filter(|wanted| *wanted > possible) {
            tracing::warn!(
                wanted,
                possible,
                open_files,
                "limits.streams is more than the limit on open files allows; raise that (LimitNOFILE, ulimit -Hn)"
            );
        }
        tracing::info!(streams = most_streams, open_files, "limit on streams");
        Arc::new(Self {
            most_streams,
            most_sockets: most_streams + headroom(most_streams, NODE_HEADROOM),
            most_per_address: options.streams_per_address,
            most_per_pipeline: options.streams_per_pipeline,
            streams: AtomicUsize::new(0),
            sockets: AtomicUsize::new(0),
            admin_sockets: AtomicUsize::new(0),
            counts: Mutex::default(),
            hasher: RandomState::new(),
            began: Instant::now(),
            arrival_rates: ArrivalRates::new(options.connection_rate, options.connection_rate_per_address),
            publish_rates: PublishRates::new(options.publish_rate_per_publisher, options.publish_rate_per_pipeline),
            is_told: AtomicBool::new(false),
            next_told_at: AtomicU64::new(0),
        })
    }

    /// Most streams on this node.
    pub fn most_streams(&self) -> usize {
        self.most_streams
    }

    /// Sockets open on the public listener.
    pub fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }

    /// Lets a stream in.
    ///
    /// # Errors
    /// The limit that is reached; then nothing was counted.
    pub fn open_stream(self: &Arc<Self>, client: IpAddr, pipeline: &PipelineId) -> Result<Place, Rejection> {
        if !take_one(&self.streams, self.most_streams) {
            self.tell_full();
            return Err(Rejection::StreamLimit);
        }
        let (address, pipeline) = (AddressBlock::of(client), PipelineHash::of(pipeline, &self.hasher));
        if let Err(rejection) = self.count_stream(address, pipeline) {
            self.streams.fetch_sub(1, Ordering::Relaxed);
            return Err(rejection);
        }
        Ok(Place { limits: self.clone(), address, pipeline, socket: Held::Nothing })
    }

    fn count_stream(&self, address: AddressBlock, pipeline: PipelineHash) -> Result<(), Rejection> {
        if self.most_per_address.is_none() && self.most_per_pipeline.is_none() {
            return Ok(());
        }
        let mut counts = self.counts.lock();
        let Counts { streams, pipelines, .. } = &mut *counts;
        add_client(streams, address, self.most_per_address).ok_or(Rejection::AddressStreamLimit)?;
        add_one(pipelines, pipeline, self.most_per_pipeline).ok_or_else(|| {
            remove_client(streams, address, self.most_per_address);
            Rejection::PipelineStreamLimit
        })
    }

    /// Lets a socket in on the public listener. It is to [`SocketPlace::arrive`] as soon as it is known whose it is.
    ///
    /// # Errors
    /// The limit that is reached; then nothing was counted.
    pub fn open_socket(self: &Arc<Self>) -> Result<SocketPlace, Rejection> {
        if !take_one(&self.sockets, self.most_sockets) {
            self.tell_full();
            return Err(Rejection::ConnectionLimit);
        }
        let address = AddressBlock::of(IpAddr::from([0; 4]));
        Ok(SocketPlace { limits: self.clone(), address, held: Held::Node })
    }

    /// Lets a socket in on the admin listener, which has its own few.
    ///
    /// # Errors
    /// When there are too many.
    pub fn open_admin_socket(self: &Arc<Self>) -> Result<SocketPlace, Rejection> {
        if !take_one(&self.admin_sockets, MOST_ADMIN_SOCKETS) {
            return Err(Rejection::AdminConnectionLimit);
        }
        let address = AddressBlock::of(IpAddr::from([0; 4]));
        Ok(SocketPlace { limits: self.clone(), address, held: Held::Admin })
    }

    /// Lets so many events be published, all or none.
    ///
    /// # Errors
    /// The rate that is reached; then nothing was counted.
    pub fn publish(&self, who: Publisher<'_>, pipeline: &PipelineId, events: usize) -> Result<(), RateReached> {
        self.publish_rates.take(who, pipeline, events)
    }

    fn give_back_socket(&self, held: Held, address: AddressBlock) {
        match held {
            Held::Nothing => {}
            Held::Admin => {
                self.admin_sockets.fetch_sub(1, Ordering::Relaxed);
            }
            Held::Node => {
                self.sockets.fetch_sub(1, Ordering::Relaxed);
            }
            Held::NodeAndAddress => {
                self.sockets.fetch_sub(1, Ordering::Relaxed);
                remove_client(&mut self.counts.lock().sockets, address, self.most_per_address);
            }
        }
    }

    /// Says once that the node is full, and not for every client that it sends away; and again only after a while:
    /// a stranger may fill the last places of a small node and leave them, as often as it likes.
    fn tell_full(&self) {
        let now = self.began.elapsed().as_secs();
        let is_due = now >= self.next_told_at.load(Ordering::Relaxed);
        if is_due && !self.is_told.swap(true, Ordering::Relaxed) {
            self.next_told_at.store(now + SECONDS_BETWEEN_WARNINGS, Ordering::Relaxed);
            tracing::warn!(limit = self.most_streams, "the node is full (limits.streams); clients are sent away");
        }
    }

    fn tell_free(&self) {
        if !self.is_told.load(Ordering::Relaxed) {
            return;
        }
        // Well below the limits, or every client that leaves and comes would be two lines.
        let is_free = |count: &AtomicUsize, most: usize| count.load(Ordering::Relaxed) <= most / 10 * 9;
        let is_free = is_free(&self.streams, self.most_streams) && is_free(&self.sockets, self.most_sockets);
        if is_free && self.is_told.swap(false, Ordering::Relaxed) {
            tracing::info!(limit = self.most_streams, "the node has places again");
        }
    }
}

impl Place {
    /// Takes over the socket that carries this stream alone.
    pub fn hold_socket(&mut self, mut socket: SocketPlace) {
        // Of any other address the socket would be given back under the wrong one; it is a proxy's then, and not counted by it.
        if socket.held == Held::Node || socket.address == self.address {
            self.socket = std::mem::replace(&mut socket.held, Held::Nothing);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self { limits, address, pipeline, socket } = self;
        limits.streams.fetch_sub(1, Ordering::Relaxed);
        if limits.most_per_address.is_some() || limits.most_per_pipeline.is_some() {
            let mut counts = limits.counts.lock();
            remove_client(&mut counts.streams, *address, limits.most_per_address);
            remove_one(&mut counts.pipelines, *pipeline, limits.most_per_pipeline);
        }
        limits.give_back_socket(*socket, *address);
        limits.tell_free();
    }
}

impl SocketPlace {
    /// Counts the socket as one of this client's, and as one that has just come; `client` where the other end is one, and no
    /// proxy before many.
    ///
    /// # Errors
    /// The limit that is reached; dropped, it gives back what was taken so far.
    pub fn arrive(&mut self, client: Option<IpAddr>) -> Result<(), Rejection> {
        if let Some(client) = client {
            self.count_address(client)?;
        }
        // Last: who is over another limit takes nothing from those who are not.
        self.limits.arrival_rates.take(client)
    }

    fn count_address(&mut self, client: IpAddr) -> Result<(), Rejection> {
        let limits = &self.limits;
        if self.held == Held::Node && limits.most_per_address.is_some() {
            let address = AddressBlock::of(client);
            let most = limits.most_per_address.map(|most| most.saturating_add(headroom(most, ADDRESS_HEADROOM)));
            add_client(&mut limits.counts.lock().sockets, address, most).ok_or(Rejection::AddressConnectionLimit)?;
            (self.address, self.held) = (address, Held::NodeAndAddress);
        }
        Ok(())
    }
}

impl Drop for SocketPlace {
    fn drop(&mut self) {
        self.limits.give_back_socket(self.held, self.address);
        self.limits.tell_free();
    }
}

impl PipelineHash {
    fn of(pipeline: &PipelineId, hasher: &RandomState) -> Self {
        let [hash @ .., _] = hasher.hash_one(pipeline.as_str()).to_be_bytes();
        Self(hash)
    }
}

/// Takes one of so many; whether there was one.
fn take_one(count: &AtomicUsize, most: usize) -> bool {
    let taken = |count| (count < most).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
}

/// Counts one more of a client, in each of the networks that it is in, if there is a limit; `None` when one of them has reached it.
fn add_client(counts: &mut HashMap<Network, usize>, client: AddressBlock, most: Option<usize>) -> Option<()> {
    let Some(most) = most else { return Some(()) };
    let most_of = |times: u32| most.saturating_mul(usize::try_from(times).unwrap_or(usize::MAX));
    for (counted, (network, times)) in client.networks().enumerate() {
        if add_one(counts, network, Some(most_of(times))).is_none() {
            client.networks().take(counted).for_each(|(network, _)| remove_one(counts, network, Some(most)));
            return None;
        }
    }
    Some(())
}

/// Counts one less of a client.
fn remove_client(counts: &mut HashMap<Network, usize>, client: AddressBlock, most: Option<usize>) {
    client.networks().for_each(|(network, _)| remove_one(counts, network, most));
}

/// Counts one more of `key`, if there is a limit; `None` when that is reached.
fn add_one<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, most: Option<usize>) -> Option<()> {
    let Some(most) = most else { return Some(()) };
    let count = counts.entry(key).or_default();
    if *count >= most {
        return None;
    }
    *count += 1;
    Some(())
}

/// Counts one less of `key`, if there is a limit, and forgets a key that has none.
fn remove_one<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, most: Option<usize>) {
    if most.is_none() {
        return;
    }
    if let Entry::Occupied(mut entry) = counts.entry(key) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_small() {
        assert_eq!(size_of::<Option<Place>>(), 24);
    }

    #[test]
    fn who_has_a_network_of_ipv6_has_no_more_places_for_each_of_its_parts() {
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
        assert_eq!(limits.counts.lock().streams.len(), 0, "who has left is still counted");
        assert!(open("2001:db8:1:2::1").is_ok());
    }

    #[test]
    fn auto_leaves_files_for_everything_else() {
        let streams = |wanted: Option<usize>, open_files: u64| {
            let limits = Limits::new(LimitOptions { streams: wanted, ..LimitOptions::default() }, open_files, 11);
            assert!(limits.most_sockets as u64 + 11 + RESERVED_FILES <= open_files.max(160), "{open_files}");
            limits.most_streams
        };
        assert_eq!(streams(None, 1024), 784);
        assert_eq!(streams(None, 20_000), 19_349);
        assert_eq!(streams(None, u64::MAX), MOST_AUTO);
        assert_eq!(streams(Some(500), 1024), 500);
        assert_eq!(streams(Some(5000), 1024), 784);
        assert_eq!(streams(None, 0), 1);
    }
}
