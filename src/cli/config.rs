//! `pipecast config`: checks the settings and prints the values in effect.

use super::{Outcome, load_settings, print_out};
use crate::settings::{Row, Sources};

pub(super) fn config(sources: Sources, is_markdown: bool) -> Outcome {
    let (_, rows) = load_settings(&sources)?;
    print_out(if is_markdown { markdown(&rows) } else { toml(&rows) });
    Ok(())
}

/// The settings as a valid `--config` file, except that secrets are hidden.
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

/// The table of settings in docs/reference/settings.md.
fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| setting | default | meaning |\n|---|---|---|\n");
    for row in rows {
        let default = if row.default.is_empty() { String::new() } else { format!("`{}`", row.default) };
        text.push_str(&format!("| `{}` | {default} | {} |\n", row.key, row.help));
    }
    text
}
