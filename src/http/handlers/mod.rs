//! One file per route: what it needs from the node, and its response.

pub(super) mod history;
pub(super) mod history_pages;
pub(super) mod publish;
mod receive;
pub(super) mod subscribe;
