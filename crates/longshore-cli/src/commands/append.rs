//! `longshore append`: records from stdin into a log.

use std::io::{self, BufReader};
use std::time::{Duration, Instant};

use clap::Args;
use longshore::{Durability, Primary, Quorum, Settings};
use longshore_format::{Content, ErrorKind, Lsn, Name};
use longshore_transport::{Append as Request, Client, Draft};
use longshore_wal::RecordDraft;

use super::place::{Place, PlaceArgs};
use crate::cli::Global;
use crate::connect::{connect, name};
use crate::failure::Failure;
use crate::records::{Format, Input, check_payload};
use crate::{output, quantity, runtime};

/// Append records from stdin and print the last position
#[derive(Debug, Args)]
#[command(after_help = "\
Records that are on stdin together are appended as one run of at most 256 KiB: a replica applies a \
run whole or not at all. What is printed is where the last record ends.

Example:
  printf 'one\\ntwo\\n' | longshore append --data-dir data --log orders
  longshore append --server primary@db1:7420 --log orders \\
      --wait regions:2 < records.txt")]
pub(crate) struct Append {
    #[command(flatten)]
    place: PlaceArgs,

    /// The log to append to
    #[arg(long, value_name = "NAME")]
    log: String,

    /// How records stand on stdin
    #[arg(long, value_enum, default_value_t = Format::Raw)]
    format: Format,

    /// What to wait for: local, replicas:K, regions:K[@a,b], each with /received, /durable, /applied;
    /// or archived:K, so many of the agent's object stores.
    /// Waits weaker than the log's policy are not protected by failover
    #[arg(long, value_name = "DURABILITY", default_value = "local")]
    wait: Durability,

    /// How long to wait; after it the records are durable at the primary but not confirmed (exit 12)
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = quantity::duration)]
    wait_timeout: Duration,

    /// Append only if the log ends here, so that a retry cannot write twice
    #[arg(long, value_name = "LSN")]
    expect: Option<Lsn>,
}

impl Append {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let place = self.place.place()?;
        self.check_wait(&place)?;
        let mut log = Destination::open(place, &self.log, global)?;
        if let Quorum::Archived(_) = self.wait.quorum {
            // The agent says at once if it has too few stores: better before anything is appended.
            log.wait(Lsn::ZERO, &self.wait, self.wait_timeout)?;
        }
        let mut count = 0;
        let appended = self.append_all(&mut log, &mut count);
        if let Some(position) = log.last {
            log.wait(position, &self.wait, self.wait_timeout)?;
        }
        appended.map_err(|failure| match log.last {
            Some(position) => failure.after(format!("the first {count} records of stdin are in, up to {position}")),
            None => failure.after("no record of stdin was appended".to_owned()),
        })?;
        log.close()?;
        let position = log.last.or(self.expect);
        output::print(&position.map(|position| format!("{position}\n")).unwrap_or_default())
    }

    /// Beside a log that nobody serves no other node and no store will ever confirm anything.
    fn check_wait(&self, place: &Place) -> Result<(), Failure> {
        match place {
            Place::Directory(_) if self.wait.quorum != Quorum::Local => Err(Failure::invalid(format!(
                "--wait {} needs an agent: nobody else can take a log while this command holds it",
                self.wait
            ))
            .next("append with --server to the agent that serves the log, or wait for local")),
            _ => Ok(()),
        }
    }

    /// Appends all of stdin; `count` is how many records of it are in.
    fn append_all(&self, log: &mut Destination, count: &mut u64) -> Result<(), Failure> {
        let mut stdin = BufReader::with_capacity(1 << 20, io::stdin().lock());
        let mut expect = self.expect;
        loop {
            let Batch { records, refused } = batch(self.format, log.content(), &mut stdin, *count);
            if records.is_empty() {
                return refused.map_or(Ok(()), Err);
            }
            let len = records.len() as u64;
            let end = log.append(records, expect, self.wait_timeout)?;
            log.last = Some(end);
            *count += len;
            // Once asked for, every batch must follow the one before it.
            expect = expect.map(|_| end);
            if let Some(refused) = refused {
                return Err(refused);
            }
        }
    }
}

/// Says on stderr that the log confirms without what its policy asks for, where that was asked for. What the answer itself does
/// not tell; an agent that does not show its status to whoever appends is believed.
async fn note_degraded(client: &Client, log: &Name, durability: &Durability) {
    if durability.quorum == Quorum::Local {
        return;
    }
    let Ok(status) = client.status(Some(log)).await else { return };
    let policies = status.logs.into_iter().filter_map(|log| log.reign.policy);
    for policy in policies.filter(|policy| policy.degraded) {
        output::tell(&format!(
            "note: {log} is degraded: {} cannot be had, and what was confirmed just now may be durable at the primary alone",
            policy.durability
        ));
    }
}

/// Payload bytes in one run.
const RUN: usize = 256 << 10;
/// Records in one run.
const RUN_RECORDS: usize = 4096;

/// Records that are appended together, and why what comes after them cannot be.
struct Batch {
    records: Vec<Input>,
    refused: Option<Failure>,
}

/// What stands on stdin now, `before` records having been read from it: at least one record unless it has ended, and no
/// waiting for a second.
fn batch(format: Format, content: Option<Content>, stdin: &mut BufReader<impl io::Read>, before: u64) -> Batch {
    let mut batch = Batch { records: Vec::new(), refused: None };
    let mut bytes = 0;
    while batch.records.is_empty() || (!stdin.buffer().is_empty() && bytes < RUN && batch.records.len() < RUN_RECORDS) {
        let number = before + batch.records.len() as u64 + 1;
        match next(format, content, stdin, number) {
            Ok(Some(input)) => {
                bytes += input.payload.len();
                batch.records.push(input);
            }
            Ok(None) => break,
            Err(refused) => return Batch { refused: Some(refused), ..batch },
        }
    }
    batch
}

fn next(
    format: Format,
    content: Option<Content>,
    stdin: &mut impl io::BufRead,
    number: u64,
) -> Result<Option<Input>, Failure> {
    let Some(input) = format.read(stdin, number)? else { return Ok(None) };
    if let Some(content) = content {
        check_payload(content, &input.payload)
            .map_err(|what| Failure::invalid(format!("record {number} on stdin: {what}")))?;
    }
    Ok(Some(input))
}

/// The log that is appended to, here or behind an agent.
struct Destination {
    to: To,
    last: Option<Lsn>,
}

/// A log behind an agent.
struct There {
    runtime: tokio::runtime::Runtime,
    client: Client,
    log: Name,
}

enum To {
    Here(Primary),
    There(Box<There>),
}

impl Destination {
    fn open(place: Place, log: &str, global: &Global) -> Result<Self, Failure> {
        let to = match place {
            Place::Directory(dir) => To::Here(Primary::open(dir, log, &Settings::default())?),
            Place::Server(server) => {
                let runtime = runtime::for_commands()?;
                let client = runtime.block_on(connect(&global.tls, &server))?;
                To::There(Box::new(There { runtime, client, log: name("log", log)? }))
            }
        };
        Ok(Self { to, last: None })
    }

    /// What the log holds; an agent checks that itself.
    fn content(&self) -> Option<Content> {
        match &self.to {
            To::Here(primary) => Some(primary.content()),
            To::There(_) => None,
        }
    }

    /// Appends a batch as one run; waits while the log is full.
    fn append(&self, batch: Vec<Input>, expect: Option<Lsn>, patience: Duration) -> Result<Lsn, Failure> {
        let begun = Instant::now();
        loop {
            match self.try_append(&batch, expect) {
                Err(failure) if failure.kind() == ErrorKind::Full && begun.elapsed() < patience => {
                    self.make_room(patience)?;
                }
                appended => return appended,
            }
        }
    }

    fn try_append(&self, batch: &[Input], expect: Option<Lsn>) -> Result<Lsn, Failure> {
        match &self.to {
            To::Here(primary) => {
                let drafts: Vec<_> =
                    batch.iter().map(|input| RecordDraft { kind: input.kind, payload: &input.payload }).collect();
                Ok(primary.append_records(&drafts, expect)?.position())
            }
            To::There(there) => {
                let There { runtime, client, log } = &**there;
                let draft = |input: &Input| Draft { kind: input.kind, payload: input.payload.clone().into() };
                let request = Request {
                    log: log.clone(),
                    records: batch.iter().map(draft).collect(),
                    expect,
                    wait: None,
                    timeout: Duration::ZERO,
                };
                Ok(runtime.block_on(client.append(request))?.end)
            }
        }
    }

    /// Full: here a sync makes room, there only time does.
    fn make_room(&self, patience: Duration) -> Result<(), Failure> {
        match &self.to {
            To::Here(primary) => primary.sync(patience).map(drop)?,
            To::There(_) => std::thread::sleep(Duration::from_millis(50)),
        }
        Ok(())
    }

    fn wait(&self, position: Lsn, durability: &Durability, timeout: Duration) -> Result<(), Failure> {
        match &self.to {
            To::Here(primary) => primary.ticket(position).wait_blocking(durability.clone(), timeout).map(drop)?,
            To::There(there) => {
                let There { runtime, client, log } = &**there;
                runtime.block_on(async {
                    client.wait(log, position, durability, timeout).await?;
                    note_degraded(client, log, durability).await;
                    Ok::<_, Failure>(())
                })?;
            }
        }
        Ok(())
    }

    fn close(&self) -> Result<(), Failure> {
        match &self.to {
            To::Here(primary) => Ok(primary.close()?),
            To::There(_) => Ok(()),
        }
    }
}
