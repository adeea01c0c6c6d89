//! The clocks of this machine, for those who hand in the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch by this machine's clock.
pub fn clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Both clocks, read once for everything that happens in one pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// For deadlines: it never goes back.
    pub instant: Instant,
    /// For comparing with event ids: milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

impl Now {
    /// The time now.
    pub fn read() -> Self {
        Self { instant: Instant::now(), unix_ms: clock_ms() }
    }
}
