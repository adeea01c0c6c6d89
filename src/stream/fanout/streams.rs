//! The streams of one fan-out thread: its clients, their groups, and what is queued for them. Everything but the sockets'
//! readiness and the thread's messages.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use slab::Slab;

use super::client::{Client, Sent};
use super::group::Group;
use super::inbox::Inbox;
use super::shared::Shared;
use super::timers::{Alarm, ClientKey, Timers};
use crate::clock::Now;
use crate::event::PipelineId;
use crate::metrics::Deliveries;
use crate::sse::control::draw_retry;
use crate::sse::control::retry_block;
use crate::stream::life::{Intake, LifeRules, Step};

pub(super) struct Streams {
    pub(super) shared: Arc<Shared>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) clients: Slab<Client>,
    pub(super) groups: Slab<Group>,
    pub(super) by_pipeline: HashMap<PipelineId, usize>,
    /// Groups with a pass under way, each served for a slice in turn.
    pub(super) passes: VecDeque<usize>,
    /// Clients with a turn of their own: their sockets are writable again, or they are catching up.
    pub(super) busy: VecDeque<ClientKey>,
    pub(super) timers: Timers,
    pub(super) rules: LifeRules,
    pub(super) deliveries: Deliveries,
    pub(super) last_number: u64,
}

impl Streams {
    pub(super) fn new(shared: Arc<Shared>, inbox: Arc<Inbox>, now: Instant) -> Self {
        let timers = Timers::new(shared.stream.keepalive, now);
        let stream = &shared.stream;
        let rules = LifeRules::new(timers.period(), stream.write_timeout, stream.max_age, now)
            .with_keepalive_tolerance(timers.tolerance());
        let deliveries = shared.metrics.deliveries();
        Self {
            shared,
            inbox,
            clients: Slab::new(),
            groups: Slab::new(),
            by_pipeline: HashMap::new(),
            passes: VecDeque::new(),
            busy: VecDeque::new(),
            timers,
            rules,
            deliveries,
            last_number: 0,
        }
    }

    pub(super) fn is_open(&self, key: ClientKey) -> bool {
        is_open(&self.clients, key)
    }

    /// Queues a client for a turn of its own, once, however often it is called before that turn.
    pub(super) fn queue(&mut self, entry: usize) {
        let client = &mut self.clients[entry];
        if !std::mem::replace(&mut client.is_busy, true) {
            self.busy.push_back(client.key(entry));
        }
    }

    /// Starts a pass over a group's members, or has the one under way followed by another.
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

    /// Sets an alarm for an open client.
    pub(super) fn set_alarm(&mut self, entry: usize, at: Option<Instant>, alarm: Alarm) {
        let Some(at) = at else { return };
        let client = &mut self.clients[entry];
        // Two for the end if the node drains, one for the write deadline, one for its own keepalive.
        client.alarms += 1;
        self.timers.set(at, client.key(entry), alarm);
    }

    /// Sends parts to a client that is not blocked. Returns whether it may be sent more.
    pub(super) fn send(&mut self, entry: usize, parts: &[Bytes], now: Now) -> bool {
        let sent = self.clients[entry].send(parts);
        self.has_sent(entry, sent, now)
    }

    /// Sends a client what its socket did not accept before. Returns whether it may be sent more.
    pub(super) fn flush(&mut self, entry: usize, now: Now) -> bool {
        let client = &mut self.clients[entry];
        let sent = client.flush();
        if sent == Sent::All {
            client.life.record(Intake::All, &self.rules, now.instant);
        }
        self.has_sent(entry, sent, now)
    }

    fn has_sent(&mut self, entry: usize, sent: Sent, now: Now) -> bool {
        match sent {
            Sent::All => true,
            Sent::Blocked(intake) => {
                self.clients[entry].life.record(intake, &self.rules, now.instant);
                self.watch_write_deadline(entry);
                false
            }
            Sent::Gone => {
                self.close(entry);
                false
            }
        }
    }

    /// Sets the alarm for a blocked client's write deadline, unless there is one.
    pub(super) fn watch_write_deadline(&mut self, entry: usize) {
        let client = &mut self.clients[entry];
        if client.is_blocked() && !std::mem::replace(&mut client.has_write_alarm, true) {
            let deadline = client.life.write_deadline(&self.rules);
            self.set_alarm(entry, deadline, Alarm::Write);
        }
    }

    /// Does what is due in a client's life. Returns whether the client may be sent more.
    pub(super) fn advance(&mut self, entry: usize, now: Now) -> bool {
        let client = &mut self.clients[entry];
        match client.life.next(&self.rules, now.instant) {
            Step::Continue => !client.is_blocked(),
            Step::Keepalive => {
                let text = client.position.keepalive();
                let block = client.framed_text(text);
                self.send(entry, &[block], now)
            }
            Step::End => {
                self.finish(entry);
                false
            }
            Step::Cut | Step::Over => {
                self.close(entry);
                false
            }
        }
    }

    /// Sends a stream's last block and closes it.
    fn finish(&mut self, entry: usize) {
        let client = &mut self.clients[entry];
        let parts = client.last_parts(retry_block(draw_retry()));
        // If a full socket does not accept these few bytes, the client is not reading anyway.
        let _ = client.send(&parts);
        client.shut_down();
        self.close(entry);
    }

    pub(super) fn close(&mut self, entry: usize) {
        // Closing the socket removes it from the poll.
        let mut client = self.clients.remove(entry);
        let clients = &self.clients;
        let keepalives = u8::from(!client.life.has_own_keepalive());
        self.timers.left(client.alarms, keepalives, |key| is_open(clients, key));
        self.leave_group(&client);
        if let Some(reason) = client.life.close() {
            self.shared.metrics.stream_ended(reason);
        }
        self.inbox.stream_ended();
        self.shared.stream_ended.notify_one();
    }

    fn leave_group(&mut self, client: &Client) {
        let members = &mut self.groups[client.group].members;
        members.swap_remove(client.member as usize);
        if let Some(moved) = members.get(client.member as usize).copied() {
            self.clients[moved].member = client.member;
            // A pass under way may be past this index already, and would leave the moved client out.
            self.queue(moved);
        }
        let group = &mut self.groups[client.group];
        group.reader.remove_client(client.passed_mark);
        if group.members.is_empty() {
            let group = self.groups.remove(client.group);
            self.by_pipeline.remove(group.reader.pipeline());
        }
    }
}

/// Whether a client is still there, for those who have borrowed another part of [`Streams`].
pub(super) fn is_open(clients: &Slab<Client>, key: ClientKey) -> bool {
    clients.get(key.entry).is_some_and(|client| client.number == key.number)
}
