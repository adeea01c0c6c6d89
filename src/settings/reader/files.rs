//! Settings that name files.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::Reader;

impl Reader {
    /// A file that can be read, or none.
    pub(in crate::settings) fn file(&mut self, key: &'static str, help: &'static str) -> Option<PathBuf> {
        self.read_plain(key, "", help, None, |text| match text {
            "" => Ok(None),
            path => check_file(Path::new(path)).map(|()| Some(path.into())),
        })
    }

    /// Files that can be read, separated by commas; there may be none.
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
        // One that is there and not right was told of already.
        let is_faulty = |name: &str| self.faults.iter().any(|fault| fault.key == name);
        match (cert, key) {
            (Some(cert), Some(key)) => return Some((cert, key)),
            (None, None) => {}
            _ if is_faulty(cert_name) || is_faulty(key_name) => {}
            (Some(_), None) => self.fault(key_name, &format!("is missing; {cert_name} needs its private key")),
            (None, Some(_)) => self.fault(cert_name, &format!("is missing; {key_name} is of no use without it")),
        }
        None
    }
}

/// Whether there is such a file, and we may read it: what is wrong with it is better told now than when it is needed.
fn check_file(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            File::open(path).map(drop).map_err(|error| format!("{shown} cannot be read: {error}"))
        }
        Ok(_) => Err(format!("{shown} is no file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("there is no file {shown}")),
        Err(error) => Err(format!("{shown} cannot be looked at: {error}; may this user enter its folder?")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let problem = |path: &Path| check_file(path).unwrap_err();
        assert!(problem(&path).starts_with("there is no file "), "{}", problem(&path));
        assert!(problem(folder.path()).ends_with(" is no file"));
        std::fs::write(&path, "key").unwrap();
        assert_eq!(check_file(&path), Ok(()));
        // A file where a folder should be: any error but that nothing is there, for root too.
        assert!(problem(&path.join("below")).contains(" cannot be looked at: "), "{}", problem(&path.join("below")));
    }
}
