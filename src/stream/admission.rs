//! What a stream was let in under: kept for as long as the stream is open, by whatever carries it.

use std::sync::Arc;

use crate::auth::StreamPermit;
use crate::limits::StreamSlot;

/// What a stream was let in under.
#[derive(Debug, Default)]
pub struct Admission {
    /// Its place on the node, given back with it.
    pub place: Option<StreamSlot>,
    /// The leave that a token gave it; none where none is needed.
    pub permit: Option<Arc<StreamPermit>>,
}
