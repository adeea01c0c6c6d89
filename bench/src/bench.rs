//! A bench as its caller sees it: options in, a report out.

use std::time::Duration;

use crate::clock::nanos;
use crate::engine::{Engine, EngineOptions, Progress, Stopper};
use crate::error::BenchError;
use crate::http::{Target, TargetOptions};
use crate::kernel::ServerProcesses;
use crate::report::Report;
use crate::tally::Stamper;
use crate::workload::{Measurement, Workload};

/// Files that are open besides connections: standard streams, epoll, timers, the caller's own.
const OTHER_FILES: u64 = 32;

/// What to measure, and how.
pub struct Options {
    /// The server.
    pub target: TargetOptions,
    /// The load.
    pub workload: Workload,
    /// Processes of the server whose memory and CPU time are reported; none when it runs elsewhere.
    pub server_pids: Vec<u32>,
    /// Maximum streams that connect at the same time. [`Workload::at_once`] unless given.
    pub at_once: Option<usize>,
    /// How long a connection or an answer may take.
    pub timeout: Duration,
    /// Whether the loop never sleeps. It then uses a whole CPU, and the server does not spend time on waking it.
    pub is_spinning: bool,
    /// How many files this process may open.
    pub open_files: u64,
}

/// A load that is ready to run.
pub struct Bench {
    workload: Workload,
    measurement: Measurement,
}

impl Bench {
    /// Resolves the server's names and makes the loop; nothing connects yet. `show` is called about ten times per second while it runs.
    ///
    /// # Errors
    /// When the options do not fit together, or the connections are more than the open files allow.
    pub fn new(options: Options, show: impl FnMut(Progress) + Send + 'static) -> Result<(Self, Stopper), BenchError> {
        let Options { target, workload, server_pids, at_once, timeout, is_spinning, open_files } = options;
        let server = ServerProcesses::new(server_pids);
        check_open_files(&workload, open_files, server.as_ref())?;
        let number = rand::random();
        let target = Target::new(target, number, workload.batch())?;
        let options = EngineOptions {
            pipelines: workload.pipelines(),
            publishers: workload.publishers(),
            batch: workload.batch(),
            timeout: nanos(timeout),
            is_spinning,
        };
        let stamper = Stamper::new(number, workload.payload_bytes());
        let (engine, stopper) = Engine::new(target, stamper, &options, show)?;
        let at_once = at_once.unwrap_or(workload.at_once());
        let measurement = Measurement::new(engine, server, timeout, at_once);
        Ok((Self { workload, measurement }, stopper))
    }

    /// Puts the load on the server, and blocks until it is over or stopped.
    ///
    /// # Errors
    /// When there was nothing to measure, such as no stream that opened.
    pub fn run(mut self) -> Result<Report, BenchError> {
        self.workload.run(&mut self.measurement)?;
        Ok(self.measurement.report)
    }
}

/// Finds out before it begins whether a run would fail half-way for lack of file descriptors, the server's or ours.
fn check_open_files(workload: &Workload, limit: u64, server: Option<&ServerProcesses>) -> Result<(), BenchError> {
    let connections = (workload.streams() + workload.publishers()) as u64;
    let check = |whose, limit: u64| {
        if connections + OTHER_FILES <= limit {
            return Ok(());
        }
        Err(BenchError::TooManyConnections { connections, whose, limit })
    };
    check("this process", limit)?;
    server.map_or(Ok(()), |server| check("the server", server.open_files()?))
}
