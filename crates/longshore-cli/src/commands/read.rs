//! `longshore read`: records of a log to stdout.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use longshore_format::{Lsn, Record};
use longshore_transport::{OwnedRecord, Read as Request};
use tokio_stream::StreamExt;

use super::place::{Place, PlaceArgs};
use crate::cli::Global;
use crate::connect::{connect, name};
use crate::failure::Failure;
use crate::logs::{self, boundary, target};
use crate::records::{Format, View};
use crate::runtime;
use crate::tails::{OpenTail, TailArg};

/// Print the records of a log
#[derive(Debug, Args)]
#[command(after_help = "\
Targets: latest, lsn:N or N, time:RFC3339 with offset, mark:NAME. What is printed lies after --start \
and up to --end. A closed pipe ends it quietly.

Examples:
  longshore read --data-dir data --log orders --start mark:monday --format json
  longshore read --data-dir data --log orders \\
      --tail diverged/81234-1764137000000000")]
pub(crate) struct Read {
    #[command(flatten)]
    place: PlaceArgs,

    /// The log to read
    #[arg(long, value_name = "NAME")]
    log: String,

    #[command(flatten)]
    tail: TailArg,

    /// Where to begin; without it, at the first record there is, of a tail at its fork
    #[arg(long, value_name = "TARGET")]
    start: Option<String>,

    /// Where to stop; without it, at the end
    #[arg(long, value_name = "TARGET")]
    end: Option<String>,

    /// Go on as the log grows
    #[arg(long, conflicts_with = "tail")]
    follow: bool,

    /// How records are printed
    #[arg(long, value_enum, default_value_t = Format::Raw)]
    format: Format,
}

/// How often a directory that is followed is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Read {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let mut out = Out { to: BufWriter::with_capacity(256 << 10, io::stdout().lock()), format: self.format };
        let read = match self.place.place()? {
            Place::Directory(dir) => self.read_directory(&dir, &mut out),
            Place::Server(_) if self.tail.tail.is_some() => Err(Failure::invalid("--tail is read from a directory")
                .next("run it where the log is, with --data-dir")
                .into()),
            Place::Server(server) => self.read_server(global, &server, &mut out),
        };
        match read.and_then(|()| out.flush()) {
            Err(Stop::Reader) | Ok(()) => Ok(()),
            Err(Stop::Failed(failure)) => Err(failure),
        }
    }

    fn read_directory(&self, dir: &Path, out: &mut Out<impl Write>) -> Result<(), Stop> {
        let tail = self.tail.tail.as_ref().map(|place| OpenTail::open(dir, &self.log, place)).transpose()?;
        let (log, first) = match &tail {
            Some(open) => (open.branch()?, Some(open.tail.from)),
            None => (logs::open(dir, &self.log)?, None),
        };
        let place = |flag, text: &Option<String>| -> Result<Option<Lsn>, Failure> {
            text.as_deref().map(|text| boundary(&log, target(flag, text)?)).transpose()
        };
        let start = place("start", &self.start)?.unwrap_or(first.unwrap_or(log.first()));
        let end = place("end", &self.end)?;
        let stop = if self.follow { end } else { Some(end.unwrap_or(log.end())) };
        let mut reader = log.reader(start).map_err(Failure::from)?;
        loop {
            if stop.is_some_and(|stop| stop <= reader.position()) {
                return Ok(());
            }
            match reader.next().map_err(Failure::from)? {
                Some(record) => out.record(&record)?,
                None if stop.is_some() && !self.follow => return Ok(()),
                None => {
                    out.flush()?;
                    std::thread::sleep(LOOK_AGAIN);
                    log.refresh().map_err(Failure::from)?;
                }
            }
        }
    }

    fn read_server(&self, global: &Global, server: &str, out: &mut Out<impl Write>) -> Result<(), Stop> {
        let request = Request {
            log: name("log", &self.log)?,
            start: self.start.clone(),
            end: self.end.clone(),
            exclusive: false,
            follow: self.follow,
        };
        runtime::for_commands()?.block_on(async {
            let client = connect(&global.tls, server).await?;
            let mut batches = client.read(request).await.map_err(Failure::from)?;
            while let Some(batch) = batches.next().await {
                for record in batch.map_err(Failure::from)? {
                    out.owned(&record)?;
                }
                out.flush()?;
            }
            Ok(())
        })
    }
}

/// Why reading stopped before its end.
enum Stop {
    /// Whoever reads our output has gone away: an ordinary end.
    Reader,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::Reader,
            _ => Stop::Failed(Failure::output(&error)),
        }
    }
}

struct Out<W: Write> {
    to: W,
    format: Format,
}

impl<W: Write> Out<W> {
    /// Prints a user's record; the log's own are not for readers.
    fn record(&mut self, record: &Record<'_>) -> Result<(), Stop> {
        let Record { start, end, kind, flags, time, payload, .. } = *record;
        self.view(&View { start, end, kind, flags, time, payload })
    }

    fn owned(&mut self, record: &OwnedRecord) -> Result<(), Stop> {
        let OwnedRecord { start, end, kind, flags, time, payload } = record;
        let (start, end, kind, flags, time) = (*start, *end, *kind, *flags, *time);
        self.view(&View { start, end, kind, flags, time, payload })
    }

    fn view(&mut self, view: &View<'_>) -> Result<(), Stop> {
        if view.kind.is_user() {
            self.format.write(&mut self.to, view)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        Ok(self.to.flush()?)
    }
}
