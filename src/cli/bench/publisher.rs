//! A publisher: one kept-alive connection with one request at a time.

use std::io::{self, Read, Write};
use std::ops::Range;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::answer::Answer;
use super::clock::Nanos;
use super::engine::Shared;
use crate::visible::visible;

/// How much of a refusal is quoted.
const QUOTED: usize = 200;

/// Events that leave in one request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) publisher: usize,
    pub(super) pipeline: usize,
    /// The events' places in what this publisher sends to the pipeline.
    pub(super) sequences: Range<usize>,
    /// When they were to be sent.
    pub(super) due: Nanos,
}

/// One connection for publishing.
pub(super) struct Publisher {
    number: usize,
    /// None when it is to be connected again.
    socket: Option<TcpStream>,
    is_connected: bool,
    out: Vec<u8>,
    written: usize,
    answer: Answer,
    request: Option<Request>,
    /// When the request left.
    sent: Nanos,
}

/// What became of a publisher.
#[derive(Debug)]
pub(super) enum Turn {
    None,
    /// It can take a request.
    Connected,
    /// The server has taken the events; the connection is to be made again if it is over.
    Accepted(Request),
    /// The server has refused the events.
    Refused(Request, String),
    /// The connection is over; the events may have been taken or not.
    Broken(Request, String),
    /// The connection is over, and no request was under way.
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
            answer: Answer::default(),
            request: None,
            sent: 0,
        }
    }

    /// Begins to connect, if it is not connected.
    pub(super) fn connect(&mut self, token: Token, shared: &Shared, registry: &Registry) -> io::Result<()> {
        if self.socket.is_none() {
            let mut socket = TcpStream::connect(shared.target.publish_address(self.number))?;
            registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
            self.answer.clear();
            self.socket = Some(socket);
        }
        Ok(())
    }

    /// Whether it can take a request.
    pub(super) fn is_free(&self) -> bool {
        self.is_connected && self.request.is_none()
    }

    /// Sends a request, of a publisher that is free.
    pub(super) fn send(&mut self, request: Request, shared: &Shared) -> Turn {
        shared.target.write_publish_request(&request, &shared.stamper, &mut self.out);
        self.written = 0;
        self.sent = shared.clock.now();
        self.request = Some(request);
        match self.write() {
            Ok(()) => Turn::None,
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Goes on after the connection became ready.
    pub(super) fn ready(&mut self, event: &Event, shared: &mut Shared) -> Turn {
        let was_connected = self.is_connected;
        match self.go_on(event, shared) {
            Ok(Some(refusal)) => self.finish(refusal, |status| shared.target.acknowledges(status)),
            Ok(None) if !was_connected && self.is_connected => Turn::Connected,
            Ok(None) => Turn::None,
            Err(problem) => self.fail(&problem),
        }
    }

    /// Gives up on a request that was sent before `before`.
    pub(super) fn give_up(&mut self, before: Nanos) -> Turn {
        if self.request.is_some() && self.sent < before { self.fail("no answer in time") } else { Turn::None }
    }

    fn finish(&mut self, refusal: Vec<u8>, is_acknowledged: impl Fn(u16) -> bool) -> Turn {
        let status = self.answer.status().unwrap_or_default();
        if self.answer.is_last() {
            self.close();
        }
        self.answer.clear();
        match self.request.take() {
            Some(request) if is_acknowledged(status) => Turn::Accepted(request),
            Some(request) => {
                let text = String::from_utf8_lossy(&refusal);
                Turn::Refused(request, format!("{status} {}", visible(text.trim())))
            }
            None => Turn::None,
        }
    }

    fn fail(&mut self, problem: &str) -> Turn {
        let was_connected = self.is_connected;
        self.close();
        match self.request.take() {
            Some(request) => Turn::Broken(request, problem.into()),
            None if was_connected => Turn::Closed,
            None => Turn::Failed(problem.into()),
        }
    }

    fn close(&mut self) {
        self.socket = None;
        self.is_connected = false;
    }

    /// The beginning of the answer's body, once the answer has come.
    fn go_on(&mut self, event: &Event, shared: &mut Shared) -> Result<Option<Vec<u8>>, String> {
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
                self.answer.end().map_err(|error| error.to_string())?;
            }
            let mut at = 0;
            while at < length && !self.answer.is_whole() {
                let is_refused = self.answer.status().is_some_and(|status| status >= 300);
                let taken = self.answer.take(&shared.buffer[at..length], |body| {
                    let room = if is_refused { QUOTED.saturating_sub(quoted.len()).min(body.len()) } else { 0 };
                    quoted.extend_from_slice(&body[..room]);
                });
                at += taken.map_err(|error| error.to_string())?;
            }
            if self.answer.is_whole() {
                return Ok(Some(quoted));
            }
            if length < shared.buffer.len() && !event.is_read_closed() {
                return Ok(None);
            }
        }
    }

    /// Writes what is left of the request, as far as the connection takes it.
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
