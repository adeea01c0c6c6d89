//! What `pipecast config` prints: the settings in effect, or everything that is wrong with them.

use std::fmt;

/// One setting with its value in effect.
#[derive(Clone, Debug)]
pub struct Row {
    /// `section.key`.
    pub key: &'static str,
    /// The default, as it would be written.
    pub default: &'static str,
    /// Its description.
    pub help: &'static str,
    /// The value in effect; secrets are hidden.
    pub value: String,
    /// Where the value comes from: `default`, a file, an environment variable or a flag.
    pub source: String,
}

/// One error in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// The setting's key, or whatever was written in its place.
    pub key: String,
    /// Where it was set; empty if it was not.
    pub source: String,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, source, problem } = self;
        if source.is_empty() { write!(f, "{key}: {problem}") } else { write!(f, "{key} ({source}): {problem}") }
    }
}

/// All errors in the settings.
#[derive(Debug)]
pub struct InvalidSettings(pub Vec<SettingError>);

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "{}", errors.join("\n"))
    }
}

impl std::error::Error for InvalidSettings {}
