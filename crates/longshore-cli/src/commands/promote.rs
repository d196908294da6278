//! `longshore promote`: a replica becomes its log's primary.

use clap::Args;
use longshore_format::Lsn;
use longshore_transport as agent;

use super::order::Order;
use super::promotion;
use crate::cli::Global;
use crate::failure::Failure;

/// Make a replica the primary of a log, and say before what that would lose and who holds it
#[derive(Debug, Args)]
#[command(after_help = "\
The agent at --server asks every node that it knows (its --upstream, and --peer) and every --archive what it holds, fetches what \
another has beyond it, and begins a new epoch. From then on the primary before can confirm nothing at the \
log's policy, whether it is reached or not: so many of the log's voters must answer, or it is refused with \
exit 9 and says who is missing. What waited for `local` only, no promotion protects.

It can be run again after anything. The primary before rejoins by itself when it runs with --upstream.

Examples:
  longshore promote --server eu-west@db2:7420 --log orders --plan
  longshore promote --server eu-west@db2:7420 --log orders \\
      --peer us-east@db3:7420")]
pub(crate) struct Promote {
    #[command(flatten)]
    order: Order,

    /// Begin the epoch here, before the end: what lies behind is set aside. Needs --accept-loss
    #[arg(long, value_name = "LSN")]
    to: Option<u64>,

    /// Go on although the primary before may still confirm what is then lost, or something is missing here
    #[arg(long)]
    accept_loss: bool,

    /// A node to ask besides those that the agent knows. Repeat it for several
    #[arg(long = "peer", value_name = "[NAME@]HOST:PORT", value_delimiter = ',')]
    peers: Vec<String>,

    /// One JSON document: the plan, and what was done
    #[arg(long)]
    json: bool,
}

impl Promote {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let request = agent::Promote {
            plan: self.order.plan,
            accept_loss: self.accept_loss,
            to: self.to.map(Lsn::new),
            peers: self.peers,
            ..agent::Promote::of(self.order.log()?)
        };
        promotion::run(&global.tls, &self.order.server, &request, self.json)
    }
}
