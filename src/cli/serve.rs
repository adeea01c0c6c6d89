//! `pipecast serve`: settings, bind, say so, run.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Failure, Outcome, complain, say};
use crate::app::supervisor::Supervisor;
use crate::app::{App, NodeExit, StopSignals};
use crate::logging::{self, LogLines};
use crate::settings::{Settings, Sources};
use crate::visible::visible_lines;

/// Longest time that the end waits for the log's last lines, which somebody may not read.
const LAST_LINES: Duration = Duration::from_secs(2);

pub(super) async fn serve(sources: Sources) -> Outcome {
    let (settings, _) = Settings::load(&sources).map_err(|faults| {
        complain(format!("the settings are not right:\n{faults}"));
        Failure::Usage
    })?;
    let log = logging::start(&settings.log).map_err(|error| {
        complain(error);
        Failure::Failed
    })?;
    let outcome = run(&settings, &sources, &log).await;
    log.flush(LAST_LINES);
    outcome
}

async fn run(settings: &Settings, sources: &Sources, log: &LogLines) -> Outcome {
    // As `complain` does, but behind the lines that are on their way, and without waiting for a reader.
    let fail = |error: &dyn std::fmt::Display| {
        log.add(format!("pipecast: {}\n", visible_lines(&error.to_string())).as_bytes());
        Failure::Failed
    };
    // Before anything is announced: who reads the announcement may stop us at once.
    let stops = StopSignals::new().map_err(|error| fail(&error))?;
    let supervisor = Supervisor::find(&sources.environment).map_err(|error| fail(&error))?;
    let app = App::bind(settings, log).await.map_err(|error| fail(&error))?;
    let public = app.public_address().map_err(|error| fail(&error))?;
    let admin = app.admin_address().map_err(|error| fail(&error))?;
    announce(settings, public, admin).map_err(|error| fail(&error))?;
    match app.run(stops, supervisor).await {
        NodeExit::Drained => Ok(()),
        NodeExit::Interrupted | NodeExit::Failed => Err(Failure::Failed),
    }
}

/// Says where the node is. That nobody hears it is no reason not to serve: it may be said into a full pipe, so a thread
/// of its own does, which nobody waits for.
fn announce(settings: &Settings, public: SocketAddr, admin: SocketAddr) -> std::io::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let what = match &settings.redis {
        None => "one node on the embedded store. Events are kept in memory only and are gone when it stops.",
        Some(_) => "a node on Redis. Any number of nodes on the same Redis are one broker.",
    };
    let scheme = if settings.server.tls.is_some() { "https" } else { "http" };
    let pipeline = format!("{scheme}://{public}/pipelines/p_aBcDeF");
    let announcement = format!(
        "Pipecast {version}: {what}\n\n  \
         public   {scheme}://{public}\n  \
         admin    http://{admin}\n\n  \
         Look at a stream   {scheme}://{public}/\n  \
         Watch it           curl -N {pipeline}/sse\n  \
         Publish an event   curl -X POST {pipeline}/events -H 'Content-Type: application/json' \
         -d '{{\"channel\":\"names\",\"payload\":{{\"name\":\"Luke\"}}}}'\n\n"
    );
    std::thread::Builder::new().name("announcement".into()).spawn(move || say(announcement)).map(drop)
}
