//! Events as a publisher sends them, their pipeline and channel, and the ids that the store assigns. No I/O.

mod channel;
mod compact_json;
mod gap;
mod id;
mod pipeline;
mod submission;

pub use channel::{InvalidChannel, RESERVED_PREFIX, check_channel, check_publishable};
pub use gap::{Gap, GapReason};
pub use id::{EventId, InvalidEventId, ResumePoint};
pub use pipeline::{InvalidPipelineId, PipelineId};
pub use submission::{BYTE_ORDER_MARK, Batch, BatchIndex, Event, EventLimits, InvalidBatch, Shape};
