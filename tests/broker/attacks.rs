//! Hostile clients, one named test for each attack. After each the node still serves, and its memory is back.

mod admin;
mod bodies;
mod damage;
mod histories;
mod http2;
mod http2_floods;
mod injection;
mod json;
mod oversized;
mod smuggling;
mod stalling;
mod tls;

use serde_json::json;

use crate::support::eventually;
use crate::support::node::{Node, Options};

/// What allocators keep all the same: small pieces, and what lies between two that are in use.
const KEPT_BYTES: u64 = 24 << 20;

/// A node under attack.
struct Target {
    node: Node,
    /// Bytes that it had before the attack.
    bytes_before: u64,
}

impl Target {
    async fn start(options: Options) -> Self {
        Self::of(options.start().await).await
    }

    async fn of(node: Node) -> Self {
        // Once before it is measured: what is made at the first request stays.
        assert_serves(&node).await;
        eventually("that reader has left", || async { node.metric("pipecast_streams").await == 0.0 }).await;
        let bytes_before = node.own_bytes();
        Self { node, bytes_before }
    }

    /// How much more memory it has than before.
    fn grown_bytes(&self) -> u64 {
        self.node.own_bytes().saturating_sub(self.bytes_before)
    }

    /// Fails unless the node serves as before, with about the memory that it had. The attackers' connections are closed.
    async fn assert_unharmed(&self) {
        eventually("the memory is back", || async {
            // The allocator gives memory back when it is asked for some, not by a clock.
            assert_serves(&self.node).await;
            self.grown_bytes() <= KEPT_BYTES
        })
        .await;
        assert!(!self.node.log().contains("panicked"), "{}", self.node.log());
    }
}

/// Publishes, reads the stream and reads the history.
async fn assert_serves(node: &Node) {
    const PIPELINE: &str = "still-served";
    let mut stream = node.open(PIPELINE, "").await;
    let id = node.publish(PIPELINE, "a", json!("as before")).await;
    while stream.next().await.id != id {}
    let events = node.history(PIPELINE, "").await;
    assert_eq!(events["events"].as_array().unwrap().last().unwrap()["id"], json!(id));
}
