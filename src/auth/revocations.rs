//! Revocations: tokens and keys that are good for nothing any more, whatever else they say.

use std::collections::HashSet;

/// The `jti` of tokens, names of static keys, and `kid`s of signing keys.
#[derive(Debug, Default)]
pub struct Revocations(HashSet<Box<str>>);

impl Revocations {
    /// Reads a file: one a line; `#` begins a comment, at the start of a line or after a blank.
    pub fn parse(text: &str) -> Self {
        let names = text.lines().map(|line| match line.split_once(" #") {
            Some((name, _comment)) => name.trim(),
            None if line.starts_with('#') => "",
            None => line.trim(),
        });
        Self(names.filter(|name| !name.is_empty()).map(Into::into).collect())
    }

    /// Whether this name is among them.
    pub fn contain(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_a_line_and_comments() {
        let revoked = Revocations::parse("# ours\na-1\n\n  b:2  # left in June\r\n#c\nd#e\n");
        assert!(revoked.contain("a-1") && revoked.contain("b:2") && revoked.contain("d#e"));
        assert!(!revoked.contain("c") && !revoked.contain("") && !revoked.contain("a"));
        assert_eq!(revoked.count(), 3);
    }
}
