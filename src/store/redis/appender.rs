//! The appender: concurrent publishes share round trips to Redis.
//!
//! Requests that wait while others are under way go together, as one pipeline of script calls; one
//! that comes alone goes at once. Those for the same pipeline share a call, which costs Redis a
//! tenth of a call for each; every request has its own reply, and its events stay together.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use redis::{Cmd, RedisError, Script, ServerErrorKind};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::append_script::{APPEND, AppendCall, shape_named};
use super::failure::Failure;
use super::keys::Names;
use super::wire::{Line, Wire};
use crate::event::{Batch, Event, EventId, PipelineId};
use crate::store::idempotency::Digest;
use crate::store::{Hold, IDEMPOTENCY_TTL, IdempotencyKey, Origin, Receipt, Retention, StoreError};

/// Connections, each with one round trip under way: while one is answered, the next can be on its way.
pub(super) const LANES: usize = 2;

/// Requests in one round trip.
const REQUESTS: usize = 256;

/// A call takes no further request once it has so many events, or bytes of them: Redis does nothing else
/// while it runs a script.
const CALL_EVENTS: usize = 1000;
const CALL_BYTES: usize = 64 << 10;

/// What the script answers: the first id's `ms` and `seq`, how many events, the shape, and what it did, see [`STORED`].
type Answer = (u64, u64, u64, String, u8);

/// What the script did: it stored the events, or the key was used for other events; else it repeats an earlier answer.
const STORED: u8 = 0;
const KEY_REUSED: u8 = 2;

struct Request {
    pipeline: PipelineId,
    batch: Batch,
    key: Option<(IdempotencyKey, Digest)>,
    reply: oneshot::Sender<Result<Receipt, StoreError>>,
    /// Dropped with the batch.
    _hold: Hold,
}

/// Requests that one call of the script serves: of one pipeline, and one alone if it has a key.
struct Call {
    requests: Vec<Request>,
    events: usize,
    bytes: usize,
}

/// The store's end of the appender.
pub(super) struct Appender {
    // Requests stay here until their turn, also when their publishers have left; what they hold is bounded by whoever
    // gave it to them.
    requests: mpsc::UnboundedSender<Request>,
}

/// The appender, and its life, to be run by whoever stops it.
pub(super) fn new(
    wires: [Arc<Wire>; LANES],
    names: &Names,
    retention: Retention,
) -> (Appender, impl Future<Output = ()> + Send + use<>) {
    let (requests, queue) = mpsc::unbounded_channel();
    let queue = Arc::new(Mutex::new(queue));
    let script = Arc::new(Script::new(APPEND));
    let lane =
        |wire| Lane { wire, names: names.clone(), retention, script: script.clone(), queue: queue.clone() }.run();
    let lanes: Vec<_> = wires.into_iter().map(lane).collect();
    (Appender { requests }, async move {
        join_all(lanes).await;
    })
}

impl Appender {
    /// Stores a batch. Dropping the future before the batch was sent takes it back.
    ///
    /// # Errors
    /// Of the call that it went with.
    pub(super) async fn append(
        &self,
        pipeline: &PipelineId,
        batch: Batch,
        key: Option<&IdempotencyKey>,
        hold: Hold,
    ) -> Result<Receipt, StoreError> {
        let (reply, answer) = oneshot::channel();
        let key = key.map(|key| (key.clone(), Digest::of(&batch)));
        // Nobody takes requests when the node is stopping.
        let _ = self.requests.send(Request { pipeline: pipeline.clone(), batch, key, reply, _hold: hold });
        answer.await.unwrap_or_else(|_| Err(StoreError::Away("the node is stopping".to_owned())))
    }
}

/// One connection and whoever sends on it.
struct Lane {
    wire: Arc<Wire>,
    names: Names,
    retention: Retention,
    script: Arc<Script>,
    queue: Arc<Mutex<mpsc::UnboundedReceiver<Request>>>,
}

impl Lane {
    async fn run(self) {
        let mut requests = Vec::new();
        loop {
            // One lane waits for requests, the others for the lock: a request goes to whoever is free.
            if self.queue.lock().await.recv_many(&mut requests, REQUESTS).await == 0 {
                return;
            }
            if let Err((calls, failure)) = self.send(share_calls(requests.drain(..))).await {
                calls.into_iter().for_each(|call| call.fail(&failure));
            }
        }
    }

    /// Makes the calls in one round trip; an error is of all that are returned with it.
    async fn send(&self, calls: Vec<Call>) -> Result<(), (Vec<Call>, Failure)> {
        let mut line = match self.wire.line().await {
            Ok(line) => line,
            Err(failure) => return Err((calls, failure)),
        };
        let unknown = self.call(&mut line, calls).await?;
        if unknown.is_empty() {
            return Ok(());
        }
        // A server that was restarted does not know the script any more, and has done nothing.
        if let Err(error) = self.script.load_async(&mut line.connection).await {
            let failure = Failure::from(error);
            self.wire.report(&line, &Err::<(), _>(failure.clone()));
            return Err((unknown, failure));
        }
        let unknown = self.call(&mut line, unknown).await?;
        match unknown.is_empty() {
            true => Ok(()),
            false => Err((unknown, Failure::away("Redis forgets the script that it was just given"))),
        }
    }

    /// One round trip. Returns the calls for which the server did not know the script.
    async fn call(&self, line: &mut Line, calls: Vec<Call>) -> Result<Vec<Call>, (Vec<Call>, Failure)> {
        // Here and nowhere earlier: a publisher that was told of a time-out, while a connection was made for instance,
        // must not find its events stored later.
        let calls: Vec<_> = calls.into_iter().filter_map(Call::without_those_who_left).collect();
        if calls.is_empty() {
            return Ok(calls);
        }
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for call in &calls {
            pipeline.add_command(call.command(self.script.get_hash(), &self.names, self.retention));
        }
        let answers: Vec<Result<Answer, RedisError>> = match pipeline.query_async(&mut line.connection).await {
            Ok(answers) => answers,
            Err(error) => {
                let failure = Failure::from(error);
                self.wire.report(line, &Err::<(), _>(failure.clone()));
                return Err((calls, failure));
            }
        };
        let mut unknown = Vec::new();
        for (call, answer) in calls.into_iter().zip(answers) {
            match answer {
                Ok(answer) => {
                    self.wire.report(line, &Ok(()));
                    call.succeed(&answer);
                }
                Err(error) if error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript) => unknown.push(call),
                Err(error) => {
                    let failure = Failure::from(error);
                    self.wire.report(line, &Err::<(), _>(failure.clone()));
                    call.fail(&failure);
                }
            }
        }
        Ok(unknown)
    }
}

/// Puts requests of the same pipeline together, in the order in which they came.
fn share_calls(requests: impl Iterator<Item = Request>) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
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
        // The answer that is kept for a key is of one request.
        if request.key.is_some() {
            open.remove(&request.pipeline);
        } else {
            open.insert(request.pipeline.clone(), calls.len());
        }
        calls.push(Call { requests: vec![request], events, bytes });
    }
    calls
}

impl Call {
    fn events(&self) -> impl Iterator<Item = &Event> {
        self.requests.iter().flat_map(|request| &request.batch.events)
    }

    /// The call without requests that nobody waits for; `None` when that is all of them.
    fn without_those_who_left(mut self) -> Option<Self> {
        self.requests.retain(|request| !request.reply.is_closed());
        (!self.requests.is_empty()).then_some(self)
    }

    fn command(&self, script: &str, names: &Names, retention: Retention) -> Cmd {
        // A call has at least one request, and all are of its pipeline.
        let first = &self.requests[0];
        let pipeline = &first.pipeline;
        let kept = first.key.as_ref().map(|(key, digest)| (names.answer(pipeline, key), digest.to_string()));
        let call = AppendCall {
            script,
            list: &names.list(pipeline),
            answer: kept.as_ref().map(|(key, digest)| (&**key, &**digest)),
            answer_ttl: IDEMPOTENCY_TTL,
            channel: &names.channel(pipeline),
            retention,
            shape: first.batch.shape,
        };
        call.command(self.events().map(|event| &event.body()[..]))
    }

    /// Gives each request the ids of its own events.
    fn succeed(self, (ms, seq, count, shape, done): &Answer) {
        let mut next = EventId { ms: *ms, seq: *seq };
        let is_shared = self.requests.len() > 1;
        for request in self.requests {
            let events = request.batch.events.len() as u64;
            let receipt = Receipt {
                first: next,
                // A repeated answer may be of a request that was not like this one.
                count: if is_shared { events } else { *count },
                shape: if is_shared { request.batch.shape } else { shape_named(shape) },
                origin: if *done == STORED { Origin::Stored } else { Origin::Repeated },
            };
            next = next.plus(events);
            let reply = if *done == KEY_REUSED { Err(StoreError::KeyReused) } else { Ok(receipt) };
            // A publisher that has gone meanwhile gets no answer.
            let _ = request.reply.send(reply);
        }
    }

    fn fail(self, failure: &Failure) {
        let error = failure.clone().into_error();
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
    ) -> (Request, oneshot::Receiver<Result<Receipt, StoreError>>) {
        let limits = EventLimits { max_event_size: 1 << 20, max_batch_events: 1000, max_json_depth: 10 };
        let events = vec![r#"{"channel": "a", "payload": 1}"#; events].join(",");
        let batch = Batch::from_json(format!("[{events}]").as_bytes(), &limits).unwrap();
        let (reply, answer) = oneshot::channel();
        let key = key.map(|key| (key.parse().unwrap(), Digest::of(&batch)));
        (Request { pipeline: pipeline.parse().unwrap(), batch, key, reply, _hold: Box::new(()) }, answer)
    }

    fn sizes(calls: &[Call]) -> Vec<(String, usize, usize)> {
        calls
            .iter()
            .map(|call| (call.requests[0].pipeline.to_string(), call.requests.len(), call.events().count()))
            .collect()
    }

    #[test]
    fn requests_of_one_pipeline_share_a_call_and_those_with_a_key_have_their_own() {
        let requests =
            [("p", 1, None), ("q", 2, None), ("p", 3, None), ("p", 1, Some("k")), ("p", 1, None), ("q", 1, None)];
        let calls = share_calls(requests.map(|(pipeline, events, key)| request(pipeline, events, key).0).into_iter());
        let expected = [("p", 2, 4), ("q", 2, 3), ("p", 1, 1), ("p", 1, 1)];
        assert_eq!(sizes(&calls), expected.map(|(pipeline, requests, events)| (pipeline.to_owned(), requests, events)));
    }

    #[tokio::test]
    async fn what_a_publisher_reserved_is_kept_for_as_long_as_its_events_wait() {
        let (requests, mut queue) = mpsc::unbounded_channel();
        let appender = Appender { requests };
        let (batch, reserved) = (request("p", 1, None).0.batch, Arc::new(()));
        let pipeline = "p".parse().unwrap();
        let publishing = appender.append(&pipeline, batch, None, Box::new(reserved.clone()));
        // The publisher leaves, or its time is over.
        assert!(futures_util::FutureExt::now_or_never(publishing).is_none());
        let queued = queue.try_recv().unwrap();
        assert!(queued.reply.is_closed());
        assert_eq!(Arc::strong_count(&reserved), 2);
        drop(queued);
        assert_eq!(Arc::strong_count(&reserved), 1);
    }

    #[test]
    fn a_call_does_not_grow_without_end() {
        let calls = share_calls([600, 400, 1, 1000, 1].into_iter().map(|events| request("p", events, None).0));
        assert_eq!(sizes(&calls).iter().map(|(_, _, events)| *events).collect::<Vec<_>>(), [1000, 1, 1000, 1]);
    }

    #[test]
    fn events_of_publishers_that_have_left_are_not_sent() {
        let (requests, mut answers): (Vec<_>, Vec<_>) =
            [1, 2, 3].map(|events| request("p", events, None)).into_iter().unzip();
        let call = share_calls(requests.into_iter()).remove(0);
        // Told of a time-out while a connection was made.
        drop(answers.remove(1));
        let call = call.without_those_who_left().unwrap();
        assert_eq!(call.events().count(), 4);
        drop(answers);
        assert!(call.without_those_who_left().is_none());
    }

    #[test]
    fn each_request_gets_the_ids_of_its_own_events() {
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
