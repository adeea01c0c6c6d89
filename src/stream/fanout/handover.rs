//! What a fan-out thread is given: a socket on which a stream begins.

use std::net::TcpStream;
use std::num::NonZeroU8;

use bytes::Bytes;

use crate::event::PipelineId;
use crate::stream::content_encoding::ContentEncoding;
use crate::stream::context::StreamContext;
use crate::stream::wanted::Wanted;

/// How a stream's bytes are written to its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// HTTP/1.1: in chunks.
    Chunked,
    /// HTTP/1.0: as they are. The end of the connection is the end of the body.
    Plain,
}

/// A socket on which a stream begins.
#[derive(Debug)]
pub struct Handover {
    /// The socket. Its request has been read, and nothing of the response is written.
    pub socket: TcpStream,
    /// The response's head, to its blank line.
    pub head: Bytes,
    /// How the body is written.
    pub framing: Framing,
    /// The body's content encoding.
    pub encoding: ContentEncoding,
    /// Seconds between two keepalives, where the client asked for a period of its own.
    pub keepalive: Option<NonZeroU8>,
    /// The pipeline to read.
    pub pipeline: PipelineId,
    /// Which of its events.
    pub wanted: Wanted,
    /// What the stream holds until it ends.
    pub context: StreamContext,
}
