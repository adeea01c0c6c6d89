//! A request's body on its way to the node, and what becomes of the part that nobody reads.
//!
//! Closing a connection with unread bytes on it resets it. The client may never see the response, and a client that reuses
//! the connection fails with its next request. So the rest of a body is drained within a bound, or the response announces that
//! the connection ends. Nothing of it is kept, and it does not count as memory of bodies that are received.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use hyper::Request;
use hyper::body::{Frame, Incoming};
use hyper::header;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::state::ConnectionState;
use super::transport::Transport;

/// How long a response waits for the rest of its request's body.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How long the node reads on after it has closed its side.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// How many bytes of an unwanted request body are read and discarded.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Discards {
    /// Maximum size of a body that is read to its end before the response, and maximum read after a request that was not
    /// understood.
    pub(in crate::http) before: u64,
    /// Maximum read after a response that ends the connection.
    pub(in crate::http) after: u64,
}

impl Discards {
    /// For requests without bodies.
    pub(in crate::http) const FEW: Self = Self { before: 64 << 10, after: 64 << 10 };

    /// For publishers that send bodies of up to `limit` bytes.
    pub(in crate::http) fn of_bodies(limit: usize) -> Self {
        Self { before: 4 * limit as u64, after: 48 << 20 }
    }
}

/// A request's body, of which more may be on its way.
pub(in crate::http) struct RequestBody {
    incoming: Incoming,
    /// In HTTP/1, where hyper does not see that the client has closed its side.
    connection: Option<Arc<ConnectionState>>,
    /// Bytes read so far.
    received: u64,
    is_whole: bool,
    is_broken: bool,
}

/// The client closed its side before the end of the body.
#[derive(Debug)]
pub(in crate::http) struct BrokenOff;

/// What is left of a request's body when its response is decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum Rest {
    /// Nothing: the next request may follow.
    Nothing,
    /// More than is read before the response.
    More,
    /// Where it ends is not known.
    Broken,
}

impl RequestBody {
    /// A body of which nothing was read.
    pub(in crate::http) fn new(incoming: Incoming, connection: Option<Arc<ConnectionState>>) -> Self {
        let is_whole = incoming.is_end_stream();
        Self { incoming, connection, received: 0, is_whole, is_broken: false }
    }

    /// Bytes still to come, if the head says.
    pub(in crate::http) fn announced(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// The next piece; `None` at the end.
    pub(in crate::http) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame.map(|frame| frame.map_err(|_| BrokenOff)),
            Poll::Pending if self.connection.as_ref().is_some_and(|connection| connection.has_client_closed()) => {
                Some(Err(BrokenOff))
            }
            Poll::Pending => return Poll::Pending,
        };
        if let Some(Ok(frame)) = &frame {
            self.received += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        self.is_broken |= matches!(frame, Some(Err(_)));
        self.is_whole = frame.is_none() || self.incoming.is_end_stream();
        Poll::Ready(frame)
    }

    /// Whether all of it has been read.
    pub(in crate::http) fn is_whole(&self) -> bool {
        self.is_whole
    }

    async fn discard(&mut self, most: u64) -> Rest {
        while !self.is_whole {
            if self.received > most {
                return Rest::More;
            }
            if let Some(Err(_)) = poll_fn(|cx| self.poll_frame(cx)).await {
                return Rest::Broken;
            }
        }
        Rest::Nothing
    }
}

/// Reads and discards the rest of a request's body, unless that is too much.
pub(in crate::http) async fn drain(request: &mut Request<RequestBody>, discards: Discards) -> Rest {
    // Reading would request a body that the client holds back until then (RFC 9110, 10.1.1).
    let is_held_back = request.headers().contains_key(header::EXPECT);
    let (body, most) = (request.body_mut(), discards.before);
    if body.is_broken {
        return Rest::Broken;
    }
    if body.is_whole {
        return Rest::Nothing;
    }
    if is_held_back || body.announced().is_some_and(|rest| body.received.saturating_add(rest) > most) {
        return Rest::More;
    }
    timeout(DRAIN_TIME, body.discard(most)).await.unwrap_or(Rest::More)
}

/// Writes `last`, closes the node's side, and reads on for a moment so that the client gets to read the response.
pub(in crate::http) async fn linger(mut transport: impl Transport, last: &[u8], most: u64) {
    let discard = async {
        transport.write_all(last).await?;
        transport.shutdown().await?;
        let mut buffer = vec![0; 8 << 10];
        let mut discarded = 0;
        while discarded < most {
            match transport.read(&mut buffer).await? {
                0 => break,
                length => discarded += length as u64,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // The client may have left, or send without end. Either way it had its time.
    let _ = timeout(LINGER_TIME, discard).await;
}
