//! The `pipecast` program: reads the command line and runs one command.

use std::process::ExitCode;

/// Chosen by measuring, see docs/design/performance.md: what a storm of connections took for a moment is given back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the environment enters the program here and nowhere else")]
    let environment = std::env::vars().collect();
    pipecast::cli::run(environment).await
}
