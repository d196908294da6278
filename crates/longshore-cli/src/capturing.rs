//! A database beside a primary, captured as long as the agent serves.

use std::path::Path;
use std::time::Duration;

use longshore::Node;
use longshore_sqlite::{CaptureReport, CaptureSettings, CaptureStatus, Capturing};
use metrics::{counter, gauge};

use crate::failure::Failure;

/// Begins to capture `database` into `log`. Where it was is kept in the data directory, beside the logs.
pub(crate) fn start(node: &Node, database: &Path, log: &str, data_dir: &Path) -> Result<Capturing, Failure> {
    let primary = node.log(log).map_err(|error| {
        let failure = Failure::from(error);
        if failure.kind() == longshore_format::ErrorKind::Invalid {
            // Another node was promoted: what is written into this database now would be in no log.
            return failure.next(format!(
                "keep the application off {}: it belongs to a branch of the log that ended. Move it away, run this node as \
                 `longshore replica --apply {log}=sqlite:PATH`, and switch over to it if it is to write again",
                database.display()
            ));
        }
        failure.next(format!(
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

/// Records how it goes, and completes when the capture has ended by itself: an agent that captures nothing must not look as if
/// it did.
pub(crate) async fn ended(log: &str, capturing: Option<&Capturing>) {
    let Some(capturing) = capturing else { return std::future::pending().await };
    while !capturing.has_ended() {
        measure(log, &capturing.status());
        tokio::time::sleep(LOOK).await;
    }
}

fn measure(log: &str, status: &CaptureStatus) {
    let set = |name: &'static str, value: f64| gauge!(name, "log" => log.to_owned()).set(value);
    let count = |name: &'static str, value: u64| counter!(name, "log" => log.to_owned()).absolute(value);
    set("longshore_capture_wal_bytes", status.wal_bytes as f64);
    set("longshore_capture_pinned_seconds", status.pinned_for.unwrap_or_default().as_secs_f64());
    set("longshore_capture_longest_hold_seconds", status.longest_hold.as_secs_f64());
    count("longshore_capture_transactions_total", status.transactions);
    count("longshore_capture_pages_total", status.pages);
    count("longshore_capture_bytes_total", status.bytes);
    count("longshore_capture_checkpoints_total", status.checkpoints);
    count("longshore_capture_resyncs_total", status.resyncs);
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
