//! A JSON Web Key Set: any file is taken or refused, and no secret of it is in what is said of it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pipecast::auth::{Auth, AuthOptions};
use pipecast::settings::{Settings, Sources};
use serde_json::Value;
use tempfile::NamedTempFile;

/// Members that hold a part of a secret (RFC 7518, 6).
const SECRET: [&str; 8] = ["k", "d", "p", "q", "dp", "dq", "qi", "oth"];

static SETUP: LazyLock<(NamedTempFile, AuthOptions)> = LazyLock::new(|| {
    let file = NamedTempFile::new().expect("a temporary file");
    let path = file.path().display().to_string();
    let sources = Sources { flags: vec![("auth.jwks_file", path)], ..Sources::default() };
    (file, Settings::load(&sources).expect("settings").0.auth)
});

fuzz_target!(|text: &[u8]| {
    let (file, options) = &*SETUP;
    std::fs::write(file.path(), text).expect("a file that can be written");
    let Err(error) = Auth::load(options.clone()) else { return };
    let error = error.to_string();
    let Ok(Value::Object(set)) = serde_json::from_slice(text) else { return };
    let keys = set.get("keys").and_then(Value::as_array).into_iter().flatten();
    for secret in keys.flat_map(|key| SECRET.iter().filter_map(|name| key.get(name)?.as_str())) {
        assert!(secret.len() < 16 || !error.contains(secret), "{error}");
    }
});
