//! `longshore forget`: a replica's slot dropped.

use clap::Args;
use longshore_protocol::NodeId;
use longshore_transport::Forget as Request;

use crate::cli::Global;
use crate::connect::{connect, name};
use crate::failure::Failure;
use crate::quantity::show_bytes;
use crate::{output, runtime};

/// Drop the slot of a replica that will not come back, and say what that frees
#[derive(Debug, Args)]
#[command(after_help = "\
A replica that returns after its slot was dropped begins anew, or is refused if its place is gone.

Example:
  longshore forget --server primary@db1:7420 --log orders --replica us-east --plan")]
pub(crate) struct Forget {
    /// The agent that holds the slot: [NAME@]HOST:PORT
    #[arg(long, value_name = "ADDR")]
    server: String,

    /// The log
    #[arg(long, value_name = "NAME")]
    log: String,

    /// The replica's identity
    #[arg(long, value_name = "NAME")]
    replica: String,

    /// Say what would be freed, and change nothing
    #[arg(long)]
    plan: bool,
}

impl Forget {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let log = name("log", &self.log)?;
        let replica = NodeId::from(name("replica", &self.replica)?);
        let request = Request { log, replica, plan: self.plan };
        let done = runtime::for_commands()?
            .block_on(async { Ok::<_, Failure>(connect(&global.tls, &self.server).await?.forget(&request).await?) })?;
        let verb = if done.forgotten { "forgot" } else { "would forget" };
        output::print(&format!(
            "{verb} {} of {}: the log is then needed from {} instead of {}, which frees {}\n",
            self.replica,
            self.log,
            done.oldest_after,
            done.oldest_before,
            show_bytes(done.frees),
        ))
    }
}
