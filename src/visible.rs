//! Strangers' text as people can be shown it, on a terminal and in a log: what moves a cursor, sets a title or turns other
//! characters around stands there as an escape. The inspector does the same (`http/web/json.js`). No I/O.

use std::borrow::Cow;
use std::fmt::Write;

/// The text on one line, with characters that cannot be seen, or that do something to those around them, as `\u001b`.
///
/// Inside of a JSON string that is the same value, so JSON stays what it was. Joiners stay: scripts and emoji need them.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_hidden(character) {
            // A string takes everything.
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown.into()
}

/// The same for text of several lines, whose line feeds are ours.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    if !text.contains(|character| character != '\n' && is_hidden(character)) {
        return text.into();
    }
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n").into()
}

/// The same for text for a terminal whose colours are ours, `ESC [ 1 ; 32 m`. Nobody else can put in more than one of these,
/// and in none of them text is hidden.
pub fn visible_in_colour(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        let (before, sequence) = rest.split_at(at);
        shown.push_str(&visible(before));
        let length = colour_bytes(sequence).unwrap_or(0);
        shown.push_str(&sequence[..length]);
        if length == 0 {
            shown.push_str(&visible(&sequence[..2]));
        }
        rest = &sequence[length.max(2)..];
    }
    shown.push_str(&visible(rest));
    shown.into()
}

/// What the libraries for help and for logs use: the end of all, bold, faint, italic, underlined, and red to cyan. Not what
/// conceals, nor a background.
const OUR_COLOURS: [&str; 12] = ["", "0", "1", "2", "3", "4", "31", "32", "33", "34", "35", "36"];

/// How long the colour is that a text begins with (ECMA-48, 8.3.117); none when it begins with another sequence.
fn colour_bytes(sequence: &str) -> Option<usize> {
    let parameters = sequence.strip_prefix("\x1b[")?;
    let end = parameters.find(|character: char| !character.is_ascii_digit() && character != ';')?;
    let are_ours = parameters[..end].split(';').all(|parameter| OUR_COLOURS.contains(&parameter));
    (parameters.as_bytes()[end] == b'm' && are_ours).then_some("\x1b[".len() + end + "m".len())
}

/// Controls of C0 and C1, DEL, and characters of Unicode without a shape: line ends, marks of direction, breaks of words.
/// All of them are in the first plane, as four digits need it.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        )
}

/// What cannot be seen where it stands alone: besides the above, joiners and others that change a character before them
/// (Unicode's `Default_Ignorable_Code_Point`). A name with one looks like the name without.
pub fn is_unseen(character: char) -> bool {
    is_hidden(character)
        || matches!(
            character,
            '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200c}' | '\u{200d}'
                | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_are_shown_as_escapes() {
        for (text, expected) in [
            ("plain äöü→管🙂", "plain äöü→管🙂"),
            ("a\x1b]0;title\x07b", "a\\u001b]0;title\\u0007b"),
            ("\u{9b}2J\u{7f}\t\r\n", "\\u009b2J\\u007f\\u0009\\u000d\\u000a"),
            ("exe.\u{202e}gpj \u{2066}x\u{2069}\u{feff}", "exe.\\u202egpj \\u2066x\\u2069\\ufeff"),
            ("क्\u{200d}ष 👩\u{200d}💻", "क्\u{200d}ष 👩\u{200d}💻"),
        ] {
            assert_eq!(visible(text), expected);
        }
        assert_eq!(visible_lines("a\x1b\nb\r\n"), "a\\u001b\nb\\u000d\n");
    }

    #[test]
    fn invisible_characters_are_known_and_letters_are_not() {
        assert!("\u{200b}\u{200d}\u{2060}\u{fe0f}\u{e0072}\u{1b}\u{feff}\u{3164}".chars().all(is_unseen));
        assert!(!"aZ0-._~ \u{e4}\u{5e9}\u{915}\u{7ba1}\u{1f642}#\"".contains(is_unseen));
    }

    #[test]
    fn of_sequences_only_colours_stay() {
        for (text, expected) in [
            ("\x1b[1;31mred\x1b[0m\x1b[m", "\x1b[1;31mred\x1b[0m\x1b[m"),
            ("\x1b[2J\x1b[31", "\\u001b[2J\\u001b[31"),
            ("\x1b[8m\x1b[30;40m\x1b[31;8m\x1b[38;5;0m", "\\u001b[8m\\u001b[30;40m\\u001b[31;8m\\u001b[38;5;0m"),
            ("\x1b\x1b[31m\x1b]52;c;x\x07", "\\u001b\x1b[31m\\u001b]52;c;x\\u0007"),
            ("\x1b[\u{e4}m", "\\u001b[äm"),
        ] {
            assert_eq!(visible_in_colour(text), expected);
        }
    }

    #[test]
    fn json_keeps_its_value() {
        let hidden: String =
            (0..=0xffff).filter_map(char::from_u32).filter(|character| is_hidden(*character)).collect();
        let json = serde_json::to_string(&hidden).unwrap();
        let shown = visible(&json);
        assert!(!shown.contains(is_hidden), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), hidden);
    }
}
