//! Response bodies.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::connection::http2_stream::StreamState;
use super::connection::state::ConnectionState;
use super::connection::stream_body::StreamBody;
use super::opening::Opening;
use super::pages::{Interrupted, Pages};
use super::unread_pages::Unread;

/// The body of a response.
#[derive(Debug)]
pub(super) enum Body {
    /// No bytes.
    Empty,
    /// Bytes of known length.
    Full(Bytes),
    /// A stream that is complete with these bytes, without a length.
    Short(Bytes),
    /// A document in pages.
    Pages(Box<Pages>),
    /// A requested stream; `connection::hand_off` decides what carries it.
    Opening(Box<Opening>),
    /// A stream that hyper carries.
    Stream(Box<StreamBody>),
}

/// An HTTP/1.1 body that notes in its connection when it is over.
#[derive(Debug)]
pub(super) struct Bounded {
    body: Body,
    connection: Arc<ConnectionState>,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        let body = self.get_mut();
        let polled = body.poll_data(cx);
        StreamState::record_asked(matches!(polled, Poll::Ready(Some(_))) || body.is_to_be_taken());
        polled.map(|data| data.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pages(pages) => pages.size_hint(),
            Self::Short(_) | Self::Opening(_) | Self::Stream(_) => SizeHint::default(),
        }
    }
}

impl Body {
    /// Whether the client has yet to read bytes whose memory is reserved.
    fn is_to_be_taken(&self) -> bool {
        matches!(self, Self::Pages(pages) if pages.unread_pages().unread() != Unread::Nothing)
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Interrupted>>> {
        match self {
            Self::Empty | Self::Opening(_) => Poll::Ready(None),
            Self::Full(bytes) | Self::Short(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(bytes)))
            }
            Self::Pages(pages) => pages.poll_piece(cx),
            Self::Stream(stream) => stream.poll_chunk(cx).map(|bytes| bytes.map(Ok)),
        }
    }
}

impl Bounded {
    pub(super) fn new(body: Body, connection: Arc<ConnectionState>) -> Self {
        Self { body, connection }
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Bounded {
    // hyper drops a body once the last of it is in hyper's buffer.
    fn drop(&mut self) {
        self.connection.end_body();
    }
}
