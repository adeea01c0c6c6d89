//! A client of the log and its judge: each event once and in order, or a gap.

use pipecast::event::{EventId, Gap, ResumePoint};
use pipecast::hub::live_log::{Action, LiveLog, Ticket};
use pipecast::log::{Cursor, Read, ReadLimits};
use pipecast::metrics::ReadReason;
use pipecast::sse::frame::Frame;
use proptest::prelude::*;

use crate::store::{Gone, Store};

/// No id of the store is from later than this.
const NOW_MS: u64 = 1_000_000;

#[derive(Debug)]
pub(crate) struct Client {
    /// The newest event that it has, or where it was put; none before it has anything.
    at: Option<EventId>,
    had: Vec<EventId>,
    state: State,
    /// Whether it has been woken and has not found the log's end since.
    pub(crate) is_awake: bool,
}

#[derive(Debug)]
enum State {
    /// Waits for a read. The verdict after the second one is final.
    Waiting {
        ticket: Ticket,
        is_final: bool,
    },
    Placed(Cursor),
}

impl Client {
    pub(crate) fn new() -> Self {
        Self { at: None, had: Vec::new(), state: State::waiting(), is_awake: true }
    }

    /// The same client after it has reconnected.
    pub(crate) fn resumed(self) -> Self {
        Self { state: State::waiting(), is_awake: true, ..self }
    }

    pub(crate) fn at(&self) -> Option<EventId> {
        self.at
    }

    /// Reads at most so many events. Returns what the hub has to do for it.
    pub(crate) fn read(&mut self, log: &mut LiveLog, store: &Store, at_most: usize) -> Result<Action, TestCaseError> {
        if let State::Waiting { ticket, is_final } = self.state {
            if !log.has_read(ticket) {
                self.is_awake = false;
                return Ok(Action::Nothing);
            }
            if self.at.is_some_and(|at| at > log.log().tail()) && !is_final {
                // From a node that is ahead of this one, for all that it knows.
                let (ticket, action) = log.request_read(ReadReason::Ahead);
                self.state = State::Waiting { ticket, is_final: true };
                self.is_awake = false;
                return Ok(action);
            }
            self.place(log, store)?;
        }
        let State::Placed(cursor) = &mut self.state else { return Ok(Action::Nothing) };
        match log.log().read(cursor, ReadLimits { frames: at_most, bytes: 1 << 20 }, NOW_MS, |_| true) {
            Read::Nothing => self.is_awake = false,
            Read::Gap(gap) => self.get_gap(&gap, store)?,
            Read::Frames(frames) => {
                for id in frames.iter().map(Frame::id) {
                    self.get(id, store)?;
                }
            }
        }
        Ok(Action::Nothing)
    }

    fn place(&mut self, log: &LiveLog, store: &Store) -> Result<(), TestCaseError> {
        let (cursor, gap) = match self.at {
            Some(at) => log.log().place_after(&ResumePoint::After(at), NOW_MS),
            None => (log.log().place_newest(usize::MAX, |_| true), None),
        };
        self.state = State::Placed(cursor);
        match gap {
            Some(gap) => {
                prop_assert_eq!(gap.resume, cursor.after());
                self.get_gap(&gap, store)?;
            }
            None => self.at = Some(cursor.after()),
        }
        Ok(())
    }

    fn get_gap(&mut self, gap: &Gap, store: &Store) -> Result<(), TestCaseError> {
        // Where it has no event yet, a restart may have lost some.
        let may_be_lost = self.at.is_some_and(EventId::is_beginning) && store.has_begun_again;
        let is_true = may_be_lost || store.gone.keys().any(|id| self.at.is_none_or(|at| *id >= at));
        prop_assert!(is_true, "a gap although nothing is gone: {gap:?}");
        self.at = Some(gap.resume);
        Ok(())
    }

    fn get(&mut self, id: EventId, store: &Store) -> Result<(), TestCaseError> {
        let Some(at) = self.at else { return Err(TestCaseError::fail("an event before a place")) };
        prop_assert!(at < id, "{id} after {at}");
        prop_assert!(!self.had.contains(&id), "{id} comes twice");
        prop_assert!(store.published.contains(&id), "{id} was never published");
        let is_owed = |id: &EventId| store.gone.get(id) != Some(&Gone::RolledBack);
        // Unless the node has not noticed yet.
        prop_assert!(is_owed(&at) || !is_owed(&id), "{id} after {at}, which was lost");
        let skipped = store.published.iter().find(|other| at < **other && **other < id && is_owed(other));
        prop_assert!(skipped.is_none(), "{skipped:?} is skipped between {at} and {id}, without a gap");
        self.had.push(id);
        self.at = Some(id);
        Ok(())
    }
}

impl State {
    fn waiting() -> Self {
        Self::Waiting { ticket: Ticket::FIRST, is_final: false }
    }
}
