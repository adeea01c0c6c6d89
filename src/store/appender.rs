//! The appender: concurrent publishes share round trips to Redis.
//!
//! Requests that wait while others are under way go together, as one pipeline of script calls; one
//! that comes alone goes at once. Those for the same pipeline share a call, which costs Redis a
//! tenth of a call for each; every request has its own reply, and its events stay together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, PushKind, RedisError, Script, ServerErrorKind};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::connector::Connector;
use super::keys::Prefix;
use super::redis::{Failure, RedisOptions, millis};
use super::{IDEMPOTENCY_TTL, IdempotencyKey, Origin, Receipt, Retention};
use crate::event::{Batch, Event, Shape};
use crate::event_id::EventId;
use crate::pipeline::PipelineId;

/// Connections, each with one round trip under way: while one is answered, the next can be on its way.
const LANES: usize = 2;

/// Requests in one round trip.
const REQUESTS: usize = 256;

/// A call takes no further request once it has so many events, or bytes of them: Redis does nothing else
/// while it runs a script.
const CALL_EVENTS: usize = 1000;
const CALL_BYTES: usize = 64 << 10;

/// What the script answers: the first id's `ms` and `seq`, how many events, the shape, and 1 for a repetition.
type Answer = (u64, u64, u64, String, u8);

struct Request {
    pipeline: PipelineId,
    batch: Batch,
    key: Option<IdempotencyKey>,
    reply: oneshot::Sender<Result<Receipt, Failure>>,
}

/// Requests that one call of the script serves: of one pipeline, and one alone if it has a key.
struct Call {
    requests: Vec<Request>,
    events: usize,
    bytes: usize,
}

/// The store's end of the appender.
pub(super) struct Appender {
    // Bounded by the publishers that wait: each has one request here at most.
    requests: mpsc::UnboundedSender<Request>,
}

/// The appender, and its life, to be run by whoever stops it.
pub(super) fn new(
    connector: &Connector,
    options: &RedisOptions,
    retention: Retention,
) -> (Appender, impl Future<Output = ()> + Send + use<>) {
    let (requests, queue) = mpsc::unbounded_channel();
    let queue = Arc::new(Mutex::new(queue));
    let script = Arc::new(Script::new(include_str!("append.lua")));
    let lane = || Lane {
        connector: connector.clone(),
        timeout: options.timeout,
        prefix: options.prefix.clone(),
        retention,
        script: script.clone(),
        queue: queue.clone(),
        connection: None,
    };
    let lanes: Vec<_> = (0..LANES).map(|_| lane().run()).collect();
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
    ) -> Result<Receipt, Failure> {
        let (reply, answer) = oneshot::channel();
        // Nobody takes requests when the node is stopping.
        let _ = self.requests.send(Request { pipeline: pipeline.clone(), batch, key: key.cloned(), reply });
        answer.await.unwrap_or_else(|_| Err(Failure::away("the node is stopping")))
    }
}

/// One connection and whoever sends on it.
struct Lane {
    connector: Connector,
    timeout: std::time::Duration,
    prefix: Prefix,
    retention: Retention,
    script: Arc<Script>,
    queue: Arc<Mutex<mpsc::UnboundedReceiver<Request>>>,
    /// None until it is needed, and after it was lost.
    connection: Option<(MultiplexedConnection, Arc<AtomicBool>)>,
}

impl Lane {
    async fn run(mut self) {
        let mut requests = Vec::new();
        loop {
            // One lane waits for requests, the others for the lock: a request goes to whoever is free.
            if self.queue.lock().await.recv_many(&mut requests, REQUESTS).await == 0 {
                return;
            }
            // A publisher that was told of a time-out must not find its events stored later.
            requests.retain(|request| !request.reply.is_closed());
            if let Err((calls, failure)) = self.send(share_calls(requests.drain(..))).await {
                // Whatever went wrong, the next one begins with a fresh connection.
                self.connection = None;
                calls.into_iter().for_each(|call| call.fail(&failure));
            }
        }
    }

    /// Makes the calls in one round trip; an error is of all that are returned with it.
    async fn send(&mut self, calls: Vec<Call>) -> Result<(), (Vec<Call>, Failure)> {
        if calls.is_empty() {
            return Ok(());
        }
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => return Err((calls, error.into())),
        };
        let unknown = self.call(&mut connection, calls).await?;
        if unknown.is_empty() {
            return Ok(());
        }
        // A server that was restarted does not know the script any more, and has done nothing.
        if let Err(error) = self.script.load_async(&mut connection).await {
            return Err((unknown, error.into()));
        }
        let unknown = self.call(&mut connection, unknown).await?;
        match unknown.is_empty() {
            true => Ok(()),
            false => Err((unknown, Failure::away("Redis forgets the script that it was just given"))),
        }
    }

    /// One round trip. Returns the calls for which the server did not know the script.
    async fn call(
        &self,
        connection: &mut MultiplexedConnection,
        calls: Vec<Call>,
    ) -> Result<Vec<Call>, (Vec<Call>, Failure)> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for call in &calls {
            pipeline.add_command(call.command(self.script.get_hash(), &self.prefix, self.retention));
        }
        let answers: Vec<Result<Answer, RedisError>> = match pipeline.query_async(connection).await {
            Ok(answers) => answers,
            Err(error) => return Err((calls, error.into())),
        };
        let mut unknown = Vec::new();
        for (call, answer) in calls.into_iter().zip(answers) {
            match answer {
                Ok(answer) => call.succeed(&answer),
                Err(error) if error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript) => unknown.push(call),
                Err(error) => call.fail(&error.into()),
            }
        }
        Ok(unknown)
    }

    /// The connection, made anew if the server has closed it.
    async fn connection(&mut self) -> Result<MultiplexedConnection, RedisError> {
        if let Some((connection, is_closed)) = &self.connection
            && !is_closed.load(Ordering::Acquire)
        {
            return Ok(connection.clone());
        }
        let is_closed = Arc::new(AtomicBool::new(false));
        let closed = is_closed.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_push_sender(move |push: redis::PushInfo| {
                if push.kind == PushKind::Disconnection {
                    closed.store(true, Ordering::Release);
                }
                Ok::<_, std::convert::Infallible>(())
            });
        let connection = self.connector.connect(&config).await?;
        self.connection = Some((connection.clone(), is_closed));
        Ok(connection)
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

    fn command(&self, script: &str, prefix: &Prefix, retention: Retention) -> Cmd {
        // A call has at least one request, and all are of its pipeline.
        let first = &self.requests[0];
        let pipeline = &first.pipeline;
        let mut command = redis::cmd("EVALSHA");
        command.arg(script).arg(1 + usize::from(first.key.is_some())).arg(prefix.list(pipeline));
        if let Some(key) = &first.key {
            command.arg(prefix.answer(pipeline, key));
        }
        command.arg(retention.limit).arg(millis(retention.ttl)).arg(prefix.channel(pipeline)).arg("PUBLISH");
        command.arg(shape_name(first.batch.shape)).arg(millis(IDEMPOTENCY_TTL));
        for event in self.events() {
            command.arg(&event.body()[..]);
        }
        command
    }

    /// Gives each request the ids of its own events.
    fn succeed(self, (ms, seq, count, shape, is_repeated): &Answer) {
        let mut next = EventId { ms: *ms, seq: *seq };
        let is_shared = self.requests.len() > 1;
        for request in self.requests {
            let events = request.batch.events.len() as u64;
            let receipt = Receipt {
                first: next,
                // A repeated answer may be of a request that was not like this one.
                count: if is_shared { events } else { *count },
                shape: if is_shared { request.batch.shape } else { shape_named(shape) },
                origin: if *is_repeated == 1 { Origin::Repeated } else { Origin::Stored },
            };
            next = next.plus(events);
            // A publisher that has gone meanwhile gets no answer.
            let _ = request.reply.send(Ok(receipt));
        }
    }

    fn fail(self, failure: &Failure) {
        for request in self.requests {
            let _ = request.reply.send(Err(failure.clone()));
        }
    }
}

fn shape_name(shape: Shape) -> &'static str {
    match shape {
        Shape::Single => "single",
        Shape::List => "list",
    }
}

fn shape_named(name: &str) -> Shape {
    if name == shape_name(Shape::Single) { Shape::Single } else { Shape::List }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventLimits;

    fn request(
        pipeline: &str,
        events: usize,
        key: Option<&str>,
    ) -> (Request, oneshot::Receiver<Result<Receipt, Failure>>) {
        let limits = EventLimits { event_bytes: 1 << 20, batch: 1000, depth: 10 };
        let events = vec![r#"{"channel": "a", "payload": 1}"#; events].join(",");
        let batch = Batch::from_json(format!("[{events}]").as_bytes(), &limits).unwrap();
        let (reply, answer) = oneshot::channel();
        let key = key.map(|key| key.parse().unwrap());
        (Request { pipeline: pipeline.parse().unwrap(), batch, key, reply }, answer)
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

    #[test]
    fn a_call_does_not_grow_without_end() {
        let calls = share_calls([600, 400, 1, 1000, 1].into_iter().map(|events| request("p", events, None).0));
        assert_eq!(sizes(&calls).iter().map(|(_, _, events)| *events).collect::<Vec<_>>(), [1000, 1, 1000, 1]);
    }

    #[test]
    fn each_request_gets_the_ids_of_its_own_events() {
        let (requests, mut answers): (Vec<_>, Vec<_>) =
            [2, 1, 3].map(|events| request("p", events, None)).into_iter().unzip();
        let mut calls = share_calls(requests.into_iter());
        calls.remove(0).succeed(&(7, 10, 6, "list".to_owned(), 0));
        let ids = |answer: &mut oneshot::Receiver<Result<Receipt, Failure>>| {
            answer.try_recv().unwrap().unwrap().ids().map(|id| id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            answers.iter_mut().map(ids).collect::<Vec<_>>(),
            [&["7-10", "7-11"][..], &["7-12"], &["7-13", "7-14", "7-15"]]
        );
    }
}
