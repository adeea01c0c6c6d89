//! Why a bench measured nothing.

use crate::http::TargetError;
use crate::kernel::KernelError;

/// Why a bench measured nothing. A server's own words in a message are as they came: escape them before a terminal shows them.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The target's options make no requests.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The run would fail half-way.
    #[error("{connections} connections are more than {whose} can hold: its limit is {limit} open files")]
    TooManyConnections {
        /// Streams and publishers together.
        connections: u64,
        /// The process with that limit.
        whose: &'static str,
        /// Its limit.
        limit: u64,
    },
    /// No subscriber received a stream.
    #[error("no stream could be opened: {0}")]
    NoStream(String),
    /// No publisher received a connection.
    #[error("no publisher could connect: {0}")]
    NoPublisher(String),
    /// The server accepted no event.
    #[error("nothing could be published: {0}")]
    NothingPublished(String),
    /// The server did not accept all events that a storm begins with.
    #[error("the pipelines could not be filled: {0}")]
    Unfilled(String),
    /// The event loop failed.
    #[error("epoll failed: {0}")]
    Epoll(#[from] std::io::Error),
    /// The kernel says nothing about the server's processes.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}
