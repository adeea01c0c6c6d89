//! Settings: every key with its default, its range and its description, declared once.
//!
//! Weakest first: defaults, `--config FILE` (TOML), the environment, flags. All errors are reported together. The
//! declarations also make the table in docs/reference/settings.md, which a test compares.
//!
//! There is one file per section, or per few small ones. Each fills in options that the rooms below own; none of them reads
//! settings. Only `app` and `cli`, which are above, use this room.

mod auth;
mod environment;
mod file;
mod limits;
mod process;
mod reader;
mod redis;
mod report;
mod rules;
mod server;
mod sources;
mod stream;

pub use limits::RequestLimits;
pub use process::DrainSettings;
pub use redis::RedisSettings;
pub use report::{InvalidSettings, Row, SettingError};
pub use server::ServerSettings;
pub use sources::Sources;

use crate::auth::AuthOptions;
use crate::event::EventLimits;
use crate::hub::HubOptions;
use crate::limits::LimitOptions;
use crate::logging::LogOptions;
use crate::store::Retention;
use crate::stream::StreamOptions;
use reader::Reader;

/// All settings of a node, checked.
#[derive(Debug)]
pub struct Settings {
    /// Section `server`.
    pub server: ServerSettings,
    /// Section `redis`; none means the embedded store.
    pub redis: Option<RedisSettings>,
    /// Section `history`.
    pub retention: Retention,
    /// `store.memory`, in bytes.
    pub store_memory: usize,
    /// Section `stream`.
    pub stream: StreamOptions,
    /// Section `hub`.
    pub hub: HubOptions,
    /// `fanout.threads`; zero means that hyper carries the streams.
    pub fanout_threads: usize,
    /// Section `limits`: events.
    pub events: EventLimits,
    /// Section `limits`: requests and connections.
    pub requests: RequestLimits,
    /// Section `limits`: counts and rates.
    pub limits: LimitOptions,
    /// Section `auth`.
    pub auth: AuthOptions,
    /// Section `drain`.
    pub drain: DrainSettings,
    /// Section `log`.
    pub log: LogOptions,
}

impl Settings {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// All errors together.
    pub fn load(sources: &Sources) -> Result<(Self, Vec<Row>), InvalidSettings> {
        let mut reader = Reader::new(sources);
        let settings = Self::read(&mut reader);
        let (rows, errors) = reader.finish();
        if errors.is_empty() { Ok((settings, rows)) } else { Err(InvalidSettings(errors)) }
    }

    // The order of reading is the order of the table in docs/reference/settings.md.
    fn read(r: &mut Reader) -> Self {
        let server = server::read(r);
        let auth = auth::read(r, server.listen);
        let redis = redis::read(r);
        let retention = stream::read_history(r);
        let store_memory = stream::read_store_memory(r);
        let stream = stream::read_stream(r);
        Self {
            server,
            auth,
            redis,
            retention,
            store_memory,
            hub: stream::read_hub(r, retention, store_memory, &stream),
            stream,
            fanout_threads: stream::read_fanout_threads(r),
            events: limits::read_events(r),
            requests: limits::read_requests(r),
            limits: limits::read_counts_and_rates(r),
            drain: process::read_drain(r),
            log: process::read_log(r),
        }
    }
}
