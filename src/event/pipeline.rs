//! A pipeline's id, as used in URLs and Redis keys. Parsed once, and never checked again.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A pipeline's id: 1-128 bytes of `A-Z a-z 0-9 . _ ~ -`, the unreserved characters of RFC 3986, except `.` and `..`.
///
/// Browsers and libraries treat those two as steps in a path, even percent-encoded. Braces are not allowed, because the id is
/// put between the braces that select a Redis Cluster's hash slot. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipelineId(Arc<str>);

/// Text that is not a pipeline's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pipeline id is 1-128 characters of A-Z a-z 0-9 . _ ~ -, and neither `.` nor `..`")]
pub struct InvalidPipelineId;

impl PipelineId {
    /// Maximum length in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PipelineId {
    type Err = InvalidPipelineId;

    fn from_str(name: &str) -> Result<Self, InvalidPipelineId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        let is_step = matches!(name, "." | "..");
        if (1..=Self::MAX_BYTES).contains(&name.len()) && name.bytes().all(allowed) && !is_step {
            Ok(Self(name.into()))
        } else {
            Err(InvalidPipelineId)
        }
    }
}

impl Borrow<str> for PipelineId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_are_allowed() {
        fn check(name: &str, is_valid: bool) {
            assert_eq!(name.parse::<PipelineId>().is_ok(), is_valid, "{name:?}");
        }
        check("p_aBcDeF", true);
        check("a", true);
        check("...", true);
        check(".a", true);
        check("A.b_c~d-9", true);
        check(&"x".repeat(128), true);
        check(&"x".repeat(129), false);
        for bad in ["", " ", "a b", "a/b", "a{b}", "a:b", "ä", "a\n", "a*", "a%41", ".", ".."] {
            check(bad, false);
        }
    }
}
