//! `longshore check`: whether everything between a log and its copies works, or what would not work about a database.

mod around;
mod chain;
mod sqlite;
mod told;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use longshore_protocol::Stage;
use tokio::task::LocalSet;

use crate::cli::{Global, Tls};
use crate::connect::name;
use crate::failure::Failure;
use crate::quantity::{duration, now};
use crate::stores::Keys;
use crate::{output, runtime};

/// Follow a mark through an agent to every replica and back out of every archive, or say what is wrong with a database
#[derive(Debug, Args)]
#[command(after_help = "\
With --server it appends a mark to --log and follows it: durable at the primary; received, durable and \
applied at every replica that the primary knows; archived in every --archive, and read back from there \
through the keys. Each hop is told with the time since the mark was appended. So are the clock, the \
certificates, where credentials come from, and the file system of --data-dir. The first hop that fails \
gives the exit code; the mark stays in the log and does no harm.

With --sqlite it changes nothing. Exit 8 if the database cannot be captured as it is.

Examples:
  longshore check --sqlite app.db
  longshore check --server primary@db1:7420 --log orders \\
      --archive s3://bucket/prefix --archive-keys file:keys")]
pub(crate) struct Check {
    /// The application's database
    #[arg(long, value_name = "PATH")]
    sqlite: Option<PathBuf>,

    /// The primary: [NAME@]HOST:PORT, NAME being the identity it must prove
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,

    /// The log to append a mark to
    #[arg(long, value_name = "NAME")]
    log: Option<String>,

    /// An object store in which the mark must be archived, and from which it is read back; repeatable
    #[arg(long = "archive", value_name = "URL")]
    stores: Vec<String>,

    #[command(flatten)]
    keys: Keys,

    /// How far every replica must come; one that has no sink never applies anything
    #[arg(long, value_name = "STAGE", value_enum, default_value = "applied")]
    stage: StageFlag,

    /// How long the mark may take to wherever it goes
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,

    /// A data directory of this machine, whose file system is looked at
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StageFlag {
    Received,
    Durable,
    Applied,
}

impl From<StageFlag> for Stage {
    fn from(flag: StageFlag) -> Stage {
        match flag {
            StageFlag::Received => Stage::Received,
            StageFlag::Durable => Stage::Durable,
            StageFlag::Applied => Stage::Applied,
        }
    }
}

impl Check {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        match (&self.sqlite, &self.server) {
            (Some(path), None) => sqlite::run(path, self.json),
            (None, Some(server)) => self.follow(server, &global.tls),
            (Some(_), Some(_)) => Err(Failure::invalid("both --sqlite and --server are set")
                .next("check one of them at a time; `longshore config --show check` tells where each comes from")),
            (None, None) => Err(Failure::invalid("neither --sqlite nor --server is set")
                .next("name the database to check, or the primary through which a mark is followed")),
        }
    }

    fn follow(&self, server: &str, tls: &Tls) -> Result<(), Failure> {
        let log = self.log.as_deref().ok_or_else(|| {
            Failure::invalid("--log is not set").next("name the log that the mark is appended to; `status` lists them")
        })?;
        let ask = chain::Ask {
            server: server.to_owned(),
            log: name("log", log)?,
            mark: name("mark", &format!("check-{}", now()))?,
            stores: self.stores.clone(),
            keys: self.keys.open()?,
            stage: self.stage.into(),
            timeout: self.timeout,
        };
        let route = LocalSet::new().block_on(&runtime::for_commands()?, chain::follow(tls, &ask));
        let facts = around::facts(tls, &ask, &route, self.data_dir.as_deref())?;
        match self.json {
            true => output::print_json(told::Document::new(&ask, &route, &facts))?,
            false => output::print(&told::render(&ask, &route, &facts))?,
        }
        route.verdict()
    }
}
