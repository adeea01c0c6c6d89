//! What runs in the background of a node: each part is a task, all owned here.
//!
//! A part lives as long as the node does. If one ends or panics, half of the node still runs, which is worse than none: so the
//! owner has to wait for [`Background::ended`] and end the process. Does not know what the parts do.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::{Future, pending};

use tokio::task::{Id, JoinError, JoinSet};

/// The tasks of a node. Stops them all when dropped.
#[derive(Debug, Default)]
pub struct Background {
    tasks: JoinSet<()>,
    parts: HashMap<Id, Part>,
}

/// A part of a node that lives as long as the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The hub's loop, which opens logs and reads them again.
    Hub,
    /// The store's loop, which listens to Redis and appends to it.
    Store,
    /// The loop that reads keys and revocations again.
    Auth,
    /// The listeners.
    Server,
    /// The loop that reports to the service manager.
    Supervisor,
    /// The threads that write streams.
    Fanout,
}

/// A part that ended before the node did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndedPart {
    /// The part.
    pub part: Part,
    /// Why it ended, in words.
    pub why: String,
}

impl Part {
    /// Whether the node can still drain properly without this part.
    pub fn leaves_a_drain(self) -> bool {
        match self {
            // Streams would stall, or continue after their token was revoked; or the listeners are closed already. All clients
            // are better off on other nodes, and each has its own `retry:`, so that they do not reconnect all at once.
            Self::Hub | Self::Store | Self::Auth | Self::Server => false,
            // Other streams continue: a fan-out thread takes only its own down with it.
            Self::Supervisor | Self::Fanout => true,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hub => "hub",
            Self::Store => "store",
            Self::Auth => "auth",
            Self::Server => "server",
            Self::Supervisor => "supervisor",
            Self::Fanout => "fan-out",
        })
    }
}

impl Background {
    /// Starts a part.
    pub fn spawn(&mut self, part: Part, life: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(life);
        self.parts.insert(task.id(), part);
    }

    /// Waits until a part has ended. Each is returned once. Cancel safe.
    pub async fn ended(&mut self) -> EndedPart {
        let (id, why) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, "it returned".to_owned()),
            Some(Err(error)) => (error.id(), why(error)),
            None => return pending().await,
        };
        match self.parts.remove(&id) {
            Some(part) => EndedPart { part, why },
            // Each was recorded when it was started.
            None => pending().await,
        }
    }
}

fn why(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("it panicked: {}", message(&*panic)),
        Err(error) => error.to_string(),
    }
}

/// The message of a panic.
pub fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ended_part_is_named_with_its_reason() {
        let mut background = Background::default();
        background.spawn(Part::Hub, pending());
        background.spawn(Part::Store, async { panic!("connection {} is lost", 7) });
        let ended = background.ended().await;
        assert_eq!(ended, EndedPart { part: Part::Store, why: "it panicked: connection 7 is lost".into() });
        background.spawn(Part::Auth, async { panic!("no keys") });
        assert_eq!(background.ended().await, EndedPart { part: Part::Auth, why: "it panicked: no keys".into() });
        background.spawn(Part::Server, async {});
        assert_eq!(background.ended().await, EndedPart { part: Part::Server, why: "it returned".into() });
    }

    #[tokio::test]
    async fn living_parts_are_waited_for_and_stopped_with_their_owner() {
        let (alive, mut is_gone) = tokio::sync::oneshot::channel::<()>();
        let mut background = Background::default();
        background.spawn(Part::Hub, async move {
            pending::<()>().await;
            drop(alive);
        });
        let waited = futures_util::FutureExt::now_or_never(background.ended());
        assert_eq!(waited, None);
        assert!(is_gone.try_recv().is_err_and(|error| error == tokio::sync::oneshot::error::TryRecvError::Empty));
        drop(background);
        assert!(is_gone.await.is_err());
    }
}
