//! Static keys: names, secrets and rights, from a setting or a file of TOML tables.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use toml::{Table, Value};

use super::right::Rights;
use super::sources::read_secret;
use super::{AuthSetupError, Secret};

/// A key shorter than this could be guessed.
const SHORTEST_SECRET: usize = 16;

/// The longest name.
const LONGEST_NAME: usize = 64;

/// A table of the setting or file, checked; its secret may still be in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyTable {
    /// What logs and revocations call it.
    pub name: String,
    /// The secret, or where it is.
    pub secret: SecretSource,
    /// What it is good for.
    pub rights: Rights,
}

/// Where a secret is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// Given directly.
    Given(Secret),
    /// The contents of a file, without blank space around them.
    File(PathBuf),
}

/// A key that opens something. The secret itself is not kept.
pub struct StaticKey {
    /// What logs and revocations call it.
    pub name: String,
    /// What it is good for.
    pub rights: Rights,
    /// SHA-256 of the secret: all keys are compared over the same length.
    digest: [u8; 32],
}

/// Not with the digest.
impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl StaticKey {
    /// Whether both are opened by the same secret.
    pub fn is_same_secret(&self, other: &Self) -> bool {
        self.digest.ct_eq(&other.digest).into()
    }
}

/// All static keys.
#[derive(Debug, Default)]
pub struct Keys(Vec<Arc<StaticKey>>);

impl Keys {
    /// Reads what is in files, and checks that no two keys can be mistaken for each other.
    ///
    /// # Errors
    /// With the file or the key's name; never with a secret.
    pub fn load(tables: Vec<KeyTable>) -> Result<Self, AuthSetupError> {
        let mut keys: Vec<Arc<StaticKey>> = Vec::new();
        for KeyTable { name, secret, rights } in tables {
            let secret = match secret {
                SecretSource::Given(secret) => secret,
                SecretSource::File(path) => read_secret(&path)?,
            };
            check_secret(secret.expose()).map_err(|problem| AuthSetupError::key(&name, problem))?;
            let digest = fingerprint(secret.expose());
            if keys.iter().any(|other| other.name == name) {
                return Err(AuthSetupError::key(&name, "there are two keys of this name; give each its own"));
            }
            if keys.iter().any(|other| other.digest == digest) {
                return Err(AuthSetupError::key(&name, "another key has the same secret; give each its own"));
            }
            keys.push(Arc::new(StaticKey { name, rights, digest }));
        }
        Ok(Self(keys))
    }

    /// The key with this secret. Takes as long for any text of one length, whichever keys there are.
    pub fn find(&self, presented: &str) -> Option<&Arc<StaticKey>> {
        if self.0.is_empty() {
            return None;
        }
        let digest = fingerprint(presented);
        // All of them are looked at: where the search ends would tell which key it was.
        self.0.iter().fold(None, |found, key| if bool::from(key.digest.ct_eq(&digest)) { Some(key) } else { found })
    }

    /// The key of this name.
    pub fn named(&self, name: &str) -> Option<&StaticKey> {
        self.0.iter().find(|key| key.name == name).map(|key| &**key)
    }
}

fn fingerprint(secret: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    bytes
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

/// Parses a file with a table `[[keys]]` for each key.
///
/// # Errors
/// As [`parse_setting`]. Also when the word `keys` is missing: a file that is being written is empty for a moment,
/// and that must not take all keys away. `keys = []` does.
pub(super) fn parse_file(text: &str) -> Result<Vec<KeyTable>, String> {
    // The parser's own message shows the line, and there may be a secret in it.
    let mut file: Table = text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        format!("line {line} is not TOML; write tables such as {EXAMPLE}")
    })?;
    let keys = file.remove("keys");
    if let Some(other) = file.keys().next() {
        return Err(format!("`{other}` has no meaning here; write tables [[keys]] and nothing else"));
    }
    match keys {
        Some(Value::Array(tables)) => tables.into_iter().enumerate().map(|(at, table)| key_table(at, table)).collect(),
        Some(_) => Err(format!("keys must be tables; write them as {EXAMPLE}")),
        None => Err(format!("there are no keys in it; write {EXAMPLE}, or keys = [] for none")),
    }
}

const EXAMPLE: &str = r#"[{name = "backend", key = "...", publish = ["p_*"], subscribe = ["*"]}]"#;

fn key_table(at: usize, value: Value) -> Result<KeyTable, String> {
    let Value::Table(mut table) = value else {
        return Err(format!("key {at} must be a table, as in {EXAMPLE}"));
    };
    let name = match table.remove("name") {
        Some(Value::String(name)) if is_name(&name) => name,
        Some(_) => return Err(format!("key {at}: name is 1-{LONGEST_NAME} visible characters without `#`")),
        None => return Err(format!("key {at} has no name; logs and revocations need one")),
    };
    let wrong = |problem: &str| format!("key `{name}`: {problem}");
    let secret = match (table.remove("key"), table.remove("key_file")) {
        (Some(Value::String(key)), None) => {
            check_secret(&key).map_err(wrong)?;
            SecretSource::Given(Secret::new(&key))
        }
        (None, Some(Value::String(path))) => SecretSource::File(path.into()),
        (Some(_), Some(_)) => return Err(wrong("give key or key_file, not both")),
        (None, None) => return Err(wrong("key is missing; give it, or key_file")),
        _ => return Err(wrong("key and key_file are text in quotes")),
    };
    // What is left is no secret, unless somebody misspelt the word for it: so the value is not shown.
    if let Some(other) = table.keys().find(|word| !["publish", "subscribe", "channels"].contains(&word.as_str())) {
        return Err(wrong(&format!("`{other}` has no meaning; write publish, subscribe, channels, key or key_file")));
    }
    let rights: Rights = Value::Table(table).try_into().map_err(|error: toml::de::Error| {
        wrong(&format!("publish, subscribe and channels are lists of text: {}", error.message()))
    })?;
    if rights.publish.is_empty() && rights.subscribe.is_empty() {
        return Err(wrong("it opens nothing; give it publish or subscribe, such as publish = [\"p_*\"]"));
    }
    Ok(KeyTable { name, secret, rights })
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn check_secret(secret: &str) -> Result<(), &'static str> {
    if secret.len() < SHORTEST_SECRET {
        return Err("the key has fewer than 16 characters; make one with `openssl rand -hex 32`");
    }
    if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a key is visible ASCII without blanks, so that it fits into a header");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "0123456789abcdef";

    #[test]
    fn keys_are_found_by_their_secret_alone() {
        let text = format!(
            r#"[{{name="a", key="{SECRET}", publish=["p_*"]}}, {{name="b", key="{SECRET}x", subscribe=["*"], channels=["names"]}}]"#
        );
        let keys = Keys::load(parse_setting(&text).unwrap()).unwrap();
        assert_eq!(keys.find(SECRET).unwrap().name, "a");
        assert_eq!(
            keys.find(&format!("{SECRET}x")).unwrap().rights.channels.as_deref(),
            Some(&["names".to_owned()][..])
        );
        for other in ["", "a", &SECRET[1..], &format!("{SECRET}y"), &SECRET.to_uppercase()] {
            assert!(keys.find(other).is_none(), "{other:?}");
        }
        assert!(!format!("{keys:?}{:?}", parse_setting(&text)).contains(SECRET));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let check = |text: &str, problem: &str| {
            let error = parse_setting(text).and_then(|tables| Keys::load(tables).map_err(|error| error.to_string()));
            let error = error.unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
            assert!(!error.contains("s3cr3t"), "{error}");
        };
        let secret = "s3cr3t-s3cr3t-s3cr3t";
        check(r#"[{name="a", key="s3cr3t", publish=["*"]}]"#, "fewer than 16");
        check(r#"[{name="a", key="s3cr3t s3cr3t s3cr3t", publish=["*"]}]"#, "visible ASCII");
        check(&format!(r#"[{{name="a", key="{secret}"}}]"#), "opens nothing");
        check(&format!(r#"[{{name="a", kee="{secret}", publish=["*"]}}]"#), "key is missing");
        check(&format!(r#"[{{name="a", key="{secret}", kee="{secret}", publish=["*"]}}]"#), "`kee` has no meaning");
        check(&format!(r#"[{{key="{secret}", publish=["*"]}}]"#), "no name");
        check(&format!(r#"[{{name="a b", key="{secret}", publish=["*"]}}]"#), "name is");
        check(&format!(r#"[{{name="a", key="{secret}", publish=["a*b"]}}]"#), "a pattern is");
        check(&format!(r#"[{{name="a", key="{secret}", publish="*"}}]"#), "lists of text");
        check(&format!(r#"[{{name="a", key="{secret}, publish=["*"]}}]"#), "not TOML");
        check(secret, "not TOML");
        let key = |name: &str, secret: &str| format!(r#"{{name="{name}", key="{secret}", publish=["*"]}}"#);
        check(&format!("[{}, {}]", key("a", secret), key("a", &format!("{secret}2"))), "two keys of this name");
        check(&format!("[{}, {}]", key("a", secret), key("b", secret)), "the same secret");
        assert!(parse_file("").unwrap_err().contains("no keys"));
        assert_eq!(parse_file("keys = []"), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn arbitrary_key_files_are_read_or_refused(text in "(\\[\\[keys\\]\\]|name ?= ?\"[a-z]{0,4}\"|key=\"[ -~]{0,20}\"|publish=\\[\"[a-z*]{0,3}\"\\]|\n|.){0,12}") {
            let _ = parse_file(&text);
            let _ = parse_setting(&text);
        }
    }
}
