//! Pipecast: a horizontally scalable broker for Server-Sent Events.
//!
//! # A tour
//!
//! `main` parses the command line ([`cli`]); `pipecast serve` reads the [`settings`] and hands them to [`app`], which binds a
//! node's addresses, runs it and drains it.
//!
//! A request arrives in [`http`]. To publish, the body becomes a batch of [`event`]s, [`limits`] and [`auth`] agree, and the
//! [`store`] gives each event its id, keeps it and notifies every node of it. To subscribe, the request becomes a [`stream`].
//!
//! A node holds a [`log`] for each pipeline that has streams: its own copy of the history, with a cursor for each stream. The
//! [`hub`] opens logs, reads the store's history into them, applies notifications, and reads again whatever was missed. Its
//! wakers wake the streams, and each sends the frames ([`sse`]) after its cursor.
//!
//! [`node`] holds these parts together for one process, and [`metrics`] counts. Leaves that anything may use: [`files`],
//! [`logging`], [`visible`], [`backoff`], [`clock`].
//!
//! # Rooms and their order
//!
//! Each room knows those below it and none above; a test compares this list with the imports.
//!
//! ```text
//! cli
//! app
//! settings
//! http
//! node
//! stream
//! hub
//! limits
//! metrics
//! store
//! log
//! sse
//! auth
//! event
//! files
//! logging
//! visible
//! backoff
//! clock
//! ```
//!
//! ARCHITECTURE.md has the invariants, and docs/design/decisions the reasons for what looks odd.

pub mod app;
pub mod auth;
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod event;
pub mod files;
pub mod http;
pub mod hub;
pub mod limits;
pub mod log;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod settings;
pub mod sse;
pub mod store;
pub mod stream;
pub mod visible;
