//! A real redis-server of the test's own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::eventually;

/// A redis-server on a unix socket in a folder of its own; killed when dropped.
pub struct Redis {
    folder: TempDir,
    arguments: Vec<String>,
    program: PathBuf,
    child: Option<Child>,
}

impl Redis {
    /// One that forgets everything when it stops.
    pub async fn start() -> Self {
        Self::start_with(&["--save", "", "--appendonly", "no"]).await
    }

    /// One that keeps every write over a restart.
    pub async fn start_durable() -> Self {
        Self::start_with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]).await
    }

    pub async fn start_with(arguments: &[&str]) -> Self {
        Self::start_program("redis-server".into(), tempfile::tempdir().unwrap(), arguments).await
    }

    pub async fn start_program(program: PathBuf, folder: TempDir, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut redis = Self { folder, arguments, program, child: None };
        redis.restart().await;
        redis
    }

    /// Starts the server again in the same folder.
    pub async fn restart(&mut self) {
        self.spawn();
        eventually("redis-server accepts connections", || async {
            tokio::net::UnixStream::connect(self.folder.path().join("redis.sock")).await.is_ok()
        })
        .await;
        eventually("redis-server answers", || async {
            self.try_command(&["PING"]).is_some_and(|pong| !pong.contains("LOADING"))
        })
        .await;
    }

    /// Starts the server again, and returns while it still loads what it has kept, slowly: at this many microseconds a key.
    pub async fn restart_loading(&mut self, micros_a_key: u32) {
        let arguments =
            ["--key-load-delay", &micros_a_key.to_string(), "--loading-process-events-interval-bytes", "1024"];
        let before = self.arguments.clone();
        self.arguments.extend(arguments.map(str::to_owned));
        self.spawn();
        self.arguments = before;
        eventually("redis-server loads", || async {
            self.try_command(&["INFO", "persistence"]).is_some_and(|info| info.contains("loading:1"))
        })
        .await;
    }

    fn spawn(&mut self) {
        let child = Command::new(&self.program)
            .current_dir(self.folder.path())
            .args(["--port", "0", "--unixsocket", "redis.sock", "--dir", "."])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("{} cannot be started ({error}); install it: apt-get install redis-server", self.program.display())
        });
        self.child = Some(child);
    }

    /// Ends the server as a power failure would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal by name, such as STOP.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// What redis-cli answers.
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words).unwrap_or_else(|| panic!("redis-cli {words:?} failed"))
    }

    fn try_command(&self, words: &[&str]) -> Option<String> {
        let output = Command::new("redis-cli").arg("-e").arg("-s").arg(self.socket()).args(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| text.trim_end().to_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A free port for a program that cannot be asked which one it got. Below those that the system gives out: a test
/// beside this one could get it before the program has it.
pub fn free_port() -> u16 {
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| rand::random_range(10_000..30_000)).find(is_free).unwrap()
}
