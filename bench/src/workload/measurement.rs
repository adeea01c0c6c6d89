//! A measurement under way: the steps that all workloads share, each of which notes its result in the report.

use std::time::Duration;

use crate::clock::{Nanos, nanos};
use crate::engine::Engine;
use crate::error::BenchError;
use crate::kernel::{KernelError, KernelMemory, ProcessMemory, ServerProcesses};
use crate::report::{Delivered, MemoryReport, Report, ServerCpu, Streams};

/// An engine, the server's processes, and the report so far.
pub(crate) struct Measurement {
    pub(crate) engine: Engine,
    server: Option<ServerProcesses>,
    /// How long nothing may happen before outstanding work is given up.
    pub(crate) timeout: Duration,
    /// Maximum streams that connect at the same time.
    pub(crate) at_once: usize,
    /// When the first stream began to connect.
    pub(crate) opening_began: Nanos,
    pub(crate) report: Report,
}

/// When a measurement of CPU time began, and the server's CPU time then.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    at: Nanos,
    cpu: Option<Duration>,
}

impl Measurement {
    pub(crate) fn new(engine: Engine, server: Option<ServerProcesses>, timeout: Duration, at_once: usize) -> Self {
        Self { engine, server, timeout, at_once, opening_began: 0, report: Report::default() }
    }

    /// Opens streams, of which at least one must open.
    pub(crate) fn open_streams(&mut self, wanted: usize) -> Result<(), BenchError> {
        if wanted == 0 {
            return Ok(());
        }
        self.want_streams(wanted, self.at_once);
        self.engine.progress.enter("connecting", None);
        let is_settled =
            self.engine.run_while_moving(Nanos::MAX, self.timeout, |engine| engine.subscribers.are_settled())?;
        if !is_settled {
            self.give_up_streams();
        }
        self.note_streams();
        let subscribers = &self.engine.subscribers;
        if subscribers.opened == 0 && !self.engine.is_stopped() {
            return Err(BenchError::NoStream(subscribers.first_problem.clone().unwrap_or_default()));
        }
        for stream in subscribers.that_opened() {
            self.engine.shared.tally.add_subscriber(stream.pipeline);
        }
        Ok(())
    }

    /// Connects the publishers, of which at least one must succeed.
    pub(crate) fn connect_publishers(&mut self) -> Result<(), BenchError> {
        let ends = self.engine.now().saturating_add(nanos(self.timeout));
        self.engine.connect_publishers();
        self.engine
            .run(ends, |engine| engine.publishers.are_all_free() || engine.publishers.first_problem.is_some())?;
        let publishers = &self.engine.publishers;
        if publishers.free() == 0 && !self.engine.is_stopped() {
            return Err(BenchError::NoPublisher(
                publishers.first_problem.clone().unwrap_or_else(|| "no answer".into()),
            ));
        }
        Ok(())
    }

    /// Begins to open streams, `at_once` of them at a time.
    pub(crate) fn want_streams(&mut self, wanted: usize, at_once: usize) {
        self.opening_began = self.engine.now();
        self.engine.subscribers.want(wanted, at_once);
    }

    /// Opens no further streams.
    pub(crate) fn give_up_streams(&mut self) {
        let late = || format!("no answer within {}", humantime::format_duration(self.timeout));
        let problem = if self.engine.is_stopped() { "interrupted".into() } else { late() };
        self.engine.subscribers.give_up(&problem);
    }

    /// Notes what became of the streams.
    pub(crate) fn note_streams(&mut self) {
        let subscribers = &self.engine.subscribers;
        self.report.streams = Some(Streams {
            wanted: subscribers.wanted(),
            opened: subscribers.opened,
            failed: subscribers.failed,
            ended: subscribers.ended,
            open_seconds: seconds(subscribers.opened_at.saturating_sub(self.opening_began)),
            first_problem: subscribers.first_problem.clone(),
        });
    }

    /// Notes what subscribers received and what they missed, within a window of this many seconds if there was one.
    pub(crate) fn note_deliveries(&mut self, window_seconds: Option<f64>, is_settled: bool) {
        let (subscribers, tally) = (&self.engine.subscribers, &self.engine.shared.tally);
        let counts = tally.counts;
        self.report.delivered = Some(Delivered {
            deliveries: counts.measured,
            deliveries_per_second: window_seconds.map(|seconds| counts.within_window as f64 / seconds),
            lost: subscribers.that_opened().map(|stream| tally.lost(stream.pipeline, &stream.received)).sum(),
            doubled: counts.duplicated,
            reordered: counts.reordered,
            gaps: counts.gaps,
            others: counts.others,
            settled: is_settled,
            latency: window_seconds.and_then(|_| tally.latency.quantiles()),
            last_reader: window_seconds.and_then(|_| tally.last_subscriber.quantiles()),
        });
    }

    /// The server's memory now, if its processes are known.
    pub(crate) fn memory(&self) -> Result<Option<ProcessMemory>, KernelError> {
        self.server.as_ref().map(ServerProcesses::memory).transpose()
    }

    /// Notes how memory has grown since then, in total and per open stream.
    pub(crate) fn note_memory(
        &mut self,
        server: Option<ProcessMemory>,
        kernel: KernelMemory,
    ) -> Result<(), KernelError> {
        let streams = self.engine.subscribers.opened.saturating_sub(self.engine.subscribers.ended).max(1) as f64;
        let now = self.memory()?;
        let growth = server.zip(now).map(|(before, now)| now.growth(before));
        let kernel_now = KernelMemory::now()?;
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

    /// Begins to measure CPU time, the server's and our own.
    pub(crate) fn mark(&mut self) -> Result<Mark, KernelError> {
        let at = self.engine.now();
        self.engine.meter.start(at);
        Ok(Mark { at, cpu: self.server.as_ref().map(ServerProcesses::cpu).transpose()? })
    }

    /// Notes the CPU time since a mark, also per unit of the work done.
    pub(crate) fn note_cpu(&mut self, mark: Mark, units: u64, unit: &'static str) -> Result<(), KernelError> {
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

/// Nanoseconds as seconds; never zero, so it can be divided by.
pub(crate) fn seconds(nanos: Nanos) -> f64 {
    nanos.max(1) as f64 / 1e9
}
