//! Watches files that are reloaded when they change: certificates, keys, revocations.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

/// How often files are checked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Files, and their state when they were last read.
#[derive(Debug)]
pub struct WatchedFiles {
    paths: Vec<PathBuf>,
    /// When they were last read.
    read: Vec<Option<Stamp>>,
    /// At the last check.
    last: Vec<Option<Stamp>>,
}

/// Changes when a file does, also when its name is moved to another file, as Kubernetes does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
    /// The inode: two files of one size may have been written at the same instant.
    number: u64,
}

impl WatchedFiles {
    /// Watches files from this moment on. Call it before they are read, so that no change is missed in between.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let read = stamps(&paths);
        Self { paths, last: read.clone(), read }
    }

    /// Waits until a file has changed and then stayed the same from one check to the next, since a file that is being
    /// written is incomplete. Each change is reported once, whether the file can then be read or not. Cancel safe.
    pub async fn changed(&mut self) {
        loop {
            sleep(LOOK_EVERY).await;
            if self.look() {
                return;
            }
        }
    }

    /// Watches these files instead. Files that were watched before keep their known state.
    pub fn watch(&mut self, paths: Vec<PathBuf>) {
        let known = |path| self.paths.iter().position(|known| known == path).map(|index| self.read[index]);
        self.read = paths.iter().map(|path| known(path).unwrap_or_else(|| stamp(path))).collect();
        (self.last, self.paths) = (self.read.clone(), paths);
    }

    fn look(&mut self) -> bool {
        let now = stamps(&self.paths);
        let has_changed = now != self.read && now == self.last;
        self.last = now;
        if has_changed {
            self.read.clone_from(&self.last);
        }
        has_changed
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    paths.iter().map(stamp).collect()
}

fn stamp(path: &PathBuf) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp { modified: metadata.modified().ok()?, bytes: metadata.len(), number: metadata.ino() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn change_is_reported_once_and_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let mut files = WatchedFiles::new(vec![path.clone()]);
        assert_eq!([files.look(), files.look()], [false, false]);
        // As Kubernetes does it: another file of the same size under the same name.
        std::fs::write(folder.path().join("next"), "two").unwrap();
        std::fs::rename(folder.path().join("next"), &path).unwrap();
        assert_eq!([files.look(), files.look(), files.look()], [false, true, false]);
        // Half of it, then the rest.
        std::fs::write(&path, "th").unwrap();
        assert!(!files.look());
        std::fs::write(&path, "three").unwrap();
        assert_eq!([files.look(), files.look(), files.look()], [false, true, false]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!([files.look(), files.look(), files.look()], [false, true, false]);
    }

    #[test]
    fn mounted_secret_is_replaced_by_one_symbolic_link() {
        // As the kubelet does it: the file leads through `..data` to a folder, and another folder takes its place.
        let volume = tempfile::tempdir().unwrap();
        let at = |name: &str| volume.path().join(name);
        let write = |folder: &str, text: &str| {
            std::fs::create_dir(at(folder)).unwrap();
            std::fs::write(at(folder).join("tls.crt"), text).unwrap();
        };
        write("..first", "one");
        symlink("..first", at("..data")).unwrap();
        symlink("..data/tls.crt", at("tls.crt")).unwrap();
        let mut files = WatchedFiles::new(vec![at("tls.crt")]);
        assert_eq!([files.look(), files.look()], [false, false]);
        write("..second", "two");
        assert_eq!([files.look(), files.look()], [false, false]);
        symlink("..second", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        std::fs::remove_dir_all(at("..first")).unwrap();
        assert_eq!([files.look(), files.look(), files.look()], [false, true, false]);
    }
}
