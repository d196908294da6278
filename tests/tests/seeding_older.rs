//! A replica of a SQLite database whose upstream is of an earlier version: it cannot tell what its snapshot consists of.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use longshore_testkit::process::{PATIENCE, Running, longshore, must, until};
use longshore_testkit::site::ZERO;
use rusqlite::{Connection, OpenFlags};
use tokio::net::{TcpListener, TcpStream};

/// The calls that an earlier version did not know.
const NEW: [&str; 2] = ["/longshore.v1.Replication/SnapshotOutline", "/longshore.v1.Replication/SnapshotRanges"];

type Answer = Response<Either<Incoming, Empty<Bytes>>>;

/// Passes every other call on to `target`, and says of these what a server says of what it does not know.
async fn relay(listener: TcpListener, target: SocketAddr) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(target).await else { continue };
        tokio::spawn(async move {
            let (sender, server) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(server)).await?;
            tokio::spawn(server);
            let pass = service_fn(move |request| answer(sender.clone(), request));
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(client), pass)
                .await
        });
    }
}

async fn answer(
    mut server: hyper::client::conn::http2::SendRequest<Incoming>,
    request: Request<Incoming>,
) -> hyper::Result<Answer> {
    if !NEW.contains(&request.uri().path()) {
        return Ok(server.send_request(request).await?.map(Either::Left));
    }
    let unimplemented = Response::builder().header("content-type", "application/grpc").header("grpc-status", "12");
    Ok(unimplemented.body(Either::Right(Empty::new())).expect("a response"))
}

fn agent(identity: &str, command: &[&str]) -> (Running, SocketAddr) {
    let common = ["--listen", ZERO, "--http", ZERO, "--insecure-plaintext", "--identity", identity];
    let mut agent = Running::start(longshore([command, &common].concat()));
    let address = agent.listening();
    (agent, address)
}

fn count(path: &str) -> Option<i64> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    db.query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).ok()
}

#[test]
fn an_upstream_that_cannot_tell_what_its_snapshot_consists_of_sends_all_of_it() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).display().to_string();
    let db = Connection::open(at("app.db")).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, body BLOB)").unwrap();
    let write = |rows: i64| {
        for _ in 0..rows / 20 {
            let many = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 20)
                        INSERT INTO rows (body) SELECT randomblob(8000) FROM n";
            db.execute_batch(many).unwrap();
        }
    };
    let little = ["--retention-slot-cap", "2MiB", "--retention-keep-size", "1MiB", "--retention-interval", "100ms"];
    let (captured, app, data, copy) = (at("captured"), at("app.db"), at("data"), at("copy.db"));
    let flags = ["primary", "--data-dir", &captured, "--sqlite", &app, "--log", "app", "--init"];
    let size = ["--log-segment-size", "1MiB"];
    let (primary, address) = agent("primary", &[&flags[..], &little, &size].concat());

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind(ZERO)).unwrap();
    let upstream = listener.local_addr().unwrap().to_string();
    runtime.spawn(relay(listener, address));
    let apply = format!("app=sqlite:{copy}");
    let flags = ["replica", "--data-dir", &data, "--upstream", &upstream, "--apply", &apply, "--replica-logs", "app"];
    write(300);
    let (replica, _) = agent("eu-west", &flags);
    until("the copy to have every row", Instant::now() + PATIENCE, || (count(&copy) == Some(300)).then_some(()));
    assert!(replica.terminate().success());

    write(900);
    until("the log to be trimmed", Instant::now() + PATIENCE, || {
        let server = address.to_string();
        let status =
            longshore(["status", "--server", &server, "--json", "--insecure-plaintext", "--identity", "primary"]);
        let status: serde_json::Value = serde_json::from_str(&must(status, b"")).unwrap();
        (5 << 20 < status["logs"][0]["first"].as_u64()?).then_some(())
    });
    let (mut replica, _) = agent("eu-west", &flags);
    let said = replica.line_with("fetching a snapshot");
    assert!(!said.contains("but for what is held here"), "{said}");
    until("the copy to have every row", Instant::now() + PATIENCE, || (count(&copy) == Some(1200)).then_some(()));
    assert!(replica.terminate().success());
    assert!(primary.terminate().success());
}
