//! A client's stream, read by a parser that is not ours.

use eventsource_stream::{Event, Eventsource};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{PATIENCE, seq};

/// An open stream; closed when dropped.
pub struct Stream {
    events: mpsc::UnboundedReceiver<Event>,
    task: JoinHandle<()>,
    pub headers: reqwest::header::HeaderMap,
}

impl Stream {
    /// By a client of the caller's, such as one that trusts a certificate.
    pub async fn open_by(http: &reqwest::Client, url: &str, last_event_id: Option<&str>) -> Self {
        let mut request = http.get(url);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        let headers = answer.headers().clone();
        let (sender, events) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut stream = answer.bytes_stream().eventsource();
            while let Some(Ok(event)) = stream.next().await {
                // What clients of a pipeline do not listen to; `Raw` shows it.
                if event.event != "pipecast.position" && sender.send(event).is_err() {
                    break;
                }
            }
        });
        Self { events, task, headers }
    }

    /// The next event; `None` at the end of the stream.
    pub async fn try_next(&mut self) -> Option<Event> {
        timeout(PATIENCE, self.events.recv()).await.expect("an event or the end of the stream")
    }

    pub async fn next(&mut self) -> Event {
        self.try_next().await.expect("an event, not the end of the stream")
    }

    pub async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.next().await);
        }
        events
    }

    /// The payloads of the next events, all numbers.
    pub async fn numbers(&mut self, count: usize) -> Vec<u64> {
        self.take(count).await.iter().map(number).collect()
    }

    /// The next event, which is a gap; its data and id.
    pub async fn gap(&mut self) -> (Value, String) {
        let event = self.next().await;
        assert_eq!(event.event, "pipecast.gap", "{event:?}");
        (serde_json::from_str(&event.data).unwrap(), event.id)
    }

    /// What has arrived and was not read yet.
    pub fn arrived(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An event's payload as a number.
pub fn number(event: &Event) -> u64 {
    event.data.parse().unwrap_or_else(|_| panic!("{event:?} is not a number"))
}

/// Fails if an event is missing, duplicated or out of order.
pub fn assert_contiguous(events: &[Event]) {
    for pair in events.windows(2) {
        assert_eq!(seq(&pair[0].id) + 1, seq(&pair[1].id), "{:?} then {:?}", pair[0], pair[1]);
    }
}
