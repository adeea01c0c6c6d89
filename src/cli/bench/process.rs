//! What the kernel says of the server's processes, of sockets, and of this process.

use std::io;
use std::time::Duration;

use serde::Serialize;

/// The processes of the server.
#[derive(Debug, Clone)]
pub(super) struct Processes(Vec<u32>);

/// Memory of the server's processes, in bytes.
#[derive(Serialize, Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    /// Proportional set size: shared pages count by how many share them.
    pub(super) pss_bytes: u64,
    pub(super) rss_bytes: u64,
}

/// What the kernel keeps for sockets on this machine, those of the bench included.
#[derive(Serialize, Clone, Copy, Debug, Default)]
pub(super) struct Kernel {
    pub(super) tcp_sockets: u64,
    /// Data in buffers of TCP sockets.
    pub(super) tcp_bytes: u64,
    /// All of the kernel's own objects, sockets among them.
    pub(super) slab_bytes: u64,
}

/// Why the server's processes cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub(super) struct ProcessError {
    path: String,
    problem: io::Error,
}

impl Processes {
    pub(super) fn new(pids: Vec<u32>) -> Option<Self> {
        (!pids.is_empty()).then_some(Self(pids))
    }

    pub(super) fn memory(&self) -> Result<Memory, ProcessError> {
        self.0.iter().try_fold(Memory::default(), |sum, pid| {
            let text = read(&format!("/proc/{pid}/smaps_rollup"))?;
            let bytes = |name| field(&text, name).unwrap_or_default() << 10;
            Ok(Memory { pss_bytes: sum.pss_bytes + bytes("Pss:"), rss_bytes: sum.rss_bytes + bytes("Rss:") })
        })
    }

    /// CPU time used so far, to a hundredth of a second.
    pub(super) fn cpu(&self) -> Result<Duration, ProcessError> {
        let ticks = self.0.iter().try_fold(0, |sum, pid| {
            let text = read(&format!("/proc/{pid}/stat"))?;
            // The name before may hold anything, also spaces and parentheses (proc_pid_stat(5)).
            let fields: Vec<_> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
            Ok(sum + ticks(11) + ticks(12))
        })?;
        Ok(Duration::from_secs(ticks).div_f64(rustix::param::clock_ticks_per_second() as f64))
    }

    /// The most files that all of them together may open.
    pub(super) fn open_files(&self) -> Result<u64, ProcessError> {
        self.0.iter().try_fold(0u64, |sum, pid| {
            let text = read(&format!("/proc/{pid}/limits"))?;
            Ok(sum.saturating_add(field(&text, "Max open files").unwrap_or(u64::MAX)))
        })
    }
}

impl Kernel {
    pub(super) fn now() -> Result<Self, ProcessError> {
        let sockets = read("/proc/net/sockstat")?;
        let tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
        let memory = read("/proc/meminfo")?;
        Ok(Self {
            tcp_sockets: field(tcp, "alloc").unwrap_or_default(),
            tcp_bytes: field(tcp, "mem").unwrap_or_default() * rustix::param::page_size() as u64,
            slab_bytes: field(&memory, "Slab:").unwrap_or_default() << 10,
        })
    }
}

impl Memory {
    /// How PSS and RSS have grown since; they may have shrunk.
    pub(super) fn growth(self, before: Self) -> (f64, f64) {
        let growth = |now: u64, before: u64| now as f64 - before as f64;
        (growth(self.pss_bytes, before.pss_bytes), growth(self.rss_bytes, before.rss_bytes))
    }
}

/// CPU time that the calling thread has used.
pub(super) fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.try_into().unwrap_or_default()
}

/// How long the calling thread was ready and had no CPU; nothing where the kernel does not say.
pub(super) fn thread_queued() -> Duration {
    let text = read("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().nth(1).and_then(|field| field.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn read(path: &str) -> Result<String, ProcessError> {
    std::fs::read_to_string(path).map_err(|problem| ProcessError { path: path.into(), problem })
}

/// The number after a name.
fn field(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_read() {
        let this = Processes::new(vec![std::process::id()]).unwrap();
        let memory = this.memory().unwrap();
        assert!(memory.pss_bytes > 100_000 && memory.rss_bytes >= memory.pss_bytes, "{memory:?}");
        while this.cpu().unwrap().is_zero() {}
        assert!((100..1 << 40).contains(&this.open_files().unwrap()));
        let _socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let kernel = Kernel::now().unwrap();
        assert!(kernel.tcp_sockets > 0 && kernel.slab_bytes > 100_000, "{kernel:?}");
        assert!(Processes::new(vec![]).is_none());
        let error = Processes(vec![u32::MAX]).cpu().unwrap_err();
        assert!(error.to_string().starts_with("/proc/4294967295/stat: "), "{error}");
    }
}
