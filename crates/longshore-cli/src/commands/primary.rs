//! `longshore primary`: the agent that owns logs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use longshore::settings::RejoinHow;
use longshore::{Node, Settings};
use longshore_format::{Content, ErrorKind};

use super::replica::rejoin_how;
use crate::agent;
use crate::capturing::{self, Database, Meant};
use crate::cli::Global;
use crate::connect::name;
use crate::failure::Failure;
use crate::records::check_payload;
use crate::runtime;
use crate::stores::ArchiveFlags;
use crate::tuning::{PrimaryRole, Tuning};

/// Serve every log of a directory: append, read, and stream to replicas
#[derive(Debug, Args)]
#[command(after_help = "\
Once it serves it prints `listening HOST:PORT` and `http HOST:PORT`. SIGTERM ends it cleanly, a \
second one at once; SIGHUP reads certificates and grants again. --help shows the tuning flags.

With --sqlite it also captures a database that some other program writes in WAL mode: no change to that \
program, nothing written into its database. `longshore check --sqlite PATH` says what would not work.

With --upstream naming the other nodes it may lose its role and come back: when one of them was promoted, it \
follows that one, and what it wrote and nobody else has is set aside as a log of its own. The database of --sqlite \
is then busy for whoever writes it, and applied to, until the role comes back. One list serves all nodes; this one \
may be in it.

Examples:
  longshore primary --data-dir data --sqlite app.db --log app --init \\
      --tls-dir tls --identity primary
  longshore primary --data-dir data --tls-dir tls --identity primary \\
      --listen 0.0.0.0:7420")]
pub(crate) struct Primary {
    /// The directory that holds the logs; `longshore init` makes them
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// Where to serve replicas and clients (gRPC)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7420")]
    listen: SocketAddr,

    /// Where to serve /metrics, /livez and /readyz (plain HTTP)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7421")]
    http: SocketAddr,

    /// The database of an application that knows nothing of this: every transaction it commits goes into --log
    #[arg(long, value_name = "PATH", requires = "log")]
    sqlite: Option<PathBuf>,

    /// The log that --sqlite goes into
    #[arg(long, value_name = "NAME", requires = "sqlite")]
    log: Option<String>,

    /// Make the data directory and --log if they are not there, instead of taking them for lost
    #[arg(long, requires = "sqlite")]
    init: bool,

    /// What is under the name of a captured database is meant to be there, also another file or an older copy: it takes the place
    /// of the one before everywhere. Without it such a file is refused (9). For one start: leave it out of service files
    #[arg(long, requires = "sqlite")]
    replaced: bool,

    /// Another node of these logs, or this one: when one of them was promoted, this agent follows it. Repeat it for
    /// each, or put commas between them
    #[arg(long, value_name = "[NAME@]HOST:PORT", value_delimiter = ',')]
    upstream: Vec<String>,

    /// What happens to records here that are of a branch that died, once another node was promoted: auto sets them aside as a
    /// tail and follows; manual changes nothing until `longshore rejoin`
    #[arg(long, value_name = "auto|manual", value_parser = rejoin_how, default_value = "auto")]
    rejoin: RejoinHow,

    /// Where the lease of each log stands (file://, s3://, gs://, az://, etcd://): who holds it writes, and when it lapses a
    /// replica promotes itself. Needs a policy of at least replicas:1
    #[arg(long, value_name = "URL")]
    lease: Option<String>,

    #[command(flatten)]
    archive: ArchiveFlags,

    #[command(flatten)]
    tuning: Tuning<PrimaryRole>,
}

impl Primary {
    /// Whether it could serve, before anything is made: a directory that is left from a start that was refused would be taken for
    /// the right one by the next.
    fn check(&self, settings: &Settings) -> Result<(), Failure> {
        if !self.init {
            self.check_data_dir()?;
        }
        Node::check_primary(settings, self.archive.check()?)?;
        if let Some(log) = &self.log {
            name("log", log)?;
        }
        // Where there is a directory, there may be the log, of which the database is made if another node writes it.
        match &self.sqlite {
            Some(path) if !self.data_dir.exists() => Ok(longshore_sqlite::must_be_fit(path)?),
            _ => Ok(()),
        }
    }

    /// A volume that is not mounted must not look like an agent without logs (F-049).
    fn check_data_dir(&self) -> Result<(), Failure> {
        match self.data_dir.is_dir() {
            true => Ok(()),
            false => {
                let what = format!("there is no data directory {}", self.data_dir.display());
                Err(Failure::new(ErrorKind::NotFound, what)
                    .next("is the volume mounted? `longshore init --data-dir DIR --log NAME` makes both"))
            }
        }
    }

    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        agent::trace(global)?;
        agent::record()?;
        let mut settings = self.tuning.settings()?;
        settings.network.listen = self.listen;
        settings.network.http = self.http;
        agent::can_listen(self.listen, self.http)?;
        settings.tls = global.tls.settings();
        settings.lease.url = self.lease.clone().or(settings.lease.url);
        let knows_nobody = self.upstream.is_empty();
        settings.replica.upstreams = self.upstream.clone();
        settings.replica.rejoin = self.rejoin;
        runtime::for_agents()?.block_on(async {
            self.check(&settings)?;
            let _alone = agent::alone(&self.data_dir)?;
            let node = Node::primary(&self.data_dir, &settings)?;
            node.check_payloads(check_payload);
            // Before any log is opened: nothing of it goes that a store does not have.
            self.archive.start(&node)?;
            let names = node.open_all().map_err(|error| opened(error, &self.data_dir, knows_nobody))?;
            if names.is_empty() && !self.init {
                tracing::warn!(
                    directory = %self.data_dir.display(),
                    "there is no log yet: is the volume mounted? `longshore init --server ADDR --log NAME` makes one"
                );
            }
            let mut databases = Vec::new();
            if let (Some(path), Some(log)) = (&self.sqlite, &self.log) {
                let makes_log = self.init && !names.iter().any(|name| name.as_str() == log);
                if makes_log {
                    longshore_sqlite::must_be_fit(path)?;
                    node.create_log(log, Content::SqlitePages)?;
                }
                let database = Database::of_an_application(path, &node, log, &self.data_dir, Meant::by(self.replaced));
                let database = database.map_err(|failure| if makes_log { made(failure, log) } else { failure })?;
                database.keep(&node, Some(log))?;
                databases.push(database);
            }
            let server = node.listen().await?;
            let (tell, told) = tokio::sync::oneshot::channel();
            agent::run(node, server, self.http, |server, shutdown| async move {
                // The last transactions are to be shipped, too: the capture ends before the log does.
                let shutdown = async move {
                    let failed = tokio::select! {
                        () = shutdown => None,
                        failed = capturing::failed(&databases) => Some(failed),
                    };
                    let stopped = capturing::stop(databases).await;
                    let _ = tell.send(failed.map_or(stopped, Err));
                };
                server.run(shutdown).await
            })
            .await?;
            told.await.unwrap_or(Ok(()))
        })
    }
}

/// Why a database is refused for which a log was made just before.
fn made(failure: Failure, log: &str) -> Failure {
    failure
        .after(format!("log {log} was made before that was found"))
        .or_next("put that right, and run the same command again")
}

/// Why a log cannot be opened. One that somebody else writes by now is followed by an agent that knows the others.
fn opened(error: longshore::Error, data_dir: &Path, knows_nobody: bool) -> Failure {
    let is_copy = matches!(error, longshore::Error::Wal(longshore_wal::Error::NotTheWriter { .. }));
    let failure = Failure::from(error);
    match failure.kind() {
        ErrorKind::Fenced if is_copy && knows_nobody => failure
            .at(&format!("{} holds a replica's copy", data_dir.display()))
            .next(
                "start `longshore replica` on it, and to have this node write that log, `longshore promote` there; or give \
                 --upstream NAME@HOST:PORT of each other node: this agent then follows until it is promoted. For a log of its \
                 own, name another --data-dir",
            ),
        ErrorKind::Fenced if knows_nobody => failure.next(
            "give --upstream NAME@HOST:PORT of each other node of this log: the agent then follows whoever was promoted, \
             and keeps what only this copy has",
        ),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_made_takes_no_better_hint_away() {
        let refused = || Failure::new(ErrorKind::Diverged, "another file");
        assert_eq!(made(refused(), "app").hint(), "put that right, and run the same command again");
        let known = made(refused().next("decide which of the two"), "app");
        assert_eq!(known.hint(), "decide which of the two");
        assert!(known.message().contains("log app was made before"), "{}", known.message());
    }
}
