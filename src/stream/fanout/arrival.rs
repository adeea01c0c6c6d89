//! A stream's arrival on a fan-out thread: from a socket to a member of its pipeline's group.

use std::io;
use std::sync::Arc;
use std::task::Waker;

use mio::{Interest, Registry, Token};

use super::client::Client;
use super::group::Group;
use super::handover::Handover;
use super::inbox::RevokedWaker;
use super::streams::Streams;
use super::timers::{Alarm, ClientKey};
use crate::clock::Now;
use crate::event::PipelineId;
use crate::sse::control::draw_retry;
use crate::sse::control::retry_line;
use crate::stream::life::Life;
use crate::stream::position::StreamPosition;

impl Streams {
    /// Takes over a socket, and writes the head with as much of the history as is known here.
    pub(super) fn admit(&mut self, handover: Handover, registry: &Registry, is_draining: bool, now: Now) {
        let head = handover.head.clone();
        let (entry, registered) = self.insert(handover, registry, now);
        self.watch_permit(entry, now);
        let client = &mut self.clients[entry];
        if is_draining {
            client.life.end_for_drain(&self.rules, now.instant);
        }
        let end = client.life.end_deadline(&self.rules);
        let mut opening = vec![head, client.first_part(retry_line(draw_retry()))];
        if !client.life.has_own_keepalive() {
            self.timers.keep_alive(client.key(entry));
        }
        self.set_keepalive_alarm(entry);
        self.set_alarm(entry, end, Alarm::End);
        if registered.is_err() {
            self.close(entry);
            return;
        }
        // In one call with the first of the history, where it is known. Not for a stream that ends at once.
        if end.is_none_or(|end| end > now.instant)
            && let Some(delivery) = self.next_delivery(entry, now)
        {
            opening.extend_from_slice(&delivery.parts);
        }
        if self.send(entry, &opening, now) {
            self.queue(entry);
        }
    }

    fn insert(&mut self, handover: Handover, registry: &Registry, now: Now) -> (usize, io::Result<()>) {
        let Handover { socket, framing, encoding, keepalive, pipeline, wanted, context, .. } = handover;
        let group = self.group(&pipeline);
        let entry = self.clients.vacant_key();
        self.last_number += 1;
        let token_left = context.permit.as_ref().and_then(|permit| permit.time_left(now.instant));
        let life = Life::begin(&self.rules, keepalive, token_left, now.instant, rand::random::<f64>);
        let members = &mut self.groups[group].members;
        let mut client = Client {
            socket: mio::net::TcpStream::from_std(socket),
            framing,
            encoding,
            position: StreamPosition::new(wanted),
            life,
            context,
            number: self.last_number,
            group,
            member: u32::try_from(members.len()).expect("each member has a file descriptor, which is an i32"),
            passed_mark: self.groups[group].reader.add_client(),
            unsent: None,
            has_input: false,
            is_busy: false,
            alarms: 0,
            has_write_alarm: false,
        };
        self.groups[group].members.push(entry);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = registry.register(&mut client.socket, Token(entry), interest);
        self.clients.insert(client);
        (entry, registered)
    }

    /// A stream ends when its key or token is revoked.
    fn watch_permit(&mut self, entry: usize, now: Now) {
        let client = &mut self.clients[entry];
        let Some(permit) = &client.context.permit else { return };
        let key = ClientKey { entry, number: client.number };
        permit.wake_when_revoked(&Waker::from(Arc::new(RevokedWaker { inbox: self.inbox.clone(), client: key })));
        if permit.is_revoked() {
            client.life.revoke(&self.rules, now.instant);
        }
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
}
