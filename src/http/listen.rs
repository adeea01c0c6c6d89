//! The two listeners: binding, accepting, and letting connections go.

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
use super::connection::arriving::{Arriving, Discards};
use super::connection::service::Service;
use super::connection::tls::Tls;
use super::connection::{self, BUFFER_BYTES, Protocols, Visitor};
use super::{admin, router};
use crate::backoff::Backoff;
use crate::limits::ConnectionSlot;
use crate::limits::proxies::Peer;
use crate::metrics::Rejection;
use crate::node::Node;
use crate::node::drain::Phase;

/// Buffers of a connection to the admin listener, where probes and scrapers ask little; the least that hyper takes.
const ADMIN_BUFFER_BYTES: usize = 8 << 10;

/// Longest time for a request's head on the admin listener, however long publishers are given.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two warnings that connections cannot be accepted.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// Connections that the kernel holds while a storm is accepted.
const BACKLOG: i32 = 4096;

/// Both listeners, bound and not yet accepting.
#[derive(Debug)]
pub struct Server {
    public: TcpListener,
    admin: TcpListener,
    tls: Option<Tls>,
}

impl Server {
    /// Binds both listeners; the public one speaks TLS if there is a certificate.
    ///
    /// # Errors
    /// With the setting and the address that could not be bound.
    pub fn bind(public: SocketAddr, admin: SocketAddr, tls: Option<Tls>, node: &Node) -> io::Result<Self> {
        let named = |key: &str, address: SocketAddr, bound: io::Result<TcpListener>| {
            bound.map_err(|error| io::Error::new(error.kind(), format!("{key} {address}: {error}")))
        };
        Ok(Self {
            public: named("server.listen", public, listen(public, node))?,
            admin: named("server.admin_listen", admin, listen(admin, node))?,
            tls,
        })
    }

    /// Where publishers and readers connect.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn public_address(&self) -> io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Where metrics and health are.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn admin_address(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Serves until the node drains and its last connection is gone.
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
        // Behind a proxy's address are many clients. One that names them is yet to say whose socket this is.
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
        request: &mut Request<Arriving>,
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

    async fn answer(&self, node: &Node, request: &mut Request<Arriving>, _: Peer) -> Response<Body> {
        admin::answer(node, request)
    }
}

/// When a listener takes no further connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StopAt {
    Draining,
    Never,
}

fn listen(address: SocketAddr, node: &Node) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit all of these: no system calls a connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(node.rules.stream.send_buffer)?;
    #[cfg(target_os = "linux")]
    {
        // A peer that is gone without a word, while data for it is under way.
        socket.set_tcp_user_timeout(Some(node.rules.stream.write_timeout))?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn http1_protocol(timeout: Duration, buffer_bytes: usize) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(timeout).max_buf_size(buffer_bytes);
    // The buffer may hold more when requests come one behind the other.
    protocol.max_header_size(buffer_bytes);
    protocol
}

async fn accept<S: Service>(
    listener: TcpListener,
    node: &Arc<Node>,
    stop: StopAt,
    protocols: Arc<Protocols>,
    service: S,
) {
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
    let mut told_at = None;
    let draining = stopped(stop, node.clone());
    tokio::pin!(draining);
    // Nothing is ever sent: it closes when the last connection lets go of its end.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut draining => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                backoff.reset();
                let address = peer.ip().to_canonical();
                let place = match service.admit(node, address) {
                    Ok(place) => place,
                    // Closed without a word: none could be had for less, and over TLS none at all.
                    Err(rejection) => {
                        node.metrics.rejected(rejection);
                        continue;
                    }
                };
                let draining = stopped(stop, node.clone());
                tokio::spawn(connection::serve(
                    stream,
                    protocols.clone(),
                    node.clone(),
                    service.clone(),
                    Visitor { peer: Peer::At(address), place },
                    draining,
                    open.clone(),
                ));
            }
            // Out of file descriptors, mostly: waiting lets others close, spinning would not.
            Err(error) => {
                node.metrics.rejected(Rejection::AcceptFailed);
                // Clients that come and go bring this about as often as they like.
                if told_at.is_none_or(|at: Instant| at.elapsed() >= BETWEEN_WARNINGS) {
                    told_at = Some(Instant::now());
                    tracing::warn!(%error, "connections cannot be accepted; they wait and are tried again");
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
    drop(listener);
    drop(open);
    let _ = all_closed.recv().await;
    node.fanout.emptied().await;
}

/// Waits until a listener is to stop.
async fn stopped(stop: StopAt, node: Arc<Node>) {
    match stop {
        StopAt::Draining => node.drain.reached(Phase::Draining).await,
        // Probes and scrapes are answered until the very end.
        StopAt::Never => std::future::pending().await,
    }
}
