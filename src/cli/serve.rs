//! `pipecast serve`: loads the settings, binds, announces the addresses, and runs the node.

use std::time::Duration;

use super::quick_start::quick_start;
use super::{Failure, Outcome, load_settings, print_error, print_out};
use crate::app::supervisor::Supervisor;
use crate::app::{App, NodeExit, StopSignals};
use crate::logging::{self, LogLines};
use crate::settings::{Settings, Sources};
use crate::visible::visible_lines;

/// How long to wait at exit for the last log lines to be written: the pipe may be full.
const LAST_LINES: Duration = Duration::from_secs(2);

pub(super) async fn serve(sources: Sources) -> Outcome {
    let (settings, _) = load_settings(&sources)?;
    let log = logging::start(&settings.log).map_err(|error| {
        print_error(error);
        Failure::Failed
    })?;
    let outcome = run(&settings, &sources, &log).await;
    log.flush(LAST_LINES);
    outcome
}

async fn run(settings: &Settings, sources: &Sources, log: &LogLines) -> Outcome {
    // Through the log writer rather than `print_error`: after the lines that are queued, and without blocking.
    let fail = |error: &dyn std::fmt::Display| {
        log.add(format!("pipecast: {}\n", visible_lines(&error.to_string())).as_bytes());
        Failure::Failed
    };
    // Before the announcement: a program that reads it may send a signal at once.
    let stops = StopSignals::new().map_err(|error| fail(&error))?;
    let supervisor = Supervisor::find(&sources.environment).map_err(|error| fail(&error))?;
    let app = App::bind(settings, log).await.map_err(|error| fail(&error))?;
    let public = app.public_address().map_err(|error| fail(&error))?;
    let admin = app.admin_address().map_err(|error| fail(&error))?;
    announce(quick_start(settings, sources, public, admin)).map_err(|error| fail(&error))?;
    match app.run(stops, supervisor).await {
        NodeExit::Drained => Ok(()),
        NodeExit::Interrupted | NodeExit::Failed => Err(Failure::Failed),
    }
}

/// Prints the quick start from a thread of its own, which nothing waits for: standard output may be a full pipe, and that must
/// not keep the node from serving.
fn announce(text: String) -> std::io::Result<()> {
    std::thread::Builder::new().name("announcement".into()).spawn(move || print_out(text)).map(drop)
}
