//! What every order that moves a log's role, or ends it, says: to whom, of which log, and whether it is only a plan.

use clap::Args;
use longshore_format::Name;

use crate::connect::name;
use crate::failure::Failure;

/// The flags that `promote`, `switchover` and `fence` share.
#[derive(Debug, Args)]
pub(super) struct Order {
    /// The agent that is to do it: [NAME@]HOST:PORT
    #[arg(long, value_name = "ADDR")]
    pub(super) server: String,

    /// The log
    #[arg(long, value_name = "NAME")]
    log: String,

    /// Say what would be done, and what that would lose or stop, and change nothing
    #[arg(long)]
    pub(super) plan: bool,
}

impl Order {
    /// The log's name.
    pub(super) fn log(&self) -> Result<Name, Failure> {
        name("log", &self.log)
    }
}
