//! A proxy in front of Redis that behaves as networks do: slow, forgetful, or leading to another server from one day to the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use super::redis::Redis;

/// Passes connections on to a redis-server.
pub struct Proxy {
    folder: TempDir,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Where new connections lead.
    server: Mutex<PathBuf>,
    accepted: AtomicU64,
    /// Connections with a lower number are dead: nothing comes back over them any more.
    dead_below: AtomicU64,
    delay: Duration,
    /// Connections over which nothing went for so long are dead as well.
    memory: Option<Duration>,
    /// Bytes a second that come back over one connection; 0 for as many as there are.
    rate: AtomicU64,
}

impl Proxy {
    pub fn before(redis: &Redis) -> Self {
        Self::start(redis, State::default())
    }

    /// A proxy that delays each direction by this long.
    pub fn far_away(redis: &Redis, delay: Duration) -> Self {
        Self::start(redis, State { delay, ..State::default() })
    }

    /// A proxy that silently forgets connections idle for this long.
    pub fn forgetful(redis: &Redis, memory: Duration) -> Self {
        Self::start(redis, State { memory: Some(memory), ..State::default() })
    }

    fn start(redis: &Redis, state: State) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("proxy.sock")).unwrap();
        *state.server.lock() = redis.socket();
        let state = Arc::new(state);
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { folder, state, task }
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("proxy.sock").display())
    }

    /// From here on so many bytes a second come back over each connection.
    pub fn narrow_to(&self, bytes_per_second: u64) {
        self.state.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    /// From here on nothing comes back over the connections that are open, and none is closed.
    pub fn silence_open_connections(&self) {
        self.state.dead_below.store(self.state.accepted.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// New connections lead to another server; those that are open stay.
    pub fn lead_to(&self, redis: &Redis) {
        *self.state.server.lock() = redis.socket();
    }

    /// New connections lead nowhere, and are closed at once; those that are open stay.
    pub fn lead_nowhere(&self) {
        *self.state.server.lock() = self.folder.path().join("nowhere");
    }

    /// How many connections were made, or tried.
    pub fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let number = state.accepted.fetch_add(1, Ordering::SeqCst);
        let server = state.server.lock().clone();
        let Ok(server) = UnixStream::connect(&server).await else { continue };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let used = Arc::new(Mutex::new(Some(Instant::now())));
        pass(number, Direction::There, from_client, to_server, state.clone(), used.clone());
        pass(number, Direction::Back, from_server, to_client, state.clone(), used);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// From the node to Redis.
    There,
    Back,
}

/// Passes one direction of a connection on, until it ends or is dead.
///
/// `used` is when something last went over it in either direction; `None` once it is forgotten.
fn pass(
    number: u64,
    direction: Direction,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: Arc<State>,
    used: Arc<Mutex<Option<Instant>>>,
) {
    let (sender, mut under_way) = mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    let delay = state.delay;
    let incoming = state.clone();
    tokio::spawn(async move {
        let state = incoming;
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let is_known = {
                let mut used = used.lock();
                *used = used
                    .filter(|used| state.memory.is_none_or(|memory| used.elapsed() < memory))
                    .map(|_| Instant::now());
                used.is_some()
            };
            if !is_known || number < state.dead_below.load(Ordering::SeqCst) {
                continue;
            }
            if sender.send((tokio::time::Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((at, bytes)) = under_way.recv().await {
            if !delay.is_zero() {
                sleep_until(at).await;
            }
            let rate = state.rate.load(Ordering::SeqCst);
            if direction == Direction::Back && rate > 0 {
                tokio::time::sleep(Duration::from_secs_f64(bytes.len() as f64 / rate as f64)).await;
            }
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    });
}
