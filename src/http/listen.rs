//! The two listeners: they bind, accept, and wait for their connections to close.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioTimer;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::body::Body;
use super::connection;
use super::connection::http_transport::BUFFER_BYTES;
use super::connection::protocols::{Protocols, Visitor};
use super::connection::request_body::{Discards, RequestBody};
use super::connection::service::Service;
use super::connection::tls::Tls;
use super::{admin, router};
use crate::backoff::Backoff;
use crate::limits::ConnectionSlot;
use crate::limits::proxies::Peer;
use crate::metrics::Rejection;
use crate::node::Node;
use crate::node::drain::NodePhase;

/// Buffer size per connection on the admin listener, where requests are small; hyper's minimum.
const ADMIN_BUFFER_BYTES: usize = 8 << 10;

/// Maximum time for a request head on the admin listener, whatever publishers are given.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Minimum interval between two warnings that connections cannot be accepted.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// Connections that the kernel queues during a reconnect storm.
const BACKLOG: i32 = 4096;

/// A listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("{key} {address}: {source}")]
struct BindError {
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// Both listeners, bound but not accepting yet.
#[derive(Debug)]
pub struct Server {
    public: TcpListener,
    admin: TcpListener,
    tls: Option<Tls>,
}

impl Server {
    /// Binds both listeners. With a certificate, the public one accepts only TLS.
    ///
    /// # Errors
    /// A [`BindError`] with the setting and the address.
    pub fn bind(public: SocketAddr, admin: SocketAddr, tls: Option<Tls>, node: &Node) -> io::Result<Self> {
        let named = |key: &'static str, address: SocketAddr, bound: io::Result<TcpListener>| {
            bound.map_err(|source| io::Error::new(source.kind(), BindError { key, address, source }))
        };
        Ok(Self {
            public: named("server.listen", public, listen(public, node))?,
            admin: named("server.admin_listen", admin, listen(admin, node))?,
            tls,
        })
    }

    /// The public listener's address.
    ///
    /// # Errors
    /// When the system does not report it.
    pub fn public_address(&self) -> io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// The admin listener's address.
    ///
    /// # Errors
    /// When the system does not report it.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Serves until the node drains and its last connection has closed.
    pub async fn run(self, node: Arc<Node>) {
        let public = Protocols {
            http1: http1_protocol(node.rules.idle_timeout, BUFFER_BYTES),
            head_bytes: BUFFER_BYTES,
            http2: Some(connection::http2::protocol(&node.rules)),
            tls: self.tls.clone(),
            has_proxy_header: node.rules.has_proxy_header,
            opening_timeout: node.rules.request_timeout,
        };
        let admin_timeout = node.rules.request_timeout.min(ADMIN_TIMEOUT);
        let admin = Protocols {
            http1: http1_protocol(admin_timeout, ADMIN_BUFFER_BYTES),
            head_bytes: ADMIN_BUFFER_BYTES,
            http2: None,
            tls: None,
            has_proxy_header: false,
            opening_timeout: admin_timeout,
        };
        let follow_files = async {
            match self.tls {
                Some(tls) => tls.follow_files().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = accept(self.public, &node, StopAt::Draining, Arc::new(public), PublicService) => {}
            () = accept(self.admin, &node, StopAt::Never, Arc::new(admin), AdminService) => {}
            () = follow_files => {}
        }
    }
}

#[derive(Clone)]
struct PublicService;

impl Service for PublicService {
    fn admit(&self, node: &Node, peer: IpAddr) -> Result<ConnectionSlot, Rejection> {
        let is_proxy = node.rules.trusted_proxies.contains(peer);
        if node.rules.has_proxy_header && !is_proxy {
            return Err(Rejection::ProxyHeader);
        }
        let mut slot = node.limits.open_connection()?;
        // A proxy's address stands for many clients. With PROXY headers, the client of this socket is not known yet.
        if !node.rules.has_proxy_header {
            slot.arrive((!is_proxy).then_some(peer))?;
        }
        Ok(slot)
    }

    fn discards(&self, node: &Node) -> Discards {
        Discards::of_bodies(node.rules.max_request_size)
    }

    fn answer(
        &self,
        node: &Node,
        request: &mut Request<RequestBody>,
        peer: Peer,
    ) -> impl Future<Output = Response<Body>> + Send {
        router::answer(node, request, peer)
    }
}

#[derive(Clone)]
struct AdminService;

impl Service for AdminService {
    fn admit(&self, node: &Node, _: IpAddr) -> Result<ConnectionSlot, Rejection> {
        node.limits.open_admin_connection()
    }

    fn discards(&self, _: &Node) -> Discards {
        Discards::FEW
    }

    async fn answer(&self, node: &Node, request: &mut Request<RequestBody>, _: Peer) -> Response<Body> {
        admin::answer(node, request)
    }
}

/// When a listener stops accepting connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StopAt {
    Draining,
    Never,
}

fn listen(address: SocketAddr, node: &Node) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit all of these, which saves system calls per connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(node.rules.stream.send_buffer)?;
    #[cfg(target_os = "linux")]
    {
        // For a peer that has vanished while data for it is in flight.
        socket.set_tcp_user_timeout(Some(node.rules.stream.write_timeout))?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn http1_protocol(timeout: Duration, buffer_bytes: usize) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(timeout).max_buf_size(buffer_bytes);
    // The buffer may hold more than a head if the client pipelines requests.
    protocol.max_header_size(buffer_bytes);
    protocol
}

/// Accepts connections until the listener stops, then waits for the last one to close.
async fn accept<S: Service>(
    listener: TcpListener,
    node: &Arc<Node>,
    stop: StopAt,
    protocols: Arc<Protocols>,
    service: S,
) {
    let mut failures = AcceptFailures::default();
    let draining = stopped(stop, node.clone());
    tokio::pin!(draining);
    // Carries no messages: it closes when the last connection drops its end.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut draining => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                node.metrics.rejected(Rejection::AcceptFailed);
                failures.wait_after(&error).await;
                continue;
            }
        };
        failures.backoff.reset();
        let address = peer.ip().to_canonical();
        let place = match service.admit(node, address) {
            Ok(place) => place,
            // Closed without a response: that would cost more, and over TLS it could not be sent at all.
            Err(rejection) => {
                node.metrics.rejected(rejection);
                continue;
            }
        };
        let visitor = Visitor { peer: Peer::At(address), place };
        let (protocols, draining) = (protocols.clone(), stopped(stop, node.clone()));
        let serving =
            connection::serve(stream, protocols, node.clone(), service.clone(), visitor, draining, open.clone());
        tokio::spawn(serving);
    }
    drop(listener);
    drop(open);
    let _ = all_closed.recv().await;
    node.fanout.emptied().await;
}

/// Connections that cannot be accepted, usually for lack of file descriptors: waiting lets others close, spinning would not.
struct AcceptFailures {
    backoff: Backoff,
    logged_at: Option<Instant>,
}

impl Default for AcceptFailures {
    fn default() -> Self {
        Self { backoff: Backoff::new(Duration::from_millis(5), Duration::from_secs(1)), logged_at: None }
    }
}

impl AcceptFailures {
    async fn wait_after(&mut self, error: &io::Error) {
        // Not every time: clients could fill the log.
        if self.logged_at.is_none_or(|at| at.elapsed() >= BETWEEN_WARNINGS) {
            self.logged_at = Some(Instant::now());
            tracing::warn!(%error, "cannot accept connections; retrying");
        }
        tokio::time::sleep(self.backoff.next_delay()).await;
    }
}

/// Waits until a listener must stop.
async fn stopped(stop: StopAt, node: Arc<Node>) {
    match stop {
        StopAt::Draining => node.drain.reached(NodePhase::Draining).await,
        // Probes and scrapes are answered until the very end.
        StopAt::Never => std::future::pending().await,
    }
}
