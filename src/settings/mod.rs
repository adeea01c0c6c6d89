//! Settings: every key, its default, its range and what it is for, declared once.
//!
//! Defaults < `--config FILE` (TOML) < environment < flags. All faults are reported at once. The
//! same declarations make the table in the README, which a test compares.

mod access;
mod reader;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use reader::{Fault, Row};

use crate::auth::AuthOptions;
use crate::event::EventLimits;
use crate::files::pem::check_private_key;
use crate::files::text::read_bytes;
use crate::http::TlsFiles;
use crate::hub::HubOptions;
use crate::limits::LimitOptions;
use crate::limits::proxies::{ForwardedHeader, TrustedProxies};
use crate::log::LogLimits;
use crate::logging::{LogFormat, LogOptions};
use crate::store::Retention;
use crate::store::redis::{RedisOptions, has_password};
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
    /// Most bytes that the embedded store keeps, `store.memory`.
    pub store_memory: usize,
    /// Section `stream`.
    pub stream: StreamSettings,
    /// Section `hub`.
    pub hub: HubOptions,
    /// `fanout.threads`; none means that hyper carries the streams.
    pub fanout_threads: usize,
    /// Section `limits`, as far as it is about events.
    pub events: EventLimits,
    /// Most bytes of a request's body, `limits.max_request_size`.
    pub max_request_size: usize,
    /// Bytes of requests' bodies under way, `limits.bodies`.
    pub bodies_bytes: usize,
    /// Bytes of histories as JSON under way, `limits.histories`.
    pub histories_bytes: usize,
    /// Streams and requests on one connection of HTTP/2, `limits.http2_max_concurrent_streams`.
    pub http2_max_concurrent_streams: u32,
    /// Longest time for a request's head, and again for its body, `limits.request_timeout`.
    pub request_timeout: Duration,
    /// How long a connection may be without a request, `limits.idle_timeout`.
    pub idle_timeout: Duration,
    /// Section `limits`, as far as it is about connections and rates.
    pub limits: LimitOptions,
    /// Section `auth`.
    pub auth: AuthOptions,
    /// Section `drain`.
    pub drain: DrainSettings,
    /// Section `log`.
    pub log: LogOptions,
}

/// Section `server`.
#[derive(Debug)]
pub struct ServerSettings {
    /// Where publishers and readers connect.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/livez` and `/readyz` are.
    pub admin_listen: SocketAddr,
    /// Where the certificate is; none means plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Origins whose pages may use the broker; `*` alone for all.
    pub cors_origins: Vec<String>,
    /// Whether somebody has set them.
    pub are_origins_decided: bool,
    /// Proxies whose word on a client's address is taken.
    pub trusted_proxies: TrustedProxies,
    /// The header in which they name it.
    pub forwarded_header: ForwardedHeader,
    /// Whether connections begin with a PROXY header.
    pub has_proxy_header: bool,
}

/// Section `redis`.
pub struct RedisSettings {
    /// How Redis is reached; certificates are still files.
    pub options: RedisOptions,
    /// `redis.tls_ca`.
    pub tls_ca: Option<PathBuf>,
    /// `redis.tls_cert` and `redis.tls_key`.
    pub tls_client: Option<(PathBuf, PathBuf)>,
}

impl std::fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.options.fmt(f)
    }
}

/// Section `stream`.
#[derive(Clone, Copy, Debug)]
pub struct StreamSettings {
    /// Between two keepalive comments.
    pub keepalive: Duration,
    /// The shortest that a client may ask for.
    pub keepalive_min: Duration,
    /// How long a client may take nothing.
    pub write_timeout: Duration,
    /// After 80-100 % of this a stream is ended.
    pub max_age: Option<Duration>,
    /// The kernel's send buffer for one connection, in bytes.
    pub send_buffer: usize,
    /// Whether clients that accept gzip get it.
    pub compresses: bool,
}

/// Section `drain`.
#[derive(Clone, Copy, Debug)]
pub struct DrainSettings {
    /// From the signal until no new connection is taken.
    pub lead: Duration,
    /// Over which the ends of streams are spread.
    pub window: Duration,
    /// From the signal until the node exits in any case.
    pub deadline: Duration,
}

/// Where settings come from, weakest first.
#[derive(Debug, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The environment; only names of the form `PIPECAST_SECTION__KEY` count.
    pub environment: HashMap<String, String>,
    /// Flags, as keys and values.
    pub flags: Vec<(&'static str, String)>,
}

/// What is wrong with the settings, all of it.
#[derive(Debug)]
pub struct InvalidSettings(pub Vec<Fault>);

impl std::fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let faults: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "{}", faults.join("\n"))
    }
}

impl std::error::Error for InvalidSettings {}

impl Settings {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// Every fault there is.
    pub fn load(sources: &Sources) -> Result<(Self, Vec<Row>), InvalidSettings> {
        let mut reader = Reader::new(sources);
        let settings = Self::read(&mut reader);
        let (rows, faults) = reader.finish();
        if faults.is_empty() { Ok((settings, rows)) } else { Err(InvalidSettings(faults)) }
    }

    fn read(r: &mut Reader) -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        const DAY: Duration = Duration::from_secs(86_400);
        // What is under way needs no more, however large the machine; a quiet node would keep it for long.
        const MOST_UNDER_WAY: u64 = 256 << 20;
        let server = ServerSettings {
            listen: r.address("server.listen", "127.0.0.1:8080", "Where publishers and readers connect."),
            admin_listen: r.address("server.admin_listen", "127.0.0.1:8081", "Where `/metrics`, `/livez` and `/readyz` are."),
            tls: read_tls(r),
            cors_origins: r.origins("server.cors_origins", "*", "Origins whose pages may use the broker, separated by commas. `*` allows all, without credentials; with a list the origin is echoed and credentials are allowed. While neither this nor `auth.publish` is set, pages of other machines can read but not publish or delete, and requests for a public host name are refused."),
            are_origins_decided: r.is_given("server.cors_origins"),
            trusted_proxies: r.networks("server.trusted_proxies", "Networks of proxies, such as `10.0.0.0/8,2001:db8::/32`. A client's address is what they say in `server.forwarded_header`; from others it is ignored."),
            forwarded_header: r.choice("server.forwarded_header", "x-forwarded-for", &[("x-forwarded-for", ForwardedHeader::XForwardedFor), ("forwarded", ForwardedHeader::Forwarded)], "The header in which trusted proxies name the client: `x-forwarded-for`, or `forwarded` (RFC 7239). The other one is ignored: they may pass it on as the client wrote it."),
            has_proxy_header: r.choice("server.proxy_protocol", "off", &[("off", false), ("v2", true)], "`v2`: connections must begin with a header of the PROXY protocol, version 2, and come from `server.trusted_proxies`; others are closed."),
        };
        if server.has_proxy_header && server.trusted_proxies.is_empty() {
            r.fault(
                "server.trusted_proxies",
                "is empty; with server.proxy_protocol = v2 nobody could connect: write the addresses of your proxies",
            );
        }
        let auth = access::read(r, server.listen);
        let redis = read_redis(r);
        let retention = Retention {
            limit: r.count("history.limit", "100", 1..=10_000, "Events kept per pipeline."),
            bytes: r.size(
                "history.bytes",
                "32MiB",
                1 << 10..=1 << 30,
                "Most bytes of them, as SSE text; older events go first, the newest is always kept.",
            ),
            ttl: r.duration(
                "history.ttl",
                "24h",
                SECOND..=DAY * 365,
                "How long a pipeline's history is kept after its last event; longer while it has readers.",
            ),
        };
        // The rest is for sockets, requests and what the allocator keeps.
        let store_memory = r.memory("store.memory", 4, u64::MAX, "Memory for what the embedded store keeps, and again for the histories of pipelines that are open on a node. When the store is full, pipelines without readers are forgotten, those used longest ago first; an eighth of it is for answers to `Idempotency-Key`. When open pipelines take too much, those without readers are closed first, then streams of others are refused. `auto` for a quarter of the machine's or the container's memory.");
        let stream = StreamSettings {
            keepalive: r.duration(
                "stream.keepalive",
                "15s",
                SECOND / 10..=DAY,
                "Between two keepalive comments; keep it below the idle time-out of everything on the way.",
            ),
            keepalive_min: r.duration(
                "stream.keepalive_min",
                "5s",
                SECOND..=SECOND * 60,
                "The shortest `keepalive=` that a client may ask for.",
            ),
            write_timeout: r.duration(
                "stream.write_timeout",
                "30s",
                SECOND / 10..=DAY,
                "A client that takes nothing for so long is closed.",
            ),
            max_age: r.optional_duration(
                "stream.max_age",
                "off",
                SECOND..=DAY * 365,
                "Streams are ended at 80-100 % of this age, so that clients spread over new nodes; `off` for never.",
            ),
            send_buffer: r.size(
                "stream.send_buffer",
                "64KiB",
                4 << 10..=112 << 10,
                "The kernel's send buffer for one connection; the kernel doubles it for its own book-keeping.",
            ),
            compresses: r.choice(
                "stream.compression",
                "false",
                &[("true", true), ("false", false)],
                "With `true`, clients that accept gzip get it; each event is compressed once for all of them.",
            ),
        };
        let linger = r.duration(
            "hub.linger",
            "30s",
            Duration::ZERO..=DAY,
            "How long a pipeline stays open on a node after its last reader has left.",
        );
        let check = r.duration("hub.check_interval", "30s", SECOND / 10..=DAY, "How often open pipelines are compared with the store, and kept from expiring; at most a sixth of `history.ttl` is used.");
        let backlog_bytes = r.size(
            "hub.backlog",
            "4MiB",
            0..=1 << 30,
            "Most bytes of events older than the history that a pipeline's log keeps for connected readers.",
        );
        let backlog_age = r.duration("hub.backlog_age", "5s", Duration::ZERO..=DAY, "How long such events are kept.");
        let hold = r.duration("hub.hold", "1s", Duration::ZERO..=SECOND * 10, "Longest time that a publish is answered late because most of the pipeline's readers on this node lag, but get further; `0s` for never.");
        let hub = HubOptions {
            log_memory: store_memory,
            log: LogLimits {
                history: retention.limit,
                history_bytes: retention.bytes,
                backlog_bytes,
                backlog_age,
                compresses: stream.compresses,
            },
            hold,
            linger,
            check_interval: check.min(retention.ttl / 6),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let fanout_threads = r.count_or("fanout.threads", "auto", cores, 0..=1024, "Threads that write streams to plain HTTP/1.1 connections; `auto` for one a core. With 0 the HTTP library writes them, as it does all others, at several times the cost.");
        let events = EventLimits {
            max_event_size: r.size(
                "limits.max_event_size",
                "256KiB",
                1..=64 << 20,
                "Most bytes of one event: its channel and its compact payload.",
            ),
            max_batch_events: r.count("limits.max_batch_events", "1000", 1..=5000, "Most events in one request."),
            max_json_depth: r.count(
                "limits.max_json_depth",
                "128",
                1..=100_000,
                "Deepest nesting of arrays and objects in a payload.",
            ),
        };
        Self {
            server,
            auth,
            redis,
            retention,
            store_memory,
            stream,
            hub,
            fanout_threads,
            events,
            max_request_size: r.size("limits.max_request_size", "4MiB", 64..=1 << 30, "Most bytes of a request's body."),
            bodies_bytes: r.memory("limits.bodies", 8, MOST_UNDER_WAY, "Memory for the bodies of all requests under way on this node, until their events are stored; a quarter of it for bodies of up to 64 KiB. A request for which there is no room within 2 s is answered with 503. `auto` for an eighth of the machine's or the container's memory, at most 256 MiB."),
            histories_bytes: r.memory("limits.histories", 16, MOST_UNDER_WAY, "Memory for all histories that are being sent as JSON on this node; an HTTP/2 connection has a quarter of it at most. A request for which there is no room within 2 s is answered with 503. `auto` for a sixteenth of the memory, at most 256 MiB."),
            http2_max_concurrent_streams: r.number(
                "limits.http2_max_concurrent_streams",
                "256",
                1..=100_000,
                "Streams and requests that one connection of HTTP/2 may have open at the same time.",
            ),
            request_timeout: r.duration(
                "limits.request_timeout",
                "10s",
                SECOND / 10..=DAY,
                "Longest time for a new connection to begin, for a request's head to arrive, and again for its body.",
            ),
            idle_timeout: r.duration(
                "limits.idle_timeout",
                "75s",
                SECOND / 10..=DAY,
                "How long a connection may stay open without a request. Keep it above what a load balancer has for its own idle connections, 60 s mostly, or now and then a request meets a connection that closes.",
            ),
            limits: read_limits(r),
            drain: DrainSettings {
                lead: r.duration(
                    "drain.lead",
                    "5s",
                    Duration::ZERO..=DAY,
                    "After SIGTERM: how long connections are still taken, so that load balancers notice.",
                ),
                window: r.duration(
                    "drain.window",
                    "20s",
                    Duration::ZERO..=DAY,
                    "Then: over which streams end, at random moments.",
                ),
                deadline: r.duration(
                    "drain.deadline",
                    "30s",
                    Duration::ZERO..=DAY,
                    "From the signal until the node exits in any case.",
                ),
            },
            log: LogOptions {
                format: r.choice(
                    "log.format",
                    "text",
                    &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                    "`text` or `json`.",
                ),
                filter: r.log_filter(
                    "log.filter",
                    "info",
                    "`error`, `warn`, `info`, `debug`, `trace`, or a list such as `info,pipecast::store=debug`. A level alone is about Pipecast's own code; libraries log errors only, unless you name them (`info,h2=debug`).",
                ),
                buffer: r.size(
                    "log.buffer",
                    "1MiB",
                    16 << 10..=1 << 30,
                    "Most bytes of log lines that wait for a slow reader of the log; further lines are dropped and counted.",
                ),
            },
        }
    }
}

fn read_limits(r: &mut Reader) -> LimitOptions {
    let streams = r.optional_count("limits.streams", "auto", 1..=10_000_000, "Streams that this node has open at the same time; connections may be an eighth more. `auto` for what the limit on open files allows.");
    let streams_per_address = r.optional_count("limits.streams_per_address", "off", 1..=10_000_000, "Streams of one client address on this node; `off` for no limit. An IPv6 address counts by its /64; a /56 has four times as much, a /48 sixteen times.");
    let streams_per_pipeline = r.optional_count(
        "limits.streams_per_pipeline",
        "off",
        1..=10_000_000,
        "Streams of one pipeline on this node; `off` for no limit.",
    );
    let connection_rate = r.rate(
        "limits.connection_rate",
        "New connections on this node, such as `500/s`; others are closed. `off` for no limit.",
    );
    let connection_rate_per_address = r.rate_within("limits.connection_rate_per_address", connection_rate, "New connections of one client address, so that none uses up `limits.connection_rate` alone; others are closed. `auto` for a tenth of that, `off` for no limit. An IPv6 address counts by its /64; a /56 has four times as much, a /48 sixteen times.");
    LimitOptions {
        streams,
        streams_per_address,
        streams_per_pipeline,
        connection_rate,
        connection_rate_per_address,
        publish_rate_per_publisher: r.rate("limits.publish_rate_per_publisher", "Events that one publisher may send through this node, such as `100/s`, `600/m` or `1000/h`; `off` for no limit."),
        publish_rate_per_pipeline: r.rate("limits.publish_rate_per_pipeline", "The same for all who publish to one pipeline."),
    }
}

fn read_tls(r: &mut Reader) -> Option<TlsFiles> {
    let cert = r.file("server.tls_cert", "PEM file with the certificate and those that lead to its authority; then `server.listen` speaks TLS alone. Read again when it changes.");
    let key = r.file("server.tls_key", "PEM file with its private key.");
    let (cert, key) = r.pair(("server.tls_cert", cert), ("server.tls_key", key))?;
    Some(TlsFiles { cert, key })
}

fn read_redis(r: &mut Reader) -> Option<RedisSettings> {
    const SECOND: Duration = Duration::from_secs(1);
    let url = r.redis_url("redis.url", "`redis://`, `rediss://` or `redis+unix://`, with user, password and database (`redis://user:secret@host:6379/0`). Empty for the embedded store.");
    let password_file = r.file("redis.password_file", "File with the password, as it is, where `redis.url` has none; a byte order mark and line breaks at its end do not count. Read for each new connection.");
    let tls_ca =
        r.file("redis.tls_ca", "PEM file with the certificate authority for `rediss://`; the system's if empty.");
    let tls_cert = r.file("redis.tls_cert", "PEM file with the client certificate, for servers that ask for one.");
    let tls_key = r.file("redis.tls_key", "PEM file with its private key.");
    let prefix = r.redis_prefix("redis.prefix", "pipecast", "What all keys and channels begin with (`<prefix>:{<pipeline>}:events`): installations that share one Redis need one each.");
    let pool_size =
        r.count("redis.pool_size", "8", 1..=1000, "Connections for what clients ask, such as histories as JSON; six more publish, listen, probe, read for live streams and compare.");
    let timeout = r.duration(
        "redis.timeout",
        "2s",
        SECOND / 100..=SECOND * 2,
        "Longest time for one command, waiting for a connection included. A publish is answered within this.",
    );
    let probe_interval = r.duration("redis.probe_interval", "5s", SECOND / 10..=SECOND * 60, "How often the listening connection must hear its own probe; after three times this without one the node is not ready.");
    let tls_client = r.pair(("redis.tls_cert", tls_cert), ("redis.tls_key", tls_key));
    if password_file.is_some() {
        match &url {
            None => r.fault("redis.password_file", "is of no use without redis.url"),
            Some(url) if has_password(url) => {
                r.fault("redis.password_file", "is one password and redis.url has another: take one away")
            }
            Some(_) => {}
        }
    }
    let options = RedisOptions {
        url: url?,
        password_file,
        tls_ca: None,
        tls_client: None,
        prefix: prefix?,
        pool_size,
        timeout,
        probe_interval,
    };
    Some(RedisSettings { options, tls_ca, tls_client })
}

impl RedisSettings {
    /// Reads the certificate files.
    ///
    /// # Errors
    /// With the path of the file that cannot be read.
    pub fn load_files(&self) -> Result<RedisOptions, std::io::Error> {
        let read = |path: &Path| {
            read_bytes(path).map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        let mut options = self.options.clone();
        options.tls_ca = self.tls_ca.as_deref().map(read).transpose()?;
        options.tls_client = match &self.tls_client {
            Some((cert, key)) => {
                let (cert, key_text) = (read(cert)?, read(key)?);
                check_private_key(&key_text).map_err(|problem| {
                    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("{}: {problem}", key.display()))
                })?;
                Some((cert, key_text))
            }
            None => None,
        };
        Ok(options)
    }
}
