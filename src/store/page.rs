//! Pages: a pipeline's history in pieces, so that no caller has to hold or await all of it at once.
//!
//! A history may hold `history.limit` times `limits.max_event_size`, 25 MB by default. That is more memory than one client should
//! cost, and more than one round trip to Redis should carry. Events may be appended and trimmed between two pages. So a page begins
//! at an id, never at an index: no event is repeated, and trimmed events show as a gap in the ids.

use crate::event::EventId;
use crate::sse::frame::{Frame, History, LossRecord};

/// Maximum bytes of a page when a whole history is read. Most histories fit into one page.
pub const PAGE_BYTES: usize = 256 << 10;

/// Where a page begins. Events outside the window (`history.limit`, `history.bytes`) do not exist.
#[derive(Clone, Copy, Debug)]
pub enum PageStart<'a> {
    /// At the oldest of the newest `count` events on these channels, or on all channels when none is named.
    Newest {
        /// How many events.
        count: usize,
        /// The channels' names.
        channels: &'a [String],
    },
    /// At the newest event up to this id, if the window has it, so that a log can judge whether events are missing after it. The
    /// first event after this id belongs to the page too, whatever its size.
    After(EventId),
    /// At the first event after this id, at which an earlier page ended, even if the window begins later by now.
    Next(EventId),
}

/// Maximum contents of a page. It always holds one event if there is one.
#[derive(Clone, Copy, Debug)]
pub struct PageBounds {
    /// Maximum events.
    pub events: usize,
    /// Maximum bytes of their frames.
    pub bytes: usize,
}

impl PageBounds {
    /// As many events as fit into [`PAGE_BYTES`].
    pub const WHOLE: Self = Self { events: usize::MAX, bytes: PAGE_BYTES };
}

/// A part of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Its events, oldest first, with none missing in between.
    pub history: History,
    /// The newest event in the store when the page was read, if the page ends before it.
    pub rest: Option<EventId>,
}

/// What is known about a pipeline without its events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct About {
    /// The newest event's id, `0-0` when none is known.
    pub newest: EventId,
    /// How many events the store keeps, at most `history.limit`. Some may be beyond `history.bytes` if that was lowered since the
    /// last event.
    pub events: usize,
}

impl History {
    /// Appends the next page. If events are missing in between, only the next page is left.
    ///
    /// Returns whether events are missing.
    pub fn go_on(&mut self, next: Self) -> bool {
        let is_missing = next.frames.is_empty() || next.floor != self.newest();
        if is_missing {
            *self = next;
        } else {
            self.frames.extend(next.frames);
        }
        is_missing
    }

    /// Drops the oldest events beyond `events`, or beyond `bytes` of frames. The newest event stays.
    pub fn keep_newest(&mut self, events: usize, bytes: usize) {
        let mut held = 0;
        let kept = self.frames.iter().rev().enumerate().take_while(|(count, frame)| {
            held += frame.text().len();
            *count == 0 || (*count < events && held <= bytes)
        });
        let surplus = self.frames.len() - kept.count();
        if let Some(newest_dropped) = self.frames.drain(..surplus).next_back() {
            self.floor = newest_dropped.id();
        }
    }
}

impl Page {
    /// A page of a history in memory, equal to what Redis would return. `frames` are those of the window, oldest first.
    pub fn cut<'a>(
        floor: EventId,
        loss: LossRecord,
        frames: impl DoubleEndedIterator<Item = &'a Frame> + ExactSizeIterator + Clone,
        start: PageStart<'_>,
        bounds: PageBounds,
    ) -> Self {
        let newest = frames.clone().next_back().map_or(floor, Frame::id);
        let first_after = |id: EventId| frames.clone().take_while(|frame| frame.id() <= id).count();
        let (skipped, min_frames) = match start {
            PageStart::Newest { count, channels } => {
                let passes = |frame: &Frame| channels.is_empty() || channels.iter().any(|name| name == frame.channel());
                let mut wanted = count;
                let taken = frames.clone().rev().take_while(|frame| {
                    let is_wanted = wanted > 0;
                    wanted -= usize::from(is_wanted && passes(frame));
                    is_wanted
                });
                (frames.len() - taken.count(), 1)
            }
            PageStart::After(id) => {
                let older = first_after(id);
                (older.saturating_sub(1), 1 + usize::from(older > 0))
            }
            PageStart::Next(id) => (first_after(id), 1),
        };
        let before = skipped.checked_sub(1).and_then(|last| frames.clone().nth(last)).map_or(floor, Frame::id);
        let mut bytes = 0;
        let held = frames.skip(skipped).enumerate().take_while(|(count, frame)| {
            bytes += frame.text().len();
            *count < min_frames || (*count < bounds.events && bytes <= bounds.bytes)
        });
        let history = History { floor: before, frames: held.map(|(_, frame)| frame.clone()).collect(), loss };
        let rest = Some(newest).filter(|newest| history.newest() < *newest && !history.frames.is_empty());
        Self { history, rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(seq: u64, bytes: usize) -> Frame {
        let body = format!("event: {}\ndata: {}\n\n", ["a", "b"][(seq % 2) as usize], "1".repeat(bytes.max(1)));
        Frame::new(EventId { ms: 7, seq }, body.as_bytes()).unwrap()
    }

    fn ids(history: &History) -> Vec<u64> {
        history.frames.iter().map(|frame| frame.id().seq).collect()
    }

    #[test]
    fn missing_events_between_pages_leave_the_later_page() {
        let part = |seqs: std::ops::RangeInclusive<u64>| {
            let floor = EventId { ms: 7, seq: seqs.start() - 1 };
            History { floor, frames: seqs.map(|seq| frame(seq, 1)).collect(), loss: LossRecord::default() }
        };
        let mut history = part(3..=4);
        assert!(!history.go_on(part(5..=6)));
        assert_eq!((ids(&history), history.floor.seq), (vec![3, 4, 5, 6], 2));
        assert!(history.go_on(part(9..=9)));
        assert_eq!((ids(&history), history.floor.seq), (vec![9], 8));
    }

    proptest! {
        #[test]
        fn joined_pages_are_the_history(
            sizes in prop::collection::vec(1usize..300, 1..40),
            bytes in 1usize..2000,
            events in 1usize..9,
            after in 0u64..45,
        ) {
            let frames: Vec<_> = sizes.iter().zip(4..).map(|(size, seq)| frame(seq, *size)).collect();
            let floor = EventId { ms: 7, seq: 3 };
            let bounds = PageBounds { events, bytes };
            for start in [PageStart::After(EventId { ms: 7, seq: after }), PageStart::Newest { count: usize::MAX, channels: &[] }] {
                let Page { mut history, mut rest } = Page::cut(floor, LossRecord::default(), frames.iter(), start, bounds);
                while rest.is_some() {
                    let next = Page::cut(floor, LossRecord::default(), frames.iter(), PageStart::Next(history.newest()), bounds);
                    prop_assert!(!next.history.frames.is_empty());
                    prop_assert!(next.history.frames.len() <= events);
                    rest = next.rest;
                    prop_assert!(!history.go_on(next.history));
                }
                let skipped = match start {
                    PageStart::After(id) => frames.iter().filter(|frame| frame.id() <= id).count().saturating_sub(1),
                    _ => 0,
                };
                prop_assert_eq!(&history.frames, &frames[skipped..]);
                prop_assert_eq!(history.floor.seq, 3 + skipped as u64);
            }
        }

        #[test]
        fn newest_events_are_counted_per_channel(count in 0usize..30, events in 1usize..40) {
            let frames: Vec<_> = (1..).take(events).map(|seq| frame(seq, 1)).collect();
            let channels = ["a".to_owned()];
            let start = PageStart::Newest { count, channels: &channels };
            let page = Page::cut(EventId::ZERO, LossRecord::default(), frames.iter(), start, PageBounds::WHOLE);
            let passing = page.history.frames.iter().filter(|frame| frame.channel() == "a").count();
            prop_assert_eq!(passing, count.min(events / 2));
        }

        #[test]
        fn newest_event_is_kept_whatever_the_bounds(sizes in prop::collection::vec(1usize..300, 1..40), events in 0usize..50, bytes in 0usize..5000) {
            let frames: Vec<_> = sizes.iter().zip(1..).map(|(size, seq)| frame(seq, *size)).collect();
            let mut history = History { floor: EventId::ZERO, frames: frames.clone(), loss: LossRecord::default() };
            history.keep_newest(events, bytes);
            prop_assert_eq!(history.frames.last(), frames.last());
            let held: usize = history.frames.iter().map(|frame| frame.text().len()).sum();
            prop_assert!(history.frames.len() == 1 || history.frames.len() <= events && held <= bytes);
            prop_assert_eq!(history.floor.seq, (frames.len() - history.frames.len()) as u64);
        }
    }
}
