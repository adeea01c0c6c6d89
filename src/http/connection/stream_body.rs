//! A stream as the body of an answer: one client's events, keepalives and end, as bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use super::http2::StreamState;
use super::socket::ConnectionState;
use crate::clock::clock_ms;
use crate::metrics::{Metrics, StreamEnd};
use crate::sse::control::{self, draw_retry, retry_block, retry_line};
use crate::sse::frame::Frame;
use crate::stream::StreamOptions;
use crate::stream::admission::Admission;
use crate::stream::content_encoding::Coding;
use crate::stream::subscription::{Item, Subscription};

/// A large frame goes to hyper in pieces, so that no connection buffers a whole one.
pub(in crate::http) const PIECE_BYTES: usize = 16 << 10;

/// One client's stream.
///
/// Nothing here belongs to one connection but a place in the shared log and a timer.
#[derive(Debug)]
pub(in crate::http) struct StreamBody {
    subscription: Subscription,
    coding: Coding,
    metrics: Arc<Metrics>,
    connection: Arc<ConnectionState>,
    /// Held until the stream goes.
    admission: Admission,
    /// For a stream of HTTP/2, whose client may stall it alone.
    stream: Option<Arc<StreamState>>,
    /// What is left of the block being sent.
    block: Bytes,
    /// Blocks after it.
    blocks: std::vec::IntoIter<Frame>,
    keepalive: Duration,
    keepalive_at: Instant,
    /// When the stream ends by itself, and why.
    end: Option<(Instant, StreamEnd)>,
    is_draining: bool,
    has_ended: Option<StreamEnd>,
    timer: Pin<Box<Sleep>>,
}

impl StreamBody {
    /// Begins with `retry:` alone: no blank line, so that it belongs to the first block.
    pub(in crate::http) fn new(
        subscription: Subscription,
        mut coding: Coding,
        options: &StreamOptions,
        metrics: Arc<Metrics>,
        connection: Arc<ConnectionState>,
        admission: Admission,
    ) -> Self {
        metrics.stream_opened();
        let now = Instant::now();
        let keepalive_at = now + options.keepalive;
        let age = options.max_age.map(|age| (age.mul_f64(rand::random_range(0.8..=1.0)), StreamEnd::MaxAge));
        let life = admission.permit.as_ref().and_then(|permit| permit.draw_life()).map(|life| (life, StreamEnd::Token));
        let end = age.into_iter().chain(life).min().and_then(|(life, why)| Some((now.checked_add(life)?, why)));
        let block = coding.begin(retry_line(draw_retry()));
        Self {
            subscription,
            coding,
            metrics,
            connection,
            admission,
            stream: StreamState::current(),
            block,
            blocks: Vec::new().into_iter(),
            keepalive: options.keepalive,
            keepalive_at,
            end,
            is_draining: false,
            has_ended: None,
            timer: Box::pin(sleep_until(keepalive_at)),
        }
    }

    /// The next bytes; `None` at the end. Wakes the task when there are more.
    pub(in crate::http) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if !self.block.is_empty() {
                let length = self.block.len().min(PIECE_BYTES);
                return Poll::Ready(Some(self.block.split_to(length)));
            }
            // Between two blocks: only here may the stream end or a comment stand.
            if self.has_ended.is_some() {
                return Poll::Ready(None);
            }
            let now = Instant::now();
            self.look_for_drain(now);
            self.check_permit(now, cx);
            if let Some((_, why)) = self.end.filter(|(at, _)| *at <= now) {
                self.has_ended = Some(why);
                self.block = self.coding.end(retry_block(draw_retry()));
            } else if self.keepalive_at <= now {
                self.keepalive_at = now + self.keepalive;
                let block = self.keepalive_block();
                self.block = self.coding.block(block);
            } else if let Some(frame) = self.blocks.next() {
                self.deliver(&frame);
            } else if let Poll::Ready(item) = self.subscription.poll_next(cx) {
                self.take(item);
            } else if self.poll_timer(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn look_for_drain(&mut self, now: Instant) {
        if self.is_draining {
            return;
        }
        if let Some(window) = self.subscription.drain_window() {
            self.is_draining = true;
            let at = now + window.mul_f64(rand::random_range(0.0..=1.0));
            if self.end.is_none_or(|(end, _)| at < end) {
                self.end = Some((at, StreamEnd::Drain));
            }
        }
    }

    fn check_permit(&mut self, now: Instant, cx: &Context<'_>) {
        let Some(permit) = &self.admission.permit else { return };
        permit.wake_when_revoked(cx.waker());
        if permit.is_revoked() {
            self.end = Some((now, StreamEnd::Revoked));
        }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Frames(frames) => self.blocks = frames.into_iter(),
            item => {
                if let Some(block) = item.into_block(&self.metrics) {
                    self.block = self.coding.block(block);
                }
            }
        }
    }

    fn deliver(&mut self, frame: &Frame) {
        let is_live = self.subscription.place().is_live(frame.id());
        let lag = is_live.then(|| Duration::from_millis(clock_ms().saturating_sub(frame.id().ms)));
        self.metrics.delivered(frame.text().len(), lag);
        self.block = self.coding.frame(frame, &self.metrics);
    }

    fn keepalive_block(&mut self) -> Bytes {
        // While blocks wait to be sent, the position is ahead of what the client has.
        match self.blocks.len() {
            0 => self.subscription.keepalive(),
            _ => control::keepalive(None),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let next = self.end.map_or(self.keepalive_at, |(at, _)| at.min(self.keepalive_at));
        if self.timer.deadline() != next {
            self.timer.as_mut().reset(next);
        }
        self.timer.as_mut().poll(cx)
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let end = match self.has_ended {
            Some(end) => end,
            None if self.connection.has_timed_out() => StreamEnd::WriteTimeout,
            None if self.stream.as_ref().is_some_and(|stream| stream.has_timed_out()) => StreamEnd::WriteTimeout,
            None => StreamEnd::Client,
        };
        self.metrics.stream_ended(end);
    }
}
