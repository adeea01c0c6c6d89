//! What the fan-out threads of a node share.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::stream::StreamOptions;

/// Written once, when the threads start, except for its two signals.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stream: StreamOptions,
    /// Notified whenever a stream ends.
    pub(super) stream_ended: Notify,
    /// The first thread that failed, and why. Written by the thread, read by [`super::Fanout::ended`].
    pub(super) failure: watch::Sender<Option<String>>,
}

impl Shared {
    pub(super) fn new(hub: Arc<Hub>, metrics: Arc<Metrics>, stream: StreamOptions) -> Self {
        Self { hub, metrics, stream, stream_ended: Notify::new(), failure: watch::Sender::new(None) }
    }
}
