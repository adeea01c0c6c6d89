//! The appender: concurrent publishes share round trips to Redis.
//!
//! Requests that wait while others are under way go together, as one pipeline of script calls; one
//! that comes alone goes at once. Each has its own reply and its own error.

use std::sync::Arc;

use deadpool_redis::{Connection, Pool};
use futures_util::future::join_all;
use redis::{Cmd, RedisError, Script, ServerErrorKind};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::redis::Failure;

/// Pipelines under way at the same time: while one is answered, the next can be on its way.
const LANES: usize = 2;

/// Calls in one pipeline.
const CALLS: usize = 128;

/// What the script answers: the first id's `ms` and `seq`, how many events, the shape, and 1 for a repetition.
pub(super) type Answer = (u64, u64, u64, String, u8);

struct Request {
    call: Cmd,
    reply: oneshot::Sender<Result<Answer, Failure>>,
}

/// The store's end of the appender.
pub(super) struct Appender {
    script: Arc<Script>,
    // Bounded by the publishers that wait: each has one request here at most.
    requests: mpsc::UnboundedSender<Request>,
}

/// The appender, and its life, to be run by whoever stops it.
pub(super) fn new(pool: Pool) -> (Appender, impl Future<Output = ()> + Send + use<>) {
    let script = Arc::new(Script::new(include_str!("append.lua")));
    let (requests, queue) = mpsc::unbounded_channel();
    let queue = Arc::new(Mutex::new(queue));
    let lanes: Vec<_> = (0..LANES).map(|_| run(pool.clone(), script.clone(), queue.clone())).collect();
    (Appender { script, requests }, async move {
        join_all(lanes).await;
    })
}

impl Appender {
    /// Calls the script. Dropping the future before the call was sent takes it back.
    ///
    /// # Errors
    /// Of this call alone.
    pub(super) async fn append(&self, keys: &[String], arguments: &[&[u8]]) -> Result<Answer, Failure> {
        let mut call = redis::cmd("EVALSHA");
        call.arg(self.script.get_hash()).arg(keys.len()).arg(keys).arg(arguments);
        let (reply, answer) = oneshot::channel();
        // Nobody takes requests when the node is stopping.
        let _ = self.requests.send(Request { call, reply });
        answer.await.unwrap_or_else(|_| Err(Failure::away("the node is stopping")))
    }
}

async fn run(pool: Pool, script: Arc<Script>, queue: Arc<Mutex<mpsc::UnboundedReceiver<Request>>>) {
    let mut requests = Vec::new();
    loop {
        // One lane waits for requests, the others for the lock: a request goes to whoever is free.
        if queue.lock().await.recv_many(&mut requests, CALLS).await == 0 {
            return;
        }
        // A publisher that was told of a time-out must not find its events stored later.
        requests.retain(|request| !request.reply.is_closed());
        if let Err((requests, failure)) = send(&pool, &script, std::mem::take(&mut requests)).await {
            for request in requests {
                let _ = request.reply.send(Err(failure.clone()));
            }
        }
    }
}

/// Sends requests in one pipeline and gives each its reply; an error is of all that are returned with it.
async fn send(pool: &Pool, script: &Script, requests: Vec<Request>) -> Result<(), (Vec<Request>, Failure)> {
    let mut connection = match pool.get().await {
        Ok(connection) => connection,
        Err(error) => return Err((requests, error.into())),
    };
    let mut unknown = match call(&mut connection, requests).await {
        Ok(unknown) => unknown,
        Err((requests, error)) => return Err((requests, error.into())),
    };
    if !unknown.is_empty() {
        // A server that was restarted does not know the script any more, and has done nothing.
        if let Err(error) = script.load_async(&mut connection).await {
            return Err((unknown, error.into()));
        }
        unknown = match call(&mut connection, unknown).await {
            Ok(unknown) => unknown,
            Err((requests, error)) => return Err((requests, error.into())),
        };
    }
    match unknown.is_empty() {
        true => Ok(()),
        false => Err((unknown, Failure::away("Redis forgets the script that it was just given"))),
    }
}

/// One round trip. Returns the requests for which the server did not know the script.
async fn call(connection: &mut Connection, requests: Vec<Request>) -> Result<Vec<Request>, (Vec<Request>, RedisError)> {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    for request in &requests {
        pipeline.add_command(request.call.clone());
    }
    let answers: Vec<Result<Answer, RedisError>> = match pipeline.query_async(connection).await {
        Ok(answers) => answers,
        Err(error) => return Err((requests, error)),
    };
    let mut unknown = Vec::new();
    for (request, answer) in requests.into_iter().zip(answers) {
        match answer {
            Err(error) if error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript) => unknown.push(request),
            // A publisher that has gone meanwhile gets no answer.
            answer => drop(request.reply.send(answer.map_err(Failure::from))),
        }
    }
    Ok(unknown)
}
