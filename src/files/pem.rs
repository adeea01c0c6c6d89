//! What PEM files hold (RFC 7468). A file with more than is used would leave whoever wrote it to guess what counts.

/// Refuses a file with several private keys: only one can be used, and nobody could tell which.
///
/// # Errors
/// What to do about it. A file that is no PEM, or has none, is for its reader to refuse.
pub fn check_private_key(file: &[u8]) -> Result<(), String> {
    let blocks = pem::parse_many(file).unwrap_or_default();
    let count = blocks.iter().filter(|block| block.tag().ends_with("PRIVATE KEY")).count();
    match count {
        0 | 1 => Ok(()),
        _ => Err(format!("there are {count} private keys in it; leave the one that is to be used")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_private_key() {
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
        assert_eq!(check_private_key(b"no PEM at all"), Ok(()));
    }
}
