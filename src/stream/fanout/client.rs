//! One client of a fan-out thread: a socket, a place in the log, and what the socket did not take yet.

use std::io::{self, IoSlice, Read, Write};
use std::num::NonZeroU8;
use std::time::Instant;

use bytes::{Buf, Bytes};
use mio::net::TcpStream;

use super::Framing;
use super::timers::ClientKey;
use crate::metrics::StreamEnd;
use crate::sse::frame::wrap;
use crate::stream::admission::Admission;
use crate::stream::content_encoding::Coding;
use crate::stream::subscription::Place;

/// Parts in one vectored write; a reader takes fewer frames at a time.
const MAX_PARTS: usize = 40;

/// Bytes that a client sends after its request, read and thrown away at one go.
const DISCARDED: usize = 4096;

/// The chunk that ends a body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    socket: TcpStream,
    framing: Framing,
    pub(super) coding: Coding,
    /// Where it stands in the pipeline.
    pub(super) place: Place,
    /// Held until the client goes.
    pub(super) admission: Admission,
    /// This client's number on its thread.
    pub(super) number: u64,
    /// Its group, and its index among the group's members.
    pub(super) group: usize,
    pub(super) member: usize,
    /// The mark of the log that it passed last.
    pub(super) passed_mark: u64,
    /// There only while the socket takes nothing: idle clients have no buffer.
    unsent: Option<Box<Unsent>>,
    /// Why the stream ends by itself, once it does.
    pub(super) end: Option<StreamEnd>,
    /// Whether there is more to read than was thrown away at one go.
    pub(super) has_input: bool,
    /// Whether it waits for its turn among those with more to do by themselves.
    pub(super) is_busy: bool,
    /// Entries of its own among the thread's deadlines.
    pub(super) deadlines: u8,
    /// Whether one of them is a write deadline: one is enough, however often the socket blocks meanwhile.
    pub(super) has_write_deadline: bool,
    /// Seconds between two keepalives, where the client asked for its own; else it is on the wheel.
    pub(super) own_keepalive: Option<NonZeroU8>,
}

#[derive(Debug)]
struct Unsent {
    parts: Vec<Bytes>,
    /// When the socket last took something.
    since: Instant,
}

/// What a write came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// All of it is the kernel's.
    All,
    /// The socket takes no more; it tells when it does.
    Blocked,
    /// The connection is no more.
    Gone,
}

impl Client {
    pub(super) fn new(
        socket: TcpStream,
        framing: Framing,
        coding: Coding,
        place: Place,
        admission: Admission,
        key: ClientKey,
        group: usize,
    ) -> Self {
        Self {
            socket,
            framing,
            coding,
            place,
            admission,
            number: key.number,
            group,
            member: 0,
            passed_mark: 0,
            unsent: None,
            end: None,
            has_input: false,
            is_busy: false,
            deadlines: 0,
            has_write_deadline: false,
            own_keepalive: None,
        }
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Since when the socket takes nothing, if it does not.
    pub(super) fn blocked_since(&self) -> Option<Instant> {
        self.unsent.as_ref().map(|unsent| unsent.since)
    }

    /// How blocks are sent to this client.
    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    /// The body's beginning with its first block.
    pub(super) fn first_part(&mut self, text: Bytes) -> Bytes {
        let first = self.coding.begin(text);
        self.framed(first)
    }

    /// Any other block as it is sent to this client.
    pub(super) fn framed_text(&mut self, text: Bytes) -> Bytes {
        let block = self.coding.block(text);
        self.framed(block)
    }

    /// The last block and the body's end.
    pub(super) fn last_parts(&mut self, text: Bytes) -> [Bytes; 2] {
        let last = self.coding.end(text);
        let end = match self.framing {
            Framing::Chunked => Bytes::from_static(LAST_CHUNK),
            Framing::Plain => Bytes::new(),
        };
        [self.framed(last), end]
    }

    fn framed(&self, coded: Bytes) -> Bytes {
        match self.framing {
            Framing::Chunked => wrap(&coded).0,
            Framing::Plain => coded,
        }
    }

    /// Sends `parts`, in one call if the socket takes them. Not while the client is blocked.
    pub(super) fn send(&mut self, parts: &[Bytes], now: Instant) -> Sent {
        match write(&mut self.socket, parts) {
            Ok(None) => Sent::All,
            Ok(Some((index, offset))) => {
                let mut parts = parts[index..].to_vec();
                parts[0].advance(offset);
                self.unsent = Some(Box::new(Unsent { parts, since: now }));
                Sent::Blocked
            }
            Err(_) => Sent::Gone,
        }
    }

    /// Sends what the socket did not take before.
    pub(super) fn flush(&mut self, now: Instant) -> Sent {
        let Some(mut unsent) = self.unsent.take() else {
            return Sent::All;
        };
        match write(&mut self.socket, &unsent.parts) {
            Ok(None) => Sent::All,
            Ok(Some((index, offset))) => {
                if index > 0 || offset > 0 {
                    unsent.since = now;
                }
                unsent.parts.drain(..index);
                unsent.parts[0].advance(offset);
                self.unsent = Some(unsent);
                Sent::Blocked
            }
            Err(_) => Sent::Gone,
        }
    }

    /// Reads what the client sent after its request and throws it away, a little at a time: a
    /// client that floods us is slowed down by its own kernel.
    pub(super) fn discard_input(&mut self) -> Sent {
        let mut buffer = [0; DISCARDED];
        match self.socket.read(&mut buffer) {
            Ok(0) => Sent::Gone,
            Ok(length) => {
                self.has_input = length == DISCARDED;
                Sent::All
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.has_input = false;
                Sent::All
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.has_input = true;
                Sent::All
            }
            Err(_) => Sent::Gone,
        }
    }

    /// Tells the client that nothing more comes.
    pub(super) fn shut_down(&mut self) {
        // It may have gone first.
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }
}

/// One call: from an offset in the first part on.
fn write_some(socket: &mut TcpStream, parts: &[Bytes], offset: usize) -> io::Result<usize> {
    // Most deliveries are one frame, for which the kernel does less in a plain write.
    if let [part] = parts {
        return socket.write(&part[offset..]);
    }
    let mut slices = [IoSlice::new(&[]); MAX_PARTS];
    let mut count = 0;
    for (slice, part) in slices.iter_mut().zip(parts) {
        *slice = IoSlice::new(if count == 0 { &part[offset..] } else { part });
        count += 1;
    }
    socket.write_vectored(&slices[..count])
}

/// Writes parts until all are written or the socket takes no more; then where it stopped: a part, and an offset in it.
fn write(socket: &mut TcpStream, parts: &[Bytes]) -> io::Result<Option<(usize, usize)>> {
    let (mut index, mut offset) = (0, 0);
    while index < parts.len() {
        let mut written = match write_some(socket, &parts[index..], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some((index, offset))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        while index < parts.len() && written >= parts[index].len() - offset {
            written -= parts[index].len() - offset;
            (index, offset) = (index + 1, 0);
        }
        offset += written;
    }
    Ok(None)
}
