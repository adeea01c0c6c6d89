//! What a service manager hears of a node, at a real socket of its protocol (sd_notify(3)).

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::support::node::Options;
use crate::support::redis::Redis;
use crate::support::strace::Strace;
use crate::support::{PATIENCE, eventually, http};

/// A service manager's ear.
struct Ear {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Ear {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { folder, socket }
    }

    /// The options of a node that talks to it.
    fn options(&self) -> Options {
        Options::default().variable("NOTIFY_SOCKET", &self.folder.path().join("notify").display().to_string())
    }

    /// The same, with a watchdog of so much patience.
    fn options_with_watchdog(&self, patience: Duration) -> Options {
        self.options().variable("WATCHDOG_USEC", &patience.as_micros().to_string())
    }

    /// The next message.
    async fn next(&self) -> String {
        timeout(PATIENCE, self.receive()).await.expect("a message")
    }

    async fn receive(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).await.unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// Waits for a message of this kind, past others.
    async fn until(&self, what: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let message = self.next().await;
            if what(&message) {
                return message;
            }
            assert!(began.elapsed() < PATIENCE, "the last one was {message:?}");
        }
    }

    async fn until_line(&self, line: &str) -> String {
        self.until(|message| message.lines().any(|other| other == line)).await
    }

    /// How many signs of life come within `time`.
    async fn signs_of_life(&self, time: Duration) -> usize {
        let end = Instant::now() + time;
        let mut count = 0;
        while let Ok(message) = timeout(end.saturating_duration_since(Instant::now()), self.receive()).await {
            count += message.matches("WATCHDOG=1\n").count();
        }
        count
    }
}

/// A node whose addresses are known before it says them; killed when dropped.
struct Early {
    child: Child,
    public: SocketAddr,
    admin: SocketAddr,
}

impl Early {
    fn start(options: Options) -> Self {
        // An address of this node's own.
        let address = Ipv4Addr::from(0x7f00_0000 | rand::random_range(0x0010_0000..0x00ff_fffe));
        let (public, admin) = (SocketAddr::from((address, 8080)), SocketAddr::from((address, 8081)));
        let options = options.argument("--listen").argument(&public.to_string());
        let mut command = options.argument("--admin-listen").argument(&admin.to_string()).command();
        Self { child: command.stdout(Stdio::null()).spawn().unwrap(), public, admin }
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_ready_once_connections_are_accepted() {
    // One port that never answers, and one that is closed.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let redis = |port: u16| format!("redis://127.0.0.1:{port}");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let stores = [None, Some(redis(gone)), Some(redis(silent.local_addr().unwrap().port()))];
    for store in stores {
        let ear = Ear::open();
        let options = match &store {
            Some(url) => ear.options().redis(url),
            None => ear.options(),
        };
        let node = Early::start(options);
        assert_eq!(ear.next().await, "READY=1\n");
        for (address, path) in [(node.public, "/pipelines/p/sse"), (node.admin, "/livez")] {
            let answer = http().get(format!("http://{address}{path}")).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{store:?} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_cannot_start_is_not_told_to_be_ready() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let ear = Ear::open();
    let options = ear.options().argument("--listen").argument(&taken.local_addr().unwrap().to_string());
    let mut command = options.argument("--admin-listen").argument("127.0.0.1:0").command();
    assert!(!command.status().unwrap().success());
    let mut message = [0; 64];
    assert!(ear.socket.try_recv(&mut message).is_err(), "{:?}", String::from_utf8_lossy(&message));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_follows_the_streams_the_store_and_the_drain() {
    let ear = Ear::open();
    let mut redis = Redis::start().await;
    let options = ear.options().redis(&redis.url()).set("REDIS__PROBE_INTERVAL", "200ms");
    let node = options.set("DRAIN__LEAD", "2s").set("DRAIN__WINDOW", "60s").set("DRAIN__DEADLINE", "4m").start().await;
    ear.until_line("STATUS=Serving; streams open: 0; store: up").await;
    // Enough that not all can end before the drain is reported.
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(node.open("p", "").await);
    }
    redis.kill();
    let away = "STATUS=Serving; streams open: 20; store: unreachable, so publishing fails and new streams wait";
    ear.until_line(away).await;
    redis.restart().await;
    let back = ear.until(|message| message.starts_with("STATUS=") && message != format!("{away}\n")).await;
    assert_eq!(back, "STATUS=Serving; streams open: 20; store: up\n");

    node.signal("TERM");
    // So much time from now on, or what the unit says, whichever is longer: the drain's deadline and a little.
    ear.until(|message| message == "STOPPING=1\nEXTEND_TIMEOUT_USEC=250000000\n").await;
    ear.until(|message| message.starts_with("STATUS=Stopping, still accepting connections; streams open: 20; ")).await;
    ear.until(|message| message.starts_with("STATUS=Draining; streams open: ")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn number_of_streams_is_told_when_nothing_else_changes() {
    let ear = Ear::open();
    let node = ear.options().start().await;
    ear.until_line("STATUS=Serving; streams open: 0; store: up").await;
    let _streams = [node.open("p", "").await, node.open("p", "").await];
    // At once, and not one by one.
    assert_eq!(ear.next().await, "STATUS=Serving; streams open: 2; store: up\n");
}

/// Long enough that a busy machine does not make a node late by all of it.
const WATCHDOG: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_stop_while_one_fanout_thread_hangs() {
    let ear = Ear::open();
    let node = ear.options_with_watchdog(WATCHDOG).set("FANOUT__THREADS", "2").start().await;
    for thread in ["fanout-0", "fanout-1"] {
        ear.until_line("WATCHDOG=1").await;
        let hang = Strace::hang(&node, thread).await;
        let complaint = format!("part=\"{thread}\"");
        eventually("the node says why", || async { node.log().contains(&complaint) }).await;
        // The rest of the node works.
        assert_eq!(node.admin_status("/livez").await, Some(StatusCode::OK));
        // One more may be under way.
        eventually("no sign of life comes", || async { ear.signs_of_life(WATCHDOG * 5).await == 0 }).await;
        hang.detach();
        ear.until_line("WATCHDOG=1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_is_quiet_busy_or_draining_lives() {
    for threads in ["0", "2"] {
        let ear = Ear::open();
        let options = ear.options_with_watchdog(WATCHDOG).set("FANOUT__THREADS", threads).set("DRAIN__LEAD", "4m");
        let node = options.set("DRAIN__DEADLINE", "5m").start().await;
        for _ in 0..3 {
            ear.until_line("WATCHDOG=1").await;
        }
        let mut stream = node.open("p", "").await;
        for n in 1..=20 {
            node.publish_numbers("p", n..=n).await;
        }
        stream.numbers(20).await;
        node.signal("TERM");
        ear.until(|message| message.starts_with("STOPPING=1")).await;
        for _ in 0..3 {
            ear.until_line("WATCHDOG=1").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_watchdog_pings_without_a_watchdog_of_this_process() {
    let ear = Ear::open();
    for options in [ear.options(), ear.options_with_watchdog(WATCHDOG).variable("WATCHDOG_PID", "1")] {
        let node = options.start().await;
        ear.until(|message| message.starts_with("STATUS=")).await;
        assert_eq!(ear.signs_of_life(WATCHDOG * 5).await, 0);
        drop(node);
    }
}

/// A crashed systemd keeps its socket open and stops reading, so that writers would block forever.
#[tokio::test(flavor = "multi_thread")]
async fn service_manager_that_does_not_listen_holds_nothing_up() {
    let ear = Ear::open();
    let stuffing = std::os::unix::net::UnixDatagram::unbound().unwrap();
    stuffing.set_nonblocking(true).unwrap();
    while stuffing.send_to(b"STATUS=full", ear.folder.path().join("notify")).is_ok() {}
    let options = ear.options_with_watchdog(WATCHDOG).set("DRAIN__LEAD", "0s").set("DRAIN__WINDOW", "0s");
    let mut node = options.start().await;
    let mut stream = node.open("p", "").await;
    node.publish_numbers("p", 1..=3).await;
    assert_eq!(stream.numbers(3).await, [1, 2, 3]);
    node.signal("TERM");
    assert!(node.exit().await.success());
}
