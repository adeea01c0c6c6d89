//! One stream: what its client is sent next, until when, and what carries it to the socket.
//!
//! [`wanted`] is what a client asks for, [`position`] decides what comes next and [`life`] until when, for both carriers: the
//! threads of [`fanout`], and hyper's body with a [`subscription`]. [`context`] is what a stream holds meanwhile,
//! [`content_encoding`] how its bytes are encoded.

pub mod content_encoding;
pub mod context;
pub mod fanout;
pub mod life;
mod options;
pub mod position;
pub mod subscription;
pub mod wanted;

pub use options::StreamOptions;
