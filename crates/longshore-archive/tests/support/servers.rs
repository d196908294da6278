//! Servers of other projects, each in a process of its own that ends with the test. `.ci/stores` installs them.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A server that answers.
pub(crate) struct Server {
    child: Child,
    /// Host and port.
    pub address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// S3 and KMS; `enforcing` asks for credentials that it knows, and it knows none.
#[allow(dead_code, reason = "not every test file needs each server")]
pub(crate) fn moto(enforcing: bool) -> Server {
    let mut command = Command::new(installed("venv/bin/python"));
    command.args(["-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]);
    if enforcing {
        command.env("INITIAL_NO_AUTH_ACTION_COUNT", "0");
    }
    start(command, "Running on http://")
}

/// Azure Blob Storage.
#[allow(dead_code, reason = "not every test file needs each server")]
pub(crate) fn azurite() -> Server {
    let mut command = Command::new("node");
    command.arg(installed("npm/node_modules/azurite/dist/src/blob/main.js"));
    command.args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--disableTelemetry"]);
    start(command, "successfully listens on http://")
}

/// Starts a server on a port that it finds itself and says after `marker`.
fn start(mut command: Command, marker: &'static str) -> Server {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // From here on it is ended with the test, however that ends.
    let mut server = Server { child: command.spawn().unwrap(), address: String::new() };
    let (sender, said) = mpsc::channel();
    follow(server.child.stdout.take().unwrap(), sender.clone());
    follow(server.child.stderr.take().unwrap(), sender);
    let mut log = String::new();
    loop {
        let Ok(line) = said.recv_timeout(Duration::from_secs(120)) else {
            panic!("{command:?} does not listen: {log}");
        };
        if let Some((_, address)) = line.split_once(marker) {
            address.trim().trim_end_matches('/').clone_into(&mut server.address);
            TcpStream::connect(&server.address).unwrap();
            return server;
        }
        log.push_str(&line);
    }
}

/// Reads to the end, so that the server never waits for a full pipe.
fn follow(pipe: impl Read + Send + 'static, sender: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _nobody_reads_on = sender.send(line + "\n");
        }
    });
}

fn installed(path: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/stores").join(path);
    assert!(path.exists(), "{} is missing: run .ci/stores", path.display());
    path
}
