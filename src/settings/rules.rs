//! What the settings mean for requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Settings;
use crate::node::{ChangingPages, Rules};
use crate::stream::life::LifeRules;

/// After this many probe intervals without a probe the node is not ready.
const PROBES: u32 = 3;

impl Settings {
    /// The rules for requests on a node with these settings.
    pub fn rules(&self) -> Rules {
        let stream = &self.stream;
        let life = LifeRules::new(stream.keepalive, stream.write_timeout, stream.max_age, Instant::now());
        let probe_interval = self.redis.as_ref().map(|redis| redis.options.probe_interval);
        Rules {
            events: self.events,
            history: self.retention.limit,
            max_request_size: self.requests.max_request_size,
            histories_bytes: self.requests.histories_bytes,
            http2_max_concurrent_streams: self.requests.http2_max_concurrent_streams,
            request_timeout: self.requests.request_timeout,
            idle_timeout: self.requests.idle_timeout,
            stream: self.stream,
            life: Arc::new(life),
            cors_origins: self.server.cors_origins.clone(),
            changing_pages: self.changing_pages(),
            trusted_proxies: self.server.trusted_proxies.clone(),
            forwarded_header: self.server.forwarded_header,
            has_proxy_header: self.server.has_proxy_header,
            probe_limit: probe_interval.map_or(Duration::MAX, |interval| interval * PROBES),
        }
    }

    fn changing_pages(&self) -> ChangingPages {
        let lists_all = self.server.cors_origins.iter().any(|origin| origin == "*");
        match (self.auth.is_publish_decided, self.server.are_origins_decided) {
            (true, _) => ChangingPages::All,
            (false, false) => ChangingPages::Near,
            (false, true) if lists_all => ChangingPages::All,
            (false, true) => ChangingPages::Listed,
        }
    }
}
