//! What happens in streams at a time of their own: keepalives, ends, and clients that read nothing.

use std::time::Duration;

use super::streams::{Streams, is_open};
use super::timers::{Alarm, ClientKey};
use crate::clock::Now;

impl Streams {
    /// Does everything that is due by now.
    pub(super) fn keep_time(&mut self, now: Now) {
        let clients = &self.clients;
        if let Some(due) = self.timers.tick(now.instant, |key| is_open(clients, key)) {
            for key in due {
                self.visit(key, now);
            }
        }
        while let Some((key, alarm)) = self.next_alarm(now) {
            self.ring(key, alarm, now);
        }
    }

    pub(super) fn next_alarm(&mut self, now: Now) -> Option<(ClientKey, Alarm)> {
        let clients = &self.clients;
        let (key, alarm) = self.timers.due(now.instant, |key| is_open(clients, key))?;
        self.clients[key.entry].alarms -= 1;
        Some((key, alarm))
    }

    fn ring(&mut self, key: ClientKey, alarm: Alarm, now: Now) {
        match alarm {
            Alarm::End => _ = self.advance(key.entry, now),
            Alarm::Write => {
                self.clients[key.entry].has_write_alarm = false;
                self.advance(key.entry, now);
                // It has read something since the alarm was set, but is blocked again.
                if self.is_open(key) {
                    self.watch_write_deadline(key.entry);
                }
            }
            Alarm::Keepalive => {
                self.visit(key, now);
                if self.is_open(key) {
                    self.set_keepalive_alarm(key.entry);
                }
            }
        }
    }

    /// Ends a stream whose key or token was revoked.
    pub(super) fn revoke(&mut self, entry: usize, now: Now) {
        self.clients[entry].life.revoke(&self.rules, now.instant);
        self.advance(entry, now);
    }

    /// Ends all streams, spread over the window.
    pub(super) fn drain(&mut self, window: Duration, now: Now) {
        for (entry, client) in &mut self.clients {
            if client.life.drain(window, &self.rules, now.instant, rand::random())
                && let Some(at) = client.life.end_deadline(&self.rules)
            {
                client.alarms += 1;
                self.timers.set(at, client.key(entry), Alarm::End);
            }
        }
    }

    /// The next keepalive of a client that asked for a period of its own.
    pub(super) fn set_keepalive_alarm(&mut self, entry: usize) {
        let life = &self.clients[entry].life;
        let next = life.keepalive_deadline(&self.rules).filter(|_| life.has_own_keepalive());
        self.set_alarm(entry, next, Alarm::Keepalive);
    }

    /// Once a period: discards what a client has sent meanwhile, and sends its keepalive.
    fn visit(&mut self, key: ClientKey, now: Now) {
        if !self.is_open(key) {
            return;
        }
        let client = &mut self.clients[key.entry];
        if client.has_input && client.discard_input().is_err() {
            self.close(key.entry);
        } else {
            self.advance(key.entry, now);
        }
    }
}
