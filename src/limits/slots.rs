//! Slots: what streams and connections occupy on a node, given back when dropped.

use std::net::IpAddr;
use std::sync::Arc;

use super::Limits;
use super::address::AddressBlock;
use super::counts::PipelineHash;
use crate::metrics::Rejection;

/// A stream's slot on the node.
#[derive(Debug)]
pub struct StreamSlot {
    limits: Arc<Limits>,
    client: AddressBlock,
    pipeline: PipelineHash,
    connection: HeldConnection,
}

/// The connection whose slot a stream has taken over: the stream is all that it carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HeldConnection {
    None,
    /// Counted for the node.
    Node,
    /// Counted for the node, and for the stream's client.
    NodeAndClient,
}

/// A connection's slot on the node.
#[derive(Debug)]
pub struct ConnectionSlot {
    limits: Arc<Limits>,
    counted: CountedConnection,
}

/// What a connection is counted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CountedConnection {
    /// Nothing: a stream has taken the slot over.
    Nothing,
    /// The admin listener.
    Admin,
    /// The node.
    Node,
    /// The node, and this client.
    NodeAndClient(AddressBlock),
}

impl StreamSlot {
    /// The slot of a stream that is counted already.
    pub(super) fn counted(limits: &Arc<Limits>, client: AddressBlock, pipeline: PipelineHash) -> Self {
        Self { limits: limits.clone(), client, pipeline, connection: HeldConnection::None }
    }

    /// Takes over the slot of the connection that carries only this stream.
    pub fn hold_connection(&mut self, mut connection: ConnectionSlot) {
        let held = match connection.counted {
            CountedConnection::Node => HeldConnection::Node,
            CountedConnection::NodeAndClient(client) if client == self.client => HeldConnection::NodeAndClient,
            // Dropped here, and so given back for the client that it is counted for.
            _ => return,
        };
        connection.counted = CountedConnection::Nothing;
        self.connection = held;
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.limits.close_stream(self.client, self.pipeline);
        match self.connection {
            HeldConnection::None => {}
            HeldConnection::Node => self.limits.close_connection(CountedConnection::Node),
            HeldConnection::NodeAndClient => {
                self.limits.close_connection(CountedConnection::NodeAndClient(self.client));
            }
        }
        self.limits.freed();
    }
}

impl ConnectionSlot {
    /// The slot of a connection that is counted already.
    pub(super) fn counted(limits: &Arc<Limits>, counted: CountedConnection) -> Self {
        Self { limits: limits.clone(), counted }
    }

    /// Counts the connection for its client, and as one that has just arrived. `client` is `None` when the peer is a proxy
    /// with many clients behind it.
    ///
    /// # Errors
    /// The limit that is reached. When the slot is dropped, it gives back what was counted so far.
    pub fn arrive(&mut self, client: Option<IpAddr>) -> Result<(), Rejection> {
        if let Some(client) = client
            && self.counted == CountedConnection::Node
        {
            self.counted = self.limits.count_client_connection(AddressBlock::of(client))?;
        }
        // Last: a client over another limit must not use up the rate of all.
        self.limits.take_arrival(client)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.limits.close_connection(self.counted);
        self.limits.freed();
    }
}
