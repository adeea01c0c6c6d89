//! Keys and revocations that change while a node runs: the files are watched and read again.
//!
//! What cannot be read leaves in use what there is, and is told.

use std::sync::Arc;

use super::health::Readings;
use super::key::Keys;
use super::{Auth, AuthOptions, AuthSetupError};
use crate::files::watched::WatchedFiles;

/// What is watched, each group to be read as one.
#[derive(Debug)]
pub(super) struct Files {
    keys: WatchedFiles,
    verifiers: WatchedFiles,
    revocations: WatchedFiles,
}

impl Files {
    /// Those of these options, as they are: before they are read.
    ///
    /// # Errors
    /// When the one that names others cannot be used.
    pub(super) fn of(options: &AuthOptions) -> Result<Self, AuthSetupError> {
        let tables = options.key_tables()?;
        Ok(Self {
            keys: WatchedFiles::new(options.key_files(&tables)),
            verifiers: WatchedFiles::new(options.verifier_files()),
            revocations: WatchedFiles::new(options.revocation_file.iter().cloned().collect()),
        })
    }
}

impl Auth {
    /// Reads files again when they change, and fetches keys. Never ends by itself.
    pub async fn run(&self) {
        let Some(Files { keys, verifiers, revocations }) = self.files.lock().take() else {
            return std::future::pending().await;
        };
        let fetch = async {
            match &self.jwks_url {
                Some(url) => url.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(
            follow(keys, &self.key_readings, "the static keys", |files| self.read_keys(files)),
            follow(verifiers, &self.verifier_readings, "the keys for tokens", |_| self.read_verifiers()),
            follow(revocations, &self.revocation_readings, "the revocations", |_| self.read_revocations()),
            fetch
        );
    }

    fn read_keys(&self, files: &mut WatchedFiles) -> Result<(), AuthSetupError> {
        let tables = self.options.key_tables()?;
        // Before they are read.
        files.watch(self.options.key_files(&tables));
        *self.keys.write() = Arc::new(Keys::load(tables)?);
        tracing::info!(streams_ended = self.end_streams(), "the static keys were read again");
        Ok(())
    }

    fn read_verifiers(&self) -> Result<(), AuthSetupError> {
        *self.verifiers.write() = Arc::new(self.options.load_verifiers()?);
        tracing::info!("the keys for tokens were read again");
        Ok(())
    }

    fn read_revocations(&self) -> Result<(), AuthSetupError> {
        let read = Arc::new(self.options.load_revocations()?);
        let before = std::mem::replace(&mut *self.revocations.write(), read.clone());
        let (revocations, lifted) = (read.count(), before.count_without(&read));
        let streams_ended = self.end_streams();
        tracing::info!(revocations, lifted, streams_ended, "the revocations were read again");
        Ok(())
    }

    /// Ends the streams that are no longer allowed; how many.
    fn end_streams(&self) -> usize {
        self.passes.revoke_unless(|pass| self.is_still_good(pass))
    }
}

/// Reads files again whenever they change.
async fn follow(
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
                tracing::error!(%error, "{what} in use stay");
            }
        }
    }
}
