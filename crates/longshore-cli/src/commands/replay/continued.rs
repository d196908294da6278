//! A restored log that is gone on with: promoted in a data directory of its own, from where the output stops.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use longshore::apply::{Edge, Point, Target};
use longshore::archive::Store;
use longshore::{ErrorKind, Lsn, Replica, Settings, Sources};
use longshore_format::payload::Mark;
use longshore_format::{Kind, Name};
use longshore_storage::Lock;
use longshore_transport::{FenceState, Promote, Promoted};
use serde::Serialize;

use super::pending::Pending;
use crate::cli::Tls;
use crate::failure::Failure;
use crate::interrupt::Interruptible;
use crate::logs;
use crate::quantity::show_bytes;
use crate::sinks::SinkSpec;
use crate::stores::Keys;

/// Whether a restored log is a new one, or goes on.
#[derive(Debug, Args)]
pub(super) struct Continue {
    /// Go on with the log itself from there, and not with a new one: it is promoted in this data directory, for the agent that
    /// is to write it. As `promote` it is refused while the primary before may still confirm anything
    #[arg(long = "continue", value_name = "DIR", conflicts_with_all = ["scratch", "tail", "epoch", "follow"])]
    data_dir: Option<PathBuf>,

    /// Go on although the primary before may still confirm what is then lost, or what lies behind the target is set aside
    #[arg(long, requires = "data_dir")]
    accept_loss: bool,

    /// A node that may still hold the log, to be asked and fenced. Repeat it for several
    #[arg(long = "peer", value_name = "[NAME@]HOST:PORT", value_delimiter = ',', requires = "data_dir")]
    peers: Vec<String>,
}

/// What a log goes on in.
#[derive(Serialize)]
pub(super) struct Continued {
    data_dir: String,
    epoch: u64,
    position: u64,
}

/// A log that is to go on, in the directory where it is fetched to.
pub(super) struct GoOn<'a> {
    pub(super) log: &'a Name,
    pub(super) scratch: &'a Path,
    /// The addresses of the stores, as they were given.
    pub(super) from: &'a [String],
    pub(super) stores: Vec<Store>,
    pub(super) keys: &'a Keys,
    pub(super) tls: &'a Tls,
    pub(super) target: &'a Target,
    /// Keeps every other process out of `scratch`, once something is written there.
    pub(super) alone: OnceCell<Box<dyn Lock>>,
}

impl Continue {
    pub(super) fn is_asked(&self) -> bool {
        self.data_dir.is_some()
    }

    /// Where the log lies while it is restored: in the data directory, under a name that no log can have.
    pub(super) fn scratch(&self, log: &str) -> Option<PathBuf> {
        self.data_dir.as_ref().map(|dir| dir.join(format!("{log}.replay")))
    }

    /// Refuses, before anything is fetched, what could come to no good end.
    pub(super) fn check(&self, go_on: &GoOn<'_>, into: &SinkSpec) -> Result<(), Failure> {
        let Some(dir) = &self.data_dir else { return Ok(()) };
        if dir.join(go_on.log.as_str()).exists() {
            let what = format!("{} holds a log {} already", dir.display(), go_on.log);
            let next = format!("name another directory, or start the agent on it: `{}`", go_on.agent(dir, into));
            return Err(Failure::new(ErrorKind::Busy, what).next(next));
        }
        match (self.accept_loss, go_on.is_to_end(), &self.peers[..]) {
            (false, false, _) => Err(Failure::new(
                ErrorKind::Fenced,
                format!("log {} cannot go on: what lies behind the target would be set aside", go_on.log),
            )
            .next("leave --to away, or run it again with --accept-loss: it is kept, as a tail and as a branch of the archive")),
            (false, true, []) => {
                Err(unfenced(go_on.log, "nobody is asked who could keep the primary before from writing it"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the log is in its place, so that nothing is left to do.
    pub(super) fn is_done(&self, log: &Name) -> bool {
        self.data_dir.as_ref().is_some_and(|dir| dir.join(log.as_str()).exists())
    }

    /// Of an output that is there: so must the log be that was to go on.
    pub(super) fn must_be_done(&self, log: &str, into: &SinkSpec) -> Result<(), Failure> {
        match &self.data_dir {
            Some(dir) if !dir.join(log).exists() => {
                let what = format!("{into} is there, and {} holds no log {log}", dir.display());
                Err(Failure::new(ErrorKind::Busy, what).next("move the output away, and run it again"))
            }
            _ => Ok(()),
        }
    }

    /// The restore that an earlier run has completed, if all that is left is the promotion.
    pub(super) fn pending(&self, log: &str) -> Option<Pending> {
        Pending::read(&self.scratch(log)?)
    }

    /// How it goes on, for a plan; `behind` is how many bytes of log lie behind the target, where the target is not the end.
    pub(super) fn planned(&self, go_on: &GoOn<'_>, behind: Option<u64>) -> Option<String> {
        let dir = self.data_dir.as_ref()?.display();
        let aside = behind.filter(|bytes| 0 < *bytes && !go_on.is_to_end());
        let aside = aside.map(|bytes| format!("; {} of log behind it are set aside", show_bytes(bytes)));
        let asks = match (&self.peers[..], self.accept_loss) {
            ([], false) => "nobody else is asked, which is refused without --accept-loss".to_owned(),
            ([], true) => "nobody else is asked; what the primary before still confirms is lost".to_owned(),
            (peers, false) => format!("{} are asked and fenced, or it is refused", peers.join(", ")),
            (peers, true) => {
                let peers = peers.join(", ");
                format!(
                    "{peers} are asked and fenced as far as they answer; what the primary before still confirms is lost"
                )
            }
        };
        let refused = match self.accept_loss || go_on.is_to_end() {
            true => "",
            false => "; it is refused without --accept-loss, because of what lies behind the target",
        };
        Some(format!("in {dir}, from the stop on, under a new epoch: {asks}{}{refused}", aside.unwrap_or_default()))
    }

    /// Promotes the log from `stop` on, or from its end if that was restored, and gives it its place in the data directory;
    /// `None` where that was not asked for.
    pub(super) async fn run(
        &self,
        go_on: &GoOn<'_>,
        stop: Option<Lsn>,
        interrupted: &Interruptible,
    ) -> Result<Option<Continued>, Failure> {
        let Some(dir) = &self.data_dir else { return Ok(None) };
        // Opened first: an earlier run may have been killed while it set the rest aside, which ends here.
        let replica = self.open(go_on)?;
        let to = stop.filter(|_| !go_on.is_to_end()).map(|stop| go_on.with_mark(stop)).transpose()?;
        let request = self.request(go_on, to);
        // Whatever step it is at can be done again.
        let promoted = interrupted.unless_asked(self.promote(&replica, &request)).await;
        let closed = replica.node().close();
        let promoted = promoted.ok_or_else(|| go_on.interrupted())??;
        closed?;
        let Promoted { epoch, position, .. } = promoted;
        let (from, place) = (go_on.scratch.join(go_on.log.as_str()), dir.join(go_on.log.as_str()));
        let placed = std::fs::rename(&from, &place).and_then(|()| std::fs::File::open(dir)?.sync_all());
        placed.map_err(|error| Failure::file("cannot put the log in its place", &place, &error))?;
        Ok(Some(Continued { data_dir: dir.display().to_string(), epoch, position: position.get() }))
    }

    /// Of a refusal it says what to try: to stop or to reach the primary before only if nobody keeps that from confirming more.
    async fn promote(&self, replica: &Replica, request: &Promote) -> Result<Promoted, Failure> {
        let error = match replica.promote(request).await {
            Err(error) if error.kind() == ErrorKind::Fenced => error,
            promoted => return Ok(promoted?),
        };
        let plan = Promote { plan: true, ..request.clone() };
        let is_open = !self.accept_loss
            && replica.promote(&plan).await.is_ok_and(|planned| !matches!(planned.fence, FenceState::Whole));
        Err(match is_open {
            true => unfenced(&request.log, &error.to_string()),
            false => refused(&request.log, &error.to_string()).next(
                "do what the error says, and run it again: what is restored stays, and only the promotion is left; without \
                 --continue what is restored becomes a new log",
            ),
        })
    }

    fn open(&self, go_on: &GoOn<'_>) -> Result<Replica, Failure> {
        let settings = Settings { tls: go_on.tls.settings(), ..Settings::default() };
        let replica = Replica::open(go_on.scratch, &settings)?;
        let (stores, keys) = (go_on.stores.clone(), go_on.keys.open()?);
        replica.node().take_from(Sources { stores, keys, every: Duration::MAX });
        Ok(replica)
    }

    fn request(&self, go_on: &GoOn<'_>, to: Option<Lsn>) -> Promote {
        let Self { accept_loss, peers, .. } = self;
        let (log, peers) = (go_on.log.clone(), peers.clone());
        Promote { accept_loss: *accept_loss, to, peers, ..Promote::of(log) }
    }
}

impl Continued {
    /// What is left to do.
    pub(super) fn told(&self, go_on: &GoOn<'_>, into: &SinkSpec) -> String {
        let Self { data_dir, epoch, position } = self;
        let next = go_on.agent(Path::new(data_dir), into);
        format!(
            "{} goes on in {data_dir}: epoch {epoch} begins at {position}\nnext: start its agent, anew if one runs on that \
             directory: `{next}`\n",
            go_on.log
        )
    }
}

impl GoOn<'_> {
    /// All of it is restored, and so nothing is set aside.
    fn is_to_end(&self) -> bool {
        matches!(self.target.point, Point::Latest)
    }

    /// Where the log goes on: behind the mark, if the output stops at one, so that it still names this point there.
    fn with_mark(&self, stop: Lsn) -> Result<Lsn, Failure> {
        let (Point::Mark(wanted), Edge::After) = (&self.target.point, self.target.edge) else { return Ok(stop) };
        let log = logs::open(self.scratch, self.log.as_str())?;
        let mut reader = log.reader(stop)?;
        while let Some(record) = reader.next()? {
            if record.kind == Kind::MARK {
                let is_it = Mark::decode(record.payload).is_ok_and(|mark| mark.name == *wanted);
                if is_it {
                    return Ok(reader.position());
                }
            } else if record.kind.is_user() {
                break;
            }
        }
        Ok(stop)
    }

    /// Another run has restored it since this one looked.
    pub(super) fn taken(&self) -> Failure {
        let what = format!("another run has restored log {} meanwhile", self.log);
        Failure::new(ErrorKind::Busy, what).next("run it again, if it is still to be done")
    }

    fn interrupted(&self) -> Failure {
        let what = format!("interrupted while log {} was promoted; the output is restored", self.log);
        Failure::new(ErrorKind::Interrupted, what).next("run it again: only the promotion is left")
    }

    /// The agent that is to write the log.
    fn agent(&self, dir: &Path, into: &SinkSpec) -> String {
        let mut command = format!("longshore primary --data-dir {}", dir.display());
        if let SinkSpec::Sqlite(path) = into {
            command += &format!(" --sqlite {} --log {}", path.display(), self.log);
        }
        for store in self.from {
            // An address with options is more than a word to a shell.
            command += &format!(" --archive '{store}'");
        }
        command + &self.keys.flag()
    }
}

fn refused(log: &Name, why: &str) -> Failure {
    Failure::new(ErrorKind::Fenced, format!("log {log} cannot go on: {why}"))
}

/// While the primary before may still confirm something.
fn unfenced(log: &Name, why: &str) -> Failure {
    refused(log, why).next(
        "stop the primary before for good, or reach it and who votes with --peer NAME@HOST:PORT, as an --identity that votes \
         and has the role replicate; if what it still confirms may be lost: run it again with --accept-loss; without --continue \
         what is restored becomes a new log",
    )
}
