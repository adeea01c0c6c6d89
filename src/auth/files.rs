//! Watches the files with keys and revocations, and reloads them when they change.
//!
//! If they cannot be read, the current ones stay in use and the log says so.

use super::health::Readings;
use super::options::AuthOptions;
use super::setup_error::AuthSetupError;
use crate::files::watched::WatchedFiles;

/// The watched files. Each group is reloaded as a whole.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) keys: WatchedFiles,
    pub(super) verifiers: WatchedFiles,
    pub(super) revocations: WatchedFiles,
}

impl Files {
    /// Watches the files of these options. Call it before they are read.
    ///
    /// # Errors
    /// When `auth.keys_file`, which names more files, cannot be used.
    pub(super) fn of(options: &AuthOptions) -> Result<Self, AuthSetupError> {
        let tables = options.key_tables()?;
        Ok(Self {
            keys: WatchedFiles::new(options.key_files(&tables)),
            verifiers: WatchedFiles::new(options.verifier_files()),
            revocations: WatchedFiles::new(options.revocation_file.iter().cloned().collect()),
        })
    }
}

/// Reloads files whenever they change. Never returns.
pub(super) async fn follow(
    mut files: WatchedFiles,
    readings: &Readings,
    what: &str,
    read: impl Fn(&mut WatchedFiles) -> Result<(), AuthSetupError>,
) {
    loop {
        files.changed().await;
        match read(&mut files) {
            Ok(()) => {
                readings.succeeded();
            }
            Err(error) => {
                readings.failed();
                tracing::error!(%error, "{what} cannot be read again; the current ones stay in use");
            }
        }
    }
}
