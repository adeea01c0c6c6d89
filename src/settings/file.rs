//! Settings in a TOML file.

use std::path::Path;

use config::{Config, ConfigError, File, FileFormat, Value, ValueKind};

use crate::files::text::{line_at, read_text};

/// Why a file of settings cannot be read, without its path and without any of its contents: a line may hold a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidFile {
    #[error(transparent)]
    Unreadable(#[from] crate::files::text::NoText),
    #[error("line {line} is not valid TOML: {message}")]
    Syntax { line: usize, message: String },
    /// `config` converts numbers itself, and keeps neither their place nor their name.
    #[error("it holds a number of more than 64 bits")]
    Number,
}

/// A setting in a file: its key, and its value as it would be written in the environment.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) text: Result<String, &'static str>,
}

/// Reads a file of settings.
///
/// # Errors
/// With the first line that is not valid TOML.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, InvalidFile> {
    let mut entries = Vec::new();
    flatten("", parse(&read_text(path)?)?, &mut entries);
    Ok(entries)
}

fn parse(text: &str) -> Result<Value, InvalidFile> {
    let config = Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build();
    config.map(|config| config.cache).map_err(|error| {
        // Its own message repeats the line.
        let cause = match &error {
            ConfigError::FileParse { cause, .. } => cause.downcast_ref::<toml::de::Error>(),
            _ => None,
        };
        cause.map_or(InvalidFile::Number, |cause| InvalidFile::Syntax {
            line: line_at(text, cause.span().map_or(0, |span| span.start)),
            message: cause.message().to_owned(),
        })
    })
}

fn flatten(prefix: &str, value: Value, entries: &mut Vec<Entry>) {
    let text = match value.kind {
        ValueKind::Table(table) => {
            for (key, value) in table {
                // As TOML writes it: an error must name something.
                let key = if key.is_empty() { "\"\"".to_owned() } else { key };
                let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                flatten(&key, value, entries);
            }
            return;
        }
        // A list of tables is one setting, whose value is written as in the environment: on one line.
        ValueKind::Array(ref items) if items.iter().any(|item| matches!(item.kind, ValueKind::Table(_))) => {
            let tables = value.try_deserialize::<toml::Value>();
            tables.map(|tables| tables.to_string()).map_err(|_| "not a list of tables")
        }
        ValueKind::Array(items) => Ok(items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")),
        _ => Ok(value.to_string()),
    };
    entries.push(Entry { key: prefix.to_owned(), text });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_errors_have_their_line_and_repeat_nothing_of_it() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains("s3cr3t"), "{error}");
        };
        check("[a]\nb = 1\nc = \"s3cr3t\n", "line 3 is not valid TOML: ");
        check("[a]\ns3cr3t = = 1\n", "line 2 is not valid TOML: ");
        check("[a]\nb = 1\nb = \"s3cr3t\"\n", "line 3 is not valid TOML: duplicate key");
        check("a = 99999999999999999999\n", "it holds a number of more than 64 bits");
        check("a = 1e999\n", "it holds a number of more than 64 bits");
    }

    #[test]
    fn lists_become_one_line() {
        let entries = |text: &str| {
            let mut entries = Vec::new();
            flatten("", parse(text).unwrap(), &mut entries);
            entries.into_iter().map(|Entry { key, text }| (key, text.unwrap())).collect::<Vec<_>>()
        };
        let one = |key: &str, text: &str| vec![(key.to_owned(), text.to_owned())];
        assert_eq!(entries("[a]\nb = [\"x\", 1, true]\n"), one("a.b", "x,1,true"));
        assert_eq!(entries("[[a.b]]\nc = \"x\"\n"), one("a.b", "[{ c = \"x\" }]"));
        assert_eq!(entries("\"\" = 1\n"), one("\"\"", "1"));
    }
}
