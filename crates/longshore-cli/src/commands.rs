//! The commands, a file each. [`Command`] lists them in the order of `longshore help`.

mod append;
mod archive;
mod bench;
mod certs;
mod check;
mod completions;
mod config;
mod demo;
mod drill;
mod dump;
mod estimate;
mod fence;
mod forget;
mod init;
mod man;
mod mark;
mod order;
mod place;
mod primary;
mod promote;
mod promotion;
mod read;
mod rejoin;
mod repair;
mod replay;
mod replica;
mod status;
mod switchover;
mod verify;

use clap::Subcommand;

use crate::bench::worker::BenchWorker;
use crate::cli::Cli;
use crate::demo::app::DemoApp;
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Certs(certs::Certs),
    Init(init::Init),
    Primary(primary::Primary),
    Replica(replica::Replica),
    Check(check::Check),
    Append(append::Append),
    Read(read::Read),
    Mark(mark::Mark),
    Status(status::Status),
    Dump(dump::Dump),
    Verify(verify::Verify),
    Repair(repair::Repair),
    Rejoin(rejoin::Rejoin),
    Forget(forget::Forget),
    Promote(promote::Promote),
    Switchover(switchover::Switchover),
    Fence(fence::Fence),
    Replay(replay::Replay),
    Archive(archive::Archive),
    Drill(drill::Drill),
    Demo(demo::Demo),
    Estimate(estimate::Estimate),
    Bench(bench::Bench),
    Config(config::Config),
    Completions(completions::Completions),
    Man(man::Man),
    DemoApp(DemoApp),
    BenchWorker(BenchWorker),
}

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Certs(command) => command.run(),
        Command::Init(command) => command.run(&global),
        Command::Primary(command) => command.run(&global),
        Command::Replica(command) => command.run(&global),
        Command::Check(command) => command.run(&global),
        Command::Append(command) => command.run(&global),
        Command::Read(command) => command.run(&global),
        Command::Mark(command) => command.run(&global),
        Command::Status(command) => command.run(&global),
        Command::Dump(command) => command.run(),
        Command::Verify(command) => command.run(&global),
        Command::Repair(command) => command.run(&global),
        Command::Rejoin(command) => command.run(&global),
        Command::Forget(command) => command.run(&global),
        Command::Promote(command) => command.run(&global),
        Command::Switchover(command) => command.run(&global),
        Command::Fence(command) => command.run(&global),
        Command::Replay(command) => command.run(&global),
        Command::Archive(command) => command.run(),
        Command::Drill(command) => command.run(),
        Command::Demo(command) => command.run(),
        Command::Estimate(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Config(command) => command.run(global.config.as_deref()),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
        Command::DemoApp(command) => command.run(),
        Command::BenchWorker(command) => command.run(),
    }
}
