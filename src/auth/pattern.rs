//! Patterns that name pipelines: an exact name, a prefix followed by `*`, or just `*`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::event::PipelineId;

/// The pipelines that a right applies to: `p_abc`, `p_*` or `*`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    /// The name, or its prefix.
    text: Box<str>,
    is_prefix: bool,
}

/// A text that is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pattern is a pipeline name, a prefix followed by `*`, or `*`")]
pub struct InvalidPattern;

impl Pattern {
    /// Whether the pattern matches this pipeline.
    pub fn matches(&self, pipeline: &PipelineId) -> bool {
        match self.is_prefix {
            true => pipeline.as_str().starts_with(&*self.text),
            false => *self.text == *pipeline.as_str(),
        }
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let beginning = text.strip_suffix('*');
        let name = beginning.unwrap_or(text);
        // Only `*` itself has an empty prefix. `.` and `..` are not names, but can begin one.
        let is_beginning = beginning.is_some() && matches!(name, "." | "..");
        let is_valid = text == "*" || is_beginning || name.parse::<PipelineId>().is_ok();
        is_valid.then(|| Self { text: name.into(), is_prefix: beginning.is_some() }).ok_or(InvalidPattern)
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        text.parse()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.is_prefix { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, pipeline: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(&pipeline.parse().unwrap())
    }

    #[test]
    fn patterns_are_a_name_a_prefix_or_a_star() {
        assert!(matches("p_abc", "p_abc"));
        assert!(!matches("p_abc", "p_abcd"));
        assert!(!matches("p_abc", "P_ABC"));
        assert!(matches("p_*", "p_abc") && matches("p_*", "p_") && matches("p_abc*", "p_abc"));
        assert!(!matches("p_*", "q_abc"));
        assert!(matches("*", "anything") && matches(".*", ".a") && matches("..*", "..."));
        for bad in ["", ".", "..", "**", "*a", "a*b", "p_*x", "a b", "a/b", "a\n", "ä*", &"x".repeat(129)] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn patterns_match_their_names_and_no_others(name in "[A-Za-z0-9._~-]{1,20}", other in "[A-Za-z0-9._~-]{1,20}", cut in 1usize..20) {
            prop_assume!([&name, &other].into_iter().all(|name| name.parse::<PipelineId>().is_ok()));
            let beginning = &name[..cut.min(name.len())];
            prop_assert!(matches(&name, &name));
            let prefix = format!("{beginning}*");
            prop_assert!(matches(&prefix, &name));
            prop_assert_eq!(matches(&name, &other), name == other);
            prop_assert_eq!(matches(&prefix, &other), other.starts_with(beginning));
            prop_assert_eq!(prefix.parse::<Pattern>().unwrap().to_string(), prefix);
        }

        #[test]
        fn arbitrary_text_is_a_pattern_or_rejected(text in ".*") {
            if let Ok(pattern) = text.parse::<Pattern>() {
                prop_assert_eq!(pattern.to_string(), text);
            }
        }
    }
}
