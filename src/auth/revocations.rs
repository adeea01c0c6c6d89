//! The revocation list: names of tokens and keys that are rejected, whatever else they say.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::event::BYTE_ORDER_MARK;
use crate::visible::is_unseen;

/// Each entry is the `jti` of a token, the name of a static key, or the `kid` of a signing key.
#[derive(Debug, Default)]
pub struct Revocations(HashSet<Box<str>>);

impl Revocations {
    /// Parses a file with one name per line. `#` begins a comment at the start of a line or after whitespace. A name in
    /// double quotes is a JSON string and may be any text.
    ///
    /// # Errors
    /// With the first line that is not a name: ignoring it would leave something valid that was meant to be revoked.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut names = HashSet::new();
        for (index, line) in text.lines().enumerate() {
            let name = parse_line(line).map_err(|problem| format!("line {}: {problem}", index + 1))?;
            names.extend(name.map(Box::from));
        }
        Ok(Self(names))
    }

    /// Whether a line with just this name, unquoted, revokes it.
    pub fn hold_plainly(name: &str) -> bool {
        Self::parse(name).is_ok_and(|names| names.count() == 1 && names.contain(name))
    }

    /// Whether this name is revoked.
    pub fn contain(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Number of entries.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Number of entries that `others` does not have.
    pub fn count_without(&self, others: &Self) -> usize {
        self.0.difference(&others.0).count()
    }
}

/// The name in a line; none if the line is empty or a comment.
fn parse_line(line: &str) -> Result<Option<Cow<'_, str>>, &'static str> {
    // A byte order mark begins a file, and each part of one that was concatenated from several.
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
    // UTF-16 has a NUL in every second place, and a name copied from a page may contain marks of direction or width, with
    // which it would be another name.
    if name.contains(is_unseen) {
        return Err(
            "it has an invisible character; save the file as UTF-8, or write the name as a JSON string in quotes",
        );
    }
    Ok(Some(name.into()))
}

fn parse_quoted(line: &str) -> Result<String, &'static str> {
    let mut names = serde_json::Deserializer::from_str(line).into_iter::<String>();
    let Some(Ok(name)) = names.next() else {
        return Err("a name in quotes must be a JSON string, for example \"a #1\"");
    };
    match line[names.byte_offset()..].trim_start() {
        "" => Ok(name),
        comment if comment.starts_with('#') => Ok(name),
        _ => Err("unexpected text after the name in quotes; write one name per line, and comments after #"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_comments_are_read() {
        let revoked = Revocations::parse("# ours\na-1\n\n  b:2  # left in June\r\n#c\nd#e\n").unwrap();
        assert!(revoked.contain("a-1") && revoked.contain("b:2") && revoked.contain("d#e"));
        assert!(!revoked.contain("c") && !revoked.contain("") && !revoked.contain("a"));
        assert_eq!(revoked.count(), 3);
    }

    #[test]
    fn byte_order_marks_within_a_file_hide_no_name() {
        let revoked = Revocations::parse("\u{feff}a\n\u{feff}b\n\u{feff}# c\n").unwrap();
        assert!(revoked.contain("a") && revoked.contain("b") && revoked.count() == 2);
    }

    proptest! {
        #[test]
        fn any_name_can_be_revoked_in_quotes(name in prop_oneof![".*", "[ #\"\\\\a\t\r\n\u{feff}]{0,6}"]) {
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
        fn arbitrary_text_is_read_or_rejected_with_its_line(text in prop_oneof![".*", "([\"#a \t\\\\]{0,6}\n){0,4}"]) {
            if let Err(problem) = Revocations::parse(&text) {
                prop_assert!(problem.starts_with("line "));
            }
        }
    }
}
