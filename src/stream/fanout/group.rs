//! The clients of one pipeline on one fan-out thread, which share a reader of the pipeline's log.

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
    /// During a pass, the index of the member to serve next.
    pub(super) position: Option<usize>,
    /// Whether the log has changed since the pass began.
    pub(super) is_changed: bool,
    /// What was last read from the log: most members are at the same cursor.
    pub(super) last_read: Option<LastRead>,
}

/// Frames between two cursors.
#[derive(Debug)]
pub(super) struct LastRead {
    pub(super) from: Cursor,
    pub(super) to: Cursor,
    pub(super) frames: Vec<Frame>,
    /// The frames as HTTP/1.1 chunks, made for the first client that needs them.
    pub(super) chunks: Option<Arc<[Bytes]>>,
    /// The same for gzip clients, and what the chunks add to a stream's checksum.
    pub(super) compressed: Option<(Arc<[Bytes]>, Checksum)>,
    /// Whether the log ended after them.
    pub(super) is_last: bool,
}

impl Group {
    pub(super) fn new(reader: Reader, inbox: &Arc<Inbox>, entry: usize) -> Self {
        let waker = Waker::from(Arc::new(GroupWaker { inbox: inbox.clone(), group: entry }));
        let group = Self { reader, waker, members: Vec::new(), position: None, is_changed: false, last_read: None };
        group.watch();
        group
    }

    /// Asks to be woken at the log's next change. Call it before looking at the log, or a change in between goes unnoticed.
    pub(super) fn watch(&self) {
        self.reader.wake_at_change(&self.waker);
    }
}
