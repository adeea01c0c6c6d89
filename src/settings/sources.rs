//! Where settings come from.

use std::collections::HashMap;
use std::path::PathBuf;

/// Where settings come from, weakest first.
#[derive(Debug, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The environment. Variables outside of `PIPECAST_*` are ignored.
    pub environment: HashMap<String, String>,
    /// Names of `PIPECAST_*` variables that commands read for their own flags. They are not settings.
    pub command_variables: Vec<String>,
    /// Flags, as keys and values.
    pub flags: Vec<(&'static str, String)>,
}
