//! `longshore init`: a new log.

use clap::Args;
use longshore::{Primary, Settings, settings::ByteSize};
use longshore_format::{Content, ErrorKind, SegmentSize};
use longshore_transport::Create;

use super::place::{Place, PlaceArgs};
use crate::cli::Global;
use crate::connect::{connect, name};
use crate::failure::Failure;
use crate::{agent, output, runtime};

/// Create a log, in a directory or on a live agent
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  longshore init --data-dir data --log orders --content sql")]
pub(crate) struct Init {
    #[command(flatten)]
    place: PlaceArgs,

    /// The name of the log: a-z, 0-9, - and _, at most 63
    #[arg(long, value_name = "NAME")]
    log: String,

    /// The size of its segments, for ever: a power of two from 1MiB to 1GiB
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    segment_size: ByteSize,

    /// What its records hold, for ever: bytes, sql or sqlite-pages
    #[arg(long, value_name = "CONTENT", default_value = "bytes")]
    content: Content,
}

impl Init {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let mut settings = Settings::default();
        settings.log.segment_size = self.segment_size;
        settings.validate()?;
        let log = name("log", &self.log)?;
        let id = match self.place.place()? {
            Place::Directory(dir) => {
                let _alone = agent::alone(&dir).map_err(|failure| self.beside(failure))?;
                let primary = Primary::create(dir, &self.log, self.content, &settings).map_err(exists)?;
                let id = primary.id();
                primary.close()?;
                id
            }
            Place::Server(server) => {
                let segment_size = SegmentSize::new(self.segment_size.0)
                    .map_err(|error| Failure::invalid(format!("--segment-size: {error}")))?;
                let request = Create { log, content: self.content, segment_size };
                runtime::for_commands()?
                    .block_on(async { Ok::<_, Failure>(connect(&global.tls, &server).await?.create(request).await?) })
                    .map_err(exists)?
            }
        };
        output::print(&format!("{id}\n"))
    }

    /// A running agent makes a log itself, and then serves it.
    fn beside(&self, failure: Failure) -> Failure {
        match failure.kind() {
            ErrorKind::Busy => failure.next(format!(
                "have the agent that runs there make the log: `longshore init --server ADDR --log {}`; or end it, and run this again",
                self.log
            )),
            _ => failure,
        }
    }
}

/// Another log of the name is no harm, but not what was asked for.
fn exists(error: impl Into<Failure>) -> Failure {
    let failure = error.into();
    match failure.kind() {
        ErrorKind::Busy => failure.next("use the log that is there, or give --log another name"),
        _ => failure,
    }
}
