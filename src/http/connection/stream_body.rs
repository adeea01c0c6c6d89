//! A stream as the body of a response that hyper sends: one client's events, keepalives and end, as bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use super::http2_stream::StreamState;
use super::state::ConnectionState;
use crate::clock::clock_ms;
use crate::http::opening::Opening;
use crate::http::pages::PIECE_BYTES;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::sse::control::{self, draw_retry, retry_block, retry_line};
use crate::sse::frame::Frame;
use crate::stream::content_encoding::ContentEncoding;
use crate::stream::context::StreamContext;
use crate::stream::life::{Life, LifeRules, Step};
use crate::stream::position::Item;
use crate::stream::subscription::Subscription;

/// One client's stream.
///
/// It has a position in the shared log and a timer, and no buffer of its own.
#[derive(Debug)]
pub(in crate::http) struct StreamBody {
    subscription: Subscription,
    encoding: ContentEncoding,
    metrics: Arc<Metrics>,
    connection: Arc<ConnectionState>,
    /// Held until the stream ends.
    context: StreamContext,
    /// Of a stream over HTTP/2, whose client may leave it unread alone.
    stream: Option<Arc<StreamState>>,
    /// What is left of the block being sent.
    block: Bytes,
    /// Events after it.
    frames: std::vec::IntoIter<Frame>,
    rules: Arc<LifeRules>,
    life: Life,
    is_draining: bool,
    timer: Pin<Box<Sleep>>,
}

impl StreamBody {
    /// Begins with a `retry:` line without a blank one, so that it belongs to the first block.
    pub(super) fn new(opening: Opening, node: &Node, connection: Arc<ConnectionState>) -> Self {
        let Opening { pipeline, wanted, mut encoding, keepalive, context } = opening;
        node.metrics.stream_opened();
        let (rules, now) = (node.rules.life.clone(), Instant::now().into_std());
        let token_left = context.permit.as_ref().and_then(|permit| permit.time_left(now));
        let mut life = Life::begin(&rules, keepalive, token_left, now, rand::random::<f64>);
        let subscription = Subscription::new(node.hub.join(&pipeline), wanted);
        let is_draining = subscription.drain_window().is_some();
        if is_draining {
            life.end_for_drain(&rules, now);
        }
        let block = encoding.begin(retry_line(draw_retry()));
        Self {
            subscription,
            encoding,
            metrics: node.metrics.clone(),
            connection,
            context,
            stream: StreamState::current(),
            block,
            frames: Vec::new().into_iter(),
            rules,
            life,
            is_draining,
            timer: Box::pin(sleep_until(now.into())),
        }
    }

    /// The next bytes; `None` at the end. The task is woken when there are more.
    pub(in crate::http) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if !self.block.is_empty() {
                let length = self.block.len().min(PIECE_BYTES);
                return Poll::Ready(Some(self.block.split_to(length)));
            }
            // Between two blocks: only here may the stream end or a comment be sent.
            let now = Instant::now().into_std();
            self.look_for_drain(now);
            self.look_for_revocation(now, cx);
            match self.life.next(&self.rules, now) {
                Step::End => self.block = self.encoding.end(retry_block(draw_retry())),
                Step::Keepalive => {
                    let text = self.keepalive();
                    self.block = self.encoding.block(text);
                }
                Step::Continue if self.poll_event(cx).is_ready() || self.poll_timer(cx).is_ready() => {}
                Step::Continue => return Poll::Pending,
                Step::Cut | Step::Over => return Poll::Ready(None),
            }
        }
    }

    fn look_for_drain(&mut self, now: std::time::Instant) {
        if !self.is_draining
            && let Some(window) = self.subscription.drain_window()
        {
            self.is_draining = true;
            self.life.drain(window, &self.rules, now, rand::random());
        }
    }

    fn look_for_revocation(&mut self, now: std::time::Instant, cx: &Context<'_>) {
        let Some(permit) = &self.context.permit else { return };
        permit.wake_when_revoked(cx.waker());
        if permit.is_revoked() {
            self.life.revoke(&self.rules, now);
        }
    }

    /// Prepares the next event, or whatever else the log has for the client.
    fn poll_event(&mut self, cx: &Context<'_>) -> Poll<()> {
        let now_ms = clock_ms();
        if let Some(frame) = self.frames.next() {
            let lag = self.subscription.position().lag(frame.id(), now_ms);
            self.metrics.delivered(frame.text().len(), lag);
            self.block = self.encoding.frame(&frame, &self.metrics);
            return Poll::Ready(());
        }
        self.subscription.poll_next(cx, now_ms).map(|item| match item {
            Item::Frames(frames) => self.frames = frames.into_iter(),
            item => {
                if let Some(block) = item.into_block(&self.metrics) {
                    self.block = self.encoding.block(block);
                }
            }
        })
    }

    fn keepalive(&mut self) -> Bytes {
        // While events wait to be sent, the position is ahead of what the client has.
        match self.frames.len() {
            0 => self.subscription.keepalive(),
            _ => control::keepalive(None),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.life.deadline(&self.rules).map(Instant::from_std) else { return Poll::Pending };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx)
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let has_stream_timed_out = self.stream.as_ref().is_some_and(|stream| stream.has_timed_out());
        if has_stream_timed_out || self.connection.has_timed_out() {
            self.life.write_timed_out();
        }
        if let Some(reason) = self.life.close() {
            self.metrics.stream_ended(reason);
        }
    }
}
