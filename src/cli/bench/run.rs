//! A run: what all modes do, whatever they measure.

use std::io;
use std::time::Duration;

use super::clock::{Nanos, nanos};
use super::engine::Engine;
use super::process::{Kernel, Memory, ProcessError, Processes};
use super::report::{Delivered, MemoryReport, Report, ServerCpu, Streams};

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("no stream could be opened: {0}")]
    NoStream(String),
    #[error("no publisher could connect: {0}")]
    NoPublisher(String),
    #[error("nothing could be published: {0}")]
    NothingPublished(String),
    #[error("the pipelines could not be filled: {0}")]
    Unfilled(String),
    #[error("epoll: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// An engine, and what is looked at beside it.
pub(super) struct Run {
    pub(super) engine: Engine,
    server: Option<Processes>,
    /// How long nothing may happen before what is outstanding is given up.
    pub(super) timeout: Duration,
    /// How many streams may be on their way at once.
    pub(super) at_once: usize,
    /// When the first stream began to connect.
    pub(super) opening_began: Nanos,
    pub(super) report: Report,
}

/// CPU time and wall time at some moment.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    at: Nanos,
    cpu: Option<Duration>,
}

impl Run {
    pub(super) fn new(
        engine: Engine,
        server: Option<Processes>,
        timeout: Duration,
        at_once: usize,
        report: Report,
    ) -> Self {
        Self { engine, server, timeout, at_once, opening_began: 0, report }
    }

    /// Opens streams and notes how that went.
    pub(super) fn open_streams(&mut self, wanted: usize) -> Result<(), RunError> {
        if wanted == 0 {
            return Ok(());
        }
        self.want_streams(wanted, self.at_once);
        self.engine.progress.enter("connecting", None);
        let is_settled =
            self.engine.run_while_moving(Nanos::MAX, self.timeout, |engine| engine.readers.are_settled())?;
        if !is_settled {
            self.give_up_streams();
        }
        self.note_streams();
        let readers = &self.engine.readers;
        if readers.opened == 0 && !self.engine.is_stopped() {
            return Err(RunError::NoStream(readers.first_problem.clone().unwrap_or_default()));
        }
        for stream in readers.that_opened() {
            self.engine.shared.ledger.add_reader(stream.pipeline);
        }
        Ok(())
    }

    /// Connects publishers, of which some must succeed.
    pub(super) fn connect_publishers(&mut self) -> Result<(), RunError> {
        let ends = self.engine.now().saturating_add(nanos(self.timeout));
        self.engine.connect_publishers();
        self.engine
            .run(ends, |engine| engine.publishing.are_all_free() || engine.publishing.first_problem.is_some())?;
        let publishing = &self.engine.publishing;
        if publishing.free() == 0 && !self.engine.is_stopped() {
            return Err(RunError::NoPublisher(publishing.first_problem.clone().unwrap_or_else(|| "no answer".into())));
        }
        Ok(())
    }

    /// Begins to open streams, `at_once` of them at a time.
    pub(super) fn want_streams(&mut self, wanted: usize, at_once: usize) {
        self.opening_began = self.engine.now();
        self.engine.readers.want(wanted, at_once);
    }

    /// Opens no further streams.
    pub(super) fn give_up_streams(&mut self) {
        let late = || format!("no answer within {}", humantime::format_duration(self.timeout));
        let problem = if self.engine.is_stopped() { "interrupted".into() } else { late() };
        self.engine.readers.give_up(&problem);
    }

    /// Notes what became of the streams.
    pub(super) fn note_streams(&mut self) {
        let readers = &self.engine.readers;
        self.report.streams = Some(Streams {
            wanted: readers.wanted(),
            opened: readers.opened,
            failed: readers.failed,
            ended: readers.ended,
            open_seconds: seconds(readers.opened_at.saturating_sub(self.opening_began)),
            first_problem: readers.first_problem.clone(),
        });
    }

    /// Notes what readers got and what they did not get; over a window of so many seconds, if there was one.
    pub(super) fn note_deliveries(&mut self, window_seconds: Option<f64>, is_settled: bool) {
        let (readers, ledger) = (&self.engine.readers, &self.engine.shared.ledger);
        let counts = ledger.counts;
        self.report.delivered = Some(Delivered {
            deliveries: counts.measured,
            deliveries_per_second: window_seconds.map(|seconds| counts.within_window as f64 / seconds),
            lost: readers.that_opened().map(|stream| ledger.lost(stream.pipeline, &stream.seen)).sum(),
            doubled: counts.doubled,
            reordered: counts.reordered,
            gaps: counts.gaps,
            others: counts.others,
            settled: is_settled,
            latency: window_seconds.and_then(|_| ledger.latency.quantiles()),
            last_reader: window_seconds.and_then(|_| ledger.last_reader.quantiles()),
        });
    }

    /// The server's memory now, if its processes are known.
    pub(super) fn memory(&self) -> Result<Option<Memory>, ProcessError> {
        self.server.as_ref().map(Processes::memory).transpose()
    }

    /// Notes how memory has grown since, and what that is for each open stream.
    pub(super) fn note_memory(&mut self, server: Option<Memory>, kernel: Kernel) -> Result<(), ProcessError> {
        let streams = self.engine.readers.opened.saturating_sub(self.engine.readers.ended).max(1) as f64;
        let now = self.memory()?;
        let growth = server.zip(now).map(|(before, now)| now.growth(before));
        let kernel_now = Kernel::now()?;
        let per_stream = |now: u64, before: u64| (now as f64 - before as f64) / streams;
        self.report.memory = Some(MemoryReport {
            server_before: server,
            server: now,
            pss_bytes_per_stream: growth.map(|(pss, _)| pss / streams),
            rss_bytes_per_stream: growth.map(|(_, rss)| rss / streams),
            kernel_before: kernel,
            kernel: kernel_now,
            kernel_bytes_per_stream: per_stream(kernel_now.slab_bytes, kernel.slab_bytes)
                + per_stream(kernel_now.tcp_bytes, kernel.tcp_bytes),
        });
        Ok(())
    }

    /// Begins to measure CPU time, the server's and the bench's own.
    pub(super) fn mark(&mut self) -> Result<Mark, ProcessError> {
        let at = self.engine.now();
        self.engine.meter.start(at);
        Ok(Mark { at, cpu: self.server.as_ref().map(Processes::cpu).transpose()? })
    }

    /// Notes the CPU time since a mark, for `units` of work.
    pub(super) fn note_cpu(&mut self, mark: Mark, units: u64, unit: &'static str) -> Result<(), ProcessError> {
        let now = self.engine.now();
        self.report.bench = Some(self.engine.meter.load(now));
        if let (Some(server), Some(before)) = (&self.server, mark.cpu) {
            let used = server.cpu()?.saturating_sub(before).as_secs_f64();
            self.report.server = Some(ServerCpu {
                cpu_seconds: used,
                cpus: used / seconds(now - mark.at),
                unit,
                us_per_unit: (units > 0).then(|| used * 1e6 / units as f64),
            });
        }
        Ok(())
    }
}

/// Nanoseconds as seconds; never zero, so that one can divide by it.
pub(super) fn seconds(nanos: Nanos) -> f64 {
    nanos.max(1) as f64 / 1e9
}
