//! A publisher: one kept-alive connection with one request at a time.

use std::io::{self, Read, Write};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::clock::Nanos;
use crate::http::{PublishRequest, QUOTED_BYTES, Response};
use crate::shared::Shared;

/// One connection for publishing.
pub(super) struct Publisher {
    number: usize,
    /// None until it connects, and after the connection has ended.
    socket: Option<TcpStream>,
    is_connected: bool,
    /// The request, of which the first `written` bytes have left.
    out: Vec<u8>,
    written: usize,
    response: Response,
    request: Option<PublishRequest>,
    /// When the request left.
    sent: Nanos,
}

/// What happened to a publisher.
#[derive(Debug)]
pub(super) enum PublisherChange {
    None,
    /// It has connected, and is free for a request.
    Connected,
    /// The server accepted the events; the connection may have ended with that.
    Accepted(PublishRequest),
    /// The server rejected the events.
    Rejected(PublishRequest, String),
    /// The connection broke during a request: the server may have accepted the events or not.
    Broken(PublishRequest, String),
    /// The connection ended between two requests.
    Closed,
    /// It could not connect.
    Failed(String),
}

impl Publisher {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            socket: None,
            is_connected: false,
            out: Vec::new(),
            written: 0,
            response: Response::default(),
            request: None,
            sent: 0,
        }
    }

    /// Begins to connect, if it is not connected.
    pub(super) fn connect(&mut self, token: Token, shared: &Shared, registry: &Registry) -> io::Result<()> {
        if self.socket.is_none() {
            let mut socket = TcpStream::connect(shared.target.publish_address(self.number))?;
            registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
            self.response.clear();
            self.socket = Some(socket);
        }
        Ok(())
    }

    /// Whether it is connected and has no request.
    pub(super) fn is_free(&self) -> bool {
        self.is_connected && self.request.is_none()
    }

    /// Sends a request. The publisher must be free.
    pub(super) fn send(&mut self, request: PublishRequest, shared: &Shared) -> PublisherChange {
        shared.target.write_publish_request(&request, &shared.stamper, &mut self.out);
        self.written = 0;
        self.sent = shared.clock.now();
        self.request = Some(request);
        match self.write() {
            Ok(()) => PublisherChange::None,
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Continues once the connection is ready.
    pub(super) fn ready(&mut self, event: &Event, shared: &mut Shared) -> PublisherChange {
        let was_connected = self.is_connected;
        match self.advance(event, shared) {
            Ok(Some(rejection)) => self.finish(rejection, |status| shared.target.acknowledges(status)),
            Ok(None) if !was_connected && self.is_connected => PublisherChange::Connected,
            Ok(None) => PublisherChange::None,
            Err(problem) => self.fail(&problem),
        }
    }

    /// Gives up on a request that was sent before `before`.
    pub(super) fn give_up(&mut self, before: Nanos) -> PublisherChange {
        if self.request.is_some() && self.sent < before {
            self.fail("no answer in time")
        } else {
            PublisherChange::None
        }
    }

    fn finish(&mut self, rejection: Vec<u8>, is_acknowledged: impl Fn(u16) -> bool) -> PublisherChange {
        let status = self.response.status().unwrap_or_default();
        if self.response.is_last() {
            self.close();
        }
        self.response.clear();
        match self.request.take() {
            Some(request) if is_acknowledged(status) => PublisherChange::Accepted(request),
            Some(request) => {
                let text = String::from_utf8_lossy(&rejection);
                PublisherChange::Rejected(request, format!("{status} {}", text.trim()))
            }
            None => PublisherChange::None,
        }
    }

    fn fail(&mut self, problem: &str) -> PublisherChange {
        let was_connected = self.is_connected;
        self.close();
        match self.request.take() {
            Some(request) => PublisherChange::Broken(request, problem.into()),
            None if was_connected => PublisherChange::Closed,
            None => PublisherChange::Failed(problem.into()),
        }
    }

    fn close(&mut self) {
        self.socket = None;
        self.is_connected = false;
    }

    /// The beginning of a rejection, once the whole response has arrived; empty for an acknowledgement.
    fn advance(&mut self, event: &Event, shared: &mut Shared) -> Result<Option<Vec<u8>>, String> {
        let Some(socket) = &mut self.socket else { return Ok(None) };
        if !self.is_connected
            && let Ok(Some(error)) | Err(error) = socket.take_error()
        {
            return Err(error.to_string());
        }
        if event.is_writable() {
            self.is_connected = true;
            self.write().map_err(|error| error.to_string())?;
        }
        if !event.is_readable() && !event.is_read_closed() {
            return Ok(None);
        }
        self.read(event, shared)
    }

    fn read(&mut self, event: &Event, shared: &mut Shared) -> Result<Option<Vec<u8>>, String> {
        let mut quoted = Vec::new();
        loop {
            let Some(socket) = &mut self.socket else { return Ok(None) };
            let length = match socket.read(&mut shared.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            if length == 0 {
                self.response.end().map_err(|error| error.to_string())?;
            }
            let mut at = 0;
            while at < length && !self.response.is_whole() {
                let is_rejected = self.response.status().is_some_and(|status| status >= 300);
                let taken = self.response.read(&shared.buffer[at..length], |body| {
                    let room = if is_rejected { QUOTED_BYTES.saturating_sub(quoted.len()).min(body.len()) } else { 0 };
                    quoted.extend_from_slice(&body[..room]);
                });
                at += taken.map_err(|error| error.to_string())?;
            }
            if self.response.is_whole() {
                return Ok(Some(quoted));
            }
            if length < shared.buffer.len() && !event.is_read_closed() {
                return Ok(None);
            }
        }
    }

    /// Writes the rest of the request, as far as the connection has room.
    fn write(&mut self) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        while self.written < self.out.len() {
            match socket.write(&self.out[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
