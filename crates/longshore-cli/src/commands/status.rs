//! `longshore status`: positions, replicas, archives, lag, and what it costs.

mod figures;
mod json;
mod offline;
mod reign;
mod text;

use clap::Args;
use figures::FigureArgs;
use longshore_transport::LogStatus;

use super::place::{Place, PlaceArgs};
use crate::cli::Global;
use crate::connect::connect;
use crate::failure::Failure;
use crate::{output, runtime};

/// Show positions, every replica and every archive, lag, proof of equality, headroom and cost
#[derive(Debug, Args)]
#[command(after_help = "\
With --data-dir it shows what the directory knows by itself, also beside a live agent: positions and \
slots, but no connections, no rates and no archives.

Beside what is measured it shows what `longshore estimate` says for the rate of appends that is measured. Cost \
is what was asked for since the agent started, at list prices; storage is not in it. It is unknown where a \
price, the region of a store or --region is.

Example:
  longshore status --server primary@db1:7420 --tls-dir tls \\
      --identity primary --region aws:eu-central-1")]
pub(crate) struct Status {
    #[command(flatten)]
    place: PlaceArgs,

    #[command(flatten)]
    figures: FigureArgs,

    /// One JSON document: bytes, seconds, RFC 3339 UTC
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let figures = self.figures.figures()?;
        let status = match self.place.place()? {
            Place::Directory(dir) => offline::status(&dir)?,
            Place::Server(server) => runtime::for_commands()?
                .block_on(async { Ok::<_, Failure>(connect(&global.tls, &server).await?.status(None).await?) })?,
        };
        match self.json {
            true => output::print_json(json::Status::of(&status, &figures)),
            false => output::print(&text::render(&status, &figures)),
        }
    }
}

/// What an agent is to a log.
fn role(log: &LogStatus) -> &'static str {
    match (log.reign.fenced, log.writer) {
        (true, _) => "fenced",
        (false, true) => "primary",
        (false, false) => "replica",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longshore_format::{Content, Epoch, LogId, Lsn, SegmentSize, WriterId};
    use longshore_protocol::NodeId;
    use longshore_transport::{Lag, LogStatus, ReignStatus, ReplicaStatus};

    /// A replica that is away.
    pub(super) fn replica() -> ReplicaStatus {
        ReplicaStatus {
            name: NodeId::new("eu-west").unwrap(),
            region: None,
            provider: None,
            connected: false,
            lost: false,
            sent: Lsn::new(8192),
            received: Lsn::new(8192),
            durable: Lsn::new(8192),
            applied: Lsn::new(8192),
            received_lag: Lag::default(),
            durable_lag: Lag { bytes: 1 << 20, seconds: 61.25 },
            applied_lag: Lag { bytes: 1 << 20, seconds: 61.25 },
            proved_equal_to: Lsn::ZERO,
            proof_age: None,
            ship_rate: 0.0,
            catch_up: None,
            headroom_bytes: Some(1 << 30),
            headroom: Some(Duration::from_secs(41 * 60)),
            seen_ago: Some(Duration::from_secs(90)),
            sent_bytes: 5 << 20,
        }
    }

    /// A log to which a megabyte is appended every second.
    pub(super) fn log() -> LogStatus {
        LogStatus {
            name: "orders".parse().unwrap(),
            id: LogId::from_bytes([7; 16]),
            content: Content::Bytes,
            segment_size: SegmentSize::DEFAULT,
            writer: true,
            first: Lsn::new(4096),
            end: Lsn::new(1 << 21),
            durable: Lsn::new(1 << 21),
            epoch: Epoch { number: 1, writer: WriterId::from_bytes([1; 16]) },
            last_time: None,
            append_rate: 1e6,
            disk_used: 0,
            disk_free: 0,
            poisoned: None,
            problem: None,
            replicas: vec![replica()],
            upstream: None,
            sinks: Vec::new(),
            stores: Vec::new(),
            tails: Vec::new(),
            reign: ReignStatus::default(),
        }
    }
}
