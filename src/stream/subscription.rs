//! A subscription: a client that reads a pipeline's log by itself, as hyper's body does. No I/O and no clock.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::position::{Item, Next, StreamPosition};
use super::wanted::Wanted;
use crate::hub::Reader;
use crate::metrics::ReadReason;

/// One client that reads by itself.
#[derive(Debug)]
pub struct Subscription {
    reader: Reader,
    position: StreamPosition,
    passed_mark: u64,
}

impl Subscription {
    /// A client of this log.
    pub fn new(reader: Reader, wanted: Wanted) -> Self {
        let passed_mark = reader.add_client();
        Self { reader, position: StreamPosition::new(wanted), passed_mark }
    }

    /// The next item; waits while there is none.
    pub fn poll_next(&mut self, cx: &Context<'_>, now_ms: u64) -> Poll<Item> {
        loop {
            let position = &mut self.position;
            let next = self.reader.poll(cx, |view| match position.next(&view, now_ms) {
                Next::Nothing => Poll::Pending,
                next => Poll::Ready(next),
            });
            self.reader.keep_pace(self.position.cursor(), &mut self.passed_mark);
            match next {
                Poll::Ready(Next::Item(item)) => return Poll::Ready(item),
                Poll::Ready(Next::ReadAgain) => self.position.wait_for(self.reader.request_read(ReadReason::Ahead)),
                Poll::Ready(Next::Nothing) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// How far the client has come.
    pub fn position(&self) -> &StreamPosition {
        &self.position
    }

    /// See [`StreamPosition::keepalive`].
    pub fn keepalive(&mut self) -> Bytes {
        self.position.keepalive()
    }

    /// See [`Reader::drain_window`].
    pub fn drain_window(&self) -> Option<Duration> {
        self.reader.drain_window()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.reader.remove_client(self.passed_mark);
    }
}
