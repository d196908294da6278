//! The live view: where everybody is, a line at a time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use longshore_format::Lsn;
use longshore_transport::{LogStatus, ReplicaStatus};
use tokio::runtime::Runtime;

use super::site::{REGIONS, Site};
use crate::cli::Tls;
use crate::connect::connect;
use crate::failure::Failure;
use crate::quantity::show_bytes;

/// Asks the primary for its status and shows it on stderr.
pub(super) struct View {
    runtime: Runtime,
    tls: Tls,
    server: String,
    begun: Instant,
}

/// How often the view shows something.
const EVERY: Duration = Duration::from_millis(500);

impl View {
    pub(super) fn new(site: &Site, primary: SocketAddr) -> Result<Self, Failure> {
        let tls = Tls::in_directory(&site.dir.join("tls"), "primary");
        let server = format!("primary@{primary}");
        Ok(Self { runtime: crate::runtime::for_commands()?, tls, server, begun: Instant::now() })
    }

    /// What happens now.
    pub(super) fn say(&self, what: &str) {
        eprintln!("{:5.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Shows positions and lag for a while.
    pub(super) fn watch(&self, for_so_long: Duration) -> Result<(), Failure> {
        let end = Instant::now() + for_so_long;
        while Instant::now() < end {
            std::thread::sleep(EVERY.min(end.saturating_duration_since(Instant::now())));
            self.show(&self.status()?);
        }
        Ok(())
    }

    /// Shows positions and lag until `done` holds of the log.
    pub(super) fn watch_until(
        &self,
        what: &str,
        patience: Duration,
        done: impl Fn(&LogStatus) -> bool,
    ) -> Result<LogStatus, Failure> {
        let begun = Instant::now();
        let mut shown = Instant::now();
        loop {
            let log = self.status()?;
            if done(&log) {
                self.show(&log);
                return Ok(log);
            }
            if patience < begun.elapsed() {
                self.show(&log);
                return Err(Failure::internal(format!("{what} did not happen within {patience:?}"))
                    .next("run it with --keep and look into the .stderr files"));
            }
            if EVERY < shown.elapsed() {
                self.show(&log);
                shown = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn status(&self) -> Result<LogStatus, Failure> {
        let status = self.runtime.block_on(async {
            let client = connect(&self.tls, &self.server).await?;
            Ok::<_, Failure>(client.status(None).await?)
        })?;
        let log = status.logs.into_iter().next();
        log.ok_or_else(|| Failure::internal("the application has no log"))
    }

    fn show(&self, log: &LogStatus) {
        let mut line = format!("{:5.1} s    primary {:>9}", self.begun.elapsed().as_secs_f64(), log.durable.get());
        for name in REGIONS {
            let replica = log.replicas.iter().find(|replica| replica.name.as_str() == name);
            line += &format!("   {name} {}", replica.map_or("is not here yet".into(), place));
        }
        eprintln!("{line}");
    }
}

fn place(replica: &ReplicaStatus) -> String {
    let away = if replica.connected { "" } else { ", away" };
    format!(
        "{:>9}, lag {} {:.1} s{away}",
        replica.applied.get(),
        show_bytes(replica.applied_lag.bytes),
        replica.applied_lag.seconds
    )
}

/// Whether every replica has applied everything.
pub(super) fn all_applied(log: &LogStatus) -> bool {
    let has_all = |replica: &ReplicaStatus| replica.applied >= log.end && log.end > Lsn::ZERO;
    log.replicas.len() == REGIONS.len() && log.replicas.iter().all(has_all)
}
