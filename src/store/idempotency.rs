//! Idempotency: which publishes repeat an earlier one.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ring::digest::{Context, SHA256};

use crate::event::{Batch, Shape};

/// How long a repeated `Idempotency-Key` gets the first answer again.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(600);

/// A publisher's `Idempotency-Key`: 1-255 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct IdempotencyKey(String);

/// A text that is not a valid `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an Idempotency-Key is 1-255 visible ASCII characters")]
pub struct InvalidIdempotencyKey;

impl IdempotencyKey {
    /// The key as the publisher sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidIdempotencyKey;

    fn from_str(key: &str) -> Result<Self, InvalidIdempotencyKey> {
        if (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(key.to_owned()))
        } else {
            Err(InvalidIdempotencyKey)
        }
    }
}

/// A digest of what was sent with a key, to detect a key that is used again for something else: half of the SHA-256 of the events
/// and the request's shape. White space between the parts of the JSON does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Digest([u8; 16]);

impl Digest {
    /// The digest of a batch.
    pub(super) fn of(batch: &Batch) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(match batch.shape {
            Shape::Single => b"1",
            Shape::List => b"n",
        });
        for event in &batch.events {
            // A body ends in a blank line and contains no other, so no two lists of bodies have the same bytes.
            context.update(event.body());
        }
        let mut half = [0; 16];
        half.copy_from_slice(&context.finish().as_ref()[..16]);
        Self(half)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventLimits;

    fn digest(body: &str) -> Digest {
        let limits = EventLimits { max_event_size: 1000, max_batch_events: 10, max_json_depth: 10 };
        Digest::of(&Batch::from_json(body.as_bytes(), &limits).unwrap())
    }

    #[test]
    fn digests_are_equal_only_for_equal_events_and_shape() {
        let one = r#"{"channel":"a","payload":[1,2]}"#;
        assert_eq!(digest(one), digest("{ \"payload\": [1, 2],\n \"channel\": \"a\" }"));
        let others = [
            r#"[{"channel":"a","payload":[1,2]}]"#,
            r#"{"channel":"b","payload":[1,2]}"#,
            r#"{"channel":"a","payload":[1,3]}"#,
            r#"[{"channel":"a","payload":[1,2]},{"channel":"a","payload":[1,2]}]"#,
        ];
        for other in others {
            assert_ne!(digest(one), digest(other), "{other}");
        }
        assert_eq!(digest(one).to_string().len(), 32);
    }
}
