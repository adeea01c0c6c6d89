//! Reads single settings, and remembers each one that was read and everything that is wrong.

mod files;
mod limits;
mod numbers;
mod texts;
pub(super) mod urls;

use std::collections::BTreeMap;

use super::environment::{Variable, classify, nearest_key, nearest_variable};
use super::file;
use super::report::{Row, SettingError};
use super::sources::Sources;

/// A value as it was written, and where.
struct Given {
    text: String,
    source: String,
}

/// Reads settings one by one.
pub(super) struct Reader {
    given: BTreeMap<String, Given>,
    /// Variables that look like settings, but name none.
    unknown_variables: Vec<String>,
    command_variables: Vec<String>,
    rows: Vec<Row>,
    errors: Vec<SettingError>,
}

impl Reader {
    pub(super) fn new(sources: &Sources) -> Self {
        let mut reader = Self {
            given: BTreeMap::new(),
            unknown_variables: Vec::new(),
            command_variables: sources.command_variables.clone(),
            rows: Vec::new(),
            errors: Vec::new(),
        };
        reader.read_file(sources);
        reader.read_environment(sources);
        for (key, value) in &sources.flags {
            reader.give(key, value.clone(), "flag".into());
        }
        reader
    }

    fn read_file(&mut self, sources: &Sources) {
        let Some(path) = &sources.file else { return };
        let source = path.display().to_string();
        let entries = match file::read(path) {
            Ok(entries) => entries,
            Err(error) => {
                self.errors.push(SettingError { key: "--config".into(), source, problem: error.to_string() });
                return;
            }
        };
        for file::Entry { key, text } in entries {
            match text {
                Ok(text) => self.give(&key, text, source.clone()),
                Err(problem) => {
                    self.errors.push(SettingError { key, source: source.clone(), problem: problem.to_owned() });
                }
            }
        }
    }

    fn read_environment(&mut self, sources: &Sources) {
        for (name, value) in &sources.environment {
            match classify(name, value, &sources.command_variables) {
                Variable::Setting(key) => self.give(&key, value.clone(), format!("environment variable {name}")),
                Variable::Unknown => self.unknown_variables.push(name.clone()),
                Variable::Foreign => {}
            }
        }
        self.unknown_variables.sort();
    }

    fn give(&mut self, key: &str, text: String, source: String) {
        self.given.insert(key.to_owned(), Given { text, source });
    }

    /// All settings that were read, and all errors. What was given and never read is an error.
    pub(super) fn finish(mut self) -> (Vec<Row>, Vec<SettingError>) {
        for (key, given) in &self.given {
            if self.rows.iter().all(|row| row.key != key) {
                let problem = unknown("setting", nearest_key(key, &self.rows));
                self.errors.push(SettingError { key: key.clone(), source: given.source.clone(), problem });
            }
        }
        for name in self.unknown_variables {
            let nearest = nearest_variable(&name, &self.rows, &self.command_variables);
            let problem = unknown("environment variable", nearest.as_deref());
            self.errors.push(SettingError { key: name, source: String::new(), problem });
        }
        (self.rows, self.errors)
    }

    /// Whether the operator has set it, to any value.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    /// Reports an error that depends on more than the setting's own value.
    pub(super) fn fault(&mut self, key: &str, problem: &str) {
        let source = self.given.get(key).map(|given| given.source.clone()).unwrap_or_default();
        self.errors.push(SettingError { key: key.to_owned(), source, problem: problem.to_owned() });
    }

    fn has_fault(&self, key: &str) -> bool {
        self.errors.iter().any(|fault| fault.key == key)
    }

    /// Reads one setting. After an error the default is used, so that the other settings can be checked too.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        default: &'static str,
        help: &'static str,
        show: impl Fn(&str) -> String,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, source) = match self.given.get(key) {
            Some(given) => (given.text.clone(), given.source.clone()),
            None => (default.to_owned(), "default".to_owned()),
        };
        let parsed = parse(&text);
        if let Err(problem) = &parsed {
            self.errors.push(SettingError { key: key.into(), source: source.clone(), problem: problem.clone() });
        }
        self.rows.push(Row { key, default, help, value: show(&text), source });
        parsed.or_else(|_| parse(default)).ok()
    }

    /// Reads one setting whose value may be shown.
    pub(super) fn read_plain<T>(
        &mut self,
        key: &'static str,
        default: &'static str,
        help: &'static str,
        fallback: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        // A default that does not parse would be an error in the declaration, which a test finds.
        self.read(key, default, help, str::to_owned, parse).unwrap_or(fallback)
    }
}

fn unknown(what: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("unknown {what}; did you mean {nearest}?"),
        None => format!("unknown {what}; `pipecast config` lists all settings"),
    }
}
