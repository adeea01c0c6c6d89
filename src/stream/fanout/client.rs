//! One client of a fan-out thread: its socket, its position in the log, and what the socket has not accepted yet.

use std::io::{self, IoSlice, Read, Write};

use bytes::{Buf, Bytes};
use mio::net::TcpStream;

use super::handover::Framing;
use super::timers::ClientKey;
use crate::sse::frame::wrap;
use crate::stream::content_encoding::ContentEncoding;
use crate::stream::context::StreamContext;
use crate::stream::life::{Intake, Life};
use crate::stream::position::StreamPosition;

/// Parts in one vectored write. A client gets fewer frames at a time.
const MAX_PARTS: usize = 40;

/// Bytes of input that are read and discarded at a time.
const DISCARDED: usize = 4096;

/// The chunk that ends a body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// One stream on one socket. A test counts its bytes.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: TcpStream,
    pub(super) framing: Framing,
    pub(super) encoding: ContentEncoding,
    pub(super) position: StreamPosition,
    pub(super) life: Life,
    /// Held until the stream ends.
    pub(super) context: StreamContext,
    /// This client's number on its thread.
    pub(super) number: u64,
    /// Its group, and its index among the group's members.
    pub(super) group: usize,
    pub(super) member: u32,
    /// The mark of the log that it passed last.
    pub(super) passed_mark: u64,
    /// Only there while the socket is full: idle clients have no buffer.
    pub(super) unsent: Option<Box<Unsent>>,
    /// Whether there may be more input than was discarded at a time.
    pub(super) has_input: bool,
    /// Whether it is queued for a turn of its own.
    pub(super) is_busy: bool,
    /// Alarms that are set for it.
    pub(super) alarms: u8,
    /// Whether one of them is for the write deadline. One is enough, however often the socket fills up meanwhile.
    pub(super) has_write_alarm: bool,
}

/// What the socket has not accepted yet.
#[derive(Debug)]
pub(super) struct Unsent {
    parts: Vec<Bytes>,
}

/// How far a write got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// The kernel has all of it.
    All,
    /// The socket is full. It becomes writable later; how much it accepted before is what the client's [`Life`] asks.
    Blocked(Intake),
    /// The connection is closed.
    Gone,
}

impl Client {
    pub(super) fn key(&self, entry: usize) -> ClientKey {
        ClientKey { entry, number: self.number }
    }

    /// Whether the socket is full.
    pub(super) fn is_blocked(&self) -> bool {
        self.unsent.is_some()
    }

    /// The beginning of the body: its first block.
    pub(super) fn first_part(&mut self, text: Bytes) -> Bytes {
        let first = self.encoding.begin(text);
        self.framed(first)
    }

    /// Any other block, as it is sent to this client.
    pub(super) fn framed_text(&mut self, text: Bytes) -> Bytes {
        let block = self.encoding.block(text);
        self.framed(block)
    }

    /// The last block and the end of the body.
    pub(super) fn last_parts(&mut self, text: Bytes) -> [Bytes; 2] {
        let last = self.encoding.end(text);
        let end = match self.framing {
            Framing::Chunked => Bytes::from_static(LAST_CHUNK),
            Framing::Plain => Bytes::new(),
        };
        [self.framed(last), end]
    }

    fn framed(&self, encoded: Bytes) -> Bytes {
        match self.framing {
            Framing::Chunked => wrap(&encoded).0,
            Framing::Plain => encoded,
        }
    }

    /// Sends `parts`, in one call if the socket accepts them. Must not be called while the client is blocked.
    pub(super) fn send(&mut self, parts: &[Bytes]) -> Sent {
        match write(&mut self.socket, parts) {
            Ok(None) => Sent::All,
            Ok(Some(stop)) => {
                let mut parts = parts[stop.part..].to_vec();
                parts[0].advance(stop.offset);
                self.unsent = Some(Box::new(Unsent { parts }));
                Sent::Blocked(stop.intake())
            }
            Err(_) => Sent::Gone,
        }
    }

    /// Sends what the socket did not accept before.
    pub(super) fn flush(&mut self) -> Sent {
        let Some(mut unsent) = self.unsent.take() else {
            return Sent::All;
        };
        match write(&mut self.socket, &unsent.parts) {
            Ok(None) => Sent::All,
            Ok(Some(stop)) => {
                unsent.parts.drain(..stop.part);
                unsent.parts[0].advance(stop.offset);
                self.unsent = Some(unsent);
                Sent::Blocked(stop.intake())
            }
            Err(_) => Sent::Gone,
        }
    }

    /// Reads and discards what the client sent after its request, a little at a time: a client that floods the node is
    /// slowed down by TCP.
    pub(super) fn discard_input(&mut self) -> io::Result<()> {
        let mut buffer = [0; DISCARDED];
        match self.socket.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.has_input = length == DISCARDED,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.has_input = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.has_input = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Tells the client that nothing more follows.
    pub(super) fn shut_down(&self) {
        // The client may have closed the connection first.
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }
}

/// Where a write stopped: in this part, after so many of its bytes.
#[derive(Clone, Copy)]
struct Stop {
    part: usize,
    offset: usize,
}

impl Stop {
    fn intake(self) -> Intake {
        if self.part > 0 || self.offset > 0 { Intake::Some } else { Intake::Nothing }
    }
}

/// One system call, from an offset in the first part on.
fn write_some(socket: &mut TcpStream, parts: &[Bytes], offset: usize) -> io::Result<usize> {
    // Most deliveries are one frame, for which a plain write is cheaper in the kernel.
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

/// Writes parts until all are written or the socket is full. Returns where it stopped, if it did.
fn write(socket: &mut TcpStream, parts: &[Bytes]) -> io::Result<Option<Stop>> {
    let (mut part, mut offset) = (0, 0);
    while part < parts.len() {
        let mut written = match write_some(socket, &parts[part..], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(Stop { part, offset })),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        while part < parts.len() && written >= parts[part].len() - offset {
            written -= parts[part].len() - offset;
            (part, offset) = (part + 1, 0);
        }
        offset += written;
    }
    Ok(None)
}
