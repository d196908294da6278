//! `longshore repair`: one damaged sealed segment replaced.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use longshore::archive::Archive;
use longshore_format::{Lsn, Name};
use longshore_transport::{Address, BoxStream};
use longshore_wal::repair::{self, Plan, RepairError};
use tokio::runtime::Runtime;
use tokio_stream::StreamExt;

use crate::cli::Global;
use crate::connect::{connect, name};
use crate::failure::Failure;
use crate::quantity::{now, show_bytes};
use crate::stores::{self, Keys};
use crate::{logs, output, runtime};

/// Replace one damaged sealed segment by a good copy; the damaged one is kept aside
#[derive(Debug, Args)]
#[command(after_help = "\
The copy is checked before it takes the place: every record, its digest, and that it joins the \
segments before and after it. What is neither an address nor holds the log is refused.

Examples:
  longshore repair --data-dir data --log orders --segment 134217728 \\
      --from eu-west@db2:7420 --plan
  longshore repair --data-dir data --log orders --segment 134217728 \\
      --from s3://bucket/prefix")]
pub(crate) struct Repair {
    /// The directory that holds the log; no agent may be writing it
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// The log
    #[arg(long, value_name = "NAME")]
    log: String,

    /// The base position of the segment, as `verify` and error messages name it
    #[arg(long, value_name = "N")]
    segment: Lsn,

    /// Where the good copy is: an agent's [NAME@]HOST:PORT, a data directory, or the address of an object store
    #[arg(long, value_name = "ADDR|DIR|URL")]
    from: String,

    #[command(flatten)]
    keys: Keys,

    /// Check and say what would be done, and change nothing
    #[arg(long)]
    plan: bool,
}

impl Repair {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        let log = name("log", &self.log)?;
        let dir = logs::directory(&self.data_dir, &log)?;
        let seconds = now() / 1_000_000;
        // Found first, so that a plan says where it cannot be had; taken only once there is something to repair.
        let copy = self.find(global, &log)?;
        let plan = repair::plan(&dir, self.segment, seconds)?;
        output::print(&told(&log, &plan))?;
        if self.plan {
            return Ok(());
        }
        let repaired = repair::repair(&dir, self.segment, seconds, &mut *copy.take(self.segment)?)?;
        output::print(&format!(
            "repaired: {} records, digest {}; `longshore verify --deep` proves the rest\n",
            repaired.records, repaired.digest
        ))
    }

    /// The copy to repair from: an agent is asked for it, a directory opened, and in an archive it is looked up.
    fn find(&self, global: &Global, log: &Name) -> Result<Found, Failure> {
        if stores::is_address(&self.from) {
            return self.find_archived(log);
        }
        match self.from.parse::<Address>() {
            Ok(_) if !Path::new(&self.from).exists() => {
                Ok(Found::Open(Box::new(PeerCopy::open(global, &self.from, log, self.segment)?)))
            }
            _ => {
                let from = logs::directory(Path::new(&self.from), log)?;
                Ok(Found::Open(Box::new(repair::open_copy(&from, self.segment)?)))
            }
        }
    }

    fn find_archived(&self, log: &Name) -> Result<Found, Failure> {
        let (stores, keys) = (stores::open(std::slice::from_ref(&self.from))?, self.keys.open()?);
        let runtime = runtime::for_commands()?;
        let archive = runtime.block_on(Archive::open(&stores, log, keys))?;
        archive.check_sealed(self.segment)?;
        Ok(Found::Archived(Box::new(archive), runtime))
    }
}

/// Where a copy can be had.
enum Found {
    /// It is read as it comes.
    Open(Box<dyn Read>),
    /// It is an object, which is fetched whole.
    Archived(Box<Archive>, Runtime),
}

impl Found {
    fn take(self, base: Lsn) -> Result<Box<dyn Read>, Failure> {
        match self {
            Found::Open(copy) => Ok(copy),
            Found::Archived(archive, runtime) => Ok(Box::new(io::Cursor::new(runtime.block_on(archive.sealed(base))?))),
        }
    }
}

fn told(log: &Name, plan: &Plan) -> String {
    let mut text = format!("log {log}, segment {} ({}, {}):\n", plan.base, plan.file, show_bytes(plan.size));
    for finding in &plan.findings {
        text += &format!("  found: {finding}\n");
    }
    if let Some(digest) = &plan.digest {
        text += &format!("  the copy must have digest {digest}\n");
    }
    if let Some(aside) = &plan.aside {
        text += &format!("  the damaged file is kept as {aside}\n");
    }
    text
}

/// A peer's copy of a segment, read as it comes.
struct PeerCopy {
    runtime: Runtime,
    chunks: BoxStream<bytes::Bytes>,
    left: bytes::Bytes,
}

impl PeerCopy {
    fn open(global: &Global, server: &str, log: &Name, base: Lsn) -> Result<Self, Failure> {
        let runtime = runtime::for_commands()?;
        let file = runtime.block_on(async {
            Ok::<_, Failure>(connect(&global.tls, server).await?.fetch_segment(log, base).await?)
        })?;
        Ok(Self { runtime, chunks: file.chunks, left: bytes::Bytes::new() })
    }
}

impl Read for PeerCopy {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            match self.runtime.block_on(self.chunks.next()) {
                Some(chunk) => self.left = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let len = self.left.len().min(buffer.len());
        buffer[..len].copy_from_slice(&self.left.split_to(len));
        Ok(len)
    }
}

impl From<RepairError> for Failure {
    fn from(error: RepairError) -> Self {
        Failure::library(error.kind(), &error)
    }
}
