//! HTTP/1.1 responses as they arrive: the head, and a body in chunks, of a known length, or up to the end of the connection.
//!
//! The body is passed on as slices of what was read; only a head that arrives in pieces needs memory.

/// Maximum size of a head.
const MAX_HEAD: usize = 64 << 10;

/// A response that is being read.
#[derive(Debug, Default)]
pub(crate) struct Response {
    state: State,
    /// The first part of a head that has not arrived in full.
    partial: Vec<u8>,
    status: u16,
    is_stream: bool,
    is_last: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Length(u64),
    ChunkSize(u64),
    ChunkExtension(u64),
    Chunk(u64),
    ChunkEnd,
    /// Bytes of the trailer line so far.
    Trailer(usize),
    UntilEnd,
    Whole,
}

/// The bytes are not a whole response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResponseError {
    #[error("the answer is not HTTP/1.1")]
    Malformed,
    #[error("the connection ended in the middle of an answer")]
    Cut,
}

impl Response {
    /// Reads from the front of `bytes`: up to the end of the head, or else up to the end of the response, whose body goes to
    /// `body`. How many bytes were read.
    pub(crate) fn read(&mut self, bytes: &[u8], mut body: impl FnMut(&[u8])) -> Result<usize, ResponseError> {
        if self.state == State::Head {
            return self.read_piece_of_head(bytes);
        }
        let mut at = 0;
        while at < bytes.len() && self.state != State::Whole {
            at += self.read_body(&bytes[at..], &mut body)?;
        }
        Ok(at)
    }

    /// The status, once the head has been read.
    pub(crate) fn status(&self) -> Option<u16> {
        (self.state != State::Head).then_some(self.status)
    }

    /// Whether its content type is that of a stream of events.
    pub(crate) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Whether all of it has arrived.
    pub(crate) fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// Whether the server closes the connection after this response.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Notes the end of the connection.
    pub(crate) fn end(&mut self) -> Result<(), ResponseError> {
        if !matches!(self.state, State::UntilEnd | State::Whole) {
            return Err(ResponseError::Cut);
        }
        self.state = State::Whole;
        Ok(())
    }

    /// Prepares for the next response.
    pub(crate) fn clear(&mut self) {
        self.partial.clear();
        self.state = State::Head;
        self.is_last = false;
    }

    fn read_piece_of_head(&mut self, bytes: &[u8]) -> Result<usize, ResponseError> {
        if self.partial.is_empty() {
            if let Some(taken) = self.read_head(bytes)? {
                return Ok(taken);
            }
            self.partial.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let before = self.partial.len();
        let mut head = std::mem::take(&mut self.partial);
        head.extend_from_slice(bytes);
        match self.read_head(&head)? {
            Some(taken) => Ok(taken - before),
            None if head.len() > MAX_HEAD => Err(ResponseError::Malformed),
            None => {
                self.partial = head;
                Ok(bytes.len())
            }
        }
    }

    /// Length of the head, if it is whole.
    fn read_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, ResponseError> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut headers);
        let length = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(ResponseError::Malformed),
        };
        self.status = head.code.ok_or(ResponseError::Malformed)?;
        self.is_last = head.version == Some(0);
        self.is_stream = false;
        self.state = State::UntilEnd;
        for header in head.headers.iter() {
            let value = header.value.trim_ascii();
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = std::str::from_utf8(value).ok().and_then(|length| length.parse().ok());
                self.state = State::Length(length.ok_or(ResponseError::Malformed)?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                self.state = State::ChunkSize(0);
            } else if header.name.eq_ignore_ascii_case("content-type") {
                let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
                self.is_stream = kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream");
            } else if header.name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case(b"close") {
                self.is_last = true;
            }
        }
        match self.status {
            // An interim response; the final one follows.
            100..=199 => self.state = State::Head,
            204 | 304 => self.state = State::Whole,
            _ if self.state == State::Length(0) => self.state = State::Whole,
            _ => {}
        }
        Ok(Some(length))
    }

    fn read_body(&mut self, bytes: &[u8], body: &mut impl FnMut(&[u8])) -> Result<usize, ResponseError> {
        let byte = bytes[0];
        let (state, taken) = match self.state {
            State::Head => return self.read_piece_of_head(bytes),
            State::Length(left) => match pass(bytes, left, body) {
                (0, taken) => (State::Whole, taken),
                (left, taken) => (State::Length(left), taken),
            },
            State::Chunk(left) => match pass(bytes, left, body) {
                (0, taken) => (State::ChunkEnd, taken),
                (left, taken) => (State::Chunk(left), taken),
            },
            State::UntilEnd => {
                body(bytes);
                (State::UntilEnd, bytes.len())
            }
            State::ChunkSize(size) => match (byte as char).to_digit(16) {
                Some(_) if size >= 1 << 48 => return Err(ResponseError::Malformed),
                Some(digit) => (State::ChunkSize(size << 4 | u64::from(digit)), 1),
                None if byte == b'\n' => (chunk(size), 1),
                None => (State::ChunkExtension(size), 1),
            },
            State::ChunkExtension(size) => (if byte == b'\n' { chunk(size) } else { State::ChunkExtension(size) }, 1),
            State::ChunkEnd => (if byte == b'\n' { State::ChunkSize(0) } else { State::ChunkEnd }, 1),
            State::Trailer(length) => match byte {
                b'\n' => (if length == 0 { State::Whole } else { State::Trailer(0) }, 1),
                b'\r' => (State::Trailer(length), 1),
                _ => (State::Trailer(length + 1), 1),
            },
            State::Whole => (State::Whole, 0),
        };
        self.state = state;
        Ok(taken)
    }
}

fn chunk(size: u64) -> State {
    if size == 0 { State::Trailer(0) } else { State::Chunk(size) }
}

/// Passes on up to `left` bytes. How many are left then, and how many were passed on.
fn pass(bytes: &[u8], left: u64, body: &mut impl FnMut(&[u8])) -> (u64, usize) {
    let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    body(&bytes[..taken]);
    (left - taken as u64, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `text` cut at every place in turn: status, body, bytes read.
    fn read(text: &str) -> Result<(u16, String, usize, bool), ResponseError> {
        let mut results = Vec::new();
        for cut in 0..=text.len() {
            let (mut response, mut body, mut taken) = (Response::default(), Vec::new(), 0);
            for end in [cut, text.len()] {
                while taken < end && !response.is_whole() {
                    taken += response.read(&text.as_bytes()[taken..end], |bytes| body.extend_from_slice(bytes))?;
                }
            }
            if !response.is_whole() {
                response.end()?;
            }
            let body = String::from_utf8(body).unwrap();
            results.push((response.status().unwrap(), body, taken, response.is_last()));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{results:?}");
        Ok(results.remove(0))
    }

    #[test]
    fn body_is_whole_however_it_is_cut() {
        let check = |text: &str, status, body: &str, rest: &str, is_last| {
            let expected = (status, body.to_owned(), text.len() - rest.len(), is_last);
            assert_eq!(read(text), Ok(expected), "{text:?}");
        };
        check("HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nhello", 202, "hello", "", false);
        check("HTTP/1.1 200 OK\r\ncontent-length:  2 \r\nConnection: Close\r\n\r\n{}", 200, "{}", "", true);
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "", "", false);
        check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", "", false);
        check("HTTP/1.0 200 OK\r\n\r\ndata: 1\n\n", 200, "data: 1\n\n", "", true);
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A;x=1\r\n0123456789\r\n";
        check(&format!("{chunks}0\r\nA: b\r\n\r\n"), 200, "abc0123456789", "", false);
    }

    #[test]
    fn incomplete_and_malformed_responses_are_errors() {
        for cut in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"] {
            assert_eq!(read(cut), Err(ResponseError::Cut), "{cut:?}");
        }
        assert_eq!(read("SSH-2.0-OpenSSH_9.2\r\n"), Err(ResponseError::Malformed));
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), Err(ResponseError::Malformed));
    }
}
