//! `longshore fence`: an agent that can be reached is ordered to stop.

use clap::Args;
use longshore_format::{Epoch, ErrorKind, WriterId};
use longshore_protocol::{Promotion, Witness};
use longshore_storage::{Environment, SystemEnvironment};

use super::order::Order;
use crate::cli::Global;
use crate::connect::connect;
use crate::failure::Failure;
use crate::{output, runtime};

/// Order an agent to store and append nothing of a log's present epoch any more
#[derive(Debug, Args)]
#[command(after_help = "\
The agent accepts an epoch above every one that it knows. If it was the primary it appends nothing more; if it \
was a replica it takes nothing more from the primary of now. Nobody begins that epoch: afterwards a promotion is \
needed, of this agent or of another.

Example:
  longshore fence --server primary@db1:7420 --log orders --plan")]
pub(crate) struct Fence {
    #[command(flatten)]
    order: Order,

    /// The number of the epoch to accept; without it, the next one
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
}

impl Fence {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let log = self.order.log()?;
        runtime::for_commands()?.block_on(async {
            let client = connect(&global.tls, &self.order.server).await?;
            let found = client.survey(&log, None).await?.witness;
            let (wrote, accepted) = (found.history.current().epoch.number, found.accepted.number);
            if self.epoch.is_none() && wrote < accepted {
                return output::print(&format!(
                    "{} accepted epoch {accepted} before, which nobody has begun: it stores and appends nothing of {log} \
                     any more; nothing was changed\nnext: `longshore promote --server ADDR --log {log}` at the node that is to \
                     write\n",
                    found.node
                ));
            }
            let epoch = self.epoch(&found)?;
            if self.order.plan {
                return output::print(&format!(
                    "{} would accept epoch {}: {}\n",
                    found.node,
                    epoch.number,
                    stops(&found)
                ));
            }
            let fenced = client.fence(&log, epoch).await?.witness;
            output::print(&format!(
                "{} accepted epoch {}: {}; its log ends at {}\nnext: nobody writes {log} through it until \
                 `longshore promote --server ADDR --log {log}` at the node that is to write\n",
                fenced.node,
                epoch.number,
                stops(&found),
                fenced.end
            ))
        })
    }

    fn epoch(&self, found: &Witness) -> Result<Epoch, Failure> {
        let next = Promotion::next_number([found]);
        let number = self.epoch.unwrap_or(next);
        if number < next {
            let what = format!("{} has accepted epoch {} before", found.node, found.accepted.number);
            return Err(
                Failure::new(ErrorKind::Fenced, what).next(format!("--epoch {next} or above, or leave it away"))
            );
        }
        // Who had given way to an epoch that may have begun must not seem to have given way to nobody.
        let is_clear = found.accepted.number <= found.history.current().epoch.number;
        Ok(Epoch { number, writer: if is_clear { WriterId::NOBODY } else { writer()? } })
    }
}

/// A fresh id: nobody has it, so the epoch never begins, and nobody can know that.
fn writer() -> Result<WriterId, Failure> {
    let mut bytes = [0; 16];
    SystemEnvironment.random(&mut bytes).map_err(|error| Failure::internal(format!("no random number: {error}")))?;
    Ok(WriterId::from_bytes(bytes))
}

/// What an agent that accepts a later epoch no longer does.
fn stops(found: &Witness) -> String {
    let epoch = found.history.current().epoch.number;
    match found.writes {
        true => format!("it wrote epoch {epoch}, and appends nothing more"),
        false => format!("it follows, and takes nothing more of epoch {epoch}"),
    }
}
