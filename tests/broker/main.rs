//! The broker as its users meet it: the real program, real sockets, a real Redis.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(clippy::large_futures, reason = "a test has few of them")]
#![allow(unreachable_pub, reason = "a test program has no outside")]

mod attacks;
mod auth;
mod bench;
mod cli;
mod compression;
mod contiguity;
mod contract;
mod demo;
mod docs;
mod doctor;
mod fanout;
mod far_store;
mod floods;
mod foreign_pages;
mod formats;
mod health;
mod http1;
mod http2;
mod impostors;
mod limits;
mod log_memory;
mod logging;
mod misread;
mod openapi;
mod outage;
mod quick_start;
mod redis_setup;
mod refusals;
mod retries;
mod rust_client;
mod rust_program;
mod secret_urls;
mod sentinel;
mod slow_readers;
mod stopping;
mod store_errors;
mod store_memory;
mod store_refusals;
mod supervisor;
mod support;
mod system;
mod terminal;
mod tls;
mod unreadable;
mod wire;
