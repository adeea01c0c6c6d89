//! Log lines on their way to standard error: a bounded buffer, and the one thread that writes.
//!
//! Handing a line over neither waits, nor fails, nor panics. A line that does not fit into the buffer is dropped, and so
//! is one that cannot be written; both are counted, and the next line that can be written says how many are missing.

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

/// What a line that waits costs beside its text.
const LINE_COST: usize = 64;

/// The way into the log. Cheap to clone: all clones share one buffer.
#[derive(Clone, Debug)]
pub struct LogLines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most_bytes: usize,
    /// Whether the tracing library colours its lines: otherwise a colour is a stranger's, and nothing would end it.
    is_coloured: AtomicBool,
    /// Guards what waits. Held for a few statements, never while something is written.
    waiting: Mutex<Waiting>,
    /// Told when a line comes.
    came: Condvar,
    /// Told when all lines that came are written.
    written: Condvar,
    dropped_full: AtomicU64,
    dropped_failed: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Lines dropped since the last one that found room.
    lost: u64,
    /// The thread is at a line that is not in `lines` any more.
    is_writing: bool,
}

#[derive(Debug)]
struct Line {
    /// How many lines before it were dropped.
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
    /// Starts the thread that writes to `output`, for as long as the process lives. At most `most_bytes` of lines wait.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start(output: impl Write + Send + 'static, most_bytes: usize, format: LogFormat) -> io::Result<Self> {
        let lines = Self(Arc::new(Shared {
            most_bytes,
            is_coloured: AtomicBool::new(false),
            waiting: Mutex::default(),
            came: Condvar::new(),
            written: Condvar::new(),
            dropped_full: AtomicU64::new(0),
            dropped_failed: AtomicU64::new(0),
        }));
        let shared = lines.0.clone();
        // Never joined: it may be blocked for ever.
        std::thread::Builder::new().name("log".into()).spawn(move || shared.write_all(Output::new(output, format)))?;
        Ok(lines)
    }

    /// Lets the colours in lines of the tracing library be.
    pub fn in_colour(self) -> Self {
        self.0.is_coloured.store(true, Ordering::Relaxed);
        self
    }

    /// Hands over a line, with its line break. Returns at once.
    pub fn add(&self, text: &[u8]) {
        let cost = text.len() + LINE_COST;
        let mut waiting = self.0.waiting.lock();
        if waiting.bytes + cost > self.0.most_bytes {
            waiting.lost += 1;
            self.0.dropped_full.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes += cost;
        let lost = std::mem::take(&mut waiting.lost);
        waiting.lines.push_back(Line { lost, text: text.into() });
        drop(waiting);
        self.0.came.notify_one();
    }

    /// Waits until all lines that were handed over are written or dropped, at most so long.
    pub fn flush(&self, longest: Duration) {
        let deadline = Instant::now() + longest;
        let mut waiting = self.0.waiting.lock();
        while waiting.is_writing || !waiting.lines.is_empty() {
            if self.0.written.wait_until(&mut waiting, deadline).timed_out() {
                return;
            }
        }
    }

    /// How many lines were dropped.
    pub fn dropped(&self) -> Dropped {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Dropped { full: count(&self.0.dropped_full), failed: count(&self.0.dropped_failed) }
    }
}

impl Shared {
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

    fn next(&self) -> Line {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.text.len() + LINE_COST;
                waiting.is_writing = true;
                return line;
            }
            waiting.is_writing = false;
            self.written.notify_all();
            self.came.wait(&mut waiting);
        }
    }
}

/// The writer that the tracing library gets: a line at a time, and never an error.
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
        // The library makes escapes of some characters in some values; a line feed or a mark of direction in what a
        // stranger sent is none of them, and JSON has others.
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

/// Where lines are written, and what is known of its end.
struct Output<W> {
    output: W,
    format: LogFormat,
    /// A line was written in part: the next one must not go on on it.
    is_torn: bool,
}

impl<W: Write> Output<W> {
    fn new(output: W, format: LogFormat) -> Self {
        Self { output, format, is_torn: false }
    }

    fn write(&mut self, line: &mut Line) -> io::Result<()> {
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

    /// Says how many lines are missing, as the tracing library would.
    fn notice(&self, lost: u64) -> String {
        let mut time = String::new();
        // Writing into a string does not fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        match self.format {
            LogFormat::Text => format!("{time}  WARN pipecast::telemetry: log lines were lost lost={lost}\n"),
            LogFormat::Json => {
                let target = "pipecast::telemetry";
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

    const PATIENCE: Duration = Duration::from_secs(30);

    /// An output that does what the test says, write by write, and keeps what it took.
    struct Scripted {
        script: mpsc::Receiver<io::Result<usize>>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Waits for its word, as a pipe waits for its reader; takes all once the test has no more to say.
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

    fn scripted(most_bytes: usize) -> (LogLines, Script, Arc<Mutex<Vec<u8>>>) {
        let (say, script) = mpsc::channel();
        let taken = Arc::<Mutex<Vec<u8>>>::default();
        let output = Scripted { script, taken: taken.clone() };
        (LogLines::start(output, most_bytes, LogFormat::Json).unwrap(), say, taken)
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
    fn lines_are_dropped_while_nobody_reads_and_the_next_one_says_how_many() {
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
        lines.flush(PATIENCE);
        lines.add(b"after  \n");
        lines.flush(PATIENCE);
        let expected = [vec!["line   "; FITTING + 1], vec!["5 lost", "after  "]].concat();
        assert_eq!(written(&taken), expected);
        assert_eq!(lines.0.waiting.lock().bytes, 0);
    }

    #[test]
    fn lines_that_cannot_be_written_are_dropped_and_the_next_one_says_how_many() {
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
        lines.flush(PATIENCE);
        assert_eq!(written(&taken), ["3 lost", "torn", "1 lost", "whole"]);
        assert_eq!(lines.dropped(), Dropped { full: 0, failed: 4 });
    }

    #[test]
    fn what_a_stranger_sent_stays_on_its_line_and_moves_no_cursor() {
        let hostile = "x\u{1b}[8m\u{1b}]0;title\u{7}\r\n2026-01-01T00:00:00Z ERROR forged\u{9b}2J\u{202e}";
        let log = |with: fn(LogLines) -> tracing::Dispatch| {
            let (lines, say, taken) = scripted(1 << 20);
            drop(say);
            tracing::dispatcher::with_default(&with(lines.clone()), || {
                tracing::error!(shown = %hostile, debugged = ?hostile, text = hostile, "{hostile}");
            });
            lines.flush(PATIENCE);
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
    fn the_writer_of_the_tracing_library_never_fails() {
        let (lines, say, _) = scripted(1 << 20);
        for _ in 0..10 {
            assert!(lines.make_writer().write_all(b"line\n").is_ok());
        }
        drop(say);
    }
}
