//! What happens in the tour, in order.

use std::time::Duration;

use longshore_transport::LogStatus;

use super::Options;
use super::journal::Order;
use super::proofs;
use super::report::{Proof, Report};
use super::site::{REGIONS, Site, corrupt, link};
use super::view::{View, all_applied};
use crate::failure::Failure;
use crate::process::Process;
use crate::quantity::now;

const A_WHILE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(25);

/// From the first process to the last proof.
pub(super) fn act(site: &Site, options: Options) -> Result<Report, Failure> {
    site.furnish()?;
    let mut application = site.application()?;
    let (mut primary, address) = site.primary(None)?;
    let view = View::new(site, address)?;
    view.say("an order-entry application on SQLite that knows nothing of longshore, and a primary beside its database");
    let us_link = link(address)?;
    let mut eu = site.replica(REGIONS[0], address)?;
    let mut us = site.replica(REGIONS[1], us_link.address())?;
    view.say("replicas in eu-west and us-east, over mutual TLS, each with a live copy of the database");
    application.say("run")?;
    view.watch(A_WHILE)?;

    let moment = moment(site, &view, &mut application)?;
    view.say("a moment to come back to: between two orders");
    application.say("run")?;
    view.watch(A_WHILE / 2)?;

    pause(&mut application)?;
    application.say("open")?;
    let open = application.hear("open")?;
    application.kill()?;
    primary.kill()?;
    view.say(&format!("kill -9 of application and primary while the transaction of order {open} is open"));
    let (mut primary, _) = site.primary(Some(address))?;
    let mut application = site.application()?;
    view.say("restarted: recovered, the replicas resume where they were");
    application.say("run")?;
    view.watch(A_WHILE)?;

    us_link.cut();
    view.say("us-east is cut off: nothing passes, and nobody is told");
    view.watch(A_WHILE)?;
    us_link.mend();
    view.say("the link is back");
    view.watch(A_WHILE / 2)?;
    let orders = pause(&mut application)?;
    let log = everywhere(site, &view, orders)?;
    view.say("every replica has applied everything");

    let mut proofs = Vec::new();
    for (name, replica) in REGIONS.iter().zip([&mut eu, &mut us]) {
        let status = replica.terminate()?;
        proofs.extend((!status.success()).then(|| ended_badly(name, status)));
    }
    if options.break_it {
        view.say(&format!("--break: {}", corrupt(&site.data_dir(REGIONS[1]))?));
    }
    view.say("the proofs");
    proofs.extend(REGIONS.iter().map(|region| proofs::log_equal(site, region, address)));
    for (name, status) in [("application", application.end()?), ("primary", primary.terminate()?)] {
        proofs.extend((!status.success()).then(|| ended_badly(name, status)));
    }
    proofs.push(proofs::log_intact(site));
    proofs.push(proofs::databases_equal(site));
    proofs.push(proofs::nothing_lost(site, &open_order(&open)));
    proofs.push(proofs::replayed(site, moment));
    Ok(Report {
        orders,
        log_bytes: log.end.since(log.first),
        seconds: view.elapsed().as_secs_f64(),
        proofs,
        directory: None,
    })
}

/// Stops the application between two orders: how many it has taken.
fn pause(application: &mut Process) -> Result<u64, Failure> {
    application.say("pause")?;
    let told = application.hear("paused")?;
    told.parse().map_err(|_| Failure::internal(format!("the application said {told:?} for how many orders it took")))
}

/// Watches until all orders can be read in every region.
fn everywhere(site: &Site, view: &View, orders: u64) -> Result<LogStatus, Failure> {
    let there = |region: &&str| proofs::count_orders(&site.database(region)).is_ok_and(|count| count >= orders);
    view.watch_until("catching up", PATIENCE, |log| all_applied(log) && REGIONS.iter().all(&there))
}

/// A time at which no order is under way, with some room on both sides.
fn moment(site: &Site, view: &View, application: &mut Process) -> Result<u64, Failure> {
    let orders = pause(application)?;
    everywhere(site, view, orders)?;
    let moment = now();
    std::thread::sleep(Duration::from_millis(50));
    Ok(moment)
}

fn ended_badly(name: &str, status: std::process::ExitStatus) -> Proof {
    Proof::of(format!("{name} ends in order"), Err(Failure::internal(status.to_string())))
}

fn open_order(id: &str) -> Order {
    Order { id: id.parse().unwrap_or_default(), item: String::new(), quantity: 0 }
}
