//! The call of the script that deletes a history.

use std::time::Duration;

use redis::{Script, ScriptInvocation};

use super::millis::millis;

/// The script. Its comments describe its arguments and its answer.
pub(super) struct DeleteScript(Script);

impl Default for DeleteScript {
    fn default() -> Self {
        Self(Script::new(include_str!("delete.lua")))
    }
}

impl DeleteScript {
    /// A call for this list; `ttl` is how long its newest id is kept.
    pub(super) fn call(&self, list: &str, channel: &str, ttl: Duration) -> ScriptInvocation<'_> {
        let mut call = self.0.key(list);
        call.arg(millis(ttl)).arg(channel);
        call
    }
}
