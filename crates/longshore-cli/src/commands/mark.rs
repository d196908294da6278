//! `longshore mark`: a named point in a log.

use std::time::Duration;

use clap::Args;
use longshore::{Durability, Name, Primary, Settings};

use super::place::{Place, PlaceArgs};
use crate::cli::Global;
use crate::connect::{connect, name};
use crate::failure::Failure;
use crate::{output, runtime};

/// Put a named point into a log and print its position
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  longshore mark before-migration --server primary@db1:7420 --log orders")]
pub(crate) struct Mark {
    /// The name, to be used as mark:NAME where a target is asked for
    #[arg(value_name = "NAME")]
    name: String,

    #[command(flatten)]
    place: PlaceArgs,

    /// The log to mark
    #[arg(long, value_name = "NAME")]
    log: String,
}

impl Mark {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let position = match self.place.place()? {
            Place::Directory(dir) => {
                let primary = Primary::open(dir, &self.log, &Settings::default())?;
                let ticket = primary.mark(&self.name)?;
                ticket.wait_blocking(Durability::LOCAL, Duration::from_secs(30))?;
                primary.close()?;
                ticket.position()
            }
            Place::Server(server) => {
                let (log, mark) = (name("log", &self.log)?, mark(&self.name)?);
                runtime::for_commands()?.block_on(async {
                    Ok::<_, Failure>(connect(&global.tls, &server).await?.mark(&log, &mark).await?)
                })?
            }
        };
        output::print(&format!("{position}\n"))
    }
}

fn mark(text: &str) -> Result<Name, Failure> {
    Name::new(text).map_err(|_| {
        Failure::invalid(format!("{text:?} cannot be the name of a mark"))
            .next("names have a-z, 0-9, - and _, at most 63 of them, and begin with a letter or a digit")
    })
}
