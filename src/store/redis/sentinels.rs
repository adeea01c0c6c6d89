//! Sentinels: which server they name as the primary.
//!
//! All are asked at once, each over a connection of its own, and the most credible answer counts. An address that was not
//! used before counts only once the server there says that it is a primary, so a sentinel that missed a failover leads
//! nowhere. While no sentinel answers, the last primary stays. Keeps no connection.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, Value};
use tokio::time::{Instant, timeout, timeout_at};

use super::command_error::{CommandError, Unfit, Unreachable};
use super::connector::{SENTINEL_PASSWORD_FILE, read_password, verify};
use super::health::Health;
use super::sentinel_answer::{Candidate, SentinelAnswer, ServerAddress, candidates, question, read};

/// An answer is used for so long: connections are often made several at a time.
const FRESH: Duration = Duration::from_millis(100);

/// The sentinels of one primary.
pub(super) struct Sentinels {
    /// Without credentials.
    sentinels: Vec<Sentinel>,
    /// The name under which they watch the primary.
    pub(super) master: String,
    user: Option<String>,
    password_file: Option<PathBuf>,
    /// Of one command.
    timeout: Duration,
    /// The last answer. Held while the sentinels are asked: connections that are made at the same time share it.
    asked: tokio::sync::Mutex<Option<Asked>>,
    /// The last server that was a primary when it was asked. Held for a few statements.
    known: Mutex<Option<KnownPrimary>>,
}

#[derive(Clone)]
struct KnownPrimary {
    address: ServerAddress,
    epoch: u64,
    /// Whether it has since said that it serves nothing, or not as the primary.
    is_doubted: bool,
}

pub(super) struct Sentinel {
    /// Host and port, for the log.
    pub(super) name: String,
    info: ConnectionInfo,
    is_failing: AtomicBool,
}

struct Asked {
    at: Instant,
    outcome: Result<ServerAddress, CommandError>,
}

impl Sentinels {
    /// Each with its name and how to connect to it.
    pub(super) fn new(
        sentinels: Vec<(String, ConnectionInfo)>,
        master: String,
        user: Option<String>,
        password_file: Option<PathBuf>,
        timeout: Duration,
    ) -> Arc<Self> {
        let sentinels = sentinels.into_iter();
        let sentinels = sentinels.map(|(name, info)| Sentinel { name, info, is_failing: AtomicBool::new(false) });
        Arc::new(Self {
            sentinels: sentinels.collect(),
            master,
            user,
            password_file,
            timeout,
            asked: tokio::sync::Mutex::default(),
            known: Mutex::default(),
        })
    }

    pub(super) fn all(&self) -> &[Sentinel] {
        &self.sentinels
    }

    /// How to connect to the primary, and the generation of that connection; `server` is how to connect to any server.
    /// Condemns the connections to another primary.
    ///
    /// # Errors
    /// No sentinel answers or knows the primary, and none was known before; or the server is not a primary.
    pub(super) async fn primary(
        &self,
        server: &ConnectionInfo,
        health: &Health,
    ) -> Result<(ConnectionInfo, u64), CommandError> {
        let mut asked = self.asked.lock().await;
        let outcome = match asked.as_ref().filter(|asked| asked.at.elapsed() < FRESH) {
            Some(asked) => asked.outcome.clone(),
            None => {
                let outcome = self.ask_and_verify(server, health).await;
                asked.insert(Asked { at: Instant::now(), outcome }).outcome.clone()
            }
        };
        // Read while nothing else can find another primary, which would begin the next generation.
        outcome.map(|address| (at(server, &address), health.generation()))
    }

    /// As [`Self::primary`], with an answer that is newer than this call.
    pub(super) async fn follow(&self, server: &ConnectionInfo, health: &Health) -> Result<(), CommandError> {
        *self.asked.lock().await = None;
        self.primary(server, health).await.map(|_| ())
    }

    /// The server that was found does not serve as the primary: it is asked before it is used again.
    pub(super) fn doubt(&self) {
        if let Some(known) = &mut *self.known.lock() {
            known.is_doubted = true;
        }
    }

    async fn ask_and_verify(&self, server: &ConnectionInfo, health: &Health) -> Result<ServerAddress, CommandError> {
        let known = self.known.lock().clone();
        let named = match (self.ask().await, &known) {
            (Ok(named), _) => named,
            (Err(_), Some(known)) => return Ok(known.address.clone()),
            (Err(error), None) => return Err(error),
        };
        let is_credible = |candidate: &Candidate| {
            known.as_ref().is_none_or(|known| candidate.is_newer_than(known.epoch, self.sentinels.len()))
        };
        let mut last = None;
        for candidate in named.into_iter().filter(is_credible) {
            let is_known = |known: &KnownPrimary| known.address == candidate.address && !known.is_doubted;
            let verified = match known.as_ref().is_some_and(is_known) {
                true => Ok(()),
                false => self.verify(at(server, &candidate.address)).await,
            };
            match verified {
                Ok(()) => return Ok(self.found(candidate, health)),
                // Proven wrong: an older answer may be right. Not where the server cannot be reached: an older primary may
                // still think that it is one, and would lose what it stores.
                Err(error) if error.is_replica() => last = Some(error),
                Err(CommandError::Unreachable(problem)) => {
                    let (address, problem) = (candidate.address.to_string(), problem.to_string());
                    return Err(Unreachable::NamedPrimary { address, problem }.into());
                }
                Err(error) => return Err(error),
            }
        }
        match (last, known) {
            (Some(error), _) => Err(error),
            // Only sentinels that missed a failover have answered.
            (None, Some(known)) => Ok(known.address),
            (None, None) => Err(CommandError::replica()),
        }
    }

    fn found(&self, Candidate { address, epoch, .. }: Candidate, health: &Health) -> ServerAddress {
        let now = KnownPrimary { address: address.clone(), epoch, is_doubted: false };
        let before = self.known.lock().replace(now);
        let (is_other, was_doubted) =
            before.map_or((false, true), |before| (before.address != address, before.is_doubted));
        if is_other {
            tracing::warn!(primary = %address, "the sentinels name another primary; reconnecting");
            health.condemn();
        }
        if is_other || was_doubted {
            // A connection was just made: those that wait before they try again need not.
            health.connected(Instant::now(), true);
        }
        address
    }

    async fn verify(&self, info: ConnectionInfo) -> Result<(), CommandError> {
        let config = self.config();
        let client = Client::open(info)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        verify(&mut connection).await
    }

    /// The servers that the sentinels name, the most credible first; at least one.
    async fn ask(&self) -> Result<Vec<Candidate>, CommandError> {
        let deadline = Instant::now() + self.timeout / 2;
        let mut asking: FuturesUnordered<_> =
            self.sentinels.iter().map(|sentinel| async move { (sentinel, self.ask_one(sentinel).await) }).collect();
        let (mut answers, mut unknown, mut errors) = (Vec::new(), 0, Vec::new());
        // Once one has answered, the others have little time: their hosts may be gone.
        let mut until = deadline;
        while let Ok(Some((sentinel, answer))) = timeout_at(until, asking.next()).await {
            sentinel.note(&answer);
            match answer {
                Ok(Some(answer)) => {
                    answers.push(answer);
                    until = until.min(Instant::now() + self.timeout / 10);
                }
                Ok(None) => unknown += 1,
                Err(error) => errors.push((sentinel, error)),
            }
        }
        if !answers.is_empty() {
            return Ok(candidates(answers));
        }
        if unknown == self.sentinels.len() {
            return Err(Unfit::UnknownMaster { master: self.master.clone() }.into());
        }
        let is_refusal = |error: &CommandError| matches!(error, CommandError::Denied { .. } | CommandError::Unfit(_));
        let at = errors.iter().position(|(_, error)| is_refusal(error)).unwrap_or(0);
        Err(match errors.into_iter().nth(at) {
            Some((sentinel, CommandError::Denied { source, .. })) => {
                Unfit::SentinelRefuses { sentinel: sentinel.name.clone(), problem: source.to_string() }.into()
            }
            Some((_, error @ CommandError::Unfit(_))) => error,
            Some((sentinel, error)) => {
                Unreachable::Sentinels { sentinel: sentinel.name.clone(), problem: error.to_string() }.into()
            }
            None => Unreachable::NoAnswer(self.timeout).into(),
        })
    }

    async fn ask_one(&self, sentinel: &Sentinel) -> Result<Option<SentinelAnswer>, CommandError> {
        let asking = async {
            let mut connection = self.connect(sentinel, &self.config()).await?;
            let answers: Vec<Result<Value, RedisError>> = question(&self.master).query_async(&mut connection).await?;
            read(answers).map_err(|error| match error.into() {
                CommandError::Unexpected { source, .. } => {
                    Unfit::NoSentinel { address: sentinel.name.clone(), problem: source.to_string() }.into()
                }
                other => other,
            })
        };
        timeout(self.timeout / 2, asking).await.unwrap_or(Err(Unreachable::NoAnswer(self.timeout / 2).into()))
    }

    /// A connection to one sentinel.
    pub(super) async fn connect(
        &self,
        sentinel: &Sentinel,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, CommandError> {
        let mut settings = sentinel.info.redis_settings().clone();
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(path) = &self.password_file {
            settings = settings.set_password(read_password(SENTINEL_PASSWORD_FILE, path)?);
        }
        let client = Client::open(sentinel.info.clone().set_redis_settings(settings))?;
        Ok(client.get_multiplexed_async_connection_with_config(config).await?)
    }

    pub(super) fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new().set_connection_timeout(Some(self.timeout)).set_response_timeout(Some(self.timeout))
    }
}

impl Sentinel {
    /// Logs each change once.
    fn note(&self, answer: &Result<Option<SentinelAnswer>, CommandError>) {
        let was_failing = self.is_failing.swap(!matches!(answer, Ok(Some(_))), Ordering::Relaxed);
        match answer {
            Ok(Some(_)) if was_failing => tracing::info!(sentinel = %self.name, "the sentinel answers again"),
            Ok(None) if !was_failing => {
                tracing::warn!(sentinel = %self.name, "the sentinel does not know the primary of redis.url");
            }
            Err(error) if !was_failing => tracing::warn!(sentinel = %self.name, %error, "the sentinel does not answer"),
            _ => {}
        }
    }
}

/// A connection to this server.
fn at(server: &ConnectionInfo, address: &ServerAddress) -> ConnectionInfo {
    let ServerAddress { host, port } = address.clone();
    let address = match server.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    server.clone().set_addr(address)
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sentinels").field("master", &self.master).finish_non_exhaustive()
    }
}
