//! A subscriber: one connection that holds one stream.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::event_scanner::EventScanner;
use crate::clock::Nanos;
use crate::http::{QUOTED_BYTES, Response};
use crate::shared::Shared;
use crate::tally::ReceivedEvents;

/// Connections per source address. The kernel searches slowly for a free port when half of the ports, 14,000, are in use.
const PORTS: usize = 8000;

/// What `connect` returns when the connection is not established at once.
const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// One stream, from its connecting on.
pub(crate) struct Stream {
    /// Which of the servers; numbers beyond the last begin again at the first.
    server: usize,
    pub(crate) pipeline: usize,
    /// None when it is over.
    socket: Option<TcpStream>,
    state: State,
    response: Response,
    scanner: EventScanner,
    pub(crate) received: ReceivedEvents,
    /// When it began to connect.
    pub(crate) began: Nanos,
    /// Events that it received, each counted once.
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Requested,
    Open,
}

/// What happened to a stream.
#[derive(Debug)]
pub(crate) enum StreamChange {
    None,
    /// The server answered that the stream follows.
    Opened,
    /// It never opened.
    Failed(String),
    /// The server ended it after it had opened, or its connection broke.
    Ended,
}

impl Stream {
    /// Begins to connect.
    pub(crate) fn connect(
        number: usize,
        token: Token,
        began: Nanos,
        shared: &Shared,
        registry: &Registry,
    ) -> io::Result<Self> {
        let (server, pipeline) = server_and_pipeline(number, shared.tally.pipelines());
        let mut socket = begin_to_connect(number, shared.target.stream_address(server))?;
        // Edge triggered: registered once, for reading and writing.
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            server,
            pipeline,
            socket: Some(socket),
            state: State::Connecting,
            response: Response::default(),
            scanner: EventScanner::default(),
            received: ReceivedEvents::new(shared.publishers),
            began,
            events: 0,
            bytes: 0,
        })
    }

    pub(crate) fn was_open(&self) -> bool {
        self.state == State::Open
    }

    /// Continues once the connection is ready.
    pub(crate) fn ready(&mut self, event: &Event, shared: &mut Shared) -> StreamChange {
        let was_open = self.was_open();
        match self.advance(event, shared) {
            Ok(true) if !was_open && self.was_open() => StreamChange::Opened,
            Ok(true) => StreamChange::None,
            Ok(false) if was_open => self.close(StreamChange::Ended),
            // Open and ended in the same read: a server that is full does that.
            Ok(false) => self.close(StreamChange::Failed("the stream ended at once".into())),
            Err(_) if was_open => self.close(StreamChange::Ended),
            Err(problem) => self.close(StreamChange::Failed(problem)),
        }
    }

    /// Gives up a stream that has not opened.
    pub(crate) fn abandon(&mut self) {
        self.socket = None;
    }

    fn close(&mut self, change: StreamChange) -> StreamChange {
        self.socket = None;
        change
    }

    /// Whether the stream continues.
    fn advance(&mut self, event: &Event, shared: &mut Shared) -> Result<bool, String> {
        if self.state == State::Connecting && !self.request(event, shared)? {
            return Ok(true);
        }
        if !event.is_readable() && !event.is_read_closed() && !event.is_error() {
            return Ok(true);
        }
        loop {
            let Some(socket) = &mut self.socket else { return Ok(true) };
            let length = match socket.read(&mut shared.buffer) {
                Ok(0) => return self.response.end().map(|()| false).map_err(|error| error.to_string()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            self.read_response(length, shared)?;
            if self.response.is_whole() {
                return Ok(false);
            }
            // A short read has emptied the socket: data that arrives later makes another edge. Only an end that was
            // announced with this edge must still be read.
            if length < shared.buffer.len() && !event.is_read_closed() {
                return Ok(true);
            }
        }
    }

    /// Sends the request once the connection is established. Whether it was sent.
    fn request(&mut self, event: &Event, shared: &Shared) -> Result<bool, String> {
        let Some(socket) = &mut self.socket else { return Ok(false) };
        if let Ok(Some(error)) | Err(error) = socket.take_error() {
            return Err(error.to_string());
        }
        if !event.is_writable() {
            return Ok(false);
        }
        let request = shared.target.stream_request(self.server, self.pipeline);
        // The empty send buffer of a new connection has room for any request.
        socket.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        self.state = State::Requested;
        Ok(true)
    }

    /// Reads the response in the shared buffer, and counts its events.
    fn read_response(&mut self, length: usize, shared: &mut Shared) -> Result<(), String> {
        let now = shared.clock.now();
        let Shared { buffer, stamper, tally, .. } = shared;
        let (scanner, received, events) = (&mut self.scanner, &mut self.received, &mut self.events);
        let mut rejection = Vec::new();
        self.bytes += length as u64;
        let mut at = 0;
        while at < length && !self.response.is_whole() {
            // Known once the head has been read: the body of a rejection contains no events.
            let is_rejected = self.response.status().is_some_and(|status| status != 200);
            at += self
                .response
                .read(&buffer[at..length], |body| {
                    if is_rejected {
                        rejection.extend_from_slice(&body[..body.len().min(QUOTED_BYTES)]);
                    } else {
                        scanner.read(body, stamper, |event| {
                            *events += u64::from(tally.note(self.pipeline, received, event, now));
                        });
                    }
                })
                .map_err(|error| error.to_string())?;
        }
        match self.response.status() {
            Some(200) if self.response.is_stream() => self.state = State::Open,
            Some(200) => return Err("200, but the content is not text/event-stream; is this the right URL?".into()),
            Some(status) => return Err(format!("{status} {}", String::from_utf8_lossy(&rejection).trim())),
            None => {}
        }
        Ok(())
    }
}

/// Begins to connect, without waiting until the connection is established.
fn begin_to_connect(number: usize, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Closed with a reset: twenty thousand sockets in TIME_WAIT would slow down the next run's connections.
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

/// Server and pipeline of a stream: each pair occurs equally often, also when the two counts have a common divisor.
fn server_and_pipeline(number: usize, pipelines: usize) -> (usize, usize) {
    let pipeline = number % pipelines;
    (number / pipelines + pipeline, pipeline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pipeline_has_subscribers_on_each_server() {
        for (servers, pipelines) in [(2, 10), (4, 10), (8, 1), (3, 3), (4, 6)] {
            let pairs = (0..servers * pipelines).map(|number| server_and_pipeline(number, pipelines));
            let pairs: std::collections::HashSet<_> =
                pairs.map(|(server, pipeline)| (server % servers, pipeline)).collect();
            assert_eq!(pairs.len(), servers * pipelines, "{servers} servers, {pipelines} pipelines");
        }
    }
}
