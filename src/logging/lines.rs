//! Log lines on their way to standard error: a bounded buffer, and the one thread that writes.
//!
//! Adding a line neither waits, nor fails, nor panics. A line that does not fit into the buffer is dropped, and so is one that
//! cannot be written. Both are counted, and a notice before the next line gives the number of missing ones.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::LogFormat;
use crate::visible::{visible, visible_in_colour};

/// Bytes that a waiting line costs besides its text.
const LINE_COST: usize = 64;

/// The way into the log. Cheap to clone: all clones share one buffer.
#[derive(Clone, Debug)]
pub struct LogLines(Arc<LineBuffer>);

#[derive(Debug)]
struct LineBuffer {
    max_bytes: usize,
    /// Whether the tracing library colours its lines. Otherwise a colour comes from a stranger, and nothing would end it.
    is_coloured: AtomicBool,
    /// Held for a few statements, never while a line is written.
    waiting: Mutex<WaitingLines>,
    /// Notified when a line is added.
    added: Condvar,
    /// Notified when no line waits any more.
    written: Condvar,
    dropped_full: AtomicU64,
    dropped_failed: AtomicU64,
}

#[derive(Debug, Default)]
struct WaitingLines {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// Lines dropped since the last one that was added.
    lost: u64,
    /// The thread is writing a line that is no longer in `lines`.
    is_writing: bool,
}

#[derive(Debug)]
struct LogLine {
    /// How many lines were dropped right before it.
    lost: u64,
    text: Box<[u8]>,
}

/// Lines that were dropped since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    /// Because the buffer was full.
    pub full: u64,
    /// Because they could not be written.
    pub failed: u64,
}

impl LogLines {
    /// Starts the thread that writes to `output`, for as long as the process lives. At most `max_bytes` of lines wait.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start(output: impl Write + Send + 'static, max_bytes: usize, format: LogFormat) -> io::Result<Self> {
        let lines = Self(Arc::new(LineBuffer {
            max_bytes,
            is_coloured: AtomicBool::new(false),
            waiting: Mutex::default(),
            added: Condvar::new(),
            written: Condvar::new(),
            dropped_full: AtomicU64::new(0),
            dropped_failed: AtomicU64::new(0),
        }));
        let shared = lines.0.clone();
        // Never joined: it may be blocked forever.
        std::thread::Builder::new().name("log".into()).spawn(move || shared.write_all(Output::new(output, format)))?;
        Ok(lines)
    }

    /// Leaves the colours that the tracing library adds.
    pub fn in_colour(self) -> Self {
        self.0.is_coloured.store(true, Ordering::Relaxed);
        self
    }

    /// Adds a line, with its line break. Returns at once.
    pub fn add(&self, text: &[u8]) {
        let cost = text.len() + LINE_COST;
        let mut waiting = self.0.waiting.lock();
        if waiting.bytes + cost > self.0.max_bytes {
            waiting.lost += 1;
            self.0.dropped_full.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += cost;
        let lost = std::mem::take(&mut waiting.lost);
        waiting.lines.push_back(LogLine { lost, text: text.into() });
        drop(waiting);
        self.0.added.notify_one();
    }

    /// Waits until all added lines are written or dropped, at most `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut waiting = self.0.waiting.lock();
        while waiting.is_writing || !waiting.lines.is_empty() {
            if self.0.written.wait_until(&mut waiting, deadline).timed_out() {
                return;
            }
        }
    }

    /// How many lines were dropped so far.
    pub fn dropped(&self) -> Dropped {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Dropped { full: count(&self.0.dropped_full), failed: count(&self.0.dropped_failed) }
    }
}

impl LineBuffer {
    fn write_all(&self, mut output: Output<impl Write>) {
        let mut failed = 0;
        loop {
            let mut line = self.next();
            line.lost += failed;
            match output.write(&mut line) {
                Ok(()) => failed = 0,
                Err(_) => {
                    failed = line.lost + 1;
                    self.dropped_failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn next(&self) -> LogLine {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.text.len() + LINE_COST;
                waiting.is_writing = true;
                return line;
            }
            waiting.is_writing = false;
            self.written.notify_all();
            self.added.wait(&mut waiting);
        }
    }
}

/// The writer for the tracing library: receives one line at a time, and never fails.
#[derive(Debug)]
pub struct LineWriter<'a>(&'a LogLines);

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(self)
    }
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The library escapes some characters in some values, but not a line feed or a direction mark that a stranger sent.
        // JSON is escaped differently.
        match std::str::from_utf8(line) {
            Ok(text) => {
                let (text, end) = text.strip_suffix('\n').map_or((text, ""), |text| (text, "\n"));
                let is_coloured = self.0.0.is_coloured.load(Ordering::Relaxed);
                match if is_coloured { visible_in_colour(text) } else { visible(text) } {
                    Cow::Borrowed(_) => self.0.add(line),
                    Cow::Owned(shown) => self.0.add((shown + end).as_bytes()),
                }
            }
            Err(_) => self.0.add(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where lines are written, and whether the last one was written in full.
struct Output<W> {
    output: W,
    format: LogFormat,
    /// Part of a line was written: the next one must not continue it.
    is_torn: bool,
}

impl<W: Write> Output<W> {
    fn new(output: W, format: LogFormat) -> Self {
        Self { output, format, is_torn: false }
    }

    fn write(&mut self, line: &mut LogLine) -> io::Result<()> {
        if self.is_torn {
            self.write_whole(b"\n")?;
        }
        if line.lost > 0 {
            self.write_whole(self.notice(line.lost).as_bytes())?;
            line.lost = 0;
        }
        self.write_whole(&line.text)
    }

    fn write_whole(&mut self, text: &[u8]) -> io::Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    rest = &rest[length..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.flush()
    }

    /// A line with the number of missing lines, formatted as by the tracing library.
    fn notice(&self, lost: u64) -> String {
        let mut time = String::new();
        // Writing into a string does not fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        match self.format {
            LogFormat::Text => format!("{time}  WARN pipecast::logging: log lines were lost lost={lost}\n"),
            LogFormat::Json => {
                let target = "pipecast::logging";
                let notice = serde_json::json!({
                    "timestamp": time, "level": "WARN", "message": "log lines were lost", "lost": lost, "target": target
                });
                format!("{notice}\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// An output that follows the script of the test, write by write, and keeps what was written.
    struct Scripted {
        script: mpsc::Receiver<io::Result<usize>>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Waits for the script, as a pipe waits for its reader. Accepts everything once the script is over.
            let length = self.script.recv().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
            self.taken.lock().extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the output answers to the next write.
    type Script = mpsc::Sender<io::Result<usize>>;

    fn scripted(max_bytes: usize) -> (LogLines, Script, Arc<Mutex<Vec<u8>>>) {
        let (say, script) = mpsc::channel();
        let taken = Arc::<Mutex<Vec<u8>>>::default();
        let output = Scripted { script, taken: taken.clone() };
        (LogLines::start(output, max_bytes, LogFormat::Json).unwrap(), say, taken)
    }

    /// What was written, with `N lost` for a notice.
    fn written(taken: &Mutex<Vec<u8>>) -> Vec<String> {
        let text = String::from_utf8(taken.lock().clone()).unwrap();
        let line = |line: &str| match serde_json::from_str::<serde_json::Value>(line) {
            Ok(notice) => format!("{} lost", notice["lost"]),
            Err(_) => line.to_owned(),
        };
        text.lines().map(line).collect()
    }

    #[test]
    fn lines_beyond_the_buffer_are_dropped_and_counted() {
        const FITTING: usize = 10;
        let (lines, say, taken) = scripted(FITTING * (LINE_COST + 8));
        lines.add(b"line   \n");
        // The thread is at the first one and cannot finish it.
        while !lines.0.waiting.lock().is_writing {
            std::thread::yield_now();
        }
        for _ in 0..FITTING + 5 {
            lines.add(b"line   \n");
        }
        assert_eq!(lines.dropped(), Dropped { full: 5, failed: 0 });
        lines.flush(Duration::from_millis(10));
        assert_eq!(written(&taken), Vec::<String>::new(), "the flush has waited for no reader");
        drop(say);
        lines.flush(TIMEOUT);
        lines.add(b"after  \n");
        lines.flush(TIMEOUT);
        let expected = [vec!["line   "; FITTING + 1], vec!["5 lost", "after  "]].concat();
        assert_eq!(written(&taken), expected);
        assert_eq!(lines.0.waiting.lock().bytes, 0);
    }

    #[test]
    fn lines_that_cannot_be_written_are_dropped_and_counted() {
        let (lines, say, taken) = scripted(1 << 20);
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull, io::ErrorKind::WouldBlock] {
            lines.add(b"lost\n");
            say.send(Err(kind.into())).unwrap();
        }
        // In part: what comes next begins a line of its own.
        lines.add(b"torn line\n");
        // The notice, a part of the line, and no more.
        for answer in [Ok(usize::MAX), Ok(4), Err(io::ErrorKind::StorageFull.into())] {
            say.send(answer).unwrap();
        }
        drop(say);
        lines.add(b"whole\n");
        lines.flush(TIMEOUT);
        assert_eq!(written(&taken), ["3 lost", "torn", "1 lost", "whole"]);
        assert_eq!(lines.dropped(), Dropped { full: 0, failed: 4 });
    }

    #[test]
    fn hostile_text_stays_on_its_line_and_moves_no_cursor() {
        let hostile = "x\u{1b}[8m\u{1b}]0;title\u{7}\r\n2026-01-01T00:00:00Z ERROR forged\u{9b}2J\u{202e}";
        let log = |with: fn(LogLines) -> tracing::Dispatch| {
            let (lines, say, taken) = scripted(1 << 20);
            drop(say);
            tracing::dispatcher::with_default(&with(lines.clone()), || {
                tracing::error!(shown = %hostile, debugged = ?hostile, text = hostile, "{hostile}");
            });
            lines.flush(TIMEOUT);
            let text = String::from_utf8(taken.lock().clone()).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            text.trim_end().to_owned()
        };
        let plain = log(|lines| tracing_subscriber::fmt().with_writer(lines).with_ansi(false).finish().into());
        assert!(!plain.contains(|character: char| character.is_control() || character == '\u{202e}'), "{plain:?}");
        let coloured =
            log(|lines| tracing_subscriber::fmt().with_writer(lines.in_colour()).with_ansi(true).finish().into());
        assert!(coloured.contains("\u{1b}[31mERROR\u{1b}[0m"), "{coloured:?}");
        assert!(!coloured.contains(['\u{7}', '\r', '\u{9b}', '\u{202e}']), "{coloured:?}");
        assert!(!coloured.contains("\u{1b}]") && !coloured.contains("\u{1b}[8m"), "{coloured:?}");
        let json = log(|lines| tracing_subscriber::fmt().with_writer(lines).json().flatten_event(true).finish().into());
        assert!(!json.contains(|character: char| character.is_control() || character == '\u{202e}'), "{json:?}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["message"], &json["text"]), (&hostile.into(), &hostile.into()));
    }

    #[test]
    fn writer_for_the_tracing_library_never_fails() {
        let (lines, say, _) = scripted(1 << 20);
        for _ in 0..10 {
            assert!(lines.make_writer().write_all(b"line\n").is_ok());
        }
        drop(say);
    }
}
