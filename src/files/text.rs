//! Files of text, as whichever editor wrote them: those of the settings, of keys and of secrets.

use std::io;
use std::path::Path;

/// U+FEFF, with which editors on Windows begin a file of UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What UTF-16 begins with, in either order.
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Why there is no text, without a part of it and without the path.
#[derive(Debug, thiserror::Error)]
pub enum NoText {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// It is of another encoding: what is guessed at could hide a line.
    #[error("it is UTF-16; save it as UTF-8")]
    Utf16,
    /// A line of it is of none.
    #[error("line {0} is not UTF-8; save the file as UTF-8")]
    NotUtf8(usize),
}

/// Reads a file of text.
///
/// # Errors
/// When it cannot be read, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, NoText> {
    let bytes = read_bytes(path)?;
    if UTF_16.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(NoText::Utf16);
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        NoText::NotUtf8(before.iter().filter(|byte| **byte == b'\n').count() + 1)
    })
}

/// Reads a file such as PEM, in which anything may stand around what counts. Behind a mark the first block would not begin
/// its line, and be passed over.
///
/// # Errors
/// When it cannot be read.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = std::fs::read(path)?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_it_is_without_the_mark_of_its_editor() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            (read_text(file.path()).map_err(|problem| problem.to_string()), read_bytes(file.path()).unwrap())
        };
        for (bytes, expected) in [
            (&b"a\n"[..], "a\n"),
            (b"\xef\xbb\xbfa\n", "a\n"),
            // One alone is the editor's.
            (b"\xef\xbb\xbf\xef\xbb\xbfa", "\u{feff}a"),
            (b"", ""),
        ] {
            assert_eq!(read(bytes), (Ok(expected.to_owned()), expected.as_bytes().to_vec()), "{bytes:?}");
        }
        for (bytes, problem) in
            [(&b"\xff\xfea\0"[..], "UTF-16"), (b"\xfe\xff\0a", "UTF-16"), (b"a\nb\xff", "line 2 is not UTF-8")]
        {
            assert!(read(bytes).0.unwrap_err().contains(problem), "{bytes:?}");
        }
        assert!(matches!(read_text(Path::new("/nonexistent")), Err(NoText::Unreadable(_))));
    }
}
