//! How much memory this process may use: the container's limit, or the machine's memory.

use std::path::{Path, PathBuf};

/// Assumed when nothing can be read: the memory of a small machine.
const UNKNOWN: u64 = 1 << 30;

/// Bytes of memory that this process may use: the lowest limit of its cgroups (version 1 or 2), or the machine's memory.
#[cfg(target_os = "linux")]
pub fn bytes() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let memberships = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&memberships).filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
    limits.chain(machine).min().unwrap_or(UNKNOWN)
}

/// Other systems are for trying Pipecast out.
#[cfg(not(target_os = "linux"))]
pub fn bytes() -> u64 {
    UNKNOWN
}

/// `MemTotal` of `/proc/meminfo` (proc(5)), in bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The files that may hold a limit: those of each cgroup in `/proc/self/cgroup` (cgroups(7)) and of all its ancestors.
///
/// In a container the paths are often the host's and do not exist; then the limit is at the root of the mount. A file without a
/// limit holds `max`, or a number larger than any machine's memory.
fn limit_files(memberships: &str) -> impl Iterator<Item = PathBuf> {
    memberships.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        let within = Path::new(path.trim_start_matches('/'));
        within.ancestors().map(|cgroup| Path::new(root).join(cgroup).join(file)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_read_from_each_cgroup_and_its_ancestors() {
        let files = |text| limit_files(text).map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            files("0::/a/b\n"),
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(
            files("5:cpu,cpuacct:/x\n4:memory:/\n0::/\n"),
            ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(files(""), Vec::<String>::new());
    }

    #[test]
    fn memory_of_the_machine_is_in_bytes() {
        assert_eq!(total_of("MemFree: 5 kB\n"), None);
        assert_eq!(total_of("MemTotal:       24591132 kB\nMemFree: 5 kB\n"), Some(24_591_132 << 10));
    }

    #[test]
    fn this_process_has_some_memory() {
        assert!(bytes() > 64 << 20, "{}", bytes());
    }
}
