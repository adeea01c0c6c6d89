//! The load generator behind `pipecast bench`: it puts load on any server of Server-Sent Events and measures it.
//!
//! The crate depends on nothing of the broker and knows servers only by their HTTP. It reads no command line and prints nothing: a caller
//! fills in [`Options`], makes a [`Bench`], runs it in a thread and gets a [`Report`].
//!
//! # How it measures
//!
//! One thread with one epoll loop holds all streams and publishes too, so the time an event takes is measured on one clock. The load
//! generator is its own HTTP client: what it costs must stay far below what the server does, and the report says when it did not.
//!
//! # A guided tour
//!
//! Read from the top down; each part uses only those below it.
//!
//! - `bench`: what a caller sees. It checks the options and starts the workload. `error` says why a run measured nothing.
//! - `workload`: what a run does step by step, one file per kind of load: idle streams, events at a rate or as fast as possible, a
//!   storm of clients. `measurement` has the steps that they share, and fills in the `report`.
//! - `engine`: the epoll loop. It passes each ready socket to a publisher or a subscriber, and sends each event on time. `own_load`
//!   measures the loop itself.
//! - `publishers` and `subscribers`: the connections. A publisher sends one request after another; a subscriber holds one stream.
//!   `shared` is what all of them use.
//! - `http`: the bytes. `target` writes requests for a server, `preset` knows the addresses of several kinds of servers, `response`
//!   reads what they answer.
//! - `tally`: the accounts. Every payload carries a `stamp`: its publisher, its place in the publisher's sequence, and its time. With the
//!   stamps the tally knows for each subscriber which events arrived, which are lost, duplicated or late, and how long they took.
//! - `clock` and `kernel`: time, and the memory and CPU time of processes. Everything above uses them.

// epoll, timerfd and /proc.
#![cfg(target_os = "linux")]

mod bench;
mod clock;
mod engine;
mod error;
mod http;
mod kernel;
mod publishers;
pub mod report;
mod shared;
mod subscribers;
mod tally;
mod workload;

pub use bench::{Bench, Options};
pub use engine::{Progress, Stopper};
pub use error::BenchError;
pub use http::{Preset, TargetError, TargetOptions};
pub use report::Report;
pub use tally::MIN_PAYLOAD_BYTES;
pub use workload::{Idle, Load, Storm, Workload};
