//! What the kernel knows about the server's processes, about sockets, and about the calling thread. Linux: `/proc`.

use std::io;
use std::time::Duration;

use serde::Serialize;

/// The processes of the server.
#[derive(Debug, Clone)]
pub(crate) struct ServerProcesses(Vec<u32>);

/// Memory of the server's processes.
#[derive(Serialize, Clone, Copy, Debug, Default)]
pub struct ProcessMemory {
    /// Proportional set size: each process that shares a page counts its part of it.
    pub pss_bytes: u64,
    /// Resident set size: each process that shares a page counts all of it.
    pub rss_bytes: u64,
}

/// What the kernel holds for the sockets of this machine, our own included.
#[derive(Serialize, Clone, Copy, Debug, Default)]
pub struct KernelMemory {
    /// TCP sockets in any state.
    pub tcp_sockets: u64,
    /// Data in the buffers of TCP sockets.
    pub tcp_bytes: u64,
    /// All of the kernel's own objects, sockets among them.
    pub slab_bytes: u64,
}

/// The kernel does not show what was asked for, such as a process that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub struct KernelError {
    path: String,
    source: io::Error,
}

impl ServerProcesses {
    pub(crate) fn new(pids: Vec<u32>) -> Option<Self> {
        (!pids.is_empty()).then_some(Self(pids))
    }

    pub(crate) fn memory(&self) -> Result<ProcessMemory, KernelError> {
        self.0.iter().try_fold(ProcessMemory::default(), |sum, pid| {
            let text = read(&format!("/proc/{pid}/smaps_rollup"))?;
            let bytes = |name| field(&text, name).unwrap_or_default() << 10;
            Ok(ProcessMemory { pss_bytes: sum.pss_bytes + bytes("Pss:"), rss_bytes: sum.rss_bytes + bytes("Rss:") })
        })
    }

    /// CPU time used so far; the kernel counts in hundredths of a second.
    pub(crate) fn cpu(&self) -> Result<Duration, KernelError> {
        let ticks = self.0.iter().try_fold(0, |sum, pid| {
            let text = read(&format!("/proc/{pid}/stat"))?;
            // The name before it may contain spaces and parentheses too (proc_pid_stat(5)).
            let fields: Vec<_> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
            Ok(sum + ticks(11) + ticks(12))
        })?;
        Ok(Duration::from_secs(ticks).div_f64(rustix::param::clock_ticks_per_second() as f64))
    }

    /// How many files all of them together may open.
    pub(crate) fn open_files(&self) -> Result<u64, KernelError> {
        self.0.iter().try_fold(0u64, |sum, pid| {
            let text = read(&format!("/proc/{pid}/limits"))?;
            Ok(sum.saturating_add(field(&text, "Max open files").unwrap_or(u64::MAX)))
        })
    }
}

impl KernelMemory {
    pub(crate) fn now() -> Result<Self, KernelError> {
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

impl ProcessMemory {
    /// By how much PSS and RSS have grown; negative when they have shrunk.
    pub(crate) fn growth(self, before: Self) -> (f64, f64) {
        let growth = |now: u64, before: u64| now as f64 - before as f64;
        (growth(self.pss_bytes, before.pss_bytes), growth(self.rss_bytes, before.rss_bytes))
    }
}

/// CPU time that the calling thread has used so far.
pub(crate) fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.try_into().unwrap_or_default()
}

/// How long the calling thread was ready to run and had no CPU; zero where the kernel does not count it.
pub(crate) fn thread_queued() -> Duration {
    let text = read("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().nth(1).and_then(|field| field.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn read(path: &str) -> Result<String, KernelError> {
    std::fs::read_to_string(path).map_err(|source| KernelError { path: path.into(), source })
}

/// The number that follows a name.
fn field(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_files_are_read() {
        let this = ServerProcesses::new(vec![std::process::id()]).unwrap();
        let memory = this.memory().unwrap();
        assert!(memory.pss_bytes > 100_000 && memory.rss_bytes >= memory.pss_bytes, "{memory:?}");
        while this.cpu().unwrap().is_zero() {}
        assert!((100..1 << 40).contains(&this.open_files().unwrap()));
        let _socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let kernel = KernelMemory::now().unwrap();
        assert!(kernel.tcp_sockets > 0 && kernel.slab_bytes > 100_000, "{kernel:?}");
        assert!(ServerProcesses::new(vec![]).is_none());
        let error = ServerProcesses(vec![u32::MAX]).cpu().unwrap_err();
        assert!(error.to_string().starts_with("cannot read /proc/4294967295/stat: "), "{error}");
    }
}
