//! What runs in the background of a node: each part a task of its own, all owned here.
//!
//! A part lives as long as the node does. One that ends or panics leaves the node half alive, which is worse than a node
//! that is gone: so somebody has to wait for [`Background::ended`] and end the process. What parts do is not known here.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::{Future, pending};

use tokio::task::{Id, JoinError, JoinSet};

/// The tasks of a node. Dropped, it stops them all.
#[derive(Debug, Default)]
pub struct Background {
    tasks: JoinSet<()>,
    parts: HashMap<Id, Part>,
}

/// A part of a node that lives as long as the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The hub's loop, without which no log is opened or read again.
    Hub,
    /// The store's own life: what listens to Redis and appends to it.
    Store,
    /// What reads keys and revocations again.
    Auth,
    /// The listeners.
    Server,
    /// What the service manager hears.
    Supervisor,
    /// The threads that write streams.
    Fanout,
}

/// A part that ended although the node was to go on, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Which one.
    pub part: Part,
    /// In words.
    pub why: String,
}

impl Part {
    /// Whether the node can still drain in order without this part.
    pub fn leaves_a_drain(self) -> bool {
        match self {
            // Streams would stand still, or go on after their right was withdrawn; or the listeners are closed already. All
            // clients are better off on other nodes, and each has a `retry:` of its own, so that they do not come at once.
            Self::Hub | Self::Store | Self::Auth | Self::Server => false,
            // Other streams are as they were: of a fan-out thread only its own were cut.
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

    /// Waits until a part has ended, and takes it out. Cancel safe.
    pub async fn ended(&mut self) -> Ended {
        let (id, why) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, "it came to its end".to_owned()),
            Some(Err(error)) => (error.id(), why(error)),
            None => return pending().await,
        };
        match self.parts.remove(&id) {
            Some(part) => Ended { part, why },
            // Each was entered when it was started.
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

/// What a panic says.
pub fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_or_panics_is_named_with_its_reason() {
        let mut background = Background::default();
        background.spawn(Part::Hub, pending());
        background.spawn(Part::Store, async { panic!("connection {} is lost", 7) });
        let ended = background.ended().await;
        assert_eq!(ended, Ended { part: Part::Store, why: "it panicked: connection 7 is lost".into() });
        background.spawn(Part::Auth, async { panic!("no keys") });
        assert_eq!(background.ended().await, Ended { part: Part::Auth, why: "it panicked: no keys".into() });
        background.spawn(Part::Server, async {});
        assert_eq!(background.ended().await, Ended { part: Part::Server, why: "it came to its end".into() });
    }

    #[tokio::test]
    async fn parts_that_live_are_waited_for_and_stopped_with_their_owner() {
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
