//! What commands print, on standard output and standard error. Text from outside reaches no terminal raw: control
//! characters in it are shown as escapes.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use crate::visible::{visible, visible_in_colour, visible_lines};

/// Prints to standard output. A closed pipe is ignored: it must not stop a node, let alone make it panic.
///
/// Line feeds in `text` are kept. Callers that insert text from outside must remove those first.
pub(super) fn print_out(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{}", visible_lines(&text.to_string())).and_then(|()| out.flush());
}

/// Prints a line to standard error, with the program's name in front.
pub(super) fn print_error(problem: impl Display) {
    let _ = writeln!(std::io::stderr(), "pipecast: {}", visible_lines(&problem.to_string()));
}

/// Prints help, or what is wrong with the arguments. clap would repeat these as they are.
pub(super) fn print_clap(error: &clap::Error, is_requested: bool) {
    let is_terminal = if is_requested { std::io::stdout().is_terminal() } else { std::io::stderr().is_terminal() };
    let text = error.render();
    let text = if is_terminal { text.ansi().to_string() } else { text.to_string() };
    let shown = if is_terminal { visible_in_colour } else { visible };
    let text = text.split('\n').map(shown).collect::<Vec<_>>().join("\n");
    let _ = if is_requested { write!(std::io::stdout(), "{text}") } else { write!(std::io::stderr(), "{text}") };
}
