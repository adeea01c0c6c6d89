//! Limits: what clients use of them, and what was rejected.

use prometheus::{IntGauge, Result};

use super::Observed;
use super::label::label;
use super::registration::{CounterBy, Registration, set};

label! {
    /// Why a stream, a request or a connection was rejected.
    pub Rejection {
        /// The node is shutting down.
        Draining => "draining",
        /// The request is malformed.
        BadRequest => "bad_request",
        /// A body, a batch or an event exceeds its limit.
        TooLarge => "too_large",
        /// The body did not arrive within `limits.request_timeout`.
        RequestTimeout => "request_timeout",
        /// The store could not be reached, or failed.
        StoreUnavailable => "store_unavailable",
        /// No memory left for a body (`limits.bodies`).
        BodyMemoryLimit => "body_memory_limit",
        /// No memory left for a history as JSON (`limits.histories`).
        HistoryMemoryLimit => "history_memory_limit",
        /// The embedded store is full, and all its pipelines have subscribers.
        StoreMemoryLimit => "store_memory_limit",
        /// The node has `limits.streams` streams.
        StreamLimit => "stream_limit",
        /// The client's address has `limits.streams_per_address` streams.
        AddressStreamLimit => "address_stream_limit",
        /// The pipeline has `limits.streams_per_pipeline` streams on this node.
        PipelineStreamLimit => "pipeline_stream_limit",
        /// Open pipelines use all of `store.memory`, and this one is not open.
        EventBufferLimit => "event_buffer_limit",
        /// A connection above those of all streams and the headroom for publishers.
        ConnectionLimit => "connection_limit",
        /// The same for the client's address.
        AddressConnectionLimit => "address_connection_limit",
        /// A connection above `limits.connection_rate`.
        ConnectionRate => "connection_rate",
        /// A connection above `limits.connection_rate_per_address`.
        AddressConnectionRate => "address_connection_rate",
        /// An event above `limits.publish_rate_per_publisher`.
        PublishRate => "publish_rate",
        /// An event above `limits.publish_rate_per_pipeline`.
        PipelinePublishRate => "pipeline_publish_rate",
        /// The system could not accept a connection, usually because the process ran out of files.
        AcceptFailed => "accept_failed",
        /// A connection without a PROXY header from a trusted proxy.
        ProxyHeader => "proxy_header",
        /// A TLS handshake failed, or the client aborted it.
        TlsHandshake => "tls_handshake",
        /// An HTTP/2 connection sent too many frames that request nothing.
        Http2Flood => "http2_flood",
        /// A connection above the few of the admin listener.
        AdminConnectionLimit => "admin_connection_limit",
        /// The token is missing or invalid.
        Unauthorized => "unauthorized",
        /// The token is valid but lacks the permission.
        Forbidden => "forbidden",
        /// The keys that tokens are verified with have not been fetched yet.
        JwksUnavailable => "jwks_unavailable",
    }
}

pub(super) struct Limits {
    connections: IntGauge,
    streams: IntGauge,
    bodies_bytes: IntGauge,
    histories_bytes: IntGauge,
    pub(super) rejected: CounterBy<Rejection>,
}

impl Limits {
    pub(super) fn register(registration: &Registration<'_>) -> Result<Self> {
        Ok(Self {
            connections: registration.gauge(
                "pipecast_connections",
                "Open connections on the public listener, including those that carry streams.",
            )?,
            streams: registration.gauge(
                "pipecast_streams_limit",
                "Maximum number of streams on this node: limits.streams, or what the open-file limit allows.",
            )?,
            bodies_bytes: registration.gauge(
                "pipecast_bodies_bytes",
                "Bytes of memory reserved for request bodies in progress; limits.bodies is the maximum.",
            )?,
            histories_bytes: registration.gauge(
                "pipecast_histories_bytes",
                "Bytes of memory reserved for JSON histories being sent; limits.histories is the maximum.",
            )?,
            rejected: registration.counter_by(
                "pipecast_rejected_total",
                "Rejected requests, streams and connections, by reason.",
                "reason",
            )?,
        })
    }

    pub(super) fn observe(&self, observed: &Observed) {
        set(&self.connections, observed.connections);
        set(&self.streams, observed.streams_limit);
        set(&self.bodies_bytes, observed.bodies_bytes);
        set(&self.histories_bytes, observed.histories_bytes);
    }
}
