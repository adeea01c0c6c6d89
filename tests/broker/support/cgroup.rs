//! A memory cgroup of a test's own, in which a node is started.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A cgroup with a limit on memory; removed when dropped, after the node in it has ended.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// One with so many bytes of memory, no swap; of version 1 or 2, whichever the system has.
    ///
    /// None where none can be made, which the summary of `scripts/test` then says.
    pub fn with_memory(bytes: u64) -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("pipecast-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let made = [
            ("/sys/fs/cgroup/memory", ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]),
            ("/sys/fs/cgroup", ["memory.max", "memory.swap.max"]),
        ]
        .into_iter()
        .find_map(|(root, [limit, swap])| {
            let path = Path::new(root).join(&name);
            std::fs::create_dir(&path).ok()?;
            let cgroup = Self(path);
            std::fs::write(cgroup.0.join(limit), bytes.to_string()).ok()?;
            // Where swap is not counted there is nothing to limit.
            let swap_bytes = if swap == "memory.swap.max" { 0 } else { bytes };
            let _ = std::fs::write(cgroup.0.join(swap), swap_bytes.to_string());
            cgroup.processes().is_file().then_some(cgroup)
        });
        if made.is_none() {
            // Past the test program's capture of what passing tests print.
            let _ = writeln!(std::io::stderr(), "NOT CHECKED: a node in a memory cgroup, which cannot be made here");
        }
        made
    }

    /// Where a process writes its id to be in it.
    pub fn processes(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}
