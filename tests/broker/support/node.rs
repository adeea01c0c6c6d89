//! A node: the program itself, as a process.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use super::cgroup::Cgroup;
use super::stream::Stream;
use super::{PATIENCE, eventually, http};

/// The two ways in which streams are carried: by fan-out threads, and by the HTTP library.
pub fn both_ways() -> [Options; 2] {
    [Options::default().set("FANOUT__THREADS", "2"), Options::default().set("FANOUT__THREADS", "0")]
}

/// A running node; killed when dropped.
pub struct Node {
    child: Child,
    pub url: String,
    pub admin: String,
    pub http: Client,
    log: Arc<Mutex<String>>,
}

/// How a node is started.
#[derive(Default, Clone)]
pub struct Options {
    arguments: Vec<String>,
    environment: HashMap<String, String>,
    client: Option<Client>,
    cgroup: Option<PathBuf>,
}

impl Options {
    /// A setting, as its environment variable without the prefix.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(format!("PIPECAST_{name}"), value.into());
        self
    }

    /// An environment variable that is not a setting.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// The client that talks to it; one of HTTP/1.1 otherwise.
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Starts it in this cgroup.
    pub fn within(mut self, cgroup: &Cgroup) -> Self {
        self.cgroup = Some(cgroup.processes());
        self
    }

    pub fn redis(self, url: &str) -> Self {
        self.argument("--redis").argument(url)
    }

    /// The program with these options, not started.
    pub fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_pipecast");
        let mut command = match &self.cgroup {
            None => Command::new(program),
            // In the cgroup from its first page of memory on.
            Some(processes) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(processes).arg(program);
                shell
            }
        };
        command.arg("serve").args(&self.arguments).env_clear().envs(&self.environment);
        command
    }

    /// Starts a node on free ports and waits until it is ready.
    pub async fn start(self) -> Node {
        let node = self.start_unready().await;
        eventually("the node is ready", || async { node.is_ready().await }).await;
        node
    }

    pub async fn start_unready(self) -> Node {
        self.start_logging_to(Stdio::piped()).await
    }

    /// Starts a node that logs to a place of the caller's; [`Node::log`] shows nothing of it.
    pub async fn start_logging_to(self, log_to: Stdio) -> Node {
        let mut command = self.command();
        if !self.arguments.iter().any(|argument| argument == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(["--admin-listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(log_to).spawn().unwrap();
        // The command keeps the other end of a pipe.
        drop(command);
        let log = Arc::new(Mutex::new(String::new()));
        if let Some(mut errors) = child.stderr.take() {
            let copy = log.clone();
            std::thread::spawn(move || {
                let mut line = [0; 4096];
                while let Ok(length @ 1..) = errors.read(&mut line) {
                    eprint!("{}", String::from_utf8_lossy(&line[..length]));
                    copy.lock().push_str(&String::from_utf8_lossy(&line[..length]));
                }
            });
        }
        let (mut url, mut admin) = (None, None);
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            let value = |name: &str| line.trim().strip_prefix(name).map(|rest| rest.trim().to_owned());
            url = url.or_else(|| value("public "));
            admin = admin.or_else(|| value("admin "));
            if url.is_some() && admin.is_some() {
                break;
            }
        }
        let announced = url.zip(admin);
        let (url, admin) = announced.unwrap_or_else(|| panic!("the node did not start: {}", log.lock()));
        Node { child, url, admin, http: self.client.unwrap_or_else(http), log }
    }

    /// Starts a node that can write nothing, neither its announcement nor its log, and waits until it is ready.
    pub async fn start_unheard(self) -> Node {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (public, admin) = (free(), free());
        let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = self.command();
        command.args(["--listen", &public.to_string(), "--admin-listen", &admin.to_string()]);
        let child = command.stdout(full()).stderr(full()).spawn().unwrap();
        let (url, admin) = (format!("http://{public}"), format!("http://{admin}"));
        let node = Node { child, url, admin, http: self.client.unwrap_or_else(http), log: Arc::default() };
        eventually("the node is ready", || async { node.is_ready().await }).await;
        node
    }
}

impl Node {
    /// One node on the embedded store.
    pub async fn embedded() -> Self {
        Options::default().start().await
    }

    pub async fn is_ready(&self) -> bool {
        self.admin_status("/readyz").await == Some(StatusCode::OK)
    }

    pub async fn admin_status(&self, path: &str) -> Option<StatusCode> {
        Some(http().get(format!("{}{path}", self.admin)).send().await.ok()?.status())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().clone()
    }

    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Where its public listener is.
    pub fn address(&self) -> SocketAddr {
        self.url.split_once("://").unwrap().1.parse().unwrap()
    }

    /// Where its admin listener is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.split_once("://").unwrap().1.parse().unwrap()
    }

    /// Bytes of its own that it has in memory; what it maps from files, such as the program, is not among them.
    pub fn own_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        anonymous.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// The id of the thread of this name.
    pub fn thread(&self, name: &str) -> String {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let ids = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
        let named = |id: &String| {
            let comm = format!("/proc/{}/task/{id}/comm", self.child.id());
            std::fs::read_to_string(comm).is_ok_and(|comm| comm.trim_end() == name)
        };
        ids.into_iter().find(named).unwrap_or_else(|| panic!("no thread {name}"))
    }

    /// The soft and the hard limit on its open files.
    pub fn limit_on_open_files(&self) -> (u64, u64) {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    /// Whether the thread's system calls are traced.
    pub fn is_traced(&self, thread: &str) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/task/{thread}/status", self.child.id())).unwrap();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Whether its process is still there.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the process to end by itself.
    pub async fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        let child = &mut self.child;
        let began = std::time::Instant::now();
        while status.is_none() {
            assert!(began.elapsed() < PATIENCE, "the node does not end");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            status = child.try_wait().unwrap();
        }
        status.unwrap()
    }

    pub async fn post(&self, pipeline: &str, body: impl ToString) -> Response {
        self.post_with(pipeline, body, &[]).await
    }

    pub async fn post_with(&self, pipeline: &str, body: impl ToString, headers: &[(&str, &str)]) -> Response {
        let mut request = self.http.post(format!("{}/pipelines/{pipeline}/events", self.url)).body(body.to_string());
        if !headers.iter().any(|(name, _)| *name == "Content-Type") {
            request = request.header("Content-Type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// Publishes one event; its id.
    pub async fn publish(&self, pipeline: &str, channel: &str, payload: Value) -> String {
        let answer = self.post(pipeline, json!({"channel": channel, "payload": payload})).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// Publishes numbered events in one batch; their ids.
    pub async fn publish_numbers(&self, pipeline: &str, numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
        let events: Vec<_> = numbers.map(|n| json!({"channel": "numbers", "payload": n})).collect();
        let answer = self.post(pipeline, Value::from(events)).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        serde_json::from_value(answer.json::<Value>().await.unwrap()["ids"].take()).unwrap()
    }

    /// Opens a stream; `query` with its question mark.
    pub async fn open(&self, pipeline: &str, query: &str) -> Stream {
        self.open_with(pipeline, query, None).await
    }

    pub async fn open_with(&self, pipeline: &str, query: &str, last_event_id: Option<&str>) -> Stream {
        Stream::open_by(&self.http, &format!("{}/pipelines/{pipeline}/sse{query}", self.url), last_event_id).await
    }

    pub async fn history(&self, pipeline: &str, query: &str) -> Value {
        let url = format!("{}/pipelines/{pipeline}/events{query}", self.url);
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    pub async fn forget(&self, pipeline: &str) {
        let url = format!("{}/pipelines/{pipeline}/events", self.url);
        assert_eq!(self.http.delete(url).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    }

    /// The value of a metric, named with its labels as in the exposition.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in:\n{text}")).parse().unwrap()
    }

    pub async fn metrics(&self) -> String {
        http().get(format!("{}/metrics", self.admin)).send().await.unwrap().text().await.unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
