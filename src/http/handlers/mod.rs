//! One file a route: what it asks of the node, and the answer.

pub(super) mod history;
pub(super) mod history_pages;
pub(super) mod publish;
mod receive;
pub(super) mod subscribe;
