//! Settings that name files.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::Reader;

impl Reader {
    /// A readable file, or none.
    pub(in crate::settings) fn file(&mut self, key: &'static str, help: &'static str) -> Option<PathBuf> {
        self.read_plain(key, "", help, None, |text| match text {
            "" => Ok(None),
            path => check_file(Path::new(path)).map(|()| Some(path.into())),
        })
    }

    /// Readable files separated by commas; there may be none.
    pub(in crate::settings) fn files(&mut self, key: &'static str, help: &'static str) -> Vec<PathBuf> {
        self.read_plain(key, "", help, Vec::new(), |text| {
            let paths = text.split(',').map(str::trim).filter(|path| !path.is_empty()).map(PathBuf::from);
            paths.map(|path| check_file(&path).map(|()| path)).collect()
        })
    }

    /// A certificate and its private key: both or neither.
    pub(in crate::settings) fn pair(
        &mut self,
        (cert_name, cert): (&str, Option<PathBuf>),
        (key_name, key): (&str, Option<PathBuf>),
    ) -> Option<(PathBuf, PathBuf)> {
        match (cert, key) {
            (Some(cert), Some(key)) => return Some((cert, key)),
            (None, None) => {}
            // One of them is set, but cannot be used.
            _ if self.has_fault(cert_name) || self.has_fault(key_name) => {}
            (Some(_), None) => self.fault(key_name, &format!("is missing; {cert_name} needs its private key")),
            (None, Some(_)) => self.fault(cert_name, &format!("is missing; {key_name} has no effect without it")),
        }
        None
    }
}

/// Whether a file exists and can be read. Better reported now than when it is needed.
fn check_file(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            File::open(path).map(drop).map_err(|error| format!("cannot read {shown}: {error}"))
        }
        Ok(_) => Err(format!("{shown} is not a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("{shown} does not exist")),
        Err(error) => Err(format!("cannot access {shown}: {error}; check that this user may enter its directory")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_files_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let problem = |path: &Path| check_file(path).unwrap_err();
        assert!(problem(&path).ends_with(" does not exist"), "{}", problem(&path));
        assert!(problem(folder.path()).ends_with(" is not a file"));
        std::fs::write(&path, "key").unwrap();
        assert_eq!(check_file(&path), Ok(()));
        // A file in place of a directory: an error other than "not found", also for root.
        assert!(problem(&path.join("below")).starts_with("cannot access "), "{}", problem(&path.join("below")));
    }
}
