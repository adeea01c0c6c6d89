//! A reader: one connection that holds one stream.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::answer::Answer;
use super::clock::Nanos;
use super::engine::Shared;
use super::scanner::Scanner;
use super::seen::Seen;
use crate::visible::visible;

/// How much of a refusal is quoted.
const QUOTED: usize = 200;

/// Connections from one address. The kernel searches long for a free port when half of them, 14,000, are taken.
const PORTS: usize = 8000;

/// What a connection answers that is not there at once.
const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// One stream, from its connecting on.
pub(super) struct Stream {
    /// Which of the servers, before it is brought into their number.
    server: usize,
    pub(super) pipeline: usize,
    /// None when it is over.
    socket: Option<TcpStream>,
    state: State,
    answer: Answer,
    scanner: Scanner,
    pub(super) seen: Seen,
    /// When it began to connect.
    pub(super) began: Nanos,
    /// Events that it got, each counted once.
    pub(super) events: u64,
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Asked,
    Open,
}

/// What became of a stream.
#[derive(Debug)]
pub(super) enum Change {
    None,
    /// The server answered that the stream follows.
    Opened,
    /// It was never open.
    Failed(String),
    /// The server ended it, or it broke.
    Ended,
}

impl Stream {
    /// Begins to connect.
    pub(super) fn connect(
        number: usize,
        token: Token,
        began: Nanos,
        shared: &Shared,
        registry: &Registry,
    ) -> io::Result<Self> {
        let (server, pipeline) = place(number, shared.ledger.pipelines());
        let mut socket = begin_to_connect(number, shared.target.stream_address(server))?;
        // Edges: once for all, however the connection goes on.
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            server,
            pipeline,
            socket: Some(socket),
            state: State::Connecting,
            answer: Answer::default(),
            scanner: Scanner::default(),
            seen: Seen::new(shared.publishers),
            began,
            events: 0,
            bytes: 0,
        })
    }

    pub(super) fn was_open(&self) -> bool {
        self.state == State::Open
    }

    /// Goes on after the connection became ready.
    pub(super) fn ready(&mut self, event: &Event, shared: &mut Shared) -> Change {
        let was_open = self.was_open();
        match self.go_on(event, shared) {
            Ok(true) if !was_open && self.was_open() => Change::Opened,
            Ok(true) => Change::None,
            Ok(false) if was_open => self.close(Change::Ended),
            // It has ended at once: what a server does that is full.
            Ok(false) => self.close(Change::Failed("the stream ended at once".into())),
            Err(_) if was_open => self.close(Change::Ended),
            Err(problem) => self.close(Change::Failed(problem)),
        }
    }

    /// Gives up what never opened.
    pub(super) fn abandon(&mut self) {
        self.socket = None;
    }

    fn close(&mut self, change: Change) -> Change {
        self.socket = None;
        change
    }

    /// Whether the stream goes on.
    fn go_on(&mut self, event: &Event, shared: &mut Shared) -> Result<bool, String> {
        if self.state == State::Connecting && !self.ask(event, shared)? {
            return Ok(true);
        }
        if !event.is_readable() && !event.is_read_closed() && !event.is_error() {
            return Ok(true);
        }
        loop {
            let Some(socket) = &mut self.socket else { return Ok(true) };
            let length = match socket.read(&mut shared.buffer) {
                Ok(0) => return self.answer.end().map(|()| false).map_err(|error| error.to_string()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            self.take(length, shared)?;
            if self.answer.is_whole() {
                return Ok(false);
            }
            // A short read has emptied the socket: whatever comes after it makes another edge. Only
            // an end that was announced with this edge is still to be read.
            if length < shared.buffer.len() && !event.is_read_closed() {
                return Ok(true);
            }
        }
    }

    /// Sends the request once the connection stands. Whether it was sent.
    fn ask(&mut self, event: &Event, shared: &Shared) -> Result<bool, String> {
        let Some(socket) = &mut self.socket else { return Ok(false) };
        if let Ok(Some(error)) | Err(error) = socket.take_error() {
            return Err(error.to_string());
        }
        if !event.is_writable() {
            return Ok(false);
        }
        let request = shared.target.stream_request(self.server, self.pipeline);
        // A new connection's buffer holds any request.
        socket.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        self.state = State::Asked;
        Ok(true)
    }

    /// Takes what was read into the shared buffer.
    fn take(&mut self, length: usize, shared: &mut Shared) -> Result<(), String> {
        let now = shared.clock.now();
        let Shared { buffer, stamper, ledger, .. } = shared;
        let (scanner, seen, events) = (&mut self.scanner, &mut self.seen, &mut self.events);
        let mut refusal = Vec::new();
        self.bytes += length as u64;
        let mut at = 0;
        while at < length && !self.answer.is_whole() {
            // Known after the head was taken: a refusal's body holds no events.
            let is_refused = self.answer.status().is_some_and(|status| status != 200);
            at += self
                .answer
                .take(&buffer[at..length], |body| {
                    if is_refused {
                        refusal.extend_from_slice(&body[..body.len().min(QUOTED)]);
                    } else {
                        scanner.read(body, stamper, |found| {
                            *events += u64::from(ledger.note(self.pipeline, seen, found, now));
                        });
                    }
                })
                .map_err(|error| error.to_string())?;
        }
        match self.answer.status() {
            Some(200) if self.answer.is_stream() => self.state = State::Open,
            Some(200) => return Err("200, but no stream of events: something else answers".into()),
            Some(status) => return Err(format!("{status} {}", visible(String::from_utf8_lossy(&refusal).trim()))),
            None => {}
        }
        Ok(())
    }
}

/// Connects without waiting for it.
fn begin_to_connect(number: usize, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Closed by a reset: twenty thousand sockets in TIME_WAIT would slow down the next run's connecting.
    socket.set_linger(Some(Duration::ZERO))?;
    let source = u16::try_from(number / PORTS).unwrap_or(u16::MAX);
    if source > 0 && matches!(server.ip(), IpAddr::V4(address) if address.is_loopback()) {
        let [high, low] = source.to_be_bytes();
        socket.bind(&SocketAddr::from(([127, 1, high, low], 0)).into())?;
    }
    match socket.connect(&server.into()) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Which server and which pipeline a stream has: all pairs of them equally often, whatever the two numbers have in common.
fn place(number: usize, pipelines: usize) -> (usize, usize) {
    let pipeline = number % pipelines;
    (number / pipelines + pipeline, pipeline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pipeline_has_its_readers_on_every_server() {
        for (servers, pipelines) in [(2, 10), (4, 10), (8, 1), (3, 3), (4, 6)] {
            let pairs = (0..servers * pipelines).map(|number| place(number, pipelines));
            let pairs: std::collections::HashSet<_> =
                pairs.map(|(server, pipeline)| (server % servers, pipeline)).collect();
            assert_eq!(pairs.len(), servers * pipelines, "{servers} servers, {pipelines} pipelines");
        }
    }
}
