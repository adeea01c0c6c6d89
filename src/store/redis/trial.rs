//! The trial: at the start, each call that is made later is made once, on a pipeline that nobody can name.
//!
//! A missing permission is then an error at the start, and not at the first event. What the trial stores expires in seconds.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Script};

use super::append_script::{APPEND, AppendCall};
use super::command_error::CommandError;
use super::forget_script::ForgetScript;
use super::histories::Histories;
use super::keys::Names;
use super::millis::millis;
use super::newest::NewestScript;
use super::setup_error::RedisSetupError;
use super::shared_connection::SharedConnection;
use crate::event::Shape;
use crate::store::page::{PageBounds, PageStart};
use crate::store::{Retention, StoreError};

/// Redis deletes what the trial stores after this time.
const TTL: Duration = Duration::from_secs(10);

/// Whether the server answered at the start.
#[derive(Debug)]
pub enum Reached {
    /// It did, and can be used.
    Yes,
    /// It did not; the node starts and waits for it.
    No(StoreError),
}

/// Tries everything on one connection.
///
/// # Errors
/// What no retry would fix.
pub(super) async fn run(
    shared: &SharedConnection,
    names: &Names,
    retention: Retention,
    histories: &Histories,
    forget: &ForgetScript,
    newest: &NewestScript,
) -> Result<Reached, RedisSetupError> {
    let trial = names.trial();
    let retention = Retention { ttl: TTL, ..retention };
    let append = Script::new(APPEND);
    let publish = AppendCall {
        script: append.get_hash(),
        list: &trial.list,
        answer: Some((&trial.answer, "0")),
        answer_ttl: TTL,
        channel: &trial.channel,
        retention,
        shape: Shape::Single,
    };
    let publish = publish.command([&b"event: trial\ndata: null\n\n"[..]].into_iter());
    let probe = redis::cmd("SET").arg(names.new_probe()).arg("").arg("PX").arg(millis(TTL)).to_owned();
    let page = histories.page_of_list(&trial.list, PageStart::Newest { count: 1, channels: &[] }, PageBounds::WHOLE);
    let about = histories.about_list(&trial.list);
    let newest = newest.call_on(std::iter::once(trial.list.clone()), retention);
    let forget = forget.call(&trial.list, &trial.channel, TTL);

    let mut doing = "the connection";
    // Each by itself within `redis.timeout`: over a long distance, all of them may take longer.
    let tried = shared.run(async |connection| {
        doing = "to listen";
        connection.subscribe(&trial.channel).await?;
        connection.unsubscribe(&trial.channel).await?;
        doing = "a probe";
        probe.query_async::<()>(connection).await?;
        redis::cmd("PUBLISH").arg(&trial.channel).arg("").query_async::<()>(connection).await?;
        doing = "to store events";
        append.load_async(connection).await?;
        publish.query_async::<redis::Value>(connection).await?;
        doing = "to read histories";
        page.run(connection).await?;
        about.run(connection).await?;
        doing = "to compare histories";
        newest.invoke_async::<redis::Value>(connection).await?;
        doing = "to delete histories";
        forget.invoke_async::<redis::Value>(connection).await?;
        doing = "to reuse a connection";
        try_unwatch(connection).await
    });
    match tried.await {
        Ok(()) => Ok(Reached::Yes),
        Err(CommandError::Unfit(unfit)) => Err(unfit.into()),
        // A command that the server does not know, or knows by another name, is the same as one that is not allowed.
        Err(CommandError::Denied { source, .. } | CommandError::Unexpected { source, .. }) => {
            Err(RedisSetupError::Refused { doing, problem: source })
        }
        Err(error) => Ok(Reached::No(error.into_error())),
    }
}

/// The pool of `deadpool-redis` sends `UNWATCH` with the `PING` of each checkout. Without the permission it still works, with
/// a new connection for every read of a history.
async fn try_unwatch(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    match redis::cmd("UNWATCH").query_async::<()>(connection).await.map_err(|error| (error.clone(), error.into())) {
        Err((error, CommandError::Denied { .. } | CommandError::Unexpected { .. })) => {
            tracing::warn!(%error, "Redis does not allow UNWATCH, so each read of a history opens a connection; allow it (README: Redis rights)");
            Ok(())
        }
        Err((error, _)) => Err(error),
        Ok(()) => Ok(()),
    }
}
