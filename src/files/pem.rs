//! PEM files (RFC 7468). A file with more keys than are used would leave its author guessing which one counts.

/// Several private keys are in one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it holds {count} private keys; keep only the one to use")]
pub struct SeveralPrivateKeys {
    /// How many there are.
    pub count: usize,
}

/// Rejects a file with several private keys, since only one can be used.
///
/// # Errors
/// [`SeveralPrivateKeys`]. A file that is not PEM or has no key at all is left to its reader.
pub fn check_private_key(file: &[u8]) -> Result<(), SeveralPrivateKeys> {
    let blocks = pem::parse_many(file).unwrap_or_default();
    let count = blocks.iter().filter(|block| block.tag().ends_with("PRIVATE KEY")).count();
    match count {
        0 | 1 => Ok(()),
        _ => Err(SeveralPrivateKeys { count }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_private_keys_are_rejected() {
        let block = |tag: &str| format!("-----BEGIN {tag}-----\nAAAA\n-----END {tag}-----\n");
        let check = |tags: &[&str], is_good: bool| {
            let file: String = tags.iter().map(|tag| block(tag)).collect();
            assert_eq!(check_private_key(file.as_bytes()).is_ok(), is_good, "{tags:?}");
        };
        check(&[], true);
        check(&["PRIVATE KEY"], true);
        check(&["EC PARAMETERS", "EC PRIVATE KEY"], true);
        check(&["CERTIFICATE", "CERTIFICATE", "RSA PRIVATE KEY"], true);
        check(&["PRIVATE KEY", "PRIVATE KEY"], false);
        check(&["EC PRIVATE KEY", "CERTIFICATE", "RSA PRIVATE KEY"], false);
        assert_eq!(check_private_key(b"not PEM at all"), Ok(()));
    }
}
