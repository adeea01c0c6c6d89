//! One pipeline in the embedded store: its newest frames within the limits, and what they cost.

use std::collections::VecDeque;
use std::time::Instant;

use crate::event::EventId;
use crate::sse::frame::{Frame, History, LossRecord};
use crate::store::Retention;
use crate::store::page::{Page, PageBounds, PageStart};

/// Bytes that a pipeline costs besides its name and its frames: this struct, and its entries in the store's map and queue,
/// which are half empty when they have just grown. Measured.
const PIPELINE_BYTES: usize = 176;

/// Bytes that a frame costs besides its text: the chunk's ends and the reference counts. Measured.
const FRAME_BYTES: usize = 64;

/// Minimum frames that there is room for.
const MIN_SLOTS: usize = 4;

#[derive(Debug)]
pub(super) struct StoredPipeline {
    history: VecDeque<Frame>,
    /// The event before the history, see [`History::floor`].
    floor: EventId,
    /// Bytes of the frames' texts.
    text_bytes: usize,
    /// When it expires, unless it has subscribers.
    pub(super) expires_at: Instant,
    /// Its number in the queue of those without subscribers.
    pub(super) turn: Option<u64>,
}

/// What adding frames would change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fit {
    /// How many of the oldest stored frames are dropped.
    dropped: usize,
    /// How many of the oldest new frames are not stored at all.
    skipped: usize,
    frames: usize,
    text_bytes: usize,
}

impl StoredPipeline {
    /// A pipeline of which no event was lost since this moment, and that has none.
    pub(super) fn new(kept_since_ms: u64, expires_at: Instant) -> Self {
        let floor = EventId::at(kept_since_ms);
        Self { history: VecDeque::new(), floor, text_bytes: 0, expires_at, turn: None }
    }

    /// The newest event's id; the floor when there is none.
    pub(super) fn newest(&self) -> EventId {
        self.history.back().map_or(self.floor, Frame::id)
    }

    /// Whether its time to live is over. One with subscribers does not expire.
    pub(super) fn has_expired(&self, now: Instant) -> bool {
        self.turn.is_some() && self.expires_at <= now
    }

    /// How many events are kept.
    pub(super) fn events(&self) -> usize {
        self.history.len()
    }

    /// A page of its history.
    pub(super) fn page(&self, loss: LossRecord, start: PageStart<'_>, bounds: PageBounds) -> Page {
        Page::cut(self.floor, loss, self.history.iter(), start, bounds)
    }

    pub(super) fn history(&self, loss: LossRecord) -> History {
        History { floor: self.floor, frames: self.history.iter().cloned().collect(), loss }
    }

    /// What is stored once these frames are added: from the newest back, at most `history.limit` frames and `history.bytes`, but
    /// always the newest. Looks only at frames that are added or dropped.
    pub(super) fn fit(&self, added: &[Frame], retention: &Retention) -> Fit {
        let added_bytes: usize = added.iter().map(|frame| frame.text().len()).sum();
        let mut fit = Fit {
            dropped: 0,
            skipped: 0,
            frames: self.history.len() + added.len(),
            text_bytes: self.text_bytes + added_bytes,
        };
        let (old, new) = (self.history.len(), added.len());
        while fit.frames > 1 && (fit.frames > retention.limit || fit.text_bytes > retention.bytes) {
            let oldest = if fit.dropped < old { &self.history[fit.dropped] } else { &added[fit.skipped] };
            fit.text_bytes -= oldest.text().len();
            fit.frames -= 1;
            if fit.dropped < old {
                fit.dropped += 1;
            } else {
                fit.skipped += 1;
            }
        }
        debug_assert!(fit.dropped <= old && fit.skipped <= new);
        fit
    }

    /// Adds frames, oldest first, for which this is the result of [`StoredPipeline::fit`].
    pub(super) fn add(&mut self, added: &[Frame], fit: Fit) {
        if let Some(newest_dropped) = self.history.drain(..fit.dropped).next_back() {
            self.floor = newest_dropped.id();
        }
        if let Some(newest_skipped) = fit.skipped.checked_sub(1) {
            self.floor = added[newest_skipped].id();
        }
        self.history.extend(added[fit.skipped..].iter().cloned());
        self.text_bytes = fit.text_bytes;
        self.give_back_slots();
    }

    /// Deletes the events; ids continue from where they were.
    pub(super) fn clear(&mut self) {
        self.floor = self.newest();
        self.history = VecDeque::new();
        self.text_bytes = 0;
    }

    /// Bytes of memory that the pipeline costs.
    pub(super) fn cost(&self, name_bytes: usize) -> usize {
        cost(name_bytes, self.history.len(), self.text_bytes)
    }

    /// Shrinks the queue after a batch much larger than the limit.
    fn give_back_slots(&mut self) {
        if self.history.capacity() > slots(self.history.len()) {
            self.history.shrink_to(slots(self.history.len()));
        }
    }
}

impl Fit {
    /// What [`StoredPipeline::cost`] will return.
    pub(super) fn cost(&self, name_bytes: usize) -> usize {
        cost(name_bytes, self.frames, self.text_bytes)
    }
}

fn cost(name_bytes: usize, frames: usize, text_bytes: usize) -> usize {
    // The allocator has size classes a quarter apart.
    let text_bytes = text_bytes + text_bytes / 4 + frames * FRAME_BYTES;
    PIPELINE_BYTES + name_bytes + slots(frames) * size_of::<Frame>() + text_bytes
}

/// Maximum frames that there is room for.
fn slots(frames: usize) -> usize {
    (2 * frames).max(MIN_SLOTS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(seq: u64, bytes: usize) -> Frame {
        let body = format!("event: a\ndata: \"{}\"\n\n", "x".repeat(bytes));
        Frame::new(EventId { ms: 1, seq }, body.as_bytes()).unwrap()
    }

    /// How many of the newest frames are stored, by a plain reading of the rule.
    fn newest_within(frames: &[Frame], retention: &Retention) -> usize {
        let (mut count, mut bytes) = (0, 0);
        for frame in frames.iter().rev() {
            bytes += frame.text().len();
            if count > 0 && (count == retention.limit || bytes > retention.bytes) {
                break;
            }
            count += 1;
        }
        count
    }

    proptest! {
        #[test]
        fn newest_frames_within_both_limits_are_stored(
            batches in prop::collection::vec(prop::collection::vec(0usize..300, 1..12), 1..12),
            limit in 1usize..10,
            bytes in 30usize..1500,
        ) {
            let retention = Retention { limit, bytes, ttl: std::time::Duration::from_secs(1) };
            let mut kept = StoredPipeline::new(0, Instant::now());
            let mut all = Vec::new();
            let mut held: Vec<Frame> = Vec::new();
            for batch in batches {
                let first = all.len() as u64 + 1;
                let frames: Vec<_> = batch.iter().zip(first..).map(|(bytes, seq)| frame(seq, *bytes)).collect();
                all.extend(frames.iter().cloned());
                held.extend(frames.iter().cloned());
                held.drain(..held.len() - newest_within(&held, &retention));
                let fit = kept.fit(&frames, &retention);
                kept.add(&frames, fit);
                prop_assert_eq!(kept.cost(5), fit.cost(5));
                let history = kept.history(LossRecord::default());
                prop_assert_eq!(&history.frames, &held);
                prop_assert_eq!(history.floor.seq + held.len() as u64, all.len() as u64);
                prop_assert_eq!(kept.text_bytes, held.iter().map(|frame| frame.text().len()).sum::<usize>());
                prop_assert!(kept.history.capacity() <= slots(held.len()));
            }
        }
    }

    #[test]
    fn event_larger_than_the_limit_is_the_only_one_stored() {
        let retention = Retention { limit: 10, bytes: 100, ttl: std::time::Duration::from_secs(1) };
        let mut kept = StoredPipeline::new(0, Instant::now());
        for seq in 1..=3 {
            let large = [frame(seq, 1000)];
            let fit = kept.fit(&large, &retention);
            kept.add(&large, fit);
            assert_eq!(
                (kept.history(LossRecord::default()).frames.len(), kept.newest().seq, kept.floor.seq),
                (1, seq, seq - 1)
            );
        }
    }
}
