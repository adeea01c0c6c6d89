//! How many streams and connections a node may have, given the files that it may open.

/// Open files that are not for clients: listeners, fan-out threads, logs, and the admin listener's connections.
const RESERVED_FILES: u64 = 64 + MAX_ADMIN_CONNECTIONS as u64;

/// Maximum connections to the admin listener: enough for probes and scrapes, too few to use up the open files.
pub(super) const MAX_ADMIN_CONNECTIONS: usize = 64;

/// Maximum streams with `auto`, however many files may be open: the memory of a large machine.
const MAX_AUTO: usize = 1_000_000;

/// Minimum and maximum connections beyond a limit on streams: for publishers, and to tell clients to come back later.
const MIN_NODE_HEADROOM: usize = 16;
const MIN_ADDRESS_HEADROOM: usize = 8;
const MAX_HEADROOM: usize = 512;

/// What a node may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Capacity {
    pub(super) max_streams: usize,
    pub(super) max_connections: usize,
}

impl Capacity {
    /// The capacity of a node that may open this many files, `store_files` of which the store needs.
    ///
    /// `wanted` streams are lowered to what the open files allow, with a warning; `None` means as many as possible.
    pub(super) fn new(wanted: Option<usize>, open_files: u64, store_files: usize) -> Self {
        let available = open_files.saturating_sub(RESERVED_FILES).saturating_sub(store_files as u64);
        let available = usize::try_from(available).unwrap_or(usize::MAX);
        // Streams and their headroom together use what is available.
        let possible = (available / 9 * 8).min(available.saturating_sub(MIN_NODE_HEADROOM));
        let possible = possible.max(available.saturating_sub(MAX_HEADROOM)).max(1);
        let max_streams = wanted.unwrap_or(MAX_AUTO).min(possible);
        if let Some(wanted) = wanted.filter(|wanted| *wanted > possible) {
            tracing::warn!(
                wanted,
                possible,
                open_files,
                "limits.streams is more than the limit on open files allows; raise that limit (LimitNOFILE, ulimit -Hn)"
            );
        }
        tracing::info!(streams = max_streams, open_files, "limit on streams");
        Self { max_streams, max_connections: max_streams + headroom(max_streams, MIN_NODE_HEADROOM) }
    }
}

/// Maximum connections from a client address that may have this many streams.
pub(super) fn connections_per_address(streams: usize) -> usize {
    streams.saturating_add(headroom(streams, MIN_ADDRESS_HEADROOM))
}

fn headroom(streams: usize, min: usize) -> usize {
    (streams / 8).clamp(min, MAX_HEADROOM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_leaves_files_for_everything_else() {
        let streams = |wanted: Option<usize>, open_files: u64| {
            let capacity = Capacity::new(wanted, open_files, 11);
            assert!(capacity.max_connections as u64 + 11 + RESERVED_FILES <= open_files.max(160), "{open_files}");
            capacity.max_streams
        };
        assert_eq!(streams(None, 1024), 784);
        assert_eq!(streams(None, 20_000), 19_349);
        assert_eq!(streams(None, u64::MAX), MAX_AUTO);
        assert_eq!(streams(Some(500), 1024), 500);
        assert_eq!(streams(Some(5000), 1024), 784);
        assert_eq!(streams(None, 0), 1);
    }
}
