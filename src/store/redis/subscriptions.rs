//! Which pipelines this node wants notifications of, and which of them the connection at hand has subscribed to. Pure: no I/O.

use std::collections::{HashMap, VecDeque};

use crate::event::PipelineId;

/// Maximum commands followed at once.
pub(super) const COMMANDS_AT_ONCE: usize = 250;

/// Maximum channels in one SUBSCRIBE: a few commands for thousands of pipelines, none of them huge. Twice as many as commands
/// are followed at once: the rest of the room belongs to pipelines that were subscribed to before, so that they have their turn
/// even if commands keep coming.
pub(super) const CHANNELS_PER_COMMAND: usize = 2 * COMMANDS_AT_ONCE;

/// What the store asks of the listener.
#[derive(Debug)]
pub(super) enum ListenerCommand {
    /// Listen to this pipeline.
    Watch(PipelineId),
    /// Stop listening to it.
    Unwatch(PipelineId),
}

/// Whether the server has ever confirmed a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Confirmation {
    /// Clients wait for the first one.
    Never,
    /// Notifications have arrived before.
    Before,
}

/// What to send to the server next.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Changes {
    /// Pipelines to unsubscribe from, sent first.
    pub(super) unsubscribe: Vec<PipelineId>,
    /// Pipelines to subscribe to, at most [`CHANNELS_PER_COMMAND`].
    pub(super) subscribe: Vec<PipelineId>,
}

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    wanted: HashMap<PipelineId, Confirmation>,
    /// Not subscribed to yet on the connection at hand, most urgent first. Some may no longer be wanted.
    pending: VecDeque<PipelineId>,
}

impl Subscriptions {
    /// Follows a command while there is no connection.
    pub(super) fn follow(&mut self, command: ListenerCommand) {
        match command {
            ListenerCommand::Watch(pipeline) => self.wanted.insert(pipeline, Confirmation::Never),
            ListenerCommand::Unwatch(pipeline) => self.wanted.remove(&pipeline),
        };
    }

    /// A new connection has subscribed to nothing. Pipelines without any confirmation come first: their clients have received
    /// nothing yet.
    pub(super) fn start_over(&mut self) {
        let with = |confirmation| self.wanted.iter().filter(move |(_, is)| **is == confirmation).map(|(id, _)| id);
        self.pending = with(Confirmation::Never).chain(with(Confirmation::Before)).cloned().collect();
    }

    /// Whether there is something to subscribe to besides new commands.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Follows commands, and picks as many pending pipelines as one SUBSCRIBE has room for besides.
    pub(super) fn next_changes(&mut self, commands: impl Iterator<Item = ListenerCommand>) -> Changes {
        // The last command about a pipeline counts: one that was left and opened again stays.
        let mut changes = Changes::default();
        for command in commands {
            match &command {
                ListenerCommand::Watch(pipeline) => {
                    changes.unsubscribe.retain(|other| other != pipeline);
                    changes.subscribe.push(pipeline.clone());
                }
                ListenerCommand::Unwatch(pipeline) => {
                    changes.subscribe.retain(|other| other != pipeline);
                    changes.unsubscribe.push(pipeline.clone());
                }
            }
            self.follow(command);
        }
        let room = CHANNELS_PER_COMMAND.saturating_sub(changes.subscribe.len()).min(self.pending.len());
        changes.subscribe.extend(self.pending.drain(..room).filter(|pipeline| self.wanted.contains_key(pipeline)));
        changes
    }

    /// The server has confirmed these subscriptions.
    pub(super) fn confirm(&mut self, pipelines: &[PipelineId]) {
        for pipeline in pipelines {
            self.wanted.insert(pipeline.clone(), Confirmation::Before);
        }
    }

    /// How many pipelines are wanted.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> PipelineId {
        name.parse().unwrap()
    }

    fn ids(names: &[&str]) -> Vec<PipelineId> {
        names.iter().map(|name| id(name)).collect()
    }

    fn watch(name: &str) -> ListenerCommand {
        ListenerCommand::Watch(id(name))
    }

    fn unwatch(name: &str) -> ListenerCommand {
        ListenerCommand::Unwatch(id(name))
    }

    #[test]
    fn last_command_about_a_pipeline_counts() {
        let mut subscriptions = Subscriptions::default();
        let commands = [watch("a"), watch("b"), unwatch("a"), unwatch("c"), watch("c")];
        let changes = subscriptions.next_changes(commands.into_iter());
        assert_eq!(changes, Changes { unsubscribe: ids(&["a"]), subscribe: ids(&["b", "c"]) });
    }

    #[test]
    fn new_connection_subscribes_to_unconfirmed_pipelines_first() {
        let mut subscriptions = Subscriptions::default();
        for name in ["old-1", "old-2", "new"] {
            subscriptions.follow(watch(name));
        }
        subscriptions.confirm(&ids(&["old-1", "old-2"]));
        subscriptions.start_over();
        assert!(subscriptions.has_pending());
        let changes = subscriptions.next_changes([unwatch("old-1")].into_iter());
        assert_eq!(changes, Changes { unsubscribe: ids(&["old-1"]), subscribe: ids(&["new", "old-2"]) });
        assert!(!subscriptions.has_pending());
        subscriptions.start_over();
        assert_eq!(subscriptions.next_changes(std::iter::empty()).subscribe.len(), 2);
    }

    #[test]
    fn pending_pipelines_advance_while_commands_keep_coming() {
        let mut subscriptions = Subscriptions::default();
        for n in 0..10 * CHANNELS_PER_COMMAND {
            subscriptions.follow(watch(&format!("p-{n}")));
        }
        subscriptions.start_over();
        let mut rounds = 0;
        while subscriptions.has_pending() {
            let commands = (0..COMMANDS_AT_ONCE).map(|n| watch(&format!("new-{rounds}-{n}")));
            let changes = subscriptions.next_changes(commands);
            assert!(changes.subscribe.len() <= CHANNELS_PER_COMMAND);
            rounds += 1;
        }
        assert_eq!(rounds, 10 * CHANNELS_PER_COMMAND / (CHANNELS_PER_COMMAND - COMMANDS_AT_ONCE));
    }
}
