//! The trial: at the start, each call that is made later is made once, on a pipeline that no publisher can name.
//!
//! A missing permission is then an error at the start, and not at the first event. What the trial stores expires in seconds.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Script, ScriptInvocation};

use super::append_script::{APPEND, AppendCall};
use super::command_error::CommandError;
use super::delete_script::DeleteScript;
use super::histories::{AboutCall, Histories, PageCall};
use super::keys::{Names, TrialNames};
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

/// Every call that is made later, once.
pub(super) struct TrialCalls<'a> {
    names: TrialNames,
    probe: Cmd,
    append: Script,
    publish: Cmd,
    page: PageCall<'a>,
    about: AboutCall<'a>,
    newest: ScriptInvocation<'a>,
    delete: ScriptInvocation<'a>,
}

impl<'a> TrialCalls<'a> {
    pub(super) fn new(
        names: &Names,
        retention: Retention,
        histories: &'a Histories,
        delete: &'a DeleteScript,
        newest: &'a NewestScript,
    ) -> Self {
        let trial = names.trial();
        let retention = Retention { ttl: TTL, ..retention };
        let append = Script::new(APPEND);
        let publish = AppendCall {
            script: append.get_hash(),
            list: &trial.list,
            began: &names.began(),
            answer: Some((&trial.answer, "0")),
            answer_ttl: TTL,
            channel: &trial.channel,
            retention,
            shape: Shape::Single,
        };
        let one = PageStart::Newest { count: 1, channels: &[] };
        Self {
            probe: redis::cmd("SET").arg(names.new_probe()).arg("").arg("PX").arg(millis(TTL)).to_owned(),
            publish: publish.command([&b"event: trial\ndata: null\n\n"[..]].into_iter()),
            page: histories.page_of_list(&trial.list, one, PageBounds::WHOLE),
            about: histories.about_list(&trial.list),
            newest: newest.call_on(names.began(), std::iter::once(trial.list.clone()), retention),
            delete: delete.call(&trial.list, &trial.channel, TTL),
            append,
            names: trial,
        }
    }

    /// Makes all calls on one connection; `doing` is what the last one was for.
    async fn make(&self, connection: &mut MultiplexedConnection, doing: &mut &'static str) -> Result<(), RedisError> {
        let channel = &self.names.channel;
        *doing = "to listen";
        connection.subscribe(channel).await?;
        connection.unsubscribe(channel).await?;
        *doing = "a probe";
        self.probe.query_async::<()>(connection).await?;
        redis::cmd("PUBLISH").arg(channel).arg("").query_async::<()>(connection).await?;
        *doing = "to store events";
        self.append.load_async(connection).await?;
        self.publish.query_async::<redis::Value>(connection).await?;
        *doing = "to read histories";
        self.page.run(connection).await?;
        self.about.run(connection).await?;
        *doing = "to compare histories";
        self.newest.invoke_async::<redis::Value>(connection).await?;
        *doing = "to delete histories";
        self.delete.invoke_async::<redis::Value>(connection).await?;
        *doing = "to reuse a connection";
        try_optional(connection, redis::cmd("UNWATCH"), "UNWATCH", "each read of a history opens a connection").await?;
        *doing = "to notice a restart";
        let info = redis::cmd("INFO").arg("replication").to_owned();
        try_optional(
            connection,
            info,
            "INFO",
            "clients that resume before their first event are not told of a restart that lost some",
        )
        .await
    }
}

/// Makes the calls.
///
/// # Errors
/// What no retry would fix.
pub(super) async fn run(shared: &SharedConnection, calls: TrialCalls<'_>) -> Result<Reached, RedisSetupError> {
    let mut doing = "the connection";
    // Each by itself within `redis.timeout`: over a long distance, all of them may take longer.
    match shared.run(async |connection| calls.make(connection, &mut doing).await).await {
        Ok(()) => Ok(Reached::Yes),
        Err(CommandError::Unfit(unfit)) => Err(unfit.into()),
        // A command that the server does not know, or knows by another name, is the same as one that is not allowed.
        Err(CommandError::Denied { source, .. } | CommandError::Unexpected { source, .. }) => {
            Err(RedisSetupError::Refused { doing, problem: source })
        }
        Err(error) => Ok(Reached::No(error.into_error())),
    }
}

/// Tries a command without which a node works less well.
///
/// `UNWATCH` is sent by the pool of `deadpool-redis` with the `PING` of each checkout.
async fn try_optional(
    connection: &mut MultiplexedConnection,
    command: Cmd,
    name: &'static str,
    otherwise: &'static str,
) -> Result<(), RedisError> {
    let tried = command.query_async::<redis::Value>(connection).await;
    match tried.map_err(|error| (error.clone(), error.into())) {
        Err((error, CommandError::Denied { .. } | CommandError::Unexpected { .. })) => {
            tracing::warn!(%error, "Redis does not allow {name}, so {otherwise}; allow it (docs/operate/redis.md)");
            Ok(())
        }
        Err((error, _)) => Err(error),
        Ok(_) => Ok(()),
    }
}
