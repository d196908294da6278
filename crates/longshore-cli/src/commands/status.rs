//! `longshore status`: positions, replicas, lag.

mod json;
mod offline;
mod text;

use clap::Args;

use super::place::{Place, PlaceArgs};
use crate::cli::Global;
use crate::connect::connect;
use crate::failure::Failure;
use crate::{output, runtime};

/// Show positions, every replica connected or not, lag, proof of equality and headroom
#[derive(Debug, Args)]
#[command(after_help = "\
With --data-dir it shows what the directory knows by itself, also beside a live agent: positions and \
slots, but no connections and no rates.

Example:
  longshore status --server primary@db1:7420 --tls-dir tls --identity primary")]
pub(crate) struct Status {
    #[command(flatten)]
    place: PlaceArgs,

    /// One JSON document: bytes, seconds, RFC 3339 UTC
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let status = match self.place.place()? {
            Place::Directory(dir) => offline::status(&dir)?,
            Place::Server(server) => runtime::for_commands()?
                .block_on(async { Ok::<_, Failure>(connect(&global.tls, &server).await?.status(None).await?) })?,
        };
        match self.json {
            true => output::print_json(json::Status::from(&status)),
            false => output::print(&text::render(&status)),
        }
    }
}
