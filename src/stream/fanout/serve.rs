//! What clients are given: passes over a pipeline's clients, and one client's turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Framing;
use super::client::{Client, Sent};
use super::group::LastRead;
use super::thread::Thread;
use super::timers::{ClientKey, Deadline};
use crate::metrics::{Deliveries, Metrics, ReadReason, StreamEnd};
use crate::sse::frame::Frame;
use crate::sse::gzip::Checksum;
use crate::stream::content_encoding::{Coding, compress};
use crate::stream::subscription::{Item, Next};

/// Portions that one client gets in a row while it catches up.
const PORTIONS: usize = 4;

impl Thread {
    /// Serves members of a group; returns how many writes are left of the slice.
    pub(super) fn go_on_with_pass(&mut self, entry: usize, mut left: usize, now: Instant) -> usize {
        loop {
            let Some(group) = self.groups.get_mut(entry) else { return left };
            let Some(position) = group.position else { return left };
            let Some(member) = group.members.get(position).copied() else {
                group.position = None;
                group.last_read = None;
                if std::mem::take(&mut group.is_changed) {
                    self.begin_pass(entry);
                }
                return left;
            };
            if left == 0 {
                self.passes.push_back(entry);
                return 0;
            }
            let client = &self.clients[member];
            // A blocked socket waits for its own word, and for nothing else.
            if client.blocked_since().is_none() {
                left -= 1;
                self.serve(ClientKey { entry: member, number: client.number }, now);
            }
            // A member that is gone has left its place to another one.
            if let Some(group) = self.groups.get_mut(entry)
                && group.members.get(position) == Some(&member)
            {
                group.position = Some(position + 1);
            }
        }
    }

    /// Gives a client what it lacks, for some portions.
    pub(super) fn serve(&mut self, key: ClientKey, now: Instant) {
        self.serve_portions(key, now);
        if let Some(client) = self.clients.get_mut(key.entry) {
            self.groups[client.group].reader.keep_pace(client.place.cursor(), &mut client.passed_mark);
        }
    }

    fn serve_portions(&mut self, key: ClientKey, now: Instant) {
        let entry = key.entry;
        if self.clients[entry].blocked_since().is_some() {
            let sent = self.clients[entry].flush(now);
            if !self.has_sent(entry, sent) {
                return;
            }
        }
        if self.clients[entry].end.is_some() {
            self.finish(entry, now);
            return;
        }
        for _ in 0..PORTIONS {
            let Some(portion) = self.next_portion(entry) else { return };
            if !portion.parts.is_empty() && !self.send(entry, &portion.parts, now) {
                return;
            }
            if portion.is_last {
                return;
            }
        }
        self.keep_busy(entry);
    }

    /// What comes next for a client; `None` when nothing does.
    pub(super) fn next_portion(&mut self, entry: usize) -> Option<Portion> {
        let client = &mut self.clients[entry];
        let group = &mut self.groups[client.group];
        let shared_read = group
            .last_read
            .as_mut()
            .filter(|read| client.place.cursor() == Some(read.from) && !client.place.is_filtered());
        if let Some(read) = shared_read {
            client.place.pass(read.to);
            count(&mut self.deliveries, client, &read.frames, self.now_ms);
            return Some(Portion { parts: read.parts(client, &self.shared.metrics), is_last: read.is_last });
        }
        let from = client.place.cursor();
        let (next, is_last) = group.reader.look(|view| {
            let next = client.place.next(&view);
            (next, client.place.is_at_end(&view))
        });
        match next {
            Next::Nothing => None,
            Next::ReadAgain => {
                let ticket = group.reader.request_read(ReadReason::Ahead);
                client.place.wait_for(ticket);
                None
            }
            Next::Item(Item::Frames(frames)) => {
                count(&mut self.deliveries, client, &frames, self.now_ms);
                // Placed, or there would be no frames.
                let (from, to) = (from?, client.place.cursor()?);
                let mut read = LastRead { from, to, frames, chunks: None, compressed: None, is_last };
                let portion = Portion { parts: read.parts(client, &self.shared.metrics), is_last };
                if !client.place.is_filtered() {
                    group.last_read = Some(read);
                }
                Some(portion)
            }
            Next::Item(item) => {
                let block = item.into_block(&self.shared.metrics);
                let parts = block.map(|text| client.framed_text(text)).into_iter().collect();
                Some(Portion { parts, is_last })
            }
        }
    }

    /// Sends parts to a client that is not blocked. Whether it may be sent more.
    pub(super) fn send(&mut self, entry: usize, parts: &[Bytes], now: Instant) -> bool {
        let client = &mut self.clients[entry];
        let sent = client.send(parts, now);
        if sent == Sent::Blocked {
            let key = ClientKey { entry, number: client.number };
            if !std::mem::replace(&mut client.has_write_deadline, true) {
                self.arm(now + self.shared.stream.write_timeout, key, Deadline::Write);
            }
        }
        self.has_sent(entry, sent)
    }

    fn has_sent(&mut self, entry: usize, sent: Sent) -> bool {
        if sent == Sent::Gone {
            self.close(entry, StreamEnd::Client);
        }
        sent == Sent::All
    }
}

/// What a client is sent at one go.
pub(super) struct Portion {
    pub(super) parts: Arc<[Bytes]>,
    /// Whether there was nothing after it. What comes later wakes the group.
    is_last: bool,
}

impl LastRead {
    /// The frames as this client gets them.
    fn parts(&mut self, client: &mut Client, metrics: &Metrics) -> Arc<[Bytes]> {
        let frames = &self.frames;
        match (client.framing(), &mut client.coding) {
            (Framing::Chunked, Coding::Identity) => {
                self.chunks.get_or_insert_with(|| frames.iter().map(|frame| frame.chunk().clone()).collect()).clone()
            }
            (Framing::Chunked, Coding::Gzip(checksum)) => {
                let (chunks, added) = self.compressed.get_or_insert_with(|| compressed(frames, metrics));
                checksum.add(*added);
                chunks.clone()
            }
            (Framing::Plain, coding) => frames.iter().map(|frame| coding.frame(frame, metrics)).collect(),
        }
    }
}

/// Frames as pieces of gzip streams, and their checksum together.
fn compressed(frames: &[Frame], metrics: &Metrics) -> (Arc<[Bytes]>, Checksum) {
    let mut checksum = Checksum::default();
    let chunks = frames.iter().map(|frame| {
        let compressed = compress(frame, metrics);
        checksum.add(compressed.checksum());
        compressed.chunk().clone()
    });
    (chunks.collect(), checksum)
}

/// Counts frames as delivered to a client.
fn count(deliveries: &mut Deliveries, client: &Client, frames: &[Frame], now_ms: u64) {
    for frame in frames {
        let is_live = client.place.is_live(frame.id());
        let lag = is_live.then(|| Duration::from_millis(now_ms.saturating_sub(frame.id().ms)));
        deliveries.add(frame.text().len(), lag);
    }
}
