//! Access: who may publish to a pipeline, and who may read it.
//!
//! A right is proved by a grant, which only this module can make: the server's handlers take one in place of a
//! pipeline, so that no route can forget to ask. Nothing here knows HTTP or the store, and nothing here ever logs,
//! keeps or repeats a token.

mod claims;
mod files;
mod grant;
mod health;
mod jwks_url;
mod key;
mod key_set;
mod mint;
mod object;
mod options;
mod pass;
mod pattern;
mod provider;
mod revocations;
mod right;
mod sources;
mod token;
mod verified;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};

use crate::event::PipelineId;
use claims::{Expected, Moment};
use files::Files;
use grant::Proof;
use health::Readings;
use jwks_url::JwksUrl;
use key::Keys;
use pass::{Holder, Passes};
use revocations::Revocations;
use token::Signed;
use verified::{KeySets, VerifiedTokens};
use verifier::Verifier;

pub use claims::Claims;
pub use grant::{Explained, Presented, PublishGrant, ReadGrant, Refused};
pub use health::{AuthHealth, Source, SourceHealth};
pub use key::{KeyTable, SecretSource, parse_setting};
pub use mint::{Mint, MintError, MintKey};
pub use options::{Access, AuthOptions, Secret};
pub use pass::Pass;
pub use pattern::{InvalidPattern, Pattern};
pub use right::{Right, Rights};
pub use sources::read_text;
pub use token::{TokenFault, peek};
pub use verifier::SHORTEST_SECRET;

/// Why access cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    /// A file cannot be read, or is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A static key cannot be used.
    #[error("key `{name}`: {problem}")]
    Key {
        /// The key's name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A setting cannot be used.
    #[error("{0}: {1}")]
    Setting(&'static str, String),
    /// There is no client for `auth.jwks_url`.
    #[error("auth.jwks_url: {0}")]
    Client(#[from] reqwest::Error),
}

impl AuthSetupError {
    fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    fn key(name: &str, problem: &'static str) -> Self {
        Self::Key { name: name.to_owned(), problem }
    }
}

/// Access to a node.
#[derive(Debug)]
pub struct Auth {
    options: AuthOptions,
    expected: Expected,
    /// Written when files change, read by requests; so are the next two.
    keys: RwLock<Arc<Keys>>,
    verifiers: RwLock<Arc<Vec<Verifier>>>,
    revocations: RwLock<Arc<Revocations>>,
    jwks_url: Option<JwksUrl>,
    key_readings: Readings,
    verifier_readings: Readings,
    revocation_readings: Readings,
    verified: VerifiedTokens,
    passes: Passes,
    /// Taken by the loop that follows them.
    files: Mutex<Option<Files>>,
}

impl Auth {
    /// Reads all files.
    ///
    /// # Errors
    /// With what cannot be used, and never with a secret.
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
            tracing::info!(file = %path.display(), revocations = revocations.count(), "the revocations were read");
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
            passes: Passes::default(),
            files: Mutex::new(Some(files)),
            options,
        })
    }

    /// How the reading of keys and revocations goes.
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

    /// Judges a wish to publish. What comes later than this, such as a body, may find that the right has ended: it is to be
    /// judged again before anything is stored. Cancel safe.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn publish(&self, pipeline: PipelineId, presented: Presented<'_>) -> Result<PublishGrant, Refused> {
        let proof = match self.options.publish {
            // In a box, here and below: where access is open no request needs room for it.
            Access::Token => Some(Box::pin(self.prove(&pipeline, Right::Publish, presented)).await?),
            Access::Open => None,
        };
        Ok(PublishGrant::new(pipeline, proof))
    }

    /// Judges a wish to read. Cancel safe.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn read(&self, pipeline: PipelineId, presented: Presented<'_>) -> Result<ReadGrant, Refused> {
        if self.options.subscribe == Access::Open {
            return Ok(ReadGrant::open(pipeline));
        }
        let proof = Box::pin(self.prove(&pipeline, Right::Subscribe, presented)).await?;
        Ok(ReadGrant::proved(pipeline, proof))
    }

    /// Makes of the right to read the pass of a stream, or of an answer that takes its time; none where reading is open.
    ///
    /// # Errors
    /// When the right was revoked since.
    pub fn admit(&self, grant: ReadGrant) -> Result<Option<Arc<Pass>>, Refused> {
        let (pipeline, Some(proof)) = grant.into_parts() else { return Ok(None) };
        let life = proof.ends_at.map(|end| Duration::try_from_secs_f64(end - now()).unwrap_or_default());
        let pass = self.passes.enter(Pass::new(proof.holder, pipeline, life));
        // Looked at only now: what was revoked before the pass was entered would have passed it by.
        if !self.is_still_good(&pass) {
            return Err(Refused::Invalid);
        }
        Ok(Some(pass))
    }

    /// What a key or a token is, and what it is good for, whatever the settings ask for. Cancel safe.
    ///
    /// # Errors
    /// Why it is good for nothing.
    pub async fn explain(&self, token: &str, right: Right) -> Result<Explained, TokenFault> {
        let proof = self.examine(token, right).await?;
        let key_name = match proof.holder {
            Holder::Key(key) => Some(key.name.clone()),
            Holder::Token { .. } => None,
        };
        Ok(Explained { key_name, rights: proof.rights })
    }

    /// Fetches the keys at `auth.jwks_url`, for who does not [`Auth::run`].
    pub async fn fetch_keys(&self) {
        if let Some(url) = &self.jwks_url {
            url.fetch_once().await;
        }
    }

    async fn prove(&self, pipeline: &PipelineId, right: Right, presented: Presented<'_>) -> Result<Proof, Refused> {
        let token = match presented {
            Presented::Nothing => return Err(Refused::Missing),
            Presented::Unreadable => return Err(Refused::Malformed),
            Presented::Token(token) => token,
        };
        let proof = self.examine(token, right).await.map_err(|fault| {
            tracing::debug!(%fault, "a token was refused");
            let is_without_keys = self.jwks_url.as_ref().is_some_and(|url| url.keys().is_none());
            let could_be_unknown = matches!(fault, TokenFault::KeyId | TokenFault::Algorithm | TokenFault::Signature);
            if is_without_keys && could_be_unknown { Refused::NoKeys } else { fault.into() }
        })?;
        if proof.rights.allow(right, pipeline) { Ok(proof) } else { Err(Refused::Forbidden(right)) }
    }

    /// Whether a key or a token is valid for a use of this right, to whichever pipeline.
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
        Ok(Proof { holder, rights: claims.pipecast.clone(), ends_at: claims.exp.map(|Moment(exp)| exp) })
    }

    async fn verify_signature(&self, token: &str) -> Result<Arc<Signed>, TokenFault> {
        let header = token::header(token)?;
        let mut verified = self.verify_now(token, &header);
        // Only a name that is not known can be a new key; anything else would be asked for in vain.
        let is_unknown = matches!(verified, Err(TokenFault::KeyId)) || self.lacks_first_keys();
        if verified.is_err()
            && is_unknown
            && let Some(url) = &self.jwks_url
            // In a box: rare, and larger than all the rest.
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

    /// Whether a stream may go on under the keys and revocations of this moment.
    ///
    /// A token's own key is not looked for: an issuer that changes its keys means no harm to the tokens that are out.
    fn is_still_good(&self, pass: &Pass) -> bool {
        let has_key = match &pass.holder {
            Holder::Token { .. } => true,
            Holder::Key(key) => self.keys.read().named(&key.name).is_some_and(|known| {
                known.is_same_secret(key)
                    && known.rights.channels == key.rights.channels
                    && known.rights.allow(Right::Subscribe, &pass.pipeline)
            }),
        };
        has_key && !self.is_revoked(&pass.holder)
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
