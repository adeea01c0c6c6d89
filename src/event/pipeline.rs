//! The pipeline's id: a stream's name as it stands in URLs and in Redis keys.
//!
//! Parsed once at the edge; below it nobody checks again.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A pipeline's name: 1-128 bytes of `A-Z a-z 0-9 . _ ~ -`, the unreserved characters of RFC 3986, but for `.` and `..`.
///
/// Browsers and libraries take those two for steps in a path, also when they are percent-encoded.
/// Cheap to clone. The alphabet leaves out braces, so that the name can stand between the braces
/// that choose a Redis Cluster's hash slot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipelineId(Arc<str>);

/// What is wrong with a pipeline's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pipeline id is 1-128 characters of A-Z a-z 0-9 . _ ~ -, and neither `.` nor `..`")]
pub struct InvalidPipelineId;

impl PipelineId {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The name as it stands in URLs.
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
    fn a_name_is_unreserved_characters_and_nothing_else() {
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
