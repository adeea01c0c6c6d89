//! The trial: at the start, each call that is made later is made once, on a pipeline that nobody can name.
//!
//! A right that is missing is then an error at the start, and not one at the first event. What it stores is gone in seconds.

use std::time::Duration;

use redis::{RedisError, Script};

use super::{Reached, RedisSetupError, RedisStore, millis};
use crate::event::Shape;
use crate::store::Retention;
use crate::store::page::{PageBounds, PageStart};
use crate::store::redis::append_script::{APPEND, AppendCall};
use crate::store::redis::failure::Failure;

/// What is stored is forgotten by Redis after so long.
const TTL: Duration = Duration::from_secs(10);

/// Tries everything on one connection.
pub(super) async fn run(store: &RedisStore) -> Result<Reached, RedisSetupError> {
    let trial = store.names.trial();
    let retention = Retention { ttl: TTL, ..store.retention };
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
    let mut forget = store.forget.key(&trial.list);
    forget.arg(millis(TTL)).arg(&trial.channel).arg("PUBLISH");
    let probe = redis::cmd("SET").arg(store.names.new_probe()).arg("").arg("PX").arg(millis(TTL)).to_owned();

    let one = PageStart::Newest { count: 1, channels: &[] };
    let page = store.pages.page(&trial.list, retention, one, PageBounds::WHOLE);
    let about = store.pages.about(&trial.list, retention);

    let newest = store.newest.call_on(std::iter::once(trial.list.clone()), retention);

    let mut doing = "the connection";
    // Each by itself within `redis.timeout`: all of them through a long way may take longer.
    let tried = store.live.run(async |connection| {
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
        page.invoke_async::<redis::Value>(connection).await?;
        about.invoke_async::<redis::Value>(connection).await?;
        doing = "to compare histories";
        newest.invoke_async::<redis::Value>(connection).await?;
        doing = "to forget histories";
        forget.invoke_async::<redis::Value>(connection).await?;
        Ok::<_, RedisError>(())
    });
    match tried.await {
        Ok(()) => Ok(Reached::Yes),
        Err(Failure::Unfit(unfit)) => Err(unfit.into()),
        // A command that the server does not know, or knows by another name, comes to the same as one that is not allowed.
        Err(Failure::Denied { text, .. } | Failure::Unexpected { text, .. }) => {
            Err(RedisSetupError::Refused { doing, problem: text })
        }
        Err(failure) => Ok(Reached::No(failure.into_error())),
    }
}
