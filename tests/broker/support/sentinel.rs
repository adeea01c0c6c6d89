//! Real Redis servers that real sentinels watch.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::redis::{Redis, free_port};
use super::{eventually, impostor};

/// The name under which the sentinels watch the primary.
pub const MASTER: &str = "mymaster";

/// A primary, its replicas and their sentinels. All are killed when dropped.
pub struct Watched {
    pub servers: Vec<Server>,
    pub sentinels: Vec<Sentinel>,
}

pub struct Server {
    pub redis: Redis,
    pub port: u16,
}

/// A sentinel on a port of its own.
pub struct Sentinel {
    folder: TempDir,
    pub port: u16,
    child: Child,
}

/// How servers and sentinels are started.
#[derive(Default)]
pub struct Setup<'a> {
    pub replicas: usize,
    pub sentinels: usize,
    /// Arguments of all servers.
    pub server: &'a [&'a str],
    /// Lines in the files of all sentinels.
    pub sentinel: &'a [&'a str],
    /// Over TLS only.
    pub tls: bool,
}

impl Watched {
    /// One primary, two replicas and three sentinels, which agree.
    pub async fn start() -> Self {
        Setup { replicas: 2, sentinels: 3, ..Setup::default() }.start().await
    }

    /// A URL that names these ports as those of the sentinels.
    pub fn url(&self) -> String {
        url(self.sentinels.iter().map(|sentinel| sentinel.port))
    }

    /// The server that the first sentinel names as the primary.
    pub fn primary(&self) -> usize {
        let answer = self.sentinels[0].command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        let port = answer.lines().nth(1).unwrap_or_default().parse::<u16>().unwrap();
        self.servers.iter().position(|server| server.port == port).unwrap()
    }

    /// Waits until all sentinels name another primary than this server; returns the new one.
    pub async fn until_moved_from(&self, old: usize) -> usize {
        let port = self.servers[old].port.to_string();
        eventually("all sentinels name another primary", || async {
            self.sentinels.iter().all(|sentinel| {
                let answer = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
                answer.lines().nth(1).is_some_and(|named| named != port)
            })
        })
        .await;
        self.primary()
    }
}

/// A URL that names these sentinels.
pub fn url(ports: impl IntoIterator<Item = u16>) -> String {
    let sentinels: Vec<_> = ports.into_iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("redis-sentinel://{}/{MASTER}", sentinels.join(","))
}

impl Setup<'_> {
    pub async fn start(&self) -> Watched {
        let mut servers = Vec::new();
        for _ in 0..=self.replicas {
            let primary = servers.first().map(|server: &Server| server.port);
            servers.push(self.start_server(primary).await);
        }
        for replica in &servers[1..] {
            eventually("the replica follows", || async {
                replica.redis.command(&["INFO", "replication"]).contains("master_link_status:up")
            })
            .await;
        }
        let primary = servers[0].port;
        let mut sentinels = Vec::new();
        for _ in 0..self.sentinels {
            sentinels.push(self.start_sentinel(primary));
        }
        let watched = Watched { servers, sentinels };
        for sentinel in &watched.sentinels {
            let (others, replicas) = (self.sentinels - 1, self.replicas);
            eventually("the sentinel knows the others, and that the replicas follow", || async {
                let answer = |words: &[&str]| sentinel.try_command(words).unwrap_or_default();
                let others = format!("num-other-sentinels\n{others}\n");
                let known = answer(&["SENTINEL", "REPLICAS", MASTER]);
                answer(&["SENTINEL", "MASTER", MASTER]).contains(&others)
                    && known.matches("master-link-status\nok").count() == replicas
            })
            .await;
        }
        watched
    }

    async fn start_server(&self, primary: Option<u16>) -> Server {
        let port = free_port();
        let number = port.to_string();
        let mut arguments = vec![if self.tls { "--tls-port" } else { "--port" }, &*number, "--bind", "127.0.0.1"];
        arguments.extend(["--save", "", "--repl-diskless-sync-delay", "0"]);
        arguments.extend(self.server);
        let primary = primary.map(|port| port.to_string());
        if let Some(port) = &primary {
            arguments.extend(["--replicaof", "127.0.0.1", port]);
        }
        Server { redis: Redis::start_with(&arguments).await, port }
    }

    fn start_sentinel(&self, primary: u16) -> Sentinel {
        let (folder, port, quorum) = (tempfile::tempdir().unwrap(), free_port(), self.sentinels / 2 + 1);
        let ports = if self.tls { format!("port 0\ntls-port {port}") } else { format!("port {port}") };
        let lines = self.sentinel.join("\n");
        let text = format!(
            "{ports}\nbind 127.0.0.1\nunixsocket sentinel.sock\ndir .\n\
             sentinel monitor {MASTER} 127.0.0.1 {primary} {quorum}\n\
             sentinel down-after-milliseconds {MASTER} 1000\n\
             sentinel failover-timeout {MASTER} 10000\n{lines}\n"
        );
        std::fs::write(folder.path().join("sentinel.conf"), text).unwrap();
        let child = Command::new("redis-server")
            .current_dir(folder.path())
            .args(["sentinel.conf", "--sentinel"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child =
            child.unwrap_or_else(|error| panic!("redis-server ({error}); install it: apt-get install redis-server"));
        Sentinel { folder, port, child }
    }
}

impl Sentinel {
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words).unwrap_or_else(|| panic!("redis-cli {words:?} failed"))
    }

    fn try_command(&self, words: &[&str]) -> Option<String> {
        let socket = self.folder.path().join("sentinel.sock");
        let output = Command::new("redis-cli").arg("-e").arg("-s").arg(socket).args(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| text.trim_end().to_owned())
    }

    /// Sends a signal by name, such as STOP.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A sentinel that names one server as the primary whatever happens. Its thread ends with the test program.
pub struct Stubborn {
    pub port: u16,
    asked: Arc<AtomicUsize>,
}

impl Stubborn {
    pub fn start(primary: u16) -> Self {
        Self::start_on(free_port(), primary)
    }

    /// On a port that is known before.
    pub fn start_on(port: u16, primary: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let asked = Arc::<AtomicUsize>::default();
        let count = asked.clone();
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let count = count.clone();
                std::thread::spawn(move || {
                    impostor::serve_redis(socket, |words| {
                        if words[0] == "SENTINEL" {
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                        answer(words, primary)
                    })
                });
            }
        });
        Self { port, asked }
    }

    /// How many questions it has answered.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(words: &[String], primary: u16) -> String {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let words: Vec<_> = words.iter().map(|word| word.to_uppercase()).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["HELLO", ..] => format!("%1\r\n{}:3\r\n", bulk("proto")),
        ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", _] => {
            format!("*2\r\n{}{}", bulk("127.0.0.1"), bulk(&primary.to_string()))
        }
        ["SENTINEL", "MASTER", _] => format!("%1\r\n{}{}", bulk("config-epoch"), bulk("0")),
        ["SUBSCRIBE", ref channels @ ..] => {
            let confirm =
                |channel: &&str| format!(">3\r\n{}{}:1\r\n", bulk("subscribe"), bulk(&channel.to_lowercase()));
            channels.iter().map(confirm).collect()
        }
        _ => "+OK\r\n".to_owned(),
    }
}
