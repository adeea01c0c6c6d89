//! What clients are sent: passes over a pipeline's clients, and one client's turn.

use std::sync::Arc;

use bytes::Bytes;

use super::client::Client;
use super::group::LastRead;
use super::handover::Framing;
use super::streams::Streams;
use super::timers::ClientKey;
use crate::clock::Now;
use crate::metrics::{Deliveries, Metrics, ReadReason};
use crate::sse::frame::Frame;
use crate::sse::gzip::Checksum;
use crate::stream::content_encoding::{ContentEncoding, compress};
use crate::stream::position::{Item, Next};

/// Deliveries that one client gets in a row while it catches up.
const DELIVERIES_IN_A_ROW: usize = 4;

/// What a client is sent at once.
pub(super) struct Delivery {
    pub(super) parts: Arc<[Bytes]>,
    /// Whether the log ends after it. What comes later wakes the group.
    is_last: bool,
}

impl Streams {
    /// Serves members of a group; returns how many writes are left of the slice.
    pub(super) fn continue_pass(&mut self, entry: usize, mut left: usize, now: Now) -> usize {
        loop {
            let Some(group) = self.groups.get_mut(entry) else { return left };
            let Some(position) = group.position else { return left };
            let Some(member) = group.members.get(position).copied() else {
                self.end_pass(entry);
                return left;
            };
            if left == 0 {
                self.passes.push_back(entry);
                return 0;
            }
            let client = &self.clients[member];
            // A blocked client is served when its socket is writable again.
            if !client.is_blocked() {
                left -= 1;
                self.serve(client.key(member), now);
            }
            // If the member is gone, another one has its index now.
            if let Some(group) = self.groups.get_mut(entry)
                && group.members.get(position) == Some(&member)
            {
                group.position = Some(position + 1);
            }
        }
    }

    fn end_pass(&mut self, entry: usize) {
        let group = &mut self.groups[entry];
        group.position = None;
        group.last_read = None;
        if std::mem::take(&mut group.is_changed) {
            self.begin_pass(entry);
        }
    }

    /// Sends a client what it lacks, up to a few deliveries.
    pub(super) fn serve(&mut self, key: ClientKey, now: Now) {
        self.serve_deliveries(key.entry, now);
        if let Some(client) = self.clients.get_mut(key.entry) {
            self.groups[client.group].reader.keep_pace(client.position.cursor(), &mut client.passed_mark);
        }
    }

    fn serve_deliveries(&mut self, entry: usize, now: Now) {
        // What fell due while the client was blocked comes before anything else.
        if self.clients[entry].is_blocked() && !(self.flush(entry, now) && self.advance(entry, now)) {
            return;
        }
        for _ in 0..DELIVERIES_IN_A_ROW {
            let Some(delivery) = self.next_delivery(entry, now) else { return };
            if !delivery.parts.is_empty() && !self.send(entry, &delivery.parts, now) {
                return;
            }
            if delivery.is_last {
                return;
            }
        }
        self.queue(entry);
    }

    /// What comes next for a client; `None` when nothing does.
    pub(super) fn next_delivery(&mut self, entry: usize, now: Now) -> Option<Delivery> {
        self.shared_delivery(entry, now).or_else(|| self.own_delivery(entry, now))
    }

    /// What was read for another client at the same cursor.
    fn shared_delivery(&mut self, entry: usize, now: Now) -> Option<Delivery> {
        let client = &mut self.clients[entry];
        let read = self.groups[client.group].last_read.as_mut()?;
        if client.position.cursor() != Some(read.from) || client.position.is_filtered() {
            return None;
        }
        client.position.pass(read.to);
        count(&mut self.deliveries, client, &read.frames, now);
        Some(Delivery { parts: read.parts(client, &self.shared.metrics), is_last: read.is_last })
    }

    /// What the log has for a client.
    fn own_delivery(&mut self, entry: usize, now: Now) -> Option<Delivery> {
        let client = &mut self.clients[entry];
        let group = &mut self.groups[client.group];
        let from = client.position.cursor();
        let (next, is_last) = group.reader.look(|view| {
            let next = client.position.next(&view, now.unix_ms);
            (next, client.position.is_at_end(&view))
        });
        let item = match next {
            Next::Nothing => return None,
            Next::ReadAgain => {
                client.position.wait_for(group.reader.request_read(ReadReason::Ahead));
                return None;
            }
            Next::Item(item) => item,
        };
        let Item::Frames(frames) = item else {
            let block = item.into_block(&self.shared.metrics);
            let parts = block.map(|text| client.framed_text(text)).into_iter().collect();
            return Some(Delivery { parts, is_last });
        };
        count(&mut self.deliveries, client, &frames, now);
        // Placed, or there would be no frames.
        let (from, to) = (from?, client.position.cursor()?);
        let mut read = LastRead { from, to, frames, chunks: None, compressed: None, is_last };
        let parts = read.parts(client, &self.shared.metrics);
        if !client.position.is_filtered() {
            group.last_read = Some(read);
        }
        Some(Delivery { parts, is_last })
    }
}

impl LastRead {
    /// The frames as this client gets them.
    fn parts(&mut self, client: &mut Client, metrics: &Metrics) -> Arc<[Bytes]> {
        let frames = &self.frames;
        match (client.framing, &mut client.encoding) {
            (Framing::Chunked, ContentEncoding::Identity) => {
                self.chunks.get_or_insert_with(|| frames.iter().map(|frame| frame.chunk().clone()).collect()).clone()
            }
            (Framing::Chunked, ContentEncoding::Gzip(checksum)) => {
                let (chunks, added) = self.compressed.get_or_insert_with(|| compressed(frames, metrics));
                checksum.add(*added);
                chunks.clone()
            }
            (Framing::Plain, encoding) => frames.iter().map(|frame| encoding.frame(frame, metrics)).collect(),
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
fn count(deliveries: &mut Deliveries, client: &Client, frames: &[Frame], now: Now) {
    for frame in frames {
        deliveries.add(frame.text().len(), client.position.lag(frame.id(), now.unix_ms));
    }
}
