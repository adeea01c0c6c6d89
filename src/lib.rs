//! Pipecast: a horizontally scalable broker for Server-Sent Events.
//!
//! ARCHITECTURE.md has the map. Nothing calls upward: app -> server -> node -> store -> core.

pub mod admission;
pub mod announcement;
pub mod app;
pub mod auth;
pub mod available_memory;
pub mod background;
pub mod backoff;
pub mod block;
pub mod cli;
pub mod coding;
pub mod drain;
pub mod event;
pub mod event_id;
pub mod fanout;
pub mod frame;
pub mod gap;
pub mod gzip;
pub mod heard;
pub mod hub;
pub mod limits;
pub mod log;
pub mod log_memory;
pub mod metrics;
pub mod node;
pub mod open_files;
pub mod open_log;
pub mod pace;
pub mod payload;
pub mod pem_file;
pub mod pipeline;
pub mod proxies;
pub mod read_queue;
pub mod refresh;
pub mod server;
pub mod settings;
pub mod store;
pub mod subscription;
pub mod supervisor;
pub mod telemetry;
pub mod text_file;
pub mod visible;
pub mod watched_file;
