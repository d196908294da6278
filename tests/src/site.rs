//! A primary and its replicas as real processes in a temporary directory, with certificates.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::process::{PATIENCE, Running, longshore, must, run_with, until};

/// A port of the system's choice.
pub const ZERO: &str = "127.0.0.1:0";

/// The log that a site's tests write.
pub const LOG: &str = "orders";

/// A place with certificates for `primary`, `app` (append, read), `eu-west` and `us-east` (replicate), and a
/// primary's data directory with one log.
#[derive(Debug)]
pub struct Site {
    place: PathBuf,
    tls: String,
}

impl Site {
    /// Makes certificates and the log `orders` with segments of 1 MiB.
    pub fn new(place: &Path) -> Site {
        let site = Site { place: place.to_owned(), tls: place.join("tls").display().to_string() };
        let grants = ["primary=admin,append,read", "app=append,read", "eu-west=replicate", "us-east=replicate"];
        let names: Vec<&str> = grants.iter().flat_map(|grant| ["--name", grant]).collect();
        must(longshore([&["certs", &site.tls][..], &names].concat()), b"");
        let data = site.at("primary");
        must(longshore(["init", "--data-dir", &data, "--log", LOG, "--segment-size", "1MiB"]), b"");
        site
    }

    /// A path in the place, as an argument.
    pub fn at(&self, name: &str) -> String {
        self.place.join(name).display().to_string()
    }

    /// Where certificates and grants are.
    pub fn tls(&self) -> &str {
        &self.tls
    }

    /// Starts the primary and waits until it serves.
    pub fn primary(&self, listen: &str) -> Running {
        self.agent(&["primary", "--data-dir", &self.at("primary"), "--listen", listen], "primary")
    }

    /// Starts a replica under its name and waits until it serves.
    pub fn replica(&self, name: &str, upstream: &str, rest: &[&str]) -> Running {
        let command = ["replica", "--data-dir", &self.at(name), "--listen", ZERO, "--upstream", upstream];
        self.agent(&[&command[..], rest].concat(), name)
    }

    fn agent(&self, command: &[&str], identity: &str) -> Running {
        let common = ["--http", ZERO, "--tls-dir", &self.tls, "--identity", identity];
        let mut agent = Running::start(longshore([command, &common[..]].concat()));
        agent.listening();
        agent
    }

    /// A command about the log, as the application.
    pub fn command(&self, verb: &str, rest: &[&str]) -> Command {
        longshore([&[verb, "--log", LOG, "--tls-dir", &self.tls, "--identity", "app"], rest].concat())
    }

    /// Numbered lines of the log at `server`, in order; waits for an agent that is just coming back.
    pub fn numbers(&self, server: &str) -> Vec<u64> {
        let out = until("the log to be readable", Instant::now() + PATIENCE, || {
            let read = run_with(self.command("read", &["--server", server]), b"");
            read.status.success().then_some(read.stdout)
        });
        numbers(&String::from_utf8(out).expect("numbers are text"))
    }

    /// Appends numbered lines; `true` once `wait` is reached.
    pub fn append(&self, server: &str, numbers: std::ops::RangeInclusive<u64>, wait: &str) -> bool {
        let batch: String = numbers.map(|number| format!("{number}\n")).collect();
        let rest = ["--server", server, "--wait", wait, "--wait-timeout", "20s"];
        run_with(self.command("append", &rest), batch.as_bytes()).status.success()
    }

    /// `status --json` of an agent, as the primary (`app` has no role for it).
    pub fn status_json(&self, server: &str) -> Command {
        longshore(["status", "--server", server, "--json", "--tls-dir", &self.tls, "--identity", "primary"])
    }

    /// Proves with `verify --deep` that a replica's directory equals the log that `server` serves.
    pub fn prove_equal(&self, name: &str, server: &str) {
        must(self.command("verify", &["--data-dir", &self.at(name), "--deep", "--against", server]), b"");
    }
}

/// Lines as numbers; panics on anything else.
pub fn numbers(text: &str) -> Vec<u64> {
    text.lines().map(|line| line.parse().expect("only numbers were appended")).collect()
}
