//! What the embedded store keeps of one pipeline: its newest frames within the limits, and what they cost.

use std::collections::VecDeque;
use std::time::Instant;

use crate::event::EventId;
use crate::sse::frame::{Frame, History};
use crate::store::Retention;
use crate::store::page::{Page, PageBounds, PageStart};

/// What a pipeline costs beside its name and its frames: this struct, and its entries in the store's map and queue, which
/// are half empty when they have just grown. Measured.
const PIPELINE_BYTES: usize = 176;

/// What a frame costs beside its text, which the allocator rounds up: the chunk's ends and what its sharers count.
const FRAME_BYTES: usize = 64;

/// The least number of frames for which there is room.
const LEAST_SLOTS: usize = 4;

/// One pipeline.
#[derive(Debug)]
pub(super) struct Kept {
    history: VecDeque<Frame>,
    /// The resume point just before the history.
    floor: EventId,
    /// Bytes of the frames' texts.
    text_bytes: usize,
    /// When it expires, unless it has readers.
    pub(super) expires_at: Instant,
    /// Its number in the queue of those without readers.
    pub(super) turn: Option<u64>,
}

/// What becomes of a pipeline when frames are added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fit {
    /// So many of the oldest kept go.
    dropped: usize,
    /// So many of the oldest new ones are not kept at all.
    skipped: usize,
    frames: usize,
    text_bytes: usize,
}

impl Kept {
    /// A pipeline in which nothing was ever published.
    pub(super) fn new(expires_at: Instant) -> Self {
        Self { history: VecDeque::new(), floor: EventId::ZERO, text_bytes: 0, expires_at, turn: None }
    }

    /// The newest event's id; the floor when there is none.
    pub(super) fn newest(&self) -> EventId {
        self.history.back().map_or(self.floor, Frame::id)
    }

    /// Whether its time is over. One with readers does not expire.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.turn.is_some() && self.expires_at <= now
    }

    /// How many events are kept.
    pub(super) fn events(&self) -> usize {
        self.history.len()
    }

    /// A part of it.
    pub(super) fn page(&self, start: PageStart<'_>, bounds: PageBounds) -> Page {
        Page::cut(self.floor, self.history.iter(), start, bounds)
    }

    /// All of it.
    pub(super) fn history(&self) -> History {
        History { floor: self.floor, frames: self.history.iter().cloned().collect() }
    }

    /// What is kept once these are added: from the newest back, while they are no more than `history.limit` and
    /// `history.bytes`, and the newest in any case. Looks at no more frames than are added or go.
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

    /// Adds frames, oldest first, which fit as [`Kept::fit`] said.
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

    /// Forgets the events; ids go on from where they were.
    pub(super) fn clear(&mut self) {
        self.floor = self.newest();
        self.history = VecDeque::new();
        self.text_bytes = 0;
    }

    /// Bytes of memory that the pipeline costs, with a name of so many bytes.
    pub(super) fn cost(&self, name: usize) -> usize {
        cost(name, self.history.len(), self.text_bytes)
    }

    /// After a batch much larger than the limit.
    fn give_back_slots(&mut self) {
        if self.history.capacity() > slots(self.history.len()) {
            self.history.shrink_to(slots(self.history.len()));
        }
    }
}

impl Fit {
    /// What [`Kept::cost`] will be.
    pub(super) fn cost(&self, name: usize) -> usize {
        cost(name, self.frames, self.text_bytes)
    }
}

fn cost(name: usize, frames: usize, text_bytes: usize) -> usize {
    // The allocator has size classes a quarter apart.
    let text_bytes = text_bytes + text_bytes / 4 + frames * FRAME_BYTES;
    PIPELINE_BYTES + name + slots(frames) * size_of::<Frame>() + text_bytes
}

/// A history has room for no more frames than this.
fn slots(frames: usize) -> usize {
    (2 * frames).max(LEAST_SLOTS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(seq: u64, bytes: usize) -> Frame {
        let body = format!("event: a\ndata: \"{}\"\n\n", "x".repeat(bytes));
        Frame::new(EventId { ms: 1, seq }, body.as_bytes()).unwrap()
    }

    /// How many of the newest frames are kept, as the rule is written down.
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
        fn the_newest_within_both_limits_are_kept(
            batches in prop::collection::vec(prop::collection::vec(0usize..300, 1..12), 1..12),
            limit in 1usize..10,
            bytes in 30usize..1500,
        ) {
            let retention = Retention { limit, bytes, ttl: std::time::Duration::from_secs(1) };
            let mut kept = Kept::new(Instant::now());
            // As if nothing else were ever kept.
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
                let history = kept.history();
                prop_assert_eq!(&history.frames, &held);
                prop_assert_eq!(history.floor.seq + held.len() as u64, all.len() as u64);
                prop_assert_eq!(kept.text_bytes, held.iter().map(|frame| frame.text().len()).sum::<usize>());
                prop_assert!(kept.history.capacity() <= slots(held.len()));
            }
        }
    }

    #[test]
    fn an_event_larger_than_the_limit_is_kept_alone() {
        let retention = Retention { limit: 10, bytes: 100, ttl: std::time::Duration::from_secs(1) };
        let mut kept = Kept::new(Instant::now());
        for seq in 1..=3 {
            let large = [frame(seq, 1000)];
            let fit = kept.fit(&large, &retention);
            kept.add(&large, fit);
            assert_eq!((kept.history().frames.len(), kept.newest().seq, kept.floor.seq), (1, seq, seq - 1));
        }
    }
}
