//! `longshore replica`: the agent that follows.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use longshore::Name;
use longshore::settings::RejoinHow;

use crate::agent;
use crate::capturing::{self, Database, Meant};
use crate::cli::Global;
use crate::failure::Failure;
use crate::sinks::{Apply, SinkSpec};
use crate::stores::ArchiveFlags;
use crate::tuning::{ReplicaRole, Tuning};
use crate::{runtime, sinks};

/// Follow the logs of an upstream agent that this identity is granted, and apply them
#[derive(Debug, Args)]
#[command(after_help = "\
Once it serves it prints `listening HOST:PORT` and `http HOST:PORT`: other replicas and readers may \
use it as their upstream. SIGTERM ends it cleanly, a second one at once; SIGHUP reads certificates \
and grants again. --help shows the tuning flags.

With an --archive, a log that is not in the data directory begins with what is there, its newest \
snapshot first, and goes on with the upstream; so does one that fell behind what the upstream keeps. \
Without any --upstream the archive alone is followed, and nothing is written there.

A log that upstream holds a slot for, but that is not in the data directory, is refused: a volume \
that is not mounted looks the same as one that was lost. --reseed says it was lost.

Example:
  longshore replica --data-dir data --upstream primary@db1.example.net:7420 \\
      --tls-dir tls --identity eu-west --apply orders=sqlite:orders.db")]
pub(crate) struct Replica {
    /// The directory that holds the logs; made if it is missing
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// Whom to follow: a primary or another replica, NAME being the identity it must prove. Repeat
    /// it for more, or put commas between them: each log is followed through one that leads to its primary
    #[arg(long, value_name = "[NAME@]HOST:PORT", value_delimiter = ',', required_unless_present = "stores")]
    upstream: Vec<String>,

    /// Where to apply the records of LOG (of the only log, without LOG): repeat it for several. A database of an application
    /// (sqlite-pages) is captured instead once this node is promoted, and may be written then
    #[arg(long, value_name = "[LOG=]sqlite:PATH|jsonl:PATH|exec:CMD")]
    apply: Vec<Apply>,

    /// Begin a log anew that upstream has a slot for and this directory has lost
    #[arg(long)]
    reseed: bool,

    /// What is under the name of a captured database is meant to be there, also another file or an older copy: it takes the place
    /// of the one before everywhere. Without it such a file is refused (9). For one start: leave it out of service files
    #[arg(long)]
    replaced: bool,

    /// What happens to records here that are of a branch that died: auto sets them aside as a tail and follows; manual
    /// changes nothing until `longshore rejoin`
    #[arg(long, value_name = "auto|manual", value_parser = rejoin_how, default_value = "auto")]
    rejoin: RejoinHow,

    /// Where to serve replicas of this replica and clients (gRPC)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7420")]
    listen: SocketAddr,

    /// Where to serve /metrics, /livez and /readyz (plain HTTP)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7421")]
    http: SocketAddr,

    /// Where the lease of each log stands (file://, s3://, gs://, az://, etcd://): who holds it writes, and when it lapses a
    /// replica promotes itself. Needs a policy of at least replicas:1
    #[arg(long, value_name = "URL")]
    lease: Option<String>,

    #[command(flatten)]
    archive: ArchiveFlags,

    #[command(flatten)]
    tuning: Tuning<ReplicaRole>,
}

impl Replica {
    pub(crate) fn run(self, global: &Global) -> Result<(), Failure> {
        agent::trace(global)?;
        agent::record()?;
        let mut settings = self.tuning.settings()?;
        settings.network.listen = self.listen;
        settings.network.http = self.http;
        agent::can_listen(self.listen, self.http)?;
        let follows_archive = self.upstream.is_empty();
        settings.replica.upstreams = self.upstream.clone();
        settings.replica.reseed = self.reseed;
        settings.replica.rejoin = self.rejoin;
        settings.tls = global.tls.settings();
        settings.lease.url = self.lease.clone().or(settings.lease.url);
        runtime::for_agents()?.block_on(async {
            // Before there is a directory, which the next start would take for one of a replica.
            longshore::Replica::check(&settings)?;
            self.archive.check()?;
            let _alone = agent::alone(&self.data_dir)?;
            let mut replica = longshore::Replica::open(&self.data_dir, &settings)?;
            let mut databases = Vec::new();
            for apply in self.apply {
                let (log, label) = (apply.log.as_ref().map(Name::as_str), apply.sink.to_string());
                match &apply.sink {
                    SinkSpec::Sqlite(path) => {
                        let database = Database::of_a_log(path, &self.data_dir, Meant::by(self.replaced));
                        database.keep(replica.node(), log)?;
                        databases.push(database);
                    }
                    _ => replica = replica.apply(log, &label, sinks::opener(apply.sink))?,
                }
            }
            self.archive.take(replica.node()).await?;
            // What is followed from the archive alone is there already.
            if !follows_archive {
                self.archive.start(replica.node())?;
            }
            let (node, server) = (replica.node().clone(), replica.listen().await?);
            agent::run(node, server, self.http, |server, shutdown| async move {
                let shutdown = async move {
                    tokio::select! {
                        () = shutdown => {}
                        // One that failed is begun again.
                        () = capturing::measured(&databases) => {}
                    }
                    if let Err(error) = capturing::stop(databases).await {
                        tracing::warn!(%error, "a capture did not end in order; the next one finds its place");
                    }
                };
                replica.run_on(server, shutdown).await
            })
            .await
        })
    }
}

/// `auto` or `manual`.
pub(super) fn rejoin_how(text: &str) -> Result<RejoinHow, String> {
    match text {
        "auto" => Ok(RejoinHow::Auto),
        "manual" => Ok(RejoinHow::Manual),
        _ => Err("it is auto or manual".to_owned()),
    }
}
