//! The appender: concurrent publishes share round trips to Redis.
//!
//! Requests that arrive while others are under way are sent together, as one pipeline of script calls; a single one is sent
//! at once. Requests for the same pipeline share a call, which costs Redis a tenth of a call for each. Every request has its
//! own reply, and its events stay together.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use redis::{Cmd, RedisError, Script, ServerErrorKind};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::append_script::{APPEND, AppendCall, shape_named};
use super::command_error::{CommandError, Unreachable};
use super::keys::Names;
use super::shared_connection::{OpenConnection, SharedConnection};
use crate::event::EventId;
use crate::event::PipelineId;
use crate::event::{Batch, Event};
use crate::store::idempotency::Digest;
use crate::store::{IDEMPOTENCY_TTL, IdempotencyKey, Origin, Receipt, ReservedResources, Retention, StoreError};

/// Connections, each with one round trip under way: while Redis answers one, the next is being sent.
pub(super) const LANES: usize = 2;

/// Maximum requests in one round trip.
const REQUESTS: usize = 256;

/// Maximum events, and bytes of them, in a call that is shared: Redis does nothing else while it runs a script.
const CALL_EVENTS: usize = 1000;
const CALL_BYTES: usize = 64 << 10;

/// What the script answers: the first id's `ms` and `seq`, how many events, the shape, and what it did, see [`STORED`].
type AppendAnswer = (u64, u64, u64, String, u8);

/// What the script did: it stored the events, or found the key used for other events. Any other value: it repeats an
/// earlier answer.
const STORED: u8 = 0;
const KEY_REUSED: u8 = 2;

struct AppendRequest {
    pipeline: PipelineId,
    batch: Batch,
    key: Option<(IdempotencyKey, Digest)>,
    reply: oneshot::Sender<Result<Receipt, StoreError>>,
    /// Dropped with the batch.
    _reserved: ReservedResources,
}

/// Requests that one call of the script serves: all of one pipeline, and only one if it has a key.
struct AppendScriptCall {
    requests: Vec<AppendRequest>,
    events: usize,
    bytes: usize,
}

/// The store's end of the appender.
pub(super) struct Appender {
    // Unbounded: a request waits here until it is sent, even if its publisher has left, but it holds memory that was
    // reserved within a budget.
    requests: mpsc::UnboundedSender<AppendRequest>,
}

/// The appender, and the future that does its work until it is dropped.
pub(super) fn new(
    connections: [Arc<SharedConnection>; LANES],
    names: &Names,
    retention: Retention,
) -> (Appender, impl Future<Output = ()> + Send + use<>) {
    let (requests, queue) = mpsc::unbounded_channel();
    let queue = Arc::new(Mutex::new(queue));
    let script = Arc::new(Script::new(APPEND));
    let lane = |connection| {
        Lane { connection, names: names.clone(), retention, script: script.clone(), queue: queue.clone() }.run()
    };
    let lanes: Vec<_> = connections.into_iter().map(lane).collect();
    (Appender { requests }, async move {
        join_all(lanes).await;
    })
}

impl Appender {
    /// Stores a batch. Dropping the future before the batch was sent takes it back.
    ///
    /// # Errors
    /// Those of the call that it was sent with.
    pub(super) async fn append(
        &self,
        pipeline: &PipelineId,
        batch: Batch,
        key: Option<&IdempotencyKey>,
        reserved: ReservedResources,
    ) -> Result<Receipt, StoreError> {
        let (reply, answer) = oneshot::channel();
        let key = key.map(|key| (key.clone(), Digest::of(&batch)));
        // Fails when the node is stopping; then the reply is dropped.
        let _ =
            self.requests.send(AppendRequest { pipeline: pipeline.clone(), batch, key, reply, _reserved: reserved });
        answer.await.unwrap_or_else(|_| Err(StoreError::Unreachable("the node is stopping".into())))
    }
}

/// One connection and the loop that sends on it.
struct Lane {
    connection: Arc<SharedConnection>,
    names: Names,
    retention: Retention,
    script: Arc<Script>,
    queue: Arc<Mutex<mpsc::UnboundedReceiver<AppendRequest>>>,
}

impl Lane {
    async fn run(self) {
        let mut requests = Vec::new();
        loop {
            // One lane waits for requests, the others for the lock, so a request goes to a lane that is free.
            if self.queue.lock().await.recv_many(&mut requests, REQUESTS).await == 0 {
                return;
            }
            if let Err((calls, error)) = self.send(share_calls(requests.drain(..))).await {
                calls.into_iter().for_each(|call| call.fail(&error));
            }
        }
    }

    /// Makes the calls in one round trip. An error applies to all calls that are returned with it.
    async fn send(&self, calls: Vec<AppendScriptCall>) -> Result<(), FailedCalls> {
        let mut open = match self.connection.get().await {
            Ok(open) => open,
            Err(error) => return Err((calls, error)),
        };
        let unknown = self.call(&mut open, calls).await?;
        if unknown.is_empty() {
            return Ok(());
        }
        // A server that was restarted no longer has the script, and has done nothing.
        if let Err(error) = self.script.load_async(&mut open.connection).await {
            return Err((unknown, self.failed(&open, error)));
        }
        let unknown = self.call(&mut open, unknown).await?;
        match unknown.is_empty() {
            true => Ok(()),
            false => Err((unknown, Unreachable::ScriptLost.into())),
        }
    }

    fn failed(&self, open: &OpenConnection, error: RedisError) -> CommandError {
        let error = CommandError::from(error);
        self.connection.report(open, &Err::<(), _>(error.clone()));
        error
    }

    /// One round trip. Returns the calls for which the server did not know the script.
    async fn call(
        &self,
        open: &mut OpenConnection,
        calls: Vec<AppendScriptCall>,
    ) -> Result<Vec<AppendScriptCall>, FailedCalls> {
        // Here and not earlier: if a publisher got a timeout, while a connection was being made for instance, its events
        // must not be stored later.
        let calls: Vec<_> = calls.into_iter().filter_map(AppendScriptCall::without_abandoned).collect();
        if calls.is_empty() {
            return Ok(calls);
        }
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for call in &calls {
            pipeline.add_command(call.command(self.script.get_hash(), &self.names, self.retention));
        }
        let answers: Vec<Result<AppendAnswer, RedisError>> = match pipeline.query_async(&mut open.connection).await {
            Ok(answers) => answers,
            Err(error) => return Err((calls, self.failed(open, error))),
        };
        let mut unknown = Vec::new();
        for (call, answer) in calls.into_iter().zip(answers) {
            match answer {
                Ok(answer) => {
                    self.connection.report(open, &Ok(()));
                    call.succeed(&answer);
                }
                Err(error) if error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript) => unknown.push(call),
                Err(error) => call.fail(&self.failed(open, error)),
            }
        }
        Ok(unknown)
    }
}

/// Calls that failed, and why.
type FailedCalls = (Vec<AppendScriptCall>, CommandError);

/// Puts requests of the same pipeline together, in the order in which they arrived.
fn share_calls(requests: impl Iterator<Item = AppendRequest>) -> Vec<AppendScriptCall> {
    let mut calls: Vec<AppendScriptCall> = Vec::new();
    let mut open: HashMap<PipelineId, usize> = HashMap::new();
    for request in requests {
        let events = request.batch.events.len();
        let bytes = request.batch.events.iter().map(|event| event.body().len()).sum::<usize>();
        let shared = open.get(&request.pipeline).copied().filter(|index| {
            let call = &calls[*index];
            request.key.is_none() && call.events + events <= CALL_EVENTS && call.bytes + bytes <= CALL_BYTES
        });
        if let Some(index) = shared {
            let call = &mut calls[index];
            call.events += events;
            call.bytes += bytes;
            call.requests.push(request);
            continue;
        }
        // The answer that is kept for a key belongs to one request.
        if request.key.is_some() {
            open.remove(&request.pipeline);
        } else {
            open.insert(request.pipeline.clone(), calls.len());
        }
        calls.push(AppendScriptCall { requests: vec![request], events, bytes });
    }
    calls
}

impl AppendScriptCall {
    fn events(&self) -> impl Iterator<Item = &Event> {
        self.requests.iter().flat_map(|request| &request.batch.events)
    }

    /// The call without requests whose publishers no longer wait; `None` when no request is left.
    fn without_abandoned(mut self) -> Option<Self> {
        self.requests.retain(|request| !request.reply.is_closed());
        (!self.requests.is_empty()).then_some(self)
    }

    fn command(&self, script: &str, names: &Names, retention: Retention) -> Cmd {
        // A call has at least one request, and all are for the same pipeline.
        let first = &self.requests[0];
        let pipeline = &first.pipeline;
        let kept = first.key.as_ref().map(|(key, digest)| (names.answer(pipeline, key), digest.to_string()));
        let call = AppendCall {
            script,
            list: &names.list(pipeline),
            began: &names.began(),
            answer: kept.as_ref().map(|(key, digest)| (&**key, &**digest)),
            answer_ttl: IDEMPOTENCY_TTL,
            channel: &names.channel(pipeline),
            retention,
            shape: first.batch.shape,
        };
        call.command(self.events().map(|event| &event.body()[..]))
    }

    /// Gives each request the ids of its own events.
    fn succeed(self, (ms, seq, count, shape, done): &AppendAnswer) {
        let mut next = EventId { ms: *ms, seq: *seq };
        let is_shared = self.requests.len() > 1;
        for request in self.requests {
            let events = request.batch.events.len() as u64;
            let receipt = Receipt {
                first: next,
                // A repeated answer may belong to a request with another shape.
                count: if is_shared { events } else { *count },
                shape: if is_shared { request.batch.shape } else { shape_named(shape) },
                origin: if *done == STORED { Origin::Stored } else { Origin::Repeated },
            };
            next = next.plus(events);
            let reply = if *done == KEY_REUSED { Err(StoreError::KeyReused) } else { Ok(receipt) };
            // Fails when the publisher has left.
            let _ = request.reply.send(reply);
        }
    }

    fn fail(self, error: &CommandError) {
        let error = error.clone().into_error();
        for request in self.requests {
            let _ = request.reply.send(Err(error.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventLimits;

    fn request(
        pipeline: &str,
        events: usize,
        key: Option<&str>,
    ) -> (AppendRequest, oneshot::Receiver<Result<Receipt, StoreError>>) {
        let limits = EventLimits { max_event_size: 1 << 20, max_batch_events: 1000, max_json_depth: 10 };
        let events = vec![r#"{"channel": "a", "payload": 1}"#; events].join(",");
        let batch = Batch::from_json(format!("[{events}]").as_bytes(), &limits).unwrap();
        let (reply, answer) = oneshot::channel();
        let key = key.map(|key| (key.parse().unwrap(), Digest::of(&batch)));
        (AppendRequest { pipeline: pipeline.parse().unwrap(), batch, key, reply, _reserved: Box::new(()) }, answer)
    }

    fn sizes(calls: &[AppendScriptCall]) -> Vec<(String, usize, usize)> {
        calls
            .iter()
            .map(|call| (call.requests[0].pipeline.to_string(), call.requests.len(), call.events().count()))
            .collect()
    }

    #[test]
    fn requests_for_one_pipeline_share_a_call_unless_keyed() {
        let requests =
            [("p", 1, None), ("q", 2, None), ("p", 3, None), ("p", 1, Some("k")), ("p", 1, None), ("q", 1, None)];
        let calls = share_calls(requests.map(|(pipeline, events, key)| request(pipeline, events, key).0).into_iter());
        let expected = [("p", 2, 4), ("q", 2, 3), ("p", 1, 1), ("p", 1, 1)];
        assert_eq!(sizes(&calls), expected.map(|(pipeline, requests, events)| (pipeline.to_owned(), requests, events)));
    }

    #[tokio::test]
    async fn reserved_memory_is_kept_while_events_wait() {
        let (requests, mut queue) = mpsc::unbounded_channel();
        let appender = Appender { requests };
        let (batch, reserved) = (request("p", 1, None).0.batch, Arc::new(()));
        let pipeline = "p".parse().unwrap();
        let kept = Arc::downgrade(&reserved);
        let publishing = appender.append(&pipeline, batch, None, Box::new(reserved));
        // The publisher leaves, or its request times out.
        assert!(futures_util::FutureExt::now_or_never(publishing).is_none());
        let queued = queue.try_recv().unwrap();
        assert!(queued.reply.is_closed());
        assert!(kept.upgrade().is_some());
        drop(queued);
        assert!(kept.upgrade().is_none());
    }

    #[test]
    fn shared_call_has_a_maximum_size() {
        let calls = share_calls([600, 400, 1, 1000, 1].into_iter().map(|events| request("p", events, None).0));
        assert_eq!(sizes(&calls).iter().map(|(_, _, events)| *events).collect::<Vec<_>>(), [1000, 1, 1000, 1]);
    }

    #[test]
    fn events_of_publishers_that_left_are_not_sent() {
        let (requests, mut answers): (Vec<_>, Vec<_>) =
            [1, 2, 3].map(|events| request("p", events, None)).into_iter().unzip();
        let call = share_calls(requests.into_iter()).remove(0);
        // It timed out while a connection was being made.
        drop(answers.remove(1));
        let call = call.without_abandoned().unwrap();
        assert_eq!(call.events().count(), 4);
        drop(answers);
        assert!(call.without_abandoned().is_none());
    }

    #[test]
    fn shared_call_gives_each_request_its_own_ids() {
        let (requests, mut answers): (Vec<_>, Vec<_>) =
            [2, 1, 3].map(|events| request("p", events, None)).into_iter().unzip();
        let mut calls = share_calls(requests.into_iter());
        calls.remove(0).succeed(&(7, 10, 6, "list".to_owned(), 0));
        let ids = |answer: &mut oneshot::Receiver<Result<Receipt, StoreError>>| {
            answer.try_recv().unwrap().unwrap().ids().map(|id| id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            answers.iter_mut().map(ids).collect::<Vec<_>>(),
            [&["7-10", "7-11"][..], &["7-12"], &["7-13", "7-14", "7-15"]]
        );
    }
}
