//! The end of a node: what makes it stop, and how it drains.
//!
//! In order: not ready, no new connections, streams end one by one, the deadline. A second signal ends it at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::background::{Background, EndedPart, Part};
use super::stop_signals::{StopSignal, StopSignals};
use super::supervisor::Supervisor;
use crate::node::Node;
use crate::node::drain::NodePhase;
use crate::settings::DrainSettings;

/// How long the process may need after the drain's deadline to end, on a busy machine.
const EXIT_TIME: Duration = Duration::from_secs(10);

/// How a node ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeExit {
    /// As asked, at the deadline at the latest.
    Drained,
    /// At a second signal, with streams open.
    Interrupted,
    /// Because a part of it failed.
    Failed,
}

pub(super) enum StopReason {
    Signal(StopSignal),
    Failed(EndedPart),
}

/// A node that runs, and all that can end it.
pub(super) struct Running {
    pub(super) node: Arc<Node>,
    pub(super) drain: DrainSettings,
    pub(super) signals: StopSignals,
    pub(super) supervisor: Supervisor,
    pub(super) background: Background,
}

/// The times of one drain, from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct DrainPlan {
    /// How long the node still serves, so that load balancers notice.
    lead: Duration,
    /// How long the ends of streams are spread over.
    window: Duration,
    /// When it ends in any case.
    deadline: Duration,
}

impl DrainPlan {
    /// The plan for this reason; `None` when a drain would do harm.
    fn new(reason: &StopReason, settings: &DrainSettings) -> Option<Self> {
        let DrainSettings { lead, window, deadline } = *settings;
        match reason {
            StopReason::Signal(StopSignal::Terminate) => Some(Self { lead: lead.min(deadline), window, deadline }),
            // A person at a terminal has no load balancer that must notice, and does not want to wait.
            StopReason::Signal(StopSignal::Interrupt) => {
                Some(Self { lead: Duration::ZERO, window: Duration::ZERO, deadline })
            }
            StopReason::Failed(ended) => {
                ended.part.leaves_a_drain().then_some(Self { lead: lead.min(deadline), window, deadline })
            }
        }
    }
}

impl Running {
    /// Waits for a reason to stop.
    pub(super) async fn until_stop(&mut self) -> StopReason {
        let reason = tokio::select! {
            signal = self.signals.next() => StopReason::Signal(signal),
            ended = self.background.ended() => StopReason::Failed(ended),
            why = self.node.fanout.ended() => StopReason::Failed(EndedPart { part: Part::Fanout, why }),
        };
        if let StopReason::Failed(EndedPart { part, why }) = &reason {
            tracing::error!(%part, why, "a part of this node has failed, so the node stops; restart it");
        }
        reason
    }

    /// Drains the node until all connections are closed, the deadline, or another signal.
    pub(super) async fn drain(mut self, reason: StopReason) -> NodeExit {
        let Some(plan) = DrainPlan::new(&reason, &self.drain) else { return NodeExit::Failed };
        let began = Instant::now();
        let streams = self.node.metrics.streams_open();
        let DrainPlan { lead, window, deadline } = plan;
        tracing::info!(streams, ?lead, ?window, "stopping; a second signal stops at once");
        self.supervisor.stopping(deadline + EXIT_TIME);
        self.node.drain.enter(NodePhase::Leaving);
        tokio::select! {
            () = sleep_until(began + lead) => {}
            _ = self.signals.next() => return self.interrupted(),
        }
        self.node.drain.enter(NodePhase::Draining);
        self.node.hub.start_drain(window);
        tokio::select! {
            () = server_ended(&mut self.background) => tracing::info!("stopped; all connections are closed"),
            () = sleep_until(began + deadline) => {
                let streams = self.node.metrics.streams_open();
                tracing::warn!(streams, "stopped at drain.deadline with streams open");
            }
            _ = self.signals.next() => return self.interrupted(),
        }
        match reason {
            StopReason::Signal(_) => NodeExit::Drained,
            StopReason::Failed(_) => NodeExit::Failed,
        }
    }

    fn interrupted(&self) -> NodeExit {
        tracing::warn!(streams = self.node.metrics.streams_open(), "stopped at the second signal");
        NodeExit::Interrupted
    }
}

/// Waits until the last connection is closed. Another part that ends meanwhile changes nothing.
async fn server_ended(background: &mut Background) {
    loop {
        let EndedPart { part, why } = background.ended().await;
        if part == Part::Server {
            return;
        }
        tracing::error!(%part, why, "a part of this node has failed during the drain");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drain_depends_on_why_the_node_stops() {
        const SECOND: Duration = Duration::from_secs(1);
        let settings = DrainSettings { lead: SECOND * 5, window: SECOND * 20, deadline: SECOND * 3 };
        let plan = |reason| DrainPlan::new(&reason, &settings).map(|plan| (plan.lead, plan.window));
        let failed = |part| StopReason::Failed(EndedPart { part, why: String::new() });
        assert_eq!(plan(StopReason::Signal(StopSignal::Terminate)), Some((SECOND * 3, SECOND * 20)));
        assert_eq!(plan(StopReason::Signal(StopSignal::Interrupt)), Some((Duration::ZERO, Duration::ZERO)));
        assert_eq!(plan(failed(Part::Fanout)), Some((SECOND * 3, SECOND * 20)));
        assert_eq!(plan(failed(Part::Hub)), None);
    }
}
