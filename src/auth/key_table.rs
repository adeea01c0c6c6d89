//! The TOML that describes static keys: the setting `auth.keys`, and the file `auth.keys_file`.
//!
//! No message repeats a part of a secret, wherever it was written by mistake.

use std::path::PathBuf;

use toml::{Table, Value};

use super::right::Rights;
use super::secret::Secret;
use crate::files::text::line_at;

/// A shorter key could be guessed.
const SHORTEST_KEY: usize = 16;

const LONGEST_NAME: usize = 64;

const EXAMPLE: &str = r#"[{name = "backend", key = "...", publish = ["p_*"], subscribe = ["*"]}]"#;

/// One static key as it is written, checked. Its secret may still be in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyTable {
    /// What logs and the revocation list call it: 1-64 visible ASCII characters without `#`.
    pub name: String,
    /// The secret, or the file that holds it.
    pub secret: SecretSource,
    /// What it allows.
    pub rights: Rights,
}

/// Where a static key's secret comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// `key`.
    Given(Secret),
    /// `key_file`: a file that holds nothing else. Surrounding whitespace is ignored.
    File(PathBuf),
}

/// Parses the array of tables that is the value of `auth.keys`.
///
/// # Errors
/// What is wrong and where; never with a part of a secret.
pub fn parse_setting(text: &str) -> Result<Vec<KeyTable>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    parse_file(&format!("keys = {text}"))
}

/// Parses a file with one `[[keys]]` table per key.
///
/// # Errors
/// As [`parse_setting`]. Also when `keys` is missing: a file that is being written is empty for a moment, and that must
/// not remove every key. `keys = []` does.
pub(super) fn parse_file(text: &str) -> Result<Vec<KeyTable>, String> {
    // The parser's own message shows the line, which may hold a secret.
    let mut file: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = line_at(text, error.span().map_or(0, |span| span.start));
        format!("line {line} is not valid TOML; write tables such as {EXAMPLE}")
    })?;
    let keys = file.remove("keys");
    if let Some(other) = file.keys().next() {
        return Err(format!("unknown key `{other}`; a file of static keys has only [[keys]] tables"));
    }
    match keys {
        Some(Value::Array(tables)) => tables.into_iter().enumerate().map(|(at, table)| key_table(at, table)).collect(),
        Some(_) => Err(format!("keys must be an array of tables such as {EXAMPLE}")),
        None => Err(format!("it has no keys; write {EXAMPLE}, or keys = [] for none")),
    }
}

fn key_table(at: usize, value: Value) -> Result<KeyTable, String> {
    let Value::Table(mut table) = value else {
        return Err(format!("key {at} must be a table, as in {EXAMPLE}"));
    };
    let name = match table.remove("name") {
        Some(Value::String(name)) if is_name(&name) => name,
        Some(_) => return Err(format!("key {at}: name must be 1-{LONGEST_NAME} visible characters without `#`")),
        None => return Err(format!("key {at} has no name; logs and revocations need one")),
    };
    let wrong = |problem: &str| format!("key `{name}`: {problem}");
    let secret = secret_source(&mut table).map_err(wrong)?;
    // What is left is not secret, unless `key` itself was misspelt: so values are not shown.
    if let Some(other) = table.keys().find(|word| !["publish", "subscribe", "channels"].contains(&word.as_str())) {
        return Err(wrong(&format!("unknown key `{other}`; use publish, subscribe, channels, key or key_file")));
    }
    let rights: Rights = Value::Table(table).try_into().map_err(|error: toml::de::Error| {
        wrong(&format!("publish, subscribe and channels must be lists of strings: {}", error.message()))
    })?;
    if rights.publish.is_empty() && rights.subscribe.is_empty() {
        return Err(wrong("it allows nothing; add publish or subscribe, for example publish = [\"p_*\"]"));
    }
    Ok(KeyTable { name, secret, rights })
}

fn secret_source(table: &mut Table) -> Result<SecretSource, &'static str> {
    match (table.remove("key"), table.remove("key_file")) {
        (Some(Value::String(key)), None) => {
            check_key(&key)?;
            Ok(SecretSource::Given(Secret::new(&key)))
        }
        (None, Some(Value::String(path))) => Ok(SecretSource::File(path.into())),
        (Some(_), Some(_)) => Err("give key or key_file, not both"),
        (None, None) => Err("key is missing; give key or key_file"),
        _ => Err("key and key_file must be strings"),
    }
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Whether a text can be a static key.
///
/// # Errors
/// What is wrong with it, without a part of it.
pub(super) fn check_key(key: &str) -> Result<(), &'static str> {
    if key.len() < SHORTEST_KEY {
        return Err("the key has fewer than 16 characters; create one with `openssl rand -hex 32`");
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a key must be visible ASCII without spaces, so that it fits into a header");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_say_what_is_wrong_and_keep_the_secret() {
        let check = |text: &str, problem: &str| {
            let error = parse_setting(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
            assert!(!error.contains("s3cr3t"), "{error}");
        };
        let secret = "s3cr3t-s3cr3t-s3cr3t";
        check(r#"[{name="a", key="s3cr3t", publish=["*"]}]"#, "fewer than 16");
        check(r#"[{name="a", key="s3cr3t s3cr3t s3cr3t", publish=["*"]}]"#, "visible ASCII");
        check(&format!(r#"[{{name="a", key="{secret}"}}]"#), "allows nothing");
        check(&format!(r#"[{{name="a", kee="{secret}", publish=["*"]}}]"#), "key is missing");
        check(&format!(r#"[{{name="a", key="{secret}", kee="{secret}", publish=["*"]}}]"#), "unknown key `kee`");
        check(&format!(r#"[{{key="{secret}", publish=["*"]}}]"#), "no name");
        check(&format!(r#"[{{name="a b", key="{secret}", publish=["*"]}}]"#), "name must be");
        check(&format!(r#"[{{name="a", key="{secret}", publish=["a*b"]}}]"#), "a pattern is");
        check(&format!(r#"[{{name="a", key="{secret}", publish="*"}}]"#), "lists of strings");
        check(&format!(r#"[{{name="a", key="{secret}, publish=["*"]}}]"#), "not valid TOML");
        check(secret, "not valid TOML");
        assert!(parse_file("").unwrap_err().contains("no keys"));
        assert_eq!(parse_file("keys = []"), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn arbitrary_key_files_are_read_or_rejected(text in "(\\[\\[keys\\]\\]|name ?= ?\"[a-z]{0,4}\"|key=\"[ -~]{0,20}\"|publish=\\[\"[a-z*]{0,3}\"\\]|\n|.){0,12}") {
            let _ = parse_file(&text);
            let _ = parse_setting(&text);
        }
    }
}
