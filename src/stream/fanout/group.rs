//! The clients of one pipeline on one fan-out thread.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use super::inbox::{GroupWaker, Inbox};
use crate::hub::Reader;
use crate::log::Cursor;
use crate::sse::frame::Frame;
use crate::sse::gzip::Checksum;

/// One pipeline's clients on this thread, woken together.
#[derive(Debug)]
pub(super) struct Group {
    /// The group's one membership in the log.
    pub(super) reader: Reader,
    waker: Waker,
    /// Entries of the thread's slab.
    pub(super) members: Vec<usize>,
    /// The pass that is under way: the member to serve next.
    pub(super) position: Option<usize>,
    /// Whether the log has changed since the pass began.
    pub(super) is_changed: bool,
    /// What was last read from the log: most members stand at the same place.
    pub(super) last_read: Option<LastRead>,
}

/// Frames between two cursors.
#[derive(Debug)]
pub(super) struct LastRead {
    pub(super) from: Cursor,
    pub(super) to: Cursor,
    pub(super) frames: Vec<Frame>,
    /// The frames as most clients get them, made for the first one.
    pub(super) chunks: Option<Arc<[Bytes]>>,
    /// The same for clients that get them compressed, and what that adds to their checksums.
    pub(super) compressed: Option<(Arc<[Bytes]>, Checksum)>,
    /// Whether there was nothing after them.
    pub(super) is_last: bool,
}

impl Group {
    pub(super) fn new(reader: Reader, inbox: &Arc<Inbox>, entry: usize) -> Self {
        let waker = Waker::from(Arc::new(GroupWaker { inbox: inbox.clone(), group: entry }));
        let group = Self { reader, waker, members: Vec::new(), position: None, is_changed: false, last_read: None };
        group.watch();
        group
    }

    /// Asks to be woken at the log's next change. Before looking at the log, so that nothing comes
    /// between the two unnoticed.
    pub(super) fn watch(&self) {
        self.reader.wake_at_change(&self.waker);
    }
}
