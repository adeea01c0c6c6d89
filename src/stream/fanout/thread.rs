//! A fan-out thread: one loop over sockets, messages, alarms and passes.
//!
//! Work is done in slices of a few writes. A pass over a busy pipeline's clients holds up neither other pipelines nor new
//! connections for longer than that.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token, Waker};

use super::inbox::Inbox;
use super::shared::Shared;
use super::streams::Streams;
use crate::clock::Now;

/// Writes between two looks at everything else.
const SLICE: usize = 64;

const WAKE: Token = Token(usize::MAX);

pub(super) struct Thread {
    poll: Poll,
    inbox: Arc<Inbox>,
    streams: Streams,
    is_draining: bool,
}

impl Thread {
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let inbox = Arc::new(Inbox::new(Waker::new(poll.registry(), WAKE)?));
        let streams = Streams::new(shared, inbox.clone(), Instant::now());
        Ok(Self { poll, inbox, streams, is_draining: false })
    }

    pub(super) fn inbox(&self) -> Arc<Inbox> {
        self.inbox.clone()
    }

    /// Runs until the thread is asked to stop.
    ///
    /// # Errors
    /// When it cannot wait for its sockets.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, self.wait()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let now = Now::read();
            for event in &events {
                if event.token() != WAKE {
                    self.handle(event);
                }
            }
            if self.read_messages(now).is_break() {
                return Ok(());
            }
            self.streams.keep_time(now);
            self.work(now);
            self.streams.deliveries.flush();
        }
    }

    /// How long there is nothing to do unless something happens.
    fn wait(&self) -> Option<Duration> {
        let streams = &self.streams;
        if !streams.passes.is_empty() || !streams.busy.is_empty() {
            return Some(Duration::ZERO);
        }
        streams.timers.wait(Instant::now(), !streams.clients.is_empty())
    }

    /// Handles a socket that became readable, writable or closed.
    fn handle(&mut self, event: &Event) {
        let entry = event.token().0;
        let Some(client) = self.streams.clients.get_mut(entry) else { return };
        // Half closed counts as closed: the client would not read what is sent.
        let is_closed = event.is_error() || event.is_read_closed() || event.is_write_closed();
        if is_closed || event.is_readable() && client.discard_input().is_err() {
            self.streams.close(entry);
        } else if event.is_writable() && client.is_blocked() {
            self.streams.queue(entry);
        }
    }

    fn read_messages(&mut self, now: Now) -> ControlFlow<()> {
        let messages = self.inbox.take();
        if messages.is_stop {
            return ControlFlow::Break(());
        }
        for ping in messages.pings {
            // The health check may have given up.
            let _ = ping.send(());
        }
        for handover in messages.handovers {
            self.streams.admit(handover, self.poll.registry(), self.is_draining, now);
        }
        // Before anything else is sent.
        for key in messages.revoked {
            if self.streams.is_open(key) {
                self.streams.revoke(key.entry, now);
            }
        }
        for group in messages.changed {
            self.streams.begin_pass(group);
        }
        if !self.is_draining
            && let Some(window) = self.streams.shared.hub.drain_window()
        {
            self.is_draining = true;
            self.streams.drain(window, now);
        }
        ControlFlow::Continue(())
    }

    /// One slice of work.
    fn work(&mut self, now: Now) {
        let streams = &mut self.streams;
        let mut left = SLICE;
        // However many clients catch up or read a little at a time, live events get their share.
        let for_passes = if streams.passes.is_empty() { 0 } else { SLICE / 2 };
        // Only clients that are queued now. Those that are queued again by their turn have the next one later.
        for _ in 0..streams.busy.len() {
            if left == for_passes {
                break;
            }
            let Some(key) = streams.busy.pop_front() else { break };
            if streams.is_open(key) {
                streams.clients[key.entry].is_busy = false;
                streams.serve(key, now);
                left -= 1;
            }
        }
        while left > 0
            && let Some(entry) = streams.passes.pop_front()
        {
            left = streams.continue_pass(entry, left, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use bytes::Bytes;

    use super::*;
    use crate::hub::{Hub, HubOptions};
    use crate::log::LogLimits;
    use crate::metrics::Metrics;
    use crate::stream::StreamOptions;
    use crate::stream::content_encoding::ContentEncoding;
    use crate::stream::context::StreamContext;
    use crate::stream::fanout::client::Client;
    use crate::stream::fanout::handover::{Framing, Handover};
    use crate::stream::fanout::timers::ClientKey;
    use crate::stream::wanted::{Channels, Start, Wanted};

    const DAY: Duration = Duration::from_secs(86_400);

    /// A thread that the test runs by hand, and a listener for its clients.
    struct Bench {
        thread: Thread,
        listener: TcpListener,
        began: Now,
    }

    impl Bench {
        fn new() -> Self {
            let metrics = Arc::new(Metrics::new().unwrap());
            let log = LogLimits {
                history: 100,
                history_bytes: 1 << 20,
                backlog_bytes: 1 << 20,
                backlog_age: DAY,
                compresses: false,
            };
            let options =
                HubOptions { log, log_memory: usize::MAX, hold: Duration::ZERO, linger: DAY, check_interval: DAY };
            let (hub, _) = Hub::new(options, metrics.clone());
            let stream = StreamOptions {
                keepalive: DAY / 10,
                keepalive_min: DAY,
                write_timeout: DAY / 5,
                max_age: Some(DAY),
                send_buffer: 4096,
                compresses: false,
            };
            let thread = Thread::new(Arc::new(Shared::new(hub, metrics, stream))).unwrap();
            Self { thread, listener: TcpListener::bind("127.0.0.1:0").unwrap(), began: Now::read() }
        }

        /// Hands a new client over. Returns its end of the connection, and its key.
        fn admit(&mut self) -> (TcpStream, ClientKey) {
            let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            let (socket, _) = self.listener.accept().unwrap();
            socket.set_nonblocking(true).unwrap();
            let wanted = Wanted { start: Start::History, channels: Channels::default() };
            self.thread.inbox.add(Handover {
                socket,
                head: Bytes::new(),
                framing: Framing::Chunked,
                encoding: ContentEncoding::Identity,
                keepalive: None,
                pipeline: "p".parse().unwrap(),
                wanted,
                context: StreamContext::default(),
            });
            assert!(self.thread.read_messages(self.began).is_continue());
            let streams = &self.thread.streams;
            let (entry, client_here) =
                streams.clients.iter().find(|(_, client)| client.number == streams.last_number).unwrap();
            (client, client_here.key(entry))
        }

        /// The time so long after the beginning.
        fn after(&self, time: Duration) -> Now {
            Now { instant: self.began.instant + time, unix_ms: self.began.unix_ms }
        }

        /// Lets the thread do what is due after so long.
        fn pass(&mut self, time: Duration) {
            let now = self.after(time);
            self.thread.streams.keep_time(now);
            self.thread.work(now);
        }

        fn fill(&mut self, entry: usize, now: Now) {
            // As much as both kernels hold, and more.
            let parts = [Bytes::from(vec![b'x'; 1 << 20])];
            while self.thread.streams.clients[entry].unsent.is_none() {
                self.thread.streams.send(entry, &parts, now);
            }
        }

        fn ends(&self, reason: &str) -> bool {
            let text = self.thread.streams.shared.metrics.encode(Default::default()).unwrap();
            let series = format!("{{reason=\"{reason}\"}} 1");
            let text = String::from_utf8(text).unwrap();
            text.lines().any(|line| line.starts_with("pipecast_streams_closed_total") && line.ends_with(&series))
        }
    }

    /// What the client is sent up to the end of the body.
    fn read_all(mut client: TcpStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn stream_gets_keepalives_and_ends_at_its_age() {
        let mut bench = Bench::new();
        let (client, key) = bench.admit();
        // Each pass turns the wheel by at most one of its 64 ticks a period.
        for pass in 1..=1280 {
            bench.pass(DAY / 1280 * pass);
        }
        assert!(!bench.thread.streams.is_open(key) && bench.ends("max_age"));
        let text = read_all(client);
        let keepalives = text.matches(":keepalive\n\n").count();
        assert!((7..=10).contains(&keepalives), "{text}");
        assert!(text.ends_with("\n\n\r\n0\r\n\r\n") && text.matches("retry: ").count() == 2, "{text}");
    }

    #[test]
    fn keepalives_keep_their_period_after_idleness_and_stalls() {
        const PERIOD: Duration = DAY.checked_div(10).unwrap();
        const TICK: Duration = PERIOD.checked_div(64).unwrap();
        // Idle for no time, for a part of a tick, for many periods; then the thread is held up twice for so long.
        for (idle, stall) in [(0, 0), (1, 0), (3, 0), (1000, 0), (1000, 1), (1000, 9), (1, 5), (0, 3)] {
            let mut bench = Bench::new();
            let mut time = TICK * idle / 2;
            bench.began = bench.after(time);
            time = Duration::ZERO;
            let (mut client, _) = bench.admit();
            client.set_nonblocking(true).unwrap();
            let mut text = String::new();
            let mut last = Duration::ZERO;
            let mut stalls = [PERIOD / 3, PERIOD / 2].into_iter().peekable();
            for keepalives in 1..5 {
                while text.matches(":keepalive\n\n").count() < keepalives {
                    let now = bench.after(time).instant;
                    time += bench.thread.streams.timers.wait(now, true).unwrap();
                    if stalls.next_if(|at| *at <= time).is_some() {
                        time += TICK * stall / 2;
                    }
                    bench.pass(time);
                    // Nothing has come unless a keepalive was sent.
                    let _ = client.read_to_string(&mut text);
                }
                let late = TICK * (stall + 1);
                assert!(
                    time - last > PERIOD - 3 * TICK && time - last <= PERIOD + late,
                    "{idle} {stall}: {:?}",
                    time - last
                );
                last = time;
            }
        }
    }

    #[test]
    fn stream_that_arrives_during_a_drain_ends_at_once() {
        let mut bench = Bench::new();
        let (early, key) = bench.admit();
        bench.thread.streams.shared.hub.start_drain(Duration::ZERO);
        assert!(bench.thread.read_messages(bench.began).is_continue());
        bench.pass(Duration::ZERO);
        assert!(!bench.thread.streams.is_open(key) && bench.ends("drain"));
        let (late, key) = bench.admit();
        bench.pass(Duration::ZERO);
        assert!(!bench.thread.streams.is_open(key));
        for client in [early, late] {
            assert_eq!(read_all(client).matches("retry: ").count(), 2);
        }
    }

    #[test]
    fn client_that_reads_nothing_is_closed_without_an_end() {
        let mut bench = Bench::new();
        let (client, key) = bench.admit();
        bench.fill(key.entry, bench.after(DAY / 10));
        bench.pass(DAY / 10 * 3 - Duration::from_nanos(1));
        assert!(bench.thread.streams.is_open(key));
        bench.pass(DAY / 10 * 3);
        assert!(!bench.thread.streams.is_open(key) && bench.ends("write_timeout"));
        assert!(!read_all(client).contains(":keepalive"));
    }

    #[test]
    fn slow_client_has_one_alarm_for_its_write_deadline() {
        let mut bench = Bench::new();
        let (mut client, key) = bench.admit();
        let mut buffer = vec![0; 8 << 20];
        for _ in 0..1000 {
            bench.fill(key.entry, bench.began);
            while bench.thread.streams.clients[key.entry].unsent.is_some() {
                let length = client.read(&mut buffer).unwrap();
                assert!(length > 0);
                bench.thread.streams.serve(key, bench.began);
            }
            // The other alarm is for the end at its age.
            assert_eq!(bench.thread.streams.timers.entries(), (2, 1));
        }
        // After they have rung, no alarm is left, and the client is still there.
        let later = bench.after(2 * DAY);
        let streams = &mut bench.thread.streams;
        assert_eq!(streams.next_alarm(later).map(|(due, _)| due), Some(key));
        assert_eq!(streams.next_alarm(later).map(|(due, _)| due), Some(key));
        assert_eq!((streams.next_alarm(later), streams.clients[key.entry].alarms), (None, 0));
    }

    #[test]
    fn closed_clients_leave_no_alarm_keepalive_or_turn() {
        let mut bench = Bench::new();
        for _ in 0..2000 {
            let (client, key) = bench.admit();
            for _ in 0..10 {
                bench.thread.streams.queue(key.entry);
            }
            let turns = bench.thread.streams.busy.len();
            assert!(turns <= 2, "{turns} turns of one client");
            drop(client);
            bench.thread.streams.close(key.entry);
            bench.thread.work(bench.began);
            let (alarms, keepalives) = bench.thread.streams.timers.entries();
            assert!(alarms <= 66 && keepalives <= 66, "{alarms} alarms, {keepalives} keepalives");
        }
        let streams = &bench.thread.streams;
        assert_eq!((streams.busy.len(), bench.thread.inbox.streams(), streams.clients.len()), (0, 0, 0));
    }

    /// The memory of an idle stream in docs/design/performance.md depends on it.
    #[test]
    fn client_is_small() {
        // Without the socket, which is larger in debug builds.
        assert!(size_of::<Client>() - size_of::<mio::net::TcpStream>() <= 176, "{}", size_of::<Client>());
    }
}
