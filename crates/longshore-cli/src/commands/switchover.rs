//! `longshore switchover`: the role moves from a primary that lives.

use clap::Args;
use longshore_transport::Promote;

use super::order::Order;
use super::promotion;
use crate::cli::Global;
use crate::failure::Failure;

/// Move the role of a primary that lives to a replica, with nothing lost and a pause that is measured
#[derive(Debug, Args)]
#[command(after_help = "\
The replica at --server first comes near; then the primary stops, the rest is fetched, and the replica goes on. \
If that fails the primary takes its role back. Appends in between are refused as fenced: clients find the new \
primary and append again. For a primary that does not answer: `longshore promote`.

Example:
  longshore switchover --server eu-west@db2:7420 --log orders --plan")]
pub(crate) struct Switchover {
    #[command(flatten)]
    order: Order,

    /// A node to ask besides those that the agent knows. Repeat it for several
    #[arg(long = "peer", value_name = "[NAME@]HOST:PORT", value_delimiter = ',')]
    peers: Vec<String>,

    /// One JSON document: the plan, and what was done
    #[arg(long)]
    json: bool,
}

impl Switchover {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let request =
            Promote { plan: self.order.plan, switchover: true, peers: self.peers, ..Promote::of(self.order.log()?) };
        promotion::run(&global.tls, &self.order.server, &request, self.json)
    }
}
