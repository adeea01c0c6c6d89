//! How streams are kept open, from the settings.

use std::time::Duration;

/// Section `stream` of the settings.
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    /// Time between two keepalive comments.
    pub keepalive: Duration,
    /// The shortest that a client may ask for.
    pub keepalive_min: Duration,
    /// How long a client may read nothing.
    pub write_timeout: Duration,
    /// A stream ends after 80-100 % of this; none means never.
    pub max_age: Option<Duration>,
    /// The kernel's send buffer per connection, in bytes.
    pub send_buffer: usize,
    /// Whether clients that accept gzip get it.
    pub compresses: bool,
}
