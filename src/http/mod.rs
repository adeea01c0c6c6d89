//! HTTP: from a listening socket to an answer. The only room that knows hyper.
//!
//! [`listen`](Server) binds the two listeners and accepts; `connection` finds out what a client speaks and serves it; `router`
//! judges each request and gives it to one of the `handlers`, or to `admin`; `error` is the only table from error to status.
//! `web` has the pages for people, `description` the API in OpenAPI. What a route must not decide: what a client gets next
//! (`stream`), whether it may (`auth`, `limits`), and what is stored (`store`).

mod accept;
mod accept_encoding;
mod admin;
mod body;
mod connection;
mod cors;
mod credential;
mod description;
mod error;
mod foreign_page;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handlers;
mod json;
mod listen;
mod opening;
mod pages;
mod permission;
mod query;
mod router;
mod target;
mod tls_files;
mod unread_pages;
mod web;
mod weight;

pub use connection::tls::{Tls, TlsError};
pub use listen::Server;
pub use tls_files::TlsFiles;
