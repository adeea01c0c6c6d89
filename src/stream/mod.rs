//! One stream: what its client gets next, and what carries it to the socket.
//!
//! [`subscription`] decides what comes next, for both carriers: the threads of [`fanout`] and hyper's body.

pub mod admission;
pub mod content_encoding;
pub mod fanout;
mod options;
pub mod subscription;

pub use options::StreamOptions;
