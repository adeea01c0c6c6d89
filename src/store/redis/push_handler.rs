//! What happens to the messages that arrive on the listening connection.
//!
//! Runs on the connection's own task: nothing here waits, and there is no queue that could grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use super::health::Health;
use super::keys::Names;
use crate::log::notification::Notification;
use crate::store::{EventSink, Wakers};

/// Passes messages on, until the listener is done with the connection.
pub(super) struct PushHandler {
    sink: Arc<dyn EventSink>,
    names: Names,
    health: Arc<Health>,
    probe_channel: String,
    /// Messages of any kind that have arrived.
    arrived: AtomicU64,
    closed: Notify,
    /// Held while a message is passed on: messages of an old connection must not mix with those of the next, or the sink would
    /// believe that the next one has brought them.
    is_over: Mutex<bool>,
}

impl PushHandler {
    pub(super) fn new(
        sink: &Arc<dyn EventSink>,
        names: &Names,
        health: &Arc<Health>,
        probe_channel: &str,
    ) -> Arc<Self> {
        Arc::new(Self {
            sink: sink.clone(),
            names: names.clone(),
            health: health.clone(),
            probe_channel: probe_channel.to_owned(),
            arrived: AtomicU64::new(0),
            closed: Notify::new(),
            is_over: Mutex::new(false),
        })
    }

    /// How many messages of any kind have arrived.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Waits until the connection was closed. Cancel safe.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// The listener is done with the connection: nothing is passed on from now on.
    pub(super) fn finish(&self) {
        *self.is_over.lock() = true;
    }

    /// Handles a message.
    pub(super) fn handle(&self, push: PushInfo) {
        let is_over = self.is_over.lock();
        if *is_over {
            return;
        }
        self.arrived.fetch_add(1, Ordering::Relaxed);
        match push.kind {
            PushKind::Disconnection => self.closed.notify_one(),
            PushKind::Message => {
                let mut data = push.data.into_iter();
                if let (Some(Value::BulkString(channel)), Some(Value::BulkString(text))) = (data.next(), data.next()) {
                    let wakers = self.handle_message(&channel, text.into());
                    drop(is_over);
                    wakers.wake();
                }
            }
            _ => {}
        }
    }

    fn handle_message(&self, channel: &[u8], text: Bytes) -> Wakers {
        let Ok(channel) = std::str::from_utf8(channel) else { return Wakers::default() };
        if let Some(pipeline) = self.names.pipeline_of(channel) {
            match Notification::parse(text) {
                Ok(notification) => return self.sink.notify(pipeline, notification),
                Err(_) => self.sink.notification_damaged(pipeline),
            }
        } else if channel == self.probe_channel {
            self.health.heard();
        }
        Wakers::default()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::event::PipelineId;

    #[derive(Debug, Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl EventSink for Recorder {
        fn notify(&self, pipeline: &str, _: Notification) -> Wakers {
            self.0.lock().push(format!("{pipeline} notified"));
            Wakers::default()
        }

        fn notification_damaged(&self, pipeline: &str) {
            self.0.lock().push(format!("{pipeline} damaged"));
        }

        fn subscribed(&self, _: &[PipelineId]) {}
    }

    fn message(channel: &str, text: &str) -> PushInfo {
        let data = [channel, text].map(|part| Value::BulkString(part.as_bytes().to_vec())).to_vec();
        PushInfo { kind: PushKind::Message, data }
    }

    #[tokio::test]
    async fn messages_are_passed_on_until_the_connection_is_over() {
        let (recorder, health) = (Arc::<Recorder>::default(), Arc::<Health>::default());
        let sink: Arc<dyn EventSink> = recorder.clone();
        let names = Names::new("pipecast".parse().unwrap(), 0);
        let handler = PushHandler::new(&sink, &names, &health, "pipecast:probe:1");
        let began = Instant::now();
        handler.handle(message("pipecast:{p}", "0-0\n"));
        handler.handle(message("pipecast:{p}", "damaged"));
        handler.handle(message("other:{p}", "0-0\n"));
        assert!(!health.has_heard_since(began));
        handler.handle(message("pipecast:probe:1", ""));
        assert!(health.has_heard_since(began));
        assert_eq!(handler.arrived(), 4);
        handler.handle(PushInfo { kind: PushKind::Disconnection, data: Vec::new() });
        handler.closed().await;
        handler.finish();
        handler.handle(message("pipecast:{p}", "0-0\n"));
        assert_eq!(*recorder.0.lock(), ["p notified", "p damaged"]);
    }
}
