//! A proxy before Redis that can swallow what passes: connections that look open and are dead.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::redis::Redis;

/// Passes connections on to a redis-server.
pub struct Proxy {
    folder: TempDir,
    /// Connections with a lower number are dead: nothing comes back over them any more.
    dead_below: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
    /// Bytes a second that come back over one connection; 0 for as many as there are.
    rate: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub fn before(redis: &Redis) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("proxy.sock")).unwrap();
        let (dead_below, accepted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let rate = Arc::new(AtomicU64::new(0));
        let passing = accept(listener, redis.socket(), dead_below.clone(), accepted.clone(), rate.clone());
        let task = tokio::spawn(passing);
        Self { folder, dead_below, accepted, rate, task }
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("proxy.sock").display())
    }

    /// From here on so many bytes a second come back over each connection.
    pub fn narrow_to(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    /// From here on nothing comes back over the connections that are open, and none is closed.
    pub fn silence_open_connections(&self) {
        self.dead_below.store(self.accepted.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: UnixListener,
    server: PathBuf,
    dead_below: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
    rate: Arc<AtomicU64>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let number = accepted.fetch_add(1, Ordering::SeqCst);
        let Ok(server) = UnixStream::connect(&server).await else { continue };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
        let (dead_below, rate) = (dead_below.clone(), rate.clone());
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                let is_dead = number < dead_below.load(Ordering::SeqCst);
                let rate = rate.load(Ordering::SeqCst);
                if rate > 0 {
                    tokio::time::sleep(std::time::Duration::from_secs_f64(length as f64 / rate as f64)).await;
                }
                if !is_dead && to_client.write_all(&buffer[..length]).await.is_err() {
                    break;
                }
            }
        });
    }
}
