//! What both agents do: tell where they listen, serve HTTP, hear signals, end with the right code.

mod alone;
mod http;
mod signals;

pub(crate) use alone::alone;
pub(crate) use http::{Http, record};
pub(crate) use signals::Signals;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use longshore::{Node, Server};
use longshore_format::ErrorKind;
use tracing_subscriber::EnvFilter;

use crate::cli::Global;
use crate::failure::Failure;
use crate::output;

/// How often an agent looks whether its logs still go.
const LOOK: Duration = Duration::from_millis(500);

/// Traces to stderr as `--trace` says.
pub(crate) fn trace(global: &Global) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&global.trace).map_err(|error| {
        Failure::invalid(format!("--trace {:?}: {error}", global.trace))
            .next("write a level (info) or a filter (warn,longshore=debug)")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Where to tell of a trace that cannot be written is where it cannot be written, and that would end the agent.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}

/// Finds out whether an agent could listen before it opens, fetches or makes anything. Whoever takes the port between that and
/// listening is found out then.
pub(crate) fn can_listen(grpc: SocketAddr, http: SocketAddr) -> Result<(), Failure> {
    for (address, flag) in [(grpc, "--listen"), (http, "--http")] {
        match std::net::TcpListener::bind(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                let what = format!("cannot listen on {address}: {error}");
                return Err(Failure::new(ErrorKind::Busy, what).next(format!("choose another address with {flag}")));
            }
            // Whatever else is wrong with it, listening says so.
            _ => {}
        }
    }
    Ok(())
}

/// Says, on stdout, where the agent can be reached: the real ports where 0 was asked for. Printed
/// once connections are taken.
pub(crate) fn announce(server: &Server, http: &Http) -> Result<(), Failure> {
    output::print(&format!("listening {}\nhttp {}\n", server.local_addr(), http.local_addr()))
}

/// Serves until a signal comes or every log has stopped, then ends in order.
///
/// `serve` runs the agent until the future it is given completes.
pub(crate) async fn run<F>(
    node: Node,
    server: Server,
    http: SocketAddr,
    serve: impl FnOnce(Server, std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = longshore::Result<()>>,
{
    let mut signals = Signals::listen()?;
    let access = server.access();
    let http = Http::bind(http, node.clone()).await?;
    announce(&server, &http)?;
    warn_of_uncaptured(&node);
    let serving_http = tokio::spawn(http.serve());
    let (tell, told) = tokio::sync::oneshot::channel();
    let shutdown = Box::pin(async move {
        tokio::select! {
            () = signals.terminated(&access) => {}
            () = all_stopped(&node) => {}
        }
        let _ = tell.send(stopped_log(&node));
        // From here on a second signal does not wait for anybody.
        tokio::spawn(async move { signals.end_at_once().await });
    });
    let outcome = serve(server, shutdown).await;
    serving_http.abort();
    outcome?;
    // An agent that ends by itself has said nothing: its outcome did.
    told.await.ok().flatten().map_or(Ok(()), Err)
}

/// A log that no application can write is no error: the agent may serve others.
fn warn_of_uncaptured(node: &Node) {
    for log in node.status().logs {
        if let Some(why) = log.problem.filter(|_| log.sinks.is_empty()) {
            tracing::warn!(log = %log.name, "{why}");
        }
    }
}

/// Completes once no log can be written any more. One stopped log leaves the others serving.
async fn all_stopped(node: &Node) {
    loop {
        tokio::time::sleep(LOOK).await;
        let logs = node.status().logs;
        if !logs.is_empty() && logs.iter().all(|log| log.poisoned.is_some()) {
            return;
        }
    }
}

/// A log that a failure has stopped makes the exit code say so.
fn stopped_log(node: &Node) -> Option<Failure> {
    let logs = node.status().logs;
    let log = logs.iter().find(|log| log.poisoned.is_some())?;
    let why = log.poisoned.as_deref().unwrap_or_default();
    let failure = Failure::new(ErrorKind::Poisoned, format!("log {} had stopped: {why}", log.name));
    Some(failure.next("look at the disk, then start the agent again: it recovers what is durable"))
}
