//! strace on a thread of a node.

use std::process::{Child, Command, Stdio};

use super::eventually;
use super::node::Node;

/// A watcher of one thread's system calls, or what hinders them.
pub struct Strace(Child);

impl Strace {
    pub async fn attach(node: &Node, thread: &str, arguments: &[&str]) -> Self {
        let thread = node.thread(thread);
        let strace = Self::start(&thread, arguments);
        eventually("strace is attached", || async { node.is_traced(&thread) }).await;
        strace
    }

    /// Lets the thread's waits for its sockets fail from here on.
    pub fn break_waits(node: &Node, thread: &str) -> Self {
        Self::start(&node.thread(thread), &["-o", "/dev/null", "-e", "inject=epoll_wait:error=EBADF"])
    }

    fn start(thread: &str, arguments: &[&str]) -> Self {
        let child = Command::new("strace").args(arguments).args(["-p", thread]).stderr(Stdio::null()).spawn();
        Self(
            child.unwrap_or_else(|error| {
                panic!("strace cannot be started ({error}); install it: apt-get install strace")
            }),
        )
    }

    /// Holds the thread at its next system call, and the rest of the process not.
    pub async fn hang(node: &Node, thread: &str) -> Self {
        Self::attach(node, thread, &["-o", "/dev/null", "-e", "inject=all:delay_enter=3600s"]).await
    }

    /// Ends it; what it had to write is written.
    pub fn detach(mut self) {
        assert!(Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap().success());
        self.0.wait().unwrap();
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // It may have ended with its thread.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
