//! A file of settings: refused with every fault named, or taken, and then what is shown of it says the same again.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pipecast::settings::{Settings, Sources};
use tempfile::NamedTempFile;

static FILE: LazyLock<NamedTempFile> = LazyLock::new(|| NamedTempFile::new().expect("a temporary file"));

/// In the place of what is secret.
const HIDDEN: &str = "***";

fuzz_target!(|text: &[u8]| {
    std::fs::write(FILE.path(), text).expect("a file that can be written");
    let sources = Sources { file: Some(FILE.path().to_owned()), ..Sources::default() };
    match Settings::load(&sources) {
        Err(invalid) => {
            assert!(!invalid.0.is_empty());
            assert!(invalid.0.iter().all(|fault| !fault.problem.is_empty()));
        }
        Ok((_, rows)) => {
            if rows.iter().any(|row| row.value.contains(HIDDEN)) {
                return;
            }
            let flags = rows.iter().map(|row| (row.key, row.value.clone())).collect();
            let (_, again) =
                Settings::load(&Sources { flags, ..Sources::default() }).expect("what is shown can be set");
            for (row, again) in rows.iter().zip(&again) {
                assert_eq!((row.key, &row.value), (again.key, &again.value));
            }
        }
    }
});
