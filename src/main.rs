//! The `pipecast` program: reads the command line and runs one command.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the environment enters the program here and nowhere else")]
    let environment = std::env::vars().collect();
    pipecast::cli::run(environment).await
}
