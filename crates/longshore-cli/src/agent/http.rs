//! `/metrics`, `/livez` and `/readyz`, in plain HTTP for whoever scrapes and restarts.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use longshore::Node;
use longshore_format::ErrorKind;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use tokio::net::TcpListener;

use crate::failure::Failure;

/// The recorder that the library's metrics go to; one for the process.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Makes the library's metrics count. Before anything is opened, or the first figures are lost.
pub(crate) fn record() -> Result<(), Failure> {
    let handle = forgetting(IDLE)
        .install_recorder()
        .map_err(|error| Failure::internal(format!("cannot record metrics: {error}")))?;
    RECORDER.set(handle).map_err(|_| Failure::internal("metrics are recorded already"))
}

/// What is set once a second and was not for so long is of something that is gone: a replica of a log that is another's by now, a
/// lease that was given up. What was counted stays.
fn forgetting(idle: Duration) -> PrometheusBuilder {
    PrometheusBuilder::new().idle_timeout(MetricKindMask::GAUGE, Some(idle))
}

/// Long beside a second, and short beside what an alert waits for.
const IDLE: Duration = Duration::from_secs(15);

/// A bound socket, not serving yet.
pub(crate) struct Http {
    listener: TcpListener,
    address: SocketAddr,
    node: Node,
}

impl Http {
    pub(crate) async fn bind(address: SocketAddr, node: Node) -> Result<Self, Failure> {
        let refused = |error: std::io::Error| {
            Failure::new(ErrorKind::Busy, format!("cannot listen on {address} for HTTP: {error}"))
                .next("choose another address with --http")
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, node })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the task is dropped.
    pub(crate) async fn serve(self) {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .with_state(self.node);
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!(%error, "metrics and health are no longer served");
        }
    }
}

async fn metrics() -> impl IntoResponse {
    let text = RECORDER.get().map(PrometheusHandle::render).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// Alive: a restart would not help. A stopped log is helped by one.
async fn live(State(node): State<Node>) -> impl IntoResponse {
    let stopped: Vec<_> = node.status().logs.into_iter().filter_map(|log| Some((log.name, log.poisoned?))).collect();
    answer(stopped.into_iter().map(|(log, why)| format!("log {log} has stopped: {why}")).collect())
}

/// Ready: it does its work now. Not ready while a log has stopped, does not follow or does not apply.
async fn ready(State(node): State<Node>) -> impl IntoResponse {
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    for log in node.status().logs {
        let name = &log.name;
        let policy = log.reign.policy.as_ref().filter(|policy| policy.degraded && log.writer && !log.reign.fenced);
        notes.extend(policy.map(|policy| {
            format!(
                "log {name} is degraded: {} cannot be had, what is durable here alone is confirmed",
                policy.durability
            )
        }));
        problems.extend(log.poisoned.map(|why| format!("log {name} has stopped: {why}")));
        let upstream = log.upstream.and_then(|upstream| upstream.problem);
        problems.extend(upstream.map(|why| format!("log {name} does not follow: {why}")));
        problems.extend(log.problem.map(|why| format!("log {name}: {why}")));
        let is_written = log.writer && !log.reign.fenced;
        for sink in log.sinks {
            let goes = if is_written { "captured from" } else { "applied to" };
            notes.extend(sink.readers_saw.map(|saw| {
                format!("log {name}: readers of {} see an earlier state than before, until {saw} is applied", sink.sink)
            }));
            problems.extend(sink.problem.map(|why| format!("log {name} is not {goes} {}: {why}", sink.sink)));
        }
    }
    match problems.is_empty() {
        // It does its work, and says how well.
        true => (StatusCode::OK, notes.iter().fold("ok\n".to_owned(), |text, note| text + note + "\n")),
        false => answer(problems),
    }
}

fn answer(problems: Vec<String>) -> (StatusCode, String) {
    match problems.is_empty() {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n"),
    }
}

#[cfg(test)]
mod tests {
    use metrics::{counter, gauge, with_local_recorder};

    use super::*;

    #[test]
    fn what_is_no_longer_set_is_no_longer_shown() {
        let recorder = forgetting(Duration::ZERO).build_recorder();
        let handle = recorder.handle();
        let shown = |set: &[&'static str]| {
            with_local_recorder(&recorder, || set.iter().for_each(|name| gauge!(*name).set(1.0)));
            let text = handle.render();
            ["gone", "stays", "counted"].map(|name| text.contains(&format!("{name} 1\n")))
        };
        with_local_recorder(&recorder, || counter!("counted").absolute(1));
        assert_eq!(shown(&["gone", "stays"]), [true, true, true]);
        assert_eq!(shown(&["stays"]), [false, true, true]);
    }
}
