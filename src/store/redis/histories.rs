//! Histories in Redis: the calls that read them, and how pages become a whole. Knows no connection.

use redis::aio::MultiplexedConnection;
use redis::{RedisError, ScriptInvocation};

use super::keys::Names;
use super::page_scripts::{PageScripts, about_of, page_of};
use crate::event::{EventId, PipelineId};
use crate::sse::frame::History;
use crate::store::Retention;
use crate::store::page::{About, Page, PageBounds, PageStart};

/// How often the read of a history starts over because another history replaced it meanwhile.
const ATTEMPTS: usize = 3;

pub(super) struct Histories {
    names: Names,
    retention: Retention,
    scripts: PageScripts,
}

/// A whole history that is being read, page by page.
pub(super) struct HistoryReading {
    retention: Retention,
    /// How many of the newest entries are read.
    count: usize,
    /// How often it may start over.
    attempts: usize,
    /// What has been read.
    history: History,
    /// The newest event when the first page was read.
    newest: Option<EventId>,
}

/// Another history replaced the one that was being read, each time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("another history replaced this one during each attempt to read it")]
pub(super) struct Replaced;

/// A call that reads a page.
pub(super) struct PageCall<'a> {
    call: ScriptInvocation<'a>,
    retention: Retention,
}

/// A call that reads what is known about a pipeline.
pub(super) struct AboutCall<'a> {
    call: ScriptInvocation<'a>,
    limit: usize,
}

impl Histories {
    pub(super) fn new(names: &Names, retention: Retention) -> Self {
        Self { names: names.clone(), retention, scripts: PageScripts::new() }
    }

    /// The call for a page of a pipeline's history.
    pub(super) fn page(&self, pipeline: &PipelineId, start: PageStart<'_>, bounds: PageBounds) -> PageCall<'_> {
        self.page_of_list(&self.names.list(pipeline), start, bounds)
    }

    /// The call for a page of this list.
    pub(super) fn page_of_list(&self, list: &str, start: PageStart<'_>, bounds: PageBounds) -> PageCall<'_> {
        let call = self.scripts.page(list, &self.names.began(), self.retention, start, bounds);
        PageCall { call, retention: self.retention }
    }

    /// The call for what is known about a pipeline.
    pub(super) fn about(&self, pipeline: &PipelineId) -> AboutCall<'_> {
        self.about_list(&self.names.list(pipeline))
    }

    /// The call for what is known about this list.
    pub(super) fn about_list(&self, list: &str) -> AboutCall<'_> {
        AboutCall { call: self.scripts.about(list, self.retention), limit: self.retention.limit }
    }
}

impl HistoryReading {
    /// Nothing is read yet.
    pub(super) fn new(retention: Retention) -> Self {
        Self { retention, count: retention.limit, attempts: ATTEMPTS, history: History::default(), newest: None }
    }

    /// Where the next page begins.
    pub(super) fn start(&self) -> PageStart<'static> {
        match self.newest {
            None => PageStart::Newest { count: self.count, channels: &[] },
            Some(_) => PageStart::Next(self.history.newest()),
        }
    }

    /// Adds the page that was read. Returns the history once it is whole.
    ///
    /// # Errors
    /// When another history replaced this one during each attempt.
    pub(super) fn add(&mut self, page: Page) -> Result<Option<History>, Replaced> {
        let Page { history, rest } = page;
        let newest = match (self.newest, rest) {
            (None, None) => return Ok(Some(history)),
            (_, Some(_)) if history.frames.is_empty() => {
                // It ends with an entry that this broker has not written: only those after it count, so later ones are read. The
                // newest alone is always a whole.
                self.newest = None;
                self.count = (self.count / 2).max(1);
                return Ok(None);
            }
            (None, Some(newest)) => {
                self.history = history;
                newest
            }
            (Some(_), _) if history.frames.is_empty() => {
                // It was deleted, or lost its newest events: this is another history, to be read from its beginning.
                self.newest = None;
                self.attempts -= 1;
                return if self.attempts == 0 { Err(Replaced) } else { Ok(None) };
            }
            (Some(newest), _) => {
                self.history.go_on(history);
                newest
            }
        };
        // Nodes are notified of newer events: to read a history that grows meanwhile to its very end might never finish.
        self.newest = Some(newest);
        let is_whole = self.history.newest() >= newest;
        Ok(is_whole.then(|| {
            let mut whole = std::mem::take(&mut self.history);
            whole.keep_newest(self.retention.limit, self.retention.bytes);
            whole
        }))
    }
}

impl PageCall<'_> {
    pub(super) async fn run(&self, connection: &mut MultiplexedConnection) -> Result<Page, RedisError> {
        self.call.invoke_async(connection).await.map(|answer| page_of(answer, self.retention))
    }
}

impl AboutCall<'_> {
    pub(super) async fn run(&self, connection: &mut MultiplexedConnection) -> Result<About, RedisError> {
        let answer: Vec<Vec<u8>> = self.call.invoke_async(connection).await?;
        Ok(about_of(&answer, self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::frame::{Frame, LossRecord};

    fn page(seqs: std::ops::RangeInclusive<u64>, newest: Option<u64>) -> Page {
        let id = |seq| EventId { ms: 7, seq };
        let frames = seqs.clone().map(|seq| Frame::new(id(seq), b"event: a\ndata: 1\n\n").unwrap()).collect();
        let loss = LossRecord::default();
        Page { history: History { floor: id(seqs.start() - 1), frames, loss }, rest: newest.map(id) }
    }

    /// Reads these pages: the `seq`s of the whole, and how many pages that took.
    fn read(pages: Vec<Page>) -> Result<(Vec<u64>, usize), Replaced> {
        let retention = Retention { limit: 3, bytes: 1 << 20, ttl: std::time::Duration::from_secs(1) };
        let mut reading = HistoryReading::new(retention);
        for (count, page) in (1..).zip(pages) {
            if let Some(whole) = reading.add(page)? {
                return Ok((whole.frames.iter().map(|frame| frame.id().seq).collect(), count));
            }
        }
        panic!("it needs more pages, from {:?}", reading.start());
    }

    #[test]
    fn pages_are_joined_up_to_the_event_that_was_newest_at_the_start() {
        assert_eq!(read(vec![page(1..=3, None)]), Ok((vec![1, 2, 3], 1)));
        let grown = vec![page(1..=2, Some(4)), page(3..=5, Some(9)), page(6..=9, None)];
        assert_eq!(read(grown), Ok((vec![3, 4, 5], 2)));
    }

    #[test]
    fn replaced_history_is_read_again_a_few_times() {
        let replaced = || [page(1..=2, Some(4)), Page::default()];
        assert_eq!(read(replaced().into_iter().chain([page(1..=1, None)]).collect()), Ok((vec![1], 3)));
        assert_eq!(read((0..ATTEMPTS).flat_map(|_| replaced()).collect()), Err(Replaced));
    }

    #[test]
    fn page_that_ends_with_damage_is_not_the_whole_history() {
        // None of its entries count, because the last one is damaged. The moment of the read is later than every event.
        let loss = LossRecord { since_ms: 1, now_ms: 100, ttl_ms: 1000 };
        let damaged = |rest| Page {
            history: History { floor: EventId::at(1), frames: Vec::new(), loss },
            rest: Some(EventId { ms: 7, seq: rest }),
        };
        assert_eq!(read(vec![damaged(3), page(3..=3, None)]), Ok((vec![3], 2)));
        assert_eq!(read(vec![page(1..=1, Some(3)), damaged(3), page(3..=3, None)]), Ok((vec![3], 3)));
    }
}
