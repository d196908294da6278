//! A region is lost and comes back: what a client was told is safe is there, once, on every node.
//!
//! ```text
//!   client ─ appends, writes down what was acknowledged at regions:1
//!     │ first                                      │ then
//!   eu-west (primary) ─ links that are cut ─┬─ us-east (replica, promoted) ─ us-east-2 (follows us-east)
//!     └ comes back with a tail              └─ ap-south (replica)
//! ```

mod client;
mod proofs;
mod stage;

use std::time::{Duration, Instant};

use longshore_format::Lsn;

use super::Options;
use super::report::Report;
use super::site::Site;
use crate::failure::Failure;
use client::Client;
use stage::{NEW, NODES, Stage};

const A_WHILE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(25);
/// With `--break`, at most so many acknowledged records are given up.
const GIVEN_UP: usize = 20;

/// From the first process to the last proof.
pub(super) fn act(site: &Site, options: Options) -> Result<Report, Failure> {
    let stage = Stage::set(site)?;
    let mut primary = stage.primary()?;
    let mut replicas = stage.replicas()?;
    stage.say("a primary in eu-west, replicas in us-east and ap-south, and us-east-2, which follows us-east");
    stage.await_ends("every node has the log", PATIENCE, |ends| ends.len() == NODES.len())?;
    let client = Client::start(site, &stage)?;
    stage.watch(&client, A_WHILE)?;

    stage.cut();
    stage.say("eu-west is cut off: nothing passes, and nobody is told; its client goes on writing, and is told that nothing is confirmed");
    stage.watch(&client, A_WHILE)?;
    primary.kill()?;
    stage.say("kill -9 of the primary");
    let before = client.told();

    let promotion = promote(site, &stage, &before, options)?;
    client.await_acknowledged(before.acknowledged.len() + 1, PATIENCE)?;
    stage.say("the client has found the new primary");
    stage.watch(&client, A_WHILE)?;

    stage.mend();
    let mut returned = stage.primary()?;
    stage.say("eu-west is back, with what it never shipped");
    stage.await_rejoined(PATIENCE)?;
    stage.say("it has rejoined by itself");
    stage.watch(&client, A_WHILE / 2)?;
    let told = client.stop()?;
    let end = told.last_position();
    stage.await_ends("everybody has everything", PATIENCE, |ends| {
        ends.values().all(|at| end <= *at && *at == ends[NEW])
    })?;

    stage.say("the proofs");
    let log = stage.status(NEW)?;
    let mut proofs = vec![proofs::one_writer(&stage)];
    proofs.extend(NODES.iter().filter(|node| **node != NEW).map(|node| proofs::log_equal(&stage, node)));
    for agent in replicas.iter_mut().chain([&mut returned]) {
        agent.terminate()?;
    }
    proofs.push(proofs::nothing_lost(site, &told));
    proofs.push(proofs::went_on(&before, &told, promotion));
    proofs.push(proofs::tail_kept(site, &told));
    Ok(Report {
        orders: told.acknowledged.len() as u64,
        log_bytes: log.end.since(log.first),
        seconds: stage.elapsed().as_secs_f64(),
        proofs,
        directory: None,
    })
}

/// `longshore promote`, as a person would type it; how long that took.
fn promote(site: &Site, stage: &Stage, before: &client::Told, options: Options) -> Result<Duration, Failure> {
    let mut args: Vec<String> =
        ["promote", "--server", &stage.server(NEW), "--log", stage::LOG].map(str::to_owned).into();
    if options.break_it {
        let count = before.acknowledged.len();
        let kept = before.acknowledged[..count - GIVEN_UP.min(count / 2)].last();
        let to = kept.map_or(Lsn::ZERO, |record| record.position);
        args.extend(["--to".to_owned(), to.to_string(), "--accept-loss".to_owned()]);
    }
    stage.say(&format!("longshore {}", args.join(" ")));
    args.extend(site.identity("operator"));
    let begun = Instant::now();
    let told = site.command(&args)?;
    let took = begun.elapsed();
    for line in told.lines() {
        eprintln!("           {line}");
    }
    Ok(took)
}
