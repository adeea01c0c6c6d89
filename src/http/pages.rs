//! An answer given out in pages: the next one is made when the client has read the last.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::Stream;
use http_body::SizeHint;

use super::connection::http2_stream::StreamState;
use super::unread_pages::{UnreadPages, hold};

/// Large bodies and frames go to hyper in pieces, so that no connection buffers a whole one.
pub(super) const PIECE_BYTES: usize = 16 << 10;

/// The answer cannot be completed. Its body then ends irregularly, so that the client does not mistake it for a whole one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the rest of the answer is not available")]
pub(super) struct Interrupted;

/// The pages after the first one.
pub(super) type Rest = Pin<Box<dyn Stream<Item = Result<Bytes, Interrupted>> + Send>>;

/// A document as the body of an answer.
pub(super) struct Pages {
    /// What is left of the current page.
    text: Bytes,
    /// None where the first page is everything.
    rest: Option<Rest>,
    unread_pages: Arc<UnreadPages>,
    /// Whether it ends only when its client has read everything: nothing watches an HTTP/2 stream that has ended.
    awaits_its_client: bool,
}

impl Pages {
    /// Begins with the first page. All pages are held with [`hold`] and these `unread_pages`.
    pub(super) fn new(first: Bytes, rest: Option<Rest>, unread_pages: Arc<UnreadPages>) -> Self {
        Self { text: first, rest, unread_pages, awaits_its_client: StreamState::current().is_some() }
    }

    /// Any text as a single page, without reserved memory.
    pub(super) fn of(text: Bytes) -> Self {
        let unread_pages = Arc::<UnreadPages>::default();
        Self::new(hold(text, (), &unread_pages), None, unread_pages)
    }

    /// How far the client has read it.
    pub(super) fn unread_pages(&self) -> &Arc<UnreadPages> {
        &self.unread_pages
    }

    /// How much is left, if that is known.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self.rest {
            None => SizeHint::with_exact(self.text.len() as u64),
            Some(_) => SizeHint::default(),
        }
    }

    /// The next bytes; an error when there are no more although the document is incomplete.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Interrupted>>> {
        self.unread_pages.record_asked();
        while self.text.is_empty() {
            let next = match &mut self.rest {
                Some(pages) => ready!(pages.as_mut().poll_next(cx)),
                None => None,
            };
            match next {
                Some(Ok(text)) => self.text = text,
                None if self.awaits_its_client => return self.unread_pages.poll_taken(cx).map(|()| None),
                end => return Poll::Ready(end),
            }
        }
        let length = self.text.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(self.text.split_to(length))))
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}
