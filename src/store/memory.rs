//! The embedded store: everything in this process, for one node alone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::idempotency::Digest;
use super::page::{About, Page, PageBounds, PageStart};
use super::{Audience, IDEMPOTENCY_TTL, IdempotencyKey, Newest, Origin, Receipt, Retention, StoreError};
use crate::announcement::Announcement;
use crate::event::Batch;
use crate::event_id::EventId;
use crate::frame::{Frame, History};
use crate::pipeline::PipelineId;

/// Histories in memory.
#[derive(Debug)]
pub struct MemoryStore {
    retention: Retention,
    audience: Arc<dyn Audience>,
    /// Held while a batch is announced too, so that announcements come in the order of ids.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pipelines: HashMap<PipelineId, Kept>,
    /// When to look whether a pipeline has expired, one entry each. Whoever asks for a pipeline
    /// looks as well, so that a late entry here costs memory and nothing else.
    expiries: VecDeque<(Instant, PipelineId)>,
    /// What was answered, and to what.
    answers: HashMap<(PipelineId, IdempotencyKey), (Receipt, Digest)>,
    answer_expiries: VecDeque<(Instant, (PipelineId, IdempotencyKey))>,
}

#[derive(Debug)]
struct Kept {
    history: VecDeque<Frame>,
    floor: EventId,
    expires_at: Instant,
}

impl MemoryStore {
    /// An empty store that announces to `audience`.
    pub fn new(retention: Retention, audience: Arc<dyn Audience>) -> Self {
        Self { retention, audience, state: Mutex::default() }
    }

    /// See [`super::Store::append`].
    ///
    /// # Errors
    /// [`StoreError::KeyReused`].
    pub fn append(
        &self,
        pipeline: &PipelineId,
        batch: Batch,
        key: Option<&IdempotencyKey>,
    ) -> Result<Receipt, StoreError> {
        // Before the lock: a digest takes its time.
        let digest = key.map(|_| Digest::of(&batch));
        let now = Instant::now();
        let mut state = self.state.lock();
        state.expire(now);
        let answer_key = key.map(|key| (pipeline.clone(), key.clone())).zip(digest);
        if let Some((key, digest)) = &answer_key
            && let Some((receipt, of)) = state.answers.get(key)
        {
            return match of == digest {
                true => Ok(Receipt { origin: Origin::Repeated, ..*receipt }),
                false => Err(StoreError::KeyReused),
            };
        }
        let expires_at = now + self.retention.ttl;
        if state.live(pipeline, now).is_none() {
            state.expiries.push_back((expires_at, pipeline.clone()));
        }
        let kept = state.pipelines.entry(pipeline.clone()).or_insert_with(|| Kept {
            history: VecDeque::new(),
            floor: EventId::ZERO,
            expires_at,
        });
        kept.expires_at = expires_at;
        let after = kept.newest();
        let first = EventId { ms: clock_ms().max(after.ms), seq: after.seq + 1 };
        let frames: Vec<_> = batch
            .events
            .iter()
            .zip(0..)
            // An event's body was checked when the event was made.
            .filter_map(|(event, n)| Frame::new(first.plus(n), event.body()).ok())
            .collect();
        kept.history.extend(frames.iter().cloned());
        let surplus = kept.history.len().saturating_sub(self.retention.limit);
        if let Some(newest_dropped) = kept.history.drain(..surplus).next_back() {
            kept.floor = newest_dropped.id();
        }
        let receipt = Receipt { first, count: frames.len() as u64, shape: batch.shape, origin: Origin::Stored };
        if let Some((key, digest)) = answer_key {
            state.answers.insert(key.clone(), (receipt, digest));
            state.answer_expiries.push_back((now + IDEMPOTENCY_TTL, key));
        }
        self.audience.announced(pipeline.as_str(), Announcement { after, frames });
        Ok(receipt)
    }

    /// See [`super::Store::history`].
    pub fn history(&self, pipeline: &PipelineId) -> History {
        let mut state = self.state.lock();
        state.live(pipeline, Instant::now()).map_or_else(History::default, |kept| History {
            floor: kept.floor,
            frames: kept.history.iter().cloned().collect(),
        })
    }

    /// See [`super::Store::page`].
    pub fn page(&self, pipeline: &PipelineId, start: PageStart<'_>, bounds: PageBounds) -> Page {
        let mut state = self.state.lock();
        let Some(kept) = state.live(pipeline, Instant::now()) else { return Page::default() };
        // The window by the rule of all stores, whatever is kept.
        let mut held = 0;
        let window = kept.history.iter().rev().take(self.retention.limit).enumerate().take_while(|(count, frame)| {
            held += frame.text().len();
            *count == 0 || held <= self.retention.bytes
        });
        let older = kept.history.len() - window.count();
        let floor = older.checked_sub(1).map_or(kept.floor, |last| kept.history[last].id());
        Page::cut(floor, kept.history.range(older..), start, bounds)
    }

    /// See [`super::Store::about`].
    pub fn about(&self, pipeline: &PipelineId) -> About {
        let mut state = self.state.lock();
        let about = |kept: &mut Kept| About { newest: kept.newest(), events: kept.history.len() };
        state.live(pipeline, Instant::now()).map_or_else(About::default, about)
    }

    /// See [`super::Store::forget`].
    pub fn forget(&self, pipeline: &PipelineId) {
        let mut state = self.state.lock();
        if let Some(kept) = state.live(pipeline, Instant::now()) {
            kept.floor = kept.newest();
            kept.history.clear();
            let announcement = Announcement { after: kept.floor, frames: Vec::new() };
            self.audience.announced(pipeline.as_str(), announcement);
        }
    }

    /// See [`super::Store::newest`].
    pub fn newest(&self, pipelines: &[PipelineId]) -> Vec<Newest> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.expire(now);
        let newest = |pipeline: &PipelineId| {
            let Some(kept) = state.live(pipeline, now) else {
                return Newest::Nothing(EventId::ZERO);
            };
            kept.expires_at = now + self.retention.ttl;
            let events = kept.history.len();
            kept.history.back().map_or(Newest::Nothing(kept.floor), |frame| Newest::Event { id: frame.id(), events })
        };
        pipelines.iter().map(newest).collect()
    }

    /// See [`super::Store::watch`]: it is so at once.
    pub fn watch(&self, pipeline: &PipelineId) {
        self.audience.subscribed(std::slice::from_ref(pipeline));
    }
}

impl Kept {
    fn newest(&self) -> EventId {
        self.history.back().map_or(self.floor, Frame::id)
    }
}

impl State {
    /// A pipeline that has not expired.
    fn live(&mut self, pipeline: &PipelineId, now: Instant) -> Option<&mut Kept> {
        if self.pipelines.get(pipeline).is_some_and(|kept| kept.expires_at <= now) {
            self.pipelines.remove(pipeline);
        }
        self.pipelines.get_mut(pipeline)
    }

    fn expire(&mut self, now: Instant) {
        while self.expiries.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, pipeline)) = self.expiries.pop_front() else { break };
            if let Some(expires_at) = self.live(&pipeline, now).map(|kept| kept.expires_at) {
                self.expiries.push_back((expires_at, pipeline));
            }
        }
        while self.answer_expiries.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.answer_expiries.pop_front() else { break };
            self.answers.remove(&key);
        }
    }
}

/// Milliseconds since the Unix epoch by this machine's clock.
pub fn clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
