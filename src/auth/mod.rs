//! Access: who may publish to a pipeline, and who may read it.
//!
//! A [`grant`] proves a right. Only this room can make one, and every handler asks for one, so no route can forget to check.
//! Nothing here knows HTTP or the store, and nothing logs, keeps or repeats a token.
//!
//! A static key is a [`key`], described by a [`key_table`]. A signed [`token`] has [`claims`] and is checked with a
//! [`verifier`], which comes from the settings and their files ([`sources`]) or from a URL ([`jwks_url`]). A stream that was
//! let in holds a [`stream_permit`], which ends when its token expires or is revoked ([`revocations`]).

mod claims;
mod files;
mod grant;
mod health;
mod holder;
mod jwks_url;
mod key;
mod key_set;
mod key_table;
mod object;
mod options;
mod pattern;
mod provider;
mod refusal;
mod revocations;
mod right;
mod secret;
mod setup_error;
mod sources;
mod stream_permit;
mod token;
mod token_fault;
mod token_signer;
mod verified_tokens;
mod verifier;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};

use crate::event::PipelineId;
use crate::files::watched::WatchedFiles;
use claims::{Expected, NumericDate};
use files::{Files, follow};
use grant::Proof;
use health::Readings;
use holder::Holder;
use jwks_url::JwksUrl;
use key::Keys;
use revocations::Revocations;
use stream_permit::PermitRegistry;
use token::Signed;
use verified_tokens::{KeySets, VerifiedTokens};
use verifier::Verifier;

pub use claims::{Audience, Claims};
pub use grant::{Explained, Presented, PublishGrant, ReadGrant};
pub use health::{AuthHealth, Source, SourceHealth};
pub use key_table::{KeyTable, SecretSource, parse_setting};
pub use options::{Access, AuthOptions};
pub use pattern::{InvalidPattern, Pattern};
pub use refusal::Refused;
pub use right::{Right, Rights};
pub use secret::Secret;
pub use setup_error::{AuthSetupError, FileProblem, read_text};
pub use stream_permit::StreamPermit;
pub use token::peek;
pub use token_fault::TokenFault;
pub use token_signer::{NewToken, SigningError, SigningKey};
pub use verifier::SHORTEST_SECRET;

/// Access to a node.
#[derive(Debug)]
pub struct Auth {
    options: AuthOptions,
    expected: Expected,
    /// Written when files change, read by requests; so are the next two fields.
    keys: RwLock<Arc<Keys>>,
    verifiers: RwLock<Arc<Vec<Verifier>>>,
    revocations: RwLock<Arc<Revocations>>,
    jwks_url: Option<JwksUrl>,
    key_readings: Readings,
    verifier_readings: Readings,
    revocation_readings: Readings,
    verified: VerifiedTokens,
    permits: PermitRegistry,
    /// Taken by [`Auth::run`].
    files: Mutex<Option<Files>>,
}

impl Auth {
    /// Reads all files.
    ///
    /// # Errors
    /// With what cannot be used; never with a secret.
    pub fn load(options: AuthOptions) -> Result<Self, AuthSetupError> {
        provider::install();
        let files = Files::of(&options)?;
        let expected = Expected {
            issuer: options.issuer.clone(),
            audience: options.audience.clone(),
            leeway: options.leeway.as_secs_f64(),
        };
        let revocations = options.load_revocations()?;
        if let Some(path) = &options.revocation_file {
            tracing::info!(file = %path.display(), revocations = revocations.count(), "read the revocations");
        }
        Ok(Self {
            expected,
            keys: RwLock::new(Arc::new(options.load_keys()?)),
            verifiers: RwLock::new(Arc::new(options.load_verifiers()?)),
            revocations: RwLock::new(Arc::new(revocations)),
            jwks_url: options.jwks_url.clone().map(|url| JwksUrl::new(url, options.jwks_max_age)).transpose()?,
            key_readings: Readings::default(),
            verifier_readings: Readings::default(),
            revocation_readings: Readings::default(),
            verified: VerifiedTokens::default(),
            permits: PermitRegistry::default(),
            files: Mutex::new(Some(files)),
            options,
        })
    }

    /// Whether keys and revocations can be read.
    pub fn health(&self) -> AuthHealth {
        let url = self.jwks_url.as_ref();
        let fetched = url.and_then(JwksUrl::age_and_left_out);
        AuthHealth {
            sources: Source::ALL.map(|source| match source {
                Source::Keys => self.key_readings.health(),
                Source::JwtKeys => self.verifier_readings.health(),
                Source::JwksUrl => url.map(JwksUrl::health).unwrap_or_default(),
                Source::RevocationFile => self.revocation_readings.health(),
            }),
            keys_age: fetched.map(|(age, _)| age),
            keys_left_out: fetched.map_or(0, |(_, left_out)| left_out),
            revocations: self.revocations.read().count(),
        }
    }

    /// Who may use this right.
    pub fn access(&self, right: Right) -> Access {
        self.options.access(right)
    }

    /// Checks whether a client may publish. The right may end while the body arrives, so check again before anything is
    /// stored. Cancel safe.
    ///
    /// # Errors
    /// Why it may not.
    pub async fn publish(&self, pipeline: PipelineId, presented: Presented<'_>) -> Result<PublishGrant, Refused> {
        let proof = match self.options.publish {
            // Boxed, here and below, so that requests do not carry its size where access is open.
            Access::Token => Some(Box::pin(self.prove(&pipeline, Right::Publish, presented)).await?),
            Access::Open => None,
        };
        Ok(PublishGrant::new(pipeline, proof))
    }

    /// Checks whether a client may read. Cancel safe.
    ///
    /// # Errors
    /// Why it may not.
    pub async fn read(&self, pipeline: PipelineId, presented: Presented<'_>) -> Result<ReadGrant, Refused> {
        let proof = match self.options.subscribe {
            Access::Token => Some(Box::pin(self.prove(&pipeline, Right::Subscribe, presented)).await?),
            Access::Open => None,
        };
        Ok(ReadGrant::new(pipeline, proof))
    }

    /// Turns the right to read into the permit of a stream, or of another long answer. None where reading is open.
    ///
    /// # Errors
    /// When the right was revoked in the meantime.
    pub fn admit(&self, grant: ReadGrant) -> Result<Option<Arc<StreamPermit>>, Refused> {
        let (pipeline, Some(proof)) = grant.into_parts() else { return Ok(None) };
        let life = proof.ends_at.map(|end| Duration::try_from_secs_f64(end - now()).unwrap_or_default());
        let permit = self.permits.enter(StreamPermit::new(proof.holder, pipeline, life));
        // Checked only after it was entered: a revocation before that could not have found it.
        if !self.is_still_allowed(&permit) {
            return Err(Refused::Invalid);
        }
        Ok(Some(permit))
    }

    /// Describes what a key or a token allows, whether or not the settings require one. Cancel safe.
    ///
    /// # Errors
    /// Why it is rejected.
    pub async fn explain(&self, token: &str, right: Right) -> Result<Explained, TokenFault> {
        let proof = self.examine(token, right).await?;
        let key_name = match proof.holder {
            Holder::Key(key) => Some(key.name.clone()),
            Holder::Token { .. } => None,
        };
        Ok(Explained { key_name, rights: proof.rights })
    }

    /// Fetches the keys at `auth.jwks_url` once, for a caller that does not [`Auth::run`].
    pub async fn fetch_keys(&self) {
        if let Some(url) = &self.jwks_url {
            url.fetch_once().await;
        }
    }

    /// Reloads files when they change, and fetches keys. Never returns.
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
        // Watched before they are read, so that no change is missed.
        files.watch(self.options.key_files(&tables));
        *self.keys.write() = Arc::new(Keys::load(tables)?);
        tracing::info!(streams_ended = self.end_streams(), "reloaded the static keys");
        Ok(())
    }

    fn read_verifiers(&self) -> Result<(), AuthSetupError> {
        *self.verifiers.write() = Arc::new(self.options.load_verifiers()?);
        tracing::info!("reloaded the keys for tokens");
        Ok(())
    }

    fn read_revocations(&self) -> Result<(), AuthSetupError> {
        let read = Arc::new(self.options.load_revocations()?);
        let before = std::mem::replace(&mut *self.revocations.write(), read.clone());
        let (revocations, lifted) = (read.count(), before.count_without(&read));
        let streams_ended = self.end_streams();
        tracing::info!(revocations, lifted, streams_ended, "reloaded the revocations");
        Ok(())
    }

    /// Ends the streams that are no longer allowed, and returns how many there were.
    fn end_streams(&self) -> usize {
        self.permits.revoke_unless(|permit| self.is_still_allowed(permit))
    }

    async fn prove(&self, pipeline: &PipelineId, right: Right, presented: Presented<'_>) -> Result<Proof, Refused> {
        let token = match presented {
            Presented::Nothing => return Err(Refused::Missing),
            Presented::Unreadable => return Err(Refused::Malformed),
            Presented::Token(token) => token,
        };
        let proof = self.examine(token, right).await.map_err(|fault| {
            tracing::debug!(%fault, "rejected a token");
            let is_without_keys = self.jwks_url.as_ref().is_some_and(|url| url.keys().is_none());
            let could_be_unknown = matches!(fault, TokenFault::KeyId | TokenFault::Algorithm | TokenFault::Signature);
            if is_without_keys && could_be_unknown { Refused::NoKeys } else { fault.into() }
        })?;
        if proof.rights.allow(right, pipeline) { Ok(proof) } else { Err(Refused::Forbidden(right)) }
    }

    /// Checks whether a key or a token is valid for a use of this right, on any pipeline.
    async fn examine(&self, token: &str, right: Right) -> Result<Proof, TokenFault> {
        let key = self.keys.read().find(token).cloned();
        let proof = match key {
            Some(key) => Proof { rights: key.rights.clone(), holder: Holder::Key(key), ends_at: None },
            None if !token::looks_signed(token) => return Err(TokenFault::UnknownKey),
            None => self.verify(token, right).await?,
        };
        if self.is_revoked(&proof.holder) { Err(TokenFault::Revoked) } else { Ok(proof) }
    }

    async fn verify(&self, token: &str, right: Right) -> Result<Proof, TokenFault> {
        let signed = match self.verified.find(token, &self.key_sets()) {
            Some(signed) => signed,
            None => self.verify_signature(token).await?,
        };
        let Signed { claims, key_id } = &*signed;
        claims.check(&self.expected, right, now())?;
        let holder =
            Holder::Token { jti: claims.jti.as_deref().map(Into::into), key_id: key_id.as_deref().map(Into::into) };
        Ok(Proof { holder, rights: claims.pipecast.clone(), ends_at: claims.exp.map(|NumericDate(exp)| exp) })
    }

    async fn verify_signature(&self, token: &str) -> Result<Arc<Signed>, TokenFault> {
        let header = token::header(token)?;
        let mut verified = self.verify_now(token, &header);
        // Only an unknown name can belong to a new key; fetching for any other reason would be useless.
        let is_unknown = matches!(verified, Err(TokenFault::KeyId)) || self.lacks_first_keys();
        if verified.is_err()
            && is_unknown
            && let Some(url) = &self.jwks_url
            // Boxed: rare, and larger than everything else here.
            && Box::pin(url.ask()).await
        {
            verified = self.verify_now(token, &header);
        }
        verified
    }

    fn verify_now(&self, token: &str, header: &jsonwebtoken::Header) -> Result<Arc<Signed>, TokenFault> {
        let keys = self.key_sets();
        let fetched = keys.fetched.as_deref().unwrap_or_default();
        let signed = Arc::new(token::verify(token, header, &[&keys.ours, fetched])?);
        self.verified.remember(token, keys, signed.clone());
        Ok(signed)
    }

    fn key_sets(&self) -> KeySets {
        KeySets { ours: self.verifiers.read().clone(), fetched: self.jwks_url.as_ref().and_then(JwksUrl::keys) }
    }

    fn lacks_first_keys(&self) -> bool {
        self.jwks_url.as_ref().is_some_and(|url| url.keys().is_none())
    }

    fn is_revoked(&self, holder: &Holder) -> bool {
        let revoked = self.revocations.read().clone();
        match holder {
            Holder::Key(key) => revoked.contain(&key.name),
            Holder::Token { jti, key_id } => [jti, key_id].into_iter().flatten().any(|name| revoked.contain(name)),
        }
    }

    /// Whether a stream may continue under the current keys and revocations.
    ///
    /// A token's signing key may be gone: an issuer that rotates keys does not mean to invalidate issued tokens.
    fn is_still_allowed(&self, permit: &StreamPermit) -> bool {
        let has_key = match &permit.holder {
            Holder::Token { .. } => true,
            Holder::Key(key) => self.keys.read().named(&key.name).is_some_and(|known| {
                known.is_same_secret(key)
                    && known.rights.channels == key.rights.channels
                    && known.rights.allow(Right::Subscribe, &permit.pipeline)
            }),
        };
        has_key && !self.is_revoked(&permit.holder)
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
