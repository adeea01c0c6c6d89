//! What a stream holds from its request to its end, whatever carries it.

use std::sync::Arc;

use crate::auth::StreamPermit;
use crate::limits::StreamSlot;

/// What a stream holds until it ends.
#[derive(Debug, Default)]
pub struct StreamContext {
    /// Its place on the node, given back when dropped.
    pub place: Option<StreamSlot>,
    /// The permission that its token or key gave it; `None` where none is needed.
    pub permit: Option<Arc<StreamPermit>>,
}
