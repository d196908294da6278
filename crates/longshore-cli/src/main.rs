//! The `longshore` binary: arguments in, exit codes out, no logic of its own.
//!
//! It translates: arguments to settings ([`settings`]), library results to text or JSON
//! ([`output`]), error kinds to exit codes ([`failure`]). A command is a file under `commands/`.
#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "longshore runs on Linux only: its durability rests on fallocate, fdatasync and mapped files \
     as Linux defines them"
);

mod agent;
mod bench;
mod capturing;
mod cli;
mod commands;
mod connect;
mod demo;
mod failure;
mod interrupt;
mod logs;
mod output;
mod price;
mod process;
mod progress;
mod quantity;
mod records;
mod runtime;
mod settings;
mod sinks;
mod stores;
mod tails;
mod tuning;

use std::process::ExitCode;

fn main() -> ExitCode {
    let json = output::wants_json(std::env::args_os());
    match settings::load(std::env::args_os().collect()) {
        Ok(cli) => match commands::run(cli) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(json),
        },
        Err(settings::Refusal::Usage(error)) if !error.use_stderr() => error.exit(),
        Err(settings::Refusal::Usage(error)) if !json => failure::report_usage(&error),
        Err(refusal) => failure::Failure::from(refusal).report(json),
    }
}
