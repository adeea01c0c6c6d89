//! Text files that people edit: settings, keys and secrets.

use std::io;
use std::path::Path;

/// U+FEFF, with which some Windows editors begin a UTF-8 file.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// How UTF-16 files begin, in either byte order.
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Why a text file cannot be read, without its path and without any of its contents.
#[derive(Debug, thiserror::Error)]
pub enum NoText {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// Another encoding. Guessing at it could hide a line.
    #[error("it is UTF-16; save the file as UTF-8")]
    Utf16,
    /// The first line with a byte that is not UTF-8.
    #[error("line {0} is not UTF-8; save the file as UTF-8")]
    NotUtf8(usize),
}

/// Reads a text file, without a byte order mark.
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

/// Reads a file such as PEM, in which other bytes may surround what counts. Without its byte order mark, behind which the
/// first PEM block would not begin its line and would be skipped.
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

/// The number of the line, from 1, that contains this byte.
pub fn line_at(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_are_removed_and_other_encodings_rejected() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(file.path(), bytes).unwrap();
            (read_text(file.path()).map_err(|problem| problem.to_string()), read_bytes(file.path()).unwrap())
        };
        for (bytes, expected) in [
            (&b"a\n"[..], "a\n"),
            (b"\xef\xbb\xbfa\n", "a\n"),
            // Only the first one comes from the editor.
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
