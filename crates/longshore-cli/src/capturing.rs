//! A database beside a primary, captured as long as the agent serves.

use std::path::Path;
use std::time::Duration;

use longshore::Node;
use longshore_sqlite::{CaptureReport, CaptureSettings, Capturing};

use crate::failure::Failure;

/// Begins to capture `database` into `log`. Where it was is kept in the data directory, beside the logs.
pub(crate) fn start(node: &Node, database: &Path, log: &str, data_dir: &Path) -> Result<Capturing, Failure> {
    let primary = node.log(log).map_err(|error| {
        Failure::from(error).next(format!(
            "is the volume mounted? `--init` makes the log, and so does `longshore init --data-dir {} --log {log} \
             --content sqlite-pages`",
            data_dir.display()
        ))
    })?;
    let settings = CaptureSettings::new(data_dir.join(format!("{log}.pages")));
    let (name, path) = (log.to_owned(), database.display().to_string());
    let report = move |report: CaptureReport<'_>| match report {
        CaptureReport::Attached(status) => {
            tracing::info!(log = name, database = path, position = %status.position, resyncs = status.resyncs, "capturing");
        }
        CaptureReport::Paused(error) => tracing::warn!(log = name, database = path, %error, "not capturing"),
        CaptureReport::Stopped(error) => tracing::error!(log = name, database = path, %error, "the capture has ended"),
        _ => {}
    };
    let capturing = Capturing::start(database, primary.wal().clone(), settings, report)?;
    node.offer_snapshots(log, capturing.snapshotter())?;
    Ok(capturing)
}

/// Completes when the capture has ended by itself: an agent that captures nothing must not look as if it did.
pub(crate) async fn ended(capturing: Option<&Capturing>) {
    match capturing {
        None => std::future::pending().await,
        Some(capturing) => {
            while !capturing.has_ended() {
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(500);

/// Ends it, with the last transactions in the log. What it could not do is told and done at the next start.
pub(crate) async fn stop(capturing: Option<Capturing>) -> Result<(), Failure> {
    let stopped = tokio::task::spawn_blocking(move || capturing.map_or(Ok(()), Capturing::stop)).await;
    match stopped {
        Ok(stopped) => Ok(stopped?),
        Err(error) => Err(Failure::internal(format!("the capture ended in a panic: {error}"))),
    }
}
