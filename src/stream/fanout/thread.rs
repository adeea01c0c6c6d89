//! A fan-out thread: one loop over sockets, pipelines and timers.
//!
//! Work is done in slices of a few writes, so that a pass over a busy pipeline's readers holds up
//! neither other pipelines nor new connections for longer than that.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::Waker as TaskWaker;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::client::{Client, Sent};
use super::group::Group;
use super::inbox::{Inbox, RevokedWaker};
use super::timers::{ClientKey, Deadline, Timers};
use super::{Handover, Shared};
use crate::clock::clock_ms;
use crate::event::PipelineId;
use crate::metrics::{Deliveries, StreamEnd};
use crate::sse::control::{draw_retry, retry_block, retry_line};
use crate::stream::subscription::Place;

/// Writes between two looks at what else there is.
const SLICE: usize = 64;

const WAKE: Token = Token(usize::MAX);

pub(super) struct Thread {
    pub(super) shared: Arc<Shared>,
    poll: Poll,
    inbox: Arc<Inbox>,
    pub(super) clients: Slab<Client>,
    pub(super) groups: Slab<Group>,
    by_pipeline: HashMap<PipelineId, usize>,
    /// Groups with a pass under way, each served for a slice in turn.
    pub(super) passes: VecDeque<usize>,
    /// Clients with more to do by themselves: sockets that take bytes again, and those that catch up.
    pub(super) busy: VecDeque<ClientKey>,
    pub(super) timers: Timers,
    pub(super) deliveries: Deliveries,
    /// This machine's clock, as of the last look at it.
    pub(super) now_ms: u64,
    next_number: u64,
    is_draining: bool,
}

impl Thread {
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let inbox = Arc::new(Inbox::new(Waker::new(poll.registry(), WAKE)?));
        let timers = Timers::new(shared.stream.keepalive, Instant::now());
        let deliveries = shared.metrics.deliveries();
        Ok(Self {
            shared,
            poll,
            inbox,
            clients: Slab::new(),
            groups: Slab::new(),
            by_pipeline: HashMap::new(),
            passes: VecDeque::new(),
            busy: VecDeque::new(),
            timers,
            deliveries,
            now_ms: 0,
            next_number: 0,
            is_draining: false,
        })
    }

    pub(super) fn inbox(&self) -> Arc<Inbox> {
        self.inbox.clone()
    }

    /// The thread's life, until it is asked to stop.
    ///
    /// # Errors
    /// When it cannot wait for its sockets.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let is_working = !self.passes.is_empty() || !self.busy.is_empty();
            let wait = match is_working {
                true => Some(Duration::ZERO),
                false => self.timers.wait(Instant::now(), !self.clients.is_empty()),
            };
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.now_ms = clock_ms();
            for event in &events {
                if event.token() != WAKE {
                    self.hear(event);
                }
            }
            if self.read_letters().is_break() {
                return Ok(());
            }
            self.keep_time();
            self.work();
            self.deliveries.flush();
        }
    }

    /// What a socket has to say.
    fn hear(&mut self, event: &mio::event::Event) {
        let entry = event.token().0;
        let Some(client) = self.clients.get_mut(entry) else { return };
        // Half closed is gone: nobody would read what is sent.
        let mut is_gone = event.is_error() || event.is_read_closed() || event.is_write_closed();
        if !is_gone && event.is_readable() {
            is_gone = client.discard_input() == Sent::Gone;
        }
        if is_gone {
            self.close(entry, StreamEnd::Client);
        } else if event.is_writable() && client.blocked_since().is_some() {
            self.keep_busy(entry);
        }
    }

    /// Gives a client a turn of its own, once, however often that is asked for before its turn comes.
    pub(super) fn keep_busy(&mut self, entry: usize) {
        let client = &mut self.clients[entry];
        if !std::mem::replace(&mut client.is_busy, true) {
            self.busy.push_back(ClientKey { entry, number: client.number });
        }
    }

    /// Remembers a deadline of a client that is there.
    pub(super) fn arm(&mut self, moment: Instant, key: ClientKey, deadline: Deadline) {
        // Its end for what it was let in under, its end in a drain, its write deadline, its own keepalive: no client comes near the most.
        self.clients[key.entry].deadlines += 1;
        self.timers.at(moment, key, deadline);
    }

    fn read_letters(&mut self) -> std::ops::ControlFlow<()> {
        let letters = self.inbox.empty();
        if letters.is_stop {
            return std::ops::ControlFlow::Break(());
        }
        for answer in letters.asked {
            // Nobody may want to know any more.
            let _ = answer.send(());
        }
        for handover in letters.handovers {
            self.admit(handover);
        }
        // Before anything more is sent.
        let now = Instant::now();
        for key in letters.revoked {
            if self.is_there(key) {
                self.end(key, StreamEnd::Revoked, now);
            }
        }
        for group in letters.changed {
            self.begin_pass(group);
        }
        if !self.is_draining
            && let Some(window) = self.shared.hub.drain_window()
        {
            self.is_draining = true;
            for (entry, client) in &mut self.clients {
                let moment = now + window.mul_f64(rand::random_range(0.0..=1.0));
                client.deadlines += 1;
                self.timers.at(moment, ClientKey { entry, number: client.number }, Deadline::End(StreamEnd::Drain));
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    fn admit(&mut self, handover: Handover) {
        let Handover { socket, head, framing, coding, keepalive, pipeline, wanted, admission } = handover;
        let now = Instant::now();
        let group = self.group(&pipeline);
        self.next_number += 1;
        let entry = self.clients.vacant_key();
        let key = ClientKey { entry, number: self.next_number };
        let socket = mio::net::TcpStream::from_std(socket);
        let mut client = Client::new(socket, framing, coding, Place::new(wanted), admission, key, group);
        client.member = self.groups[group].members.len();
        self.groups[group].members.push(entry);
        client.passed_mark = self.groups[group].reader.add_client();
        let mut opening = vec![head, client.first_part(retry_line(draw_retry()))];
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(client.socket(), Token(entry), interest);
        client.own_keepalive = keepalive;
        self.clients.insert(client);
        if keepalive.is_none() {
            self.timers.keep_alive(key);
        }
        self.arm_own_keepalive(key, now);
        if registered.is_err() {
            self.close(entry, StreamEnd::Client);
            return;
        }
        let age = self.shared.stream.max_age.map(|age| age.mul_f64(rand::random_range(0.8..=1.0)));
        let ends = [
            age.map(|age| (now + age, StreamEnd::MaxAge)),
            self.watch_pass(key, now),
            self.is_draining.then_some((now, StreamEnd::Drain)),
        ];
        // One deadline: what comes first ends it.
        if let Some((moment, why)) = ends.into_iter().flatten().min() {
            self.arm(moment, key, Deadline::End(why));
        }
        // With the first of the history, where it is known: one call for all of it.
        if let Some(portion) = self.next_portion(entry) {
            opening.extend_from_slice(&portion.parts);
        }
        if self.send(entry, &opening, now) {
            self.keep_busy(entry);
        }
    }

    /// A stream that was let in by a token ends with it: when, as far as is known.
    fn watch_pass(&self, key: ClientKey, now: Instant) -> Option<(Instant, StreamEnd)> {
        let permit = self.clients[key.entry].admission.permit.as_ref()?;
        permit.wake_when_revoked(&TaskWaker::from(Arc::new(RevokedWaker { inbox: self.inbox.clone(), client: key })));
        if permit.is_revoked() {
            return Some((now, StreamEnd::Revoked));
        }
        permit.draw_life().and_then(|life| now.checked_add(life)).map(|end| (end, StreamEnd::Token))
    }

    fn group(&mut self, pipeline: &PipelineId) -> usize {
        if let Some(group) = self.by_pipeline.get(pipeline) {
            return *group;
        }
        let entry = self.groups.vacant_key();
        let reader = self.shared.hub.join(pipeline);
        self.groups.insert(Group::new(reader, &self.inbox, entry));
        self.by_pipeline.insert(pipeline.clone(), entry);
        entry
    }

    pub(super) fn begin_pass(&mut self, entry: usize) {
        let Some(group) = self.groups.get_mut(entry) else { return };
        if group.position.is_some() {
            group.is_changed = true;
            return;
        }
        group.watch();
        group.last_read = None;
        group.position = Some(0);
        self.passes.push_back(entry);
    }

    /// One slice of work.
    fn work(&mut self) {
        let mut left = SLICE;
        // However many catch up or take a little at a time: live events have their share.
        let of_passes = if self.passes.is_empty() { 0 } else { SLICE / 2 };
        let now = Instant::now();
        // Those who are there now: who is still busy after its turn comes next time.
        for _ in 0..self.busy.len() {
            if left == of_passes {
                break;
            }
            let Some(key) = self.busy.pop_front() else { break };
            if self.is_there(key) {
                self.clients[key.entry].is_busy = false;
                self.serve(key, now);
                left -= 1;
            }
        }
        while left > 0
            && let Some(entry) = self.passes.pop_front()
        {
            left = self.go_on_with_pass(entry, left, now);
        }
    }

    fn keep_time(&mut self) {
        let now = Instant::now();
        let clients = &self.clients;
        if let Some(due) = self.timers.tick(now, |key| is_there(clients, key)) {
            for key in due {
                self.keep_alive(key, now);
            }
        }
        while let Some((key, deadline)) = self.next_due(now) {
            match deadline {
                Deadline::End(why) => self.end(key, why, now),
                Deadline::Write => self.check_blocked(key, now),
                Deadline::KeepAlive => {
                    self.keep_alive(key, now);
                    self.arm_own_keepalive(key, now);
                }
            }
        }
    }

    fn next_due(&mut self, now: Instant) -> Option<(ClientKey, Deadline)> {
        let clients = &self.clients;
        let (key, deadline) = self.timers.due(now, |key| is_there(clients, key))?;
        let client = &mut self.clients[key.entry];
        client.deadlines -= 1;
        if deadline == Deadline::Write {
            client.has_write_deadline = false;
        }
        Some((key, deadline))
    }

    /// The next keepalive of a client that asked for a period of its own.
    fn arm_own_keepalive(&mut self, key: ClientKey, now: Instant) {
        let client = self.clients.get(key.entry).filter(|client| client.number == key.number);
        if let Some(seconds) = client.and_then(|client| client.own_keepalive) {
            self.arm(now + Duration::from_secs(seconds.get().into()), key, Deadline::KeepAlive);
        }
    }

    fn keep_alive(&mut self, key: ClientKey, now: Instant) {
        let Some(client) = self.clients.get_mut(key.entry) else { return };
        if client.has_input && client.discard_input() == Sent::Gone {
            self.close(key.entry, StreamEnd::Client);
            return;
        }
        if client.blocked_since().is_none() && client.end.is_none() {
            let keepalive = client.place.keepalive();
            let block = client.framed_text(keepalive);
            self.send(key.entry, &[block], now);
        }
    }

    fn end(&mut self, key: ClientKey, why: StreamEnd, now: Instant) {
        let client = &mut self.clients[key.entry];
        client.end = Some(why);
        if client.blocked_since().is_none() {
            self.finish(key.entry, now);
        }
    }

    /// Ends a stream whose last block is sent: a `retry:`, and the end of the body.
    pub(super) fn finish(&mut self, entry: usize, now: Instant) {
        let client = &mut self.clients[entry];
        let Some(end) = client.end else { return };
        let parts = client.last_parts(retry_block(draw_retry()));
        // What a full socket does not take of these few bytes, a client that reads nothing does not miss.
        let _ = client.send(&parts, now);
        client.shut_down();
        self.close(entry, end);
    }

    fn check_blocked(&mut self, key: ClientKey, now: Instant) {
        let Some(since) = self.clients[key.entry].blocked_since() else { return };
        let deadline = since + self.shared.stream.write_timeout;
        if deadline <= now {
            self.close(key.entry, StreamEnd::WriteTimeout);
        } else {
            self.clients[key.entry].has_write_deadline = true;
            self.arm(deadline, key, Deadline::Write);
        }
    }

    fn is_there(&self, key: ClientKey) -> bool {
        is_there(&self.clients, key)
    }

    pub(super) fn close(&mut self, entry: usize, end: StreamEnd) {
        let mut client = self.clients.remove(entry);
        let clients = &self.clients;
        let keepalives = u8::from(client.own_keepalive.is_none());
        self.timers.left(client.deadlines, keepalives, |key| is_there(clients, key));
        // Closing the socket does the same; a failure means that it was never registered.
        let _ = self.poll.registry().deregister(client.socket());
        let members = &mut self.groups[client.group].members;
        members.swap_remove(client.member);
        if let Some(moved) = members.get(client.member).copied() {
            self.clients[moved].member = client.member;
            // A pass that is under way may have been here already, and would leave it out.
            self.keep_busy(moved);
        }
        let group = &mut self.groups[client.group];
        group.reader.remove_client(client.passed_mark);
        if group.members.is_empty() {
            let group = self.groups.remove(client.group);
            self.by_pipeline.remove(group.reader.pipeline());
        }
        self.shared.metrics.stream_ended(end);
        self.inbox.stream_ended();
        self.shared.ended.notify_one();
    }
}

fn is_there(clients: &Slab<Client>, key: ClientKey) -> bool {
    clients.get(key.entry).is_some_and(|client| client.number == key.number)
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
    use crate::stream::admission::Admission;
    use crate::stream::content_encoding::Coding;
    use crate::stream::fanout::{Framing, Shared};
    use crate::stream::subscription::{Channels, Start, Wanted};

    /// A thread that the test runs by hand.
    fn thread() -> Thread {
        let metrics = Arc::new(Metrics::new().unwrap());
        let day = Duration::from_secs(86_400);
        let log = LogLimits {
            history: 100,
            history_bytes: 1 << 20,
            backlog_bytes: 1 << 20,
            backlog_age: day,
            compresses: false,
        };
        let options =
            HubOptions { log, log_memory: usize::MAX, hold: Duration::ZERO, linger: day, check_interval: day };
        let (hub, _) = Hub::new(options, metrics.clone());
        let stream = StreamOptions {
            keepalive: day,
            keepalive_min: day,
            write_timeout: day,
            max_age: Some(day),
            send_buffer: 4096,
            compresses: false,
        };
        Thread::new(Arc::new(Shared::new(hub, metrics, stream))).unwrap()
    }

    /// Hands a new client over; its end of the connection.
    fn admit(thread: &mut Thread, listener: &TcpListener) -> TcpStream {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let wanted = Wanted { start: Start::History, channels: Channels::default() };
        thread.inbox.add(Handover {
            socket,
            head: Bytes::new(),
            framing: Framing::Chunked,
            coding: Coding::Identity,
            keepalive: None,
            pipeline: "p".parse().unwrap(),
            wanted,
            admission: Admission::default(),
        });
        assert!(thread.read_letters().is_continue());
        client
    }

    #[test]
    fn a_client_that_takes_a_little_at_a_time_has_one_write_deadline() {
        let mut thread = thread();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = admit(&mut thread, &listener);
        let entry = thread.clients.iter().next().unwrap().0;
        let key = ClientKey { entry, number: thread.clients[entry].number };
        let mut buffer = vec![0; 8 << 20];
        for _ in 0..1000 {
            let now = Instant::now();
            // As much as both kernels take, and more.
            let parts = [Bytes::from(vec![b'x'; 1 << 20])];
            while thread.clients[entry].blocked_since().is_none() {
                thread.send(entry, &parts, now);
            }
            while thread.clients[entry].blocked_since().is_some() {
                let length = client.read(&mut buffer).unwrap();
                assert!(length > 0);
                thread.serve(key, now);
            }
            // The end for its age, and the write deadline.
            assert_eq!(thread.timers.entries(), (2, 1));
        }
        // When its moment has come, the one is gone, and the client is not.
        let later = Instant::now() + Duration::from_secs(2 * 86_400);
        assert_eq!(thread.next_due(later).map(|(due, _)| due), Some(key));
        assert_eq!(thread.next_due(later).map(|(due, _)| due), Some(key));
        assert_eq!((thread.next_due(later), thread.clients[entry].deadlines), (None, 0));
    }

    #[test]
    fn departed_clients_leave_no_timer_and_no_turn() {
        let mut thread = thread();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for _ in 0..2000 {
            let client = admit(&mut thread, &listener);
            let entry = thread.clients.iter().next().unwrap().0;
            for _ in 0..10 {
                thread.keep_busy(entry);
            }
            assert!(thread.busy.len() <= 2, "{} turns of one client", thread.busy.len());
            drop(client);
            thread.close(entry, StreamEnd::Client);
            thread.work();
            let (deadlines, keepalives) = thread.timers.entries();
            assert!(deadlines <= 66 && keepalives <= 66, "{deadlines} deadlines, {keepalives} keepalives");
        }
        assert_eq!((thread.busy.len(), thread.inbox.streams(), thread.clients.len()), (0, 0, 0));
    }

    /// What docs/performance.md says of an idle stream depends on it.
    #[test]
    fn a_client_is_small() {
        // Beside the socket, which is larger in debug builds.
        assert!(size_of::<Client>() - size_of::<mio::net::TcpStream>() <= 176, "{}", size_of::<Client>());
    }
}
