//! The pace of a log: how far most of its clients have come, so that publishers can be held to what
//! readers take.
//!
//! A mark stands at an index of the log; once most clients have passed it, it moves to the log's
//! end of that moment. Publishers are too fast while much stands after a mark that most have not
//! passed. One slow reader among several moves nothing. No I/O, no locks.

/// What stands after the mark before publishers are too fast, as a part of the backlog: far less
/// than all of it, since half of the clients are further back than the others.
const BACKLOG_PART: usize = 64;

/// And no less than this, or publishers would wait for each event to be written.
const LEAST_BYTES: usize = 16 << 10;

/// The mark moves in steps of this part of that, so that a client is counted now and then and not
/// at each event.
const STEPS: u64 = 4;

/// How far the clients of one log have come.
#[derive(Debug)]
pub struct SubscriberProgress {
    /// Most bytes after a mark that most clients have not passed.
    limit: u64,
    mark: ProgressMark,
    clients: usize,
    /// Clients that have not passed the mark, without those given up.
    late: usize,
    /// Clients that stood still while they were waited for, and have passed no mark since.
    given_up: usize,
    /// The last mark at which clients were given up: whoever passed none from there on is one of them.
    given_up_at: u64,
}

/// A moment of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProgressMark {
    /// The index after its newest frame.
    pub index: u64,
    /// Bytes of all frames that it ever held.
    pub bytes: u64,
}

impl SubscriberProgress {
    /// For a log that keeps so many bytes for readers that lag.
    pub fn new(backlog_bytes: usize) -> Self {
        let limit = (backlog_bytes / BACKLOG_PART).max(LEAST_BYTES) as u64;
        Self { limit, mark: ProgressMark::default(), clients: 0, late: 0, given_up: 0, given_up_at: 0 }
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.clients
    }

    /// The index that clients have to pass.
    pub fn mark(&self) -> u64 {
        self.mark.index
    }

    /// Changes whenever a client gets further.
    pub fn progress(&self) -> (u64, usize) {
        (self.mark.index, self.late)
    }

    /// The log has grown.
    pub fn grown(&mut self, end: ProgressMark) {
        if end.bytes - self.mark.bytes >= self.limit / STEPS && !self.are_most_late() {
            self.move_on(end);
        }
    }

    /// A client came. It counts as past the mark, which is returned: the mark that it passed last.
    pub fn joined(&mut self) -> u64 {
        self.clients += 1;
        self.mark.index
    }

    /// A client left that last passed this mark.
    pub fn left(&mut self, passed: u64) {
        self.clients = self.clients.saturating_sub(1);
        self.count_out(passed);
    }

    /// A client that last passed one mark has passed another, which may have moved on meanwhile.
    /// Returns the mark that it is counted for.
    pub fn passed(&mut self, last: u64, mark: u64) -> u64 {
        if mark != self.mark.index {
            return last;
        }
        self.count_out(last);
        mark
    }

    /// Whether publishers are faster than most clients.
    pub fn is_outrun(&self, end: ProgressMark) -> bool {
        self.are_most_late() && end.bytes - self.mark.bytes > self.limit
    }

    /// The mark moves to the end, whoever has passed it.
    pub fn move_on(&mut self, end: ProgressMark) {
        if end.index > self.mark.index {
            self.mark = end;
            self.late = self.clients.saturating_sub(self.given_up);
        }
    }

    /// Waits no more for clients that have not passed the mark, until they pass one.
    pub fn give_up_late(&mut self, end: ProgressMark) {
        if end.index > self.mark.index {
            self.given_up += self.late;
            self.given_up_at = self.mark.index;
            self.move_on(end);
        }
    }

    fn are_most_late(&self) -> bool {
        self.late > self.clients.saturating_sub(self.given_up) / 2
    }

    fn count_out(&mut self, passed: u64) {
        if passed == self.mark.index {
            return;
        }
        if passed < self.given_up_at {
            self.given_up = self.given_up.saturating_sub(1);
        } else {
            self.late = self.late.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES: u64 = 10_000;
    const LIMIT: u64 = 100_000;

    /// A pace, and the mark that each client passed last.
    fn pace(clients: usize) -> (SubscriberProgress, Vec<u64>) {
        let mut pace = SubscriberProgress::new(BACKLOG_PART * 100_000);
        let passed = (0..clients).map(|_| pace.joined()).collect();
        (pace, passed)
    }

    fn end(index: u64) -> ProgressMark {
        ProgressMark { index, bytes: index * BYTES }
    }

    fn pass(pace: &mut SubscriberProgress, client: &mut u64) {
        if *client != pace.mark() {
            *client = pace.passed(*client, pace.mark());
        }
    }

    /// Publishes until publishers are too fast; the index then.
    fn outrun(pace: &mut SubscriberProgress, mut index: u64) -> u64 {
        while !pace.is_outrun(end(index)) {
            index += 1;
            pace.grown(end(index));
        }
        assert!(end(index).bytes - pace.mark() * BYTES <= LIMIT + BYTES, "{pace:?}");
        index
    }

    #[test]
    fn publishers_outrun_nobody_while_most_follow() {
        let (mut pace, mut clients) = pace(3);
        for index in 1..1000 {
            pace.grown(end(index));
            assert!(!pace.is_outrun(end(index)), "{pace:?}");
            // Two of three take all; one takes nothing.
            pass(&mut pace, &mut clients[0]);
            pass(&mut pace, &mut clients[1]);
        }
    }

    #[test]
    fn publishers_outrun_readers_that_lag_and_are_let_go_when_most_have_caught_up() {
        let (mut pace, mut clients) = pace(4);
        let index = outrun(&mut pace, 0);
        pass(&mut pace, &mut clients[0]);
        assert!(pace.is_outrun(end(index)), "one of four is not most");
        pass(&mut pace, &mut clients[1]);
        assert!(!pace.is_outrun(end(index)), "two of four are late, which is not most");
        let old = pace.mark();
        pace.grown(end(index + 1));
        assert_eq!((pace.mark(), pace.progress()), (index + 1, (index + 1, 4)));
        assert_eq!(pace.passed(clients[2], old), clients[2], "an old mark counts no more");
    }

    #[test]
    fn who_stands_still_is_waited_for_once() {
        let (mut pace, mut clients) = pace(51);
        let index = outrun(&mut pace, 0);
        pass(&mut pace, &mut clients[0]);
        assert!(pace.is_outrun(end(index)));
        pace.give_up_late(end(index));
        for index in index + 1..index + 1000 {
            pass(&mut pace, &mut clients[0]);
            pace.grown(end(index));
            assert!(!pace.is_outrun(end(index)), "{pace:?}");
        }
        // They come back, and are waited for again.
        for client in &mut clients {
            pass(&mut pace, client);
        }
        assert_eq!(pace.given_up, 0);
        outrun(&mut pace, index + 1000);
    }

    #[test]
    fn a_pipeline_without_clients_holds_nobody() {
        let (mut pace, _) = pace(0);
        for index in 1..100 {
            pace.grown(end(index));
            assert!(!pace.is_outrun(end(index)));
        }
    }

    proptest! {
        /// Whatever happens, the counts are those of the clients that are there.
        #[test]
        fn every_client_is_counted_once(steps in prop::collection::vec((0..6u8, any::<prop::sample::Index>()), 1..300)) {
            let (mut pace, mut clients) = pace(5);
            let mut index = 0;
            for (step, which) in steps {
                let client = (!clients.is_empty()).then(|| which.index(clients.len().max(1)));
                match (step, client) {
                    (0, _) => clients.push(pace.joined()),
                    (1, Some(client)) => pace.left(clients.swap_remove(client)),
                    (2, Some(client)) => pass(&mut pace, &mut clients[client]),
                    (3, _) => pace.give_up_late(end(index)),
                    (4, _) => pace.move_on(end(index)),
                    _ => {
                        index += 1 + which.index(20) as u64;
                        pace.grown(end(index));
                    }
                }
                let not_passed = clients.iter().filter(|passed| **passed != pace.mark()).count();
                prop_assert_eq!(pace.clients, clients.len());
                prop_assert_eq!(pace.late + pace.given_up, not_passed);
            }
        }
    }
}
