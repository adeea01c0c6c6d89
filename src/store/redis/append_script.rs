//! The call of the script that stores events: its arguments, in order.

use std::time::Duration;

use redis::Cmd;

use super::millis::millis;
use crate::event::Shape;
use crate::store::Retention;

/// The script. Its comments describe its arguments and its answer.
pub(super) const APPEND: &str = concat!(include_str!("began.lua"), include_str!("append.lua"));

/// One call of the script.
pub(super) struct AppendCall<'a> {
    /// Its SHA-1, for `EVALSHA`.
    pub(super) script: &'a str,
    pub(super) list: &'a str,
    /// The key of when the set of data began.
    pub(super) began: &'a str,
    /// With an `Idempotency-Key`: where the answer is kept, and the digest of the events.
    pub(super) answer: Option<(&'a str, &'a str)>,
    /// How long the answer is kept.
    pub(super) answer_ttl: Duration,
    pub(super) channel: &'a str,
    pub(super) retention: Retention,
    pub(super) shape: Shape,
}

impl AppendCall<'_> {
    /// The command, with the bodies of the events, oldest first.
    pub(super) fn command<'a>(&self, bodies: impl Iterator<Item = &'a [u8]>) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.script).arg(2 + usize::from(self.answer.is_some())).arg(self.list).arg(self.began);
        if let Some((key, _)) = self.answer {
            command.arg(key);
        }
        let Retention { limit, bytes, ttl } = self.retention;
        command.arg(limit).arg(bytes).arg(millis(ttl)).arg(self.channel).arg(shape_name(self.shape));
        command.arg(self.answer.map_or("", |(_, digest)| digest)).arg(millis(self.answer_ttl));
        bodies.for_each(|body| {
            command.arg(body);
        });
        command
    }
}

/// The shape as the script stores it.
pub(super) fn shape_name(shape: Shape) -> &'static str {
    match shape {
        Shape::Single => "single",
        Shape::List => "list",
    }
}

/// The shape that the script returns.
pub(super) fn shape_named(name: &str) -> Shape {
    if name == shape_name(Shape::Single) { Shape::Single } else { Shape::List }
}
