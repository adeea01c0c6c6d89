//! `pipecast config`: the settings in effect, checked.

use super::{Failure, Outcome, complain, say};
use crate::settings::{Row, Settings, Sources};

pub(super) fn config(sources: Sources, is_markdown: bool) -> Outcome {
    let (_, rows) = Settings::load(&sources).map_err(|faults| {
        complain(format!("the settings are not right:\n{faults}"));
        Failure::Usage
    })?;
    say(if is_markdown { markdown(&rows) } else { toml(&rows) });
    Ok(())
}

/// Settings as TOML that could be a `--config` file, but for hidden secrets.
fn toml(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut section = "";
    for row in rows {
        let (this, key) = row.key.split_once('.').unwrap_or(("", row.key));
        if this != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{this}]\n"));
            section = this;
        }
        let value = row.value.replace('\\', "\\\\").replace('"', "\\\"");
        text.push_str(&format!("{key} = \"{value}\"  # {}\n", row.source));
    }
    text
}

/// The table of settings that stands in the README.
fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| setting | default | meaning |\n|---|---|---|\n");
    for row in rows {
        let default = if row.default.is_empty() { String::new() } else { format!("`{}`", row.default) };
        text.push_str(&format!("| `{}` | {default} | {} |\n", row.key, row.help));
    }
    text
}
