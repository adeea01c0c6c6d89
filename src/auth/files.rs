//! Keys and revocations that change while a node runs: the files are watched and read again.
//!
//! What cannot be read leaves in use what there is, and is told.

use std::sync::Arc;

use super::key::Keys;
use super::{Auth, AuthOptions, AuthSetupError};
use crate::watched_file::WatchedFiles;

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
            revocations: WatchedFiles::new(options.revoked.iter().cloned().collect()),
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
            self.follow_keys(keys),
            self.follow_verifiers(verifiers),
            self.follow_revocations(revocations),
            fetch
        );
    }

    async fn follow_keys(&self, mut files: WatchedFiles) {
        loop {
            files.changed().await;
            let read = self.options.key_tables().and_then(|tables| {
                // Before they are read.
                files.watch(self.options.key_files(&tables));
                Keys::load(tables)
            });
            match read {
                Ok(keys) => {
                    *self.keys.write() = Arc::new(keys);
                    self.key_readings.succeeded();
                    tracing::info!(streams_ended = self.end_streams(), "the static keys were read again");
                }
                Err(error) => {
                    self.key_readings.failed();
                    tracing::error!(%error, "the static keys in use stay");
                }
            }
        }
    }

    async fn follow_verifiers(&self, mut files: WatchedFiles) {
        loop {
            files.changed().await;
            match self.options.load_verifiers() {
                Ok(verifiers) => {
                    *self.verifiers.write() = Arc::new(verifiers);
                    self.verifier_readings.succeeded();
                    tracing::info!("the keys for tokens were read again");
                }
                Err(error) => {
                    self.verifier_readings.failed();
                    tracing::error!(%error, "the keys for tokens in use stay");
                }
            }
        }
    }

    async fn follow_revocations(&self, mut files: WatchedFiles) {
        loop {
            files.changed().await;
            match self.options.load_revocations() {
                Ok(read) => {
                    let read = Arc::new(read);
                    let before = std::mem::replace(&mut *self.revocations.write(), read.clone());
                    self.revocation_readings.succeeded();
                    let (revocations, lifted) = (read.count(), before.count_without(&read));
                    let streams_ended = self.end_streams();
                    tracing::info!(revocations, lifted, streams_ended, "the revocations were read again");
                }
                Err(error) => {
                    self.revocation_readings.failed();
                    tracing::error!(%error, "the revocations in use stay");
                }
            }
        }
    }

    /// Ends the streams that are no longer allowed; how many.
    fn end_streams(&self) -> usize {
        self.passes.revoke_unless(|pass| self.is_still_good(pass))
    }
}
