//! Revocations: tokens and keys that are good for nothing any more, whatever else they say.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::event::BYTE_ORDER_MARK;
use crate::visible::is_unseen;

/// The `jti` of tokens, names of static keys, and `kid`s of signing keys.
#[derive(Debug, Default)]
pub struct Revocations(HashSet<Box<str>>);

impl Revocations {
    /// Reads a file: one a line; `#` begins a comment, at the start of a line or after a blank. In double quotes, with the
    /// escapes of JSON, a name may be any text.
    ///
    /// # Errors
    /// With the first line that cannot be what it was meant to be. What such a line says would be revoked is not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut names = HashSet::new();
        for (index, line) in text.lines().enumerate() {
            let name = parse_line(line).map_err(|problem| format!("line {}: {problem}", index + 1))?;
            names.extend(name.map(Box::from));
        }
        Ok(Self(names))
    }

    /// Whether a line with this name, as it is, revokes it.
    pub fn hold_plainly(name: &str) -> bool {
        Self::parse(name).is_ok_and(|names| names.count() == 1 && names.contain(name))
    }

    /// Whether this name is among them.
    pub fn contain(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many of these are not among the others.
    pub fn count_without(&self, others: &Self) -> usize {
        self.0.difference(&others.0).count()
    }
}

/// The name in a line, if there is one.
fn parse_line(line: &str) -> Result<Option<Cow<'_, str>>, &'static str> {
    // A byte order mark is at the start of a file, and of each one of several that were put together.
    let is_blank = |char: char| char.is_whitespace() || char == BYTE_ORDER_MARK;
    let line = line.trim_matches(is_blank);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.starts_with('"') {
        return parse_quoted(line).map(|name| Some(name.into()));
    }
    let comment = line.match_indices('#').find(|(at, _)| line[..*at].ends_with(is_blank));
    let name = comment.map_or(line, |(at, _)| line[..at].trim_end_matches(is_blank));
    // UTF-16 has a NUL at every other place, and a name that is copied from a page may bring marks of direction or of width
    // along: with them it would be another name.
    if name.contains(is_unseen) {
        return Err(
            "a character that cannot be seen; save the file as UTF-8 text, or write the name in quotes, as JSON does",
        );
    }
    Ok(Some(name.into()))
}

fn parse_quoted(line: &str) -> Result<String, &'static str> {
    let mut names = serde_json::Deserializer::from_str(line).into_iter::<String>();
    let Some(Ok(name)) = names.next() else {
        return Err("a name in quotes is a JSON string, such as \"a #1\"");
    };
    match line[names.byte_offset()..].trim_start() {
        "" => Ok(name),
        comment if comment.starts_with('#') => Ok(name),
        _ => Err("something follows the name in quotes; write one name a line, and # before a comment"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_name_a_line_and_comments() {
        let revoked = Revocations::parse("# ours\na-1\n\n  b:2  # left in June\r\n#c\nd#e\n").unwrap();
        assert!(revoked.contain("a-1") && revoked.contain("b:2") && revoked.contain("d#e"));
        assert!(!revoked.contain("c") && !revoked.contain("") && !revoked.contain("a"));
        assert_eq!(revoked.count(), 3);
    }

    #[test]
    fn files_that_were_put_together_hide_no_name() {
        let revoked = Revocations::parse("\u{feff}a\n\u{feff}b\n\u{feff}# c\n").unwrap();
        assert!(revoked.contain("a") && revoked.contain("b") && revoked.count() == 2);
    }

    proptest! {
        #[test]
        fn any_name_can_be_revoked_in_quotes_and_most_without(name in prop_oneof![".*", "[ #\"\\\\a\t\r\n\u{feff}]{0,6}"]) {
            let quoted = serde_json::to_string(&name).unwrap();
            for line in [quoted.clone(), format!(" {quoted}# comment\r\n"), format!("other\n{quoted}")] {
                prop_assert!(Revocations::parse(&line).unwrap().contain(&name));
            }
            if Revocations::hold_plainly(&name) {
                let line = format!("{name} # comment\n");
                prop_assert!(Revocations::parse(&line).unwrap().contain(&name), "{}", line);
            }
        }

        #[test]
        fn any_text_is_read_or_refused_by_its_line(text in prop_oneof![".*", "([\"#a \t\\\\]{0,6}\n){0,4}"]) {
            if let Err(problem) = Revocations::parse(&text) {
                prop_assert!(problem.starts_with("line "));
            }
        }
    }
}
