//! The syntax of the two headers that name a client. Returns what they list, without judging it.

/// An entry that cannot be read. It is not a valid address.
const UNREADABLE: &str = "";

/// `X-Forwarded-For`: the entries of all lines, in order. `None` without a line.
pub(super) fn split_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Vec<&'a str>> {
    let mut list = None;
    for line in lines {
        let list = list.get_or_insert_with(Vec::new);
        // A byte that is not text spoils only its own entry.
        list.extend(line.split(|byte| *byte == b',').map(|entry| std::str::from_utf8(entry).unwrap_or(UNREADABLE)));
    }
    list
}

/// `Forwarded` (RFC 7239, section 4): the `for` values in the elements of all lines, in order. `None` without a line.
pub(super) fn parse_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Vec<&'a str>> {
    let mut list = None;
    for line in lines {
        let list = list.get_or_insert_with(Vec::new);
        let parsed = std::str::from_utf8(line).ok().and_then(parse_line);
        // After an unbalanced quote it is unclear which parts are quoted, so nothing of the line can be used.
        list.extend(parsed.unwrap_or_else(|| vec![UNREADABLE]));
    }
    list
}

fn parse_line(line: &str) -> Option<Vec<&str>> {
    split_outside_quotes(line, b',')?.into_iter().map(parse_element).collect()
}

/// One proxy's part: `for=..;proto=..;by=..`, in any order.
fn parse_element(element: &str) -> Option<&str> {
    let mut named = None;
    for pair in split_outside_quotes(element, b';')? {
        let (name, value) = pair.trim().split_once('=')?;
        let is_first = !name.eq_ignore_ascii_case("for") || named.replace(unquote(value)?).is_none();
        if !is_first {
            return None;
        }
    }
    Some(named.unwrap_or(UNREADABLE))
}

/// A token or a quoted string. No address needs an escape, so a string with one is rejected.
fn unquote(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\'])),
        None => Some(value).filter(|value| !value.contains('"')),
    }
}

/// Splits at separators outside quotes; `None` when a quote is left open.
fn split_outside_quotes(text: &str, separator: u8) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut is_quoted, mut is_escaped) = (Vec::new(), 0, false, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            byte if byte == separator && !is_quoted => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!is_quoted).then_some(parts)
}
