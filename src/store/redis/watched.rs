//! What a node wants to hear: pipelines, as far as orders about them were followed.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;

use tokio::sync::mpsc;

use crate::event::PipelineId;

/// Orders followed at once.
pub(super) const ORDERS_AT_ONCE: usize = 250;

/// Orders to the listener.
#[derive(Debug)]
pub(super) enum Order {
    /// Its notifications are wanted.
    Watch(PipelineId),
    /// They are not any more.
    Unwatch(PipelineId),
}

/// Whether a pipeline's notifications have come before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    /// Clients wait for the first subscription.
    Never,
    /// They have been heard.
    Before,
}

/// What is to be heard, as far as orders were followed.
pub(super) struct Watched {
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    /// And whether it ever was.
    pub(super) pipelines: HashMap<PipelineId, Heard>,
}

impl Watched {
    pub(super) fn new(orders: mpsc::UnboundedReceiver<Order>) -> Self {
        Self { orders, pipelines: HashMap::new() }
    }

    /// Follows orders until something else is done for which there need be no connection. Left alone they would become more with
    /// each pipeline that comes and goes while the server is away.
    pub(super) async fn follow_until<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        let mut orders = Vec::new();
        loop {
            tokio::select! {
                biased;
                done = &mut other => return done,
                count = self.orders.recv_many(&mut orders, ORDERS_AT_ONCE) => {
                    if count == 0 {
                        // The node has let go of its store; its runtime ends this task.
                        return std::future::pending().await;
                    }
                    for order in orders.drain(..) {
                        self.follow(&order);
                    }
                }
            }
        }
    }

    /// Follows one.
    pub(super) fn follow(&mut self, order: &Order) {
        match order {
            Order::Watch(pipeline) => self.pipelines.insert(pipeline.clone(), Heard::Never),
            Order::Unwatch(pipeline) => self.pipelines.remove(pipeline),
        };
    }

    /// All pipelines, those that were never heard first: they have clients who have got nothing yet.
    pub(super) fn by_urgency(&self) -> VecDeque<PipelineId> {
        let of =
            |wanted| self.pipelines.iter().filter(move |(_, heard)| **heard == wanted).map(|(pipeline, _)| pipeline);
        of(Heard::Never).chain(of(Heard::Before)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pipelines_that_come_and_go_while_there_is_no_connection_leave_nothing() {
        const PIPELINES: usize = 200_000;
        let (sender, orders) = mpsc::unbounded_channel();
        let mut watched = Watched::new(orders);
        let pipeline = |n: usize| format!("p_{n}").parse::<PipelineId>().unwrap();
        sender.send(Order::Watch(pipeline(PIPELINES))).unwrap();
        for n in 0..PIPELINES {
            sender.send(Order::Watch(pipeline(n))).unwrap();
            sender.send(Order::Unwatch(pipeline(n))).unwrap();
        }
        let away = async {
            for _ in 0..4 * PIPELINES / ORDERS_AT_ONCE {
                tokio::task::yield_now().await;
            }
        };
        watched.follow_until(away).await;
        assert_eq!((watched.orders.len(), watched.pipelines.len()), (0, 1));
        assert_eq!(watched.by_urgency(), [pipeline(PIPELINES)]);
    }
}
