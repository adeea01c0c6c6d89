//! How far most subscribers of a log have read, so that publishing can be slowed down to what they can follow.
//!
//! A mark is an index of the log. Once most clients have passed it, it moves to the end of the log at that moment. Publishers
//! are too fast while most clients have not passed a mark that is far behind the end. One slow client among several changes
//! nothing. No I/O, no locks.

/// How many bytes after the mark make publishers too fast, as a fraction of the backlog: far less than all of it, since half
/// of the clients are further behind than the others.
const BACKLOG_PART: usize = 64;

/// And at least this many, or publishers would wait for each event to be written.
const MIN_BYTES: usize = 16 << 10;

/// The mark moves in steps of this fraction of that, so that a client is not counted at each event.
const STEPS: u64 = 4;

/// The progress of one log's clients.
#[derive(Debug)]
pub struct SubscriberProgress {
    /// Maximum bytes after a mark that most clients have not passed.
    limit: u64,
    mark: ProgressMark,
    clients: usize,
    /// Clients that have not passed the mark, except those given up.
    late: usize,
    /// Clients that made no progress while a publisher waited for them, and have passed no mark since.
    given_up: usize,
    /// The last mark at which clients were given up: those that have passed no mark since are the ones.
    given_up_at: u64,
}

/// A position in a log: where it ended at some moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProgressMark {
    /// The index after its newest frame.
    pub index: u64,
    /// Bytes of all frames that it ever held.
    pub bytes: u64,
}

impl SubscriberProgress {
    /// For a log that keeps so many bytes for readers that are behind.
    pub fn new(backlog_bytes: usize) -> Self {
        let limit = (backlog_bytes / BACKLOG_PART).max(MIN_BYTES) as u64;
        Self { limit, mark: ProgressMark::default(), clients: 0, late: 0, given_up: 0, given_up_at: 0 }
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.clients
    }

    /// The index that clients are to pass.
    pub fn mark(&self) -> u64 {
        self.mark.index
    }

    /// The mark and how many clients are late: changes whenever a client gets further.
    pub fn reached(&self) -> (u64, usize) {
        (self.mark.index, self.late)
    }

    /// The log has grown.
    pub fn grown(&mut self, end: ProgressMark) {
        if end.bytes - self.mark.bytes >= self.limit / STEPS && !self.are_most_late() {
            self.move_on(end);
        }
    }

    /// A client joined. It counts as past the mark, which is returned.
    pub fn joined(&mut self) -> u64 {
        self.clients += 1;
        self.mark.index
    }

    /// A client left. It last passed this mark.
    pub fn left(&mut self, passed: u64) {
        self.clients = self.clients.saturating_sub(1);
        self.count_out(passed);
    }

    /// A client that last passed one mark has passed another, unless that has moved in the meantime. Returns the mark that it
    /// counts as having passed.
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

    /// Moves the mark to the end, however many clients have passed it.
    pub fn move_on(&mut self, end: ProgressMark) {
        if end.index > self.mark.index {
            self.mark = end;
            self.late = self.clients.saturating_sub(self.given_up);
        }
    }

    /// Gives up clients that have not passed the mark, until they pass one.
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

    /// A log's progress, and the mark that each client passed last.
    fn with_clients(clients: usize) -> (SubscriberProgress, Vec<u64>) {
        let mut progress = SubscriberProgress::new(BACKLOG_PART * 100_000);
        let passed = (0..clients).map(|_| progress.joined()).collect();
        (progress, passed)
    }

    fn end(index: u64) -> ProgressMark {
        ProgressMark { index, bytes: index * BYTES }
    }

    fn pass(progress: &mut SubscriberProgress, client: &mut u64) {
        if *client != progress.mark() {
            *client = progress.passed(*client, progress.mark());
        }
    }

    /// Publishes until publishers are too fast; the index then.
    fn outrun(progress: &mut SubscriberProgress, mut index: u64) -> u64 {
        while !progress.is_outrun(end(index)) {
            index += 1;
            progress.grown(end(index));
        }
        assert!(end(index).bytes - progress.mark() * BYTES <= LIMIT + BYTES, "{progress:?}");
        index
    }

    #[test]
    fn publishers_are_not_too_fast_while_most_clients_follow() {
        let (mut progress, mut clients) = with_clients(3);
        for index in 1..1000 {
            progress.grown(end(index));
            assert!(!progress.is_outrun(end(index)), "{progress:?}");
            // Two of three take all; one takes nothing.
            pass(&mut progress, &mut clients[0]);
            pass(&mut progress, &mut clients[1]);
        }
    }

    #[test]
    fn publishers_are_too_fast_until_most_clients_catch_up() {
        let (mut progress, mut clients) = with_clients(4);
        let index = outrun(&mut progress, 0);
        pass(&mut progress, &mut clients[0]);
        assert!(progress.is_outrun(end(index)), "one of four is not most");
        pass(&mut progress, &mut clients[1]);
        assert!(!progress.is_outrun(end(index)), "two of four are late, which is not most");
        let old = progress.mark();
        progress.grown(end(index + 1));
        assert_eq!((progress.mark(), progress.reached()), (index + 1, (index + 1, 4)));
        assert_eq!(progress.passed(clients[2], old), clients[2], "an old mark counts no more");
    }

    #[test]
    fn clients_without_progress_are_waited_for_once() {
        let (mut progress, mut clients) = with_clients(51);
        let index = outrun(&mut progress, 0);
        pass(&mut progress, &mut clients[0]);
        assert!(progress.is_outrun(end(index)));
        progress.give_up_late(end(index));
        for index in index + 1..index + 1000 {
            pass(&mut progress, &mut clients[0]);
            progress.grown(end(index));
            assert!(!progress.is_outrun(end(index)), "{progress:?}");
        }
        // They read on, and are waited for again.
        for client in &mut clients {
            pass(&mut progress, client);
        }
        assert_eq!(progress.given_up, 0);
        outrun(&mut progress, index + 1000);
    }

    #[test]
    fn publishers_are_never_too_fast_without_clients() {
        let (mut progress, _) = with_clients(0);
        for index in 1..100 {
            progress.grown(end(index));
            assert!(!progress.is_outrun(end(index)));
        }
    }

    proptest! {
        /// In any order of steps, the counts match the clients.
        #[test]
        fn every_client_is_counted_once(steps in prop::collection::vec((0..6u8, any::<prop::sample::Index>()), 1..300)) {
            let (mut progress, mut clients) = with_clients(5);
            let mut index = 0;
            for (step, which) in steps {
                let client = (!clients.is_empty()).then(|| which.index(clients.len().max(1)));
                match (step, client) {
                    (0, _) => clients.push(progress.joined()),
                    (1, Some(client)) => progress.left(clients.swap_remove(client)),
                    (2, Some(client)) => pass(&mut progress, &mut clients[client]),
                    (3, _) => progress.give_up_late(end(index)),
                    (4, _) => progress.move_on(end(index)),
                    _ => {
                        index += 1 + which.index(20) as u64;
                        progress.grown(end(index));
                    }
                }
                let not_passed = clients.iter().filter(|passed| **passed != progress.mark()).count();
                prop_assert_eq!(progress.clients, clients.len());
                prop_assert_eq!(progress.late + progress.given_up, not_passed);
            }
        }
    }
}
