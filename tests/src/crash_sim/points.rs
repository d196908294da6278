//! Every crash point of a workload: the power fails in the first operation of the disk, in the second, and so on.

use longshore_format::Lsn;
use longshore_wal::{CreateSpec, Wal};

use super::follower::Follower;
use super::node::{LOG, Node, Step, Stop, broken};
use super::primary::{Primary, smallest};
use super::source::Source;
use super::{Tally, Violation};
use crate::sim_disk::SimDisk;
use crate::sim_env::SimEnvironment;
use crate::sim_rng::Rng;

/// What is crashed at every point.
#[derive(Clone, Copy, Debug)]
pub enum PointsOf {
    /// A primary that fills three segments.
    Primary,
    /// A follower that fills three segments.
    Follower,
    /// The opening of a log that a power cut left behind.
    Recovery,
    /// The creation of a log.
    Creation,
    /// The truncation of a log to a fork.
    Truncation,
}

/// How many outcomes of each power cut are tried.
const FUTURES: u64 = 3;

/// Runs one workload again and again, a crash point later each time, until it comes to its end. Gives what was done,
/// and how many points there were.
pub fn crash_points(of: PointsOf, seed: u64) -> Result<(Tally, u64), Violation> {
    let mut tally = Tally::default();
    let mut point = 0;
    loop {
        let crashed = match of {
            PointsOf::Primary => primary(seed, point, &mut tally)?,
            PointsOf::Follower => follower(seed, point, &mut tally)?,
            PointsOf::Recovery => recovery(seed, point, &mut tally)?,
            PointsOf::Truncation => truncation(seed, point, &mut tally)?,
            PointsOf::Creation => creation(seed, point).map_err(|stop| at(point, violation(stop)))?,
        };
        if !crashed {
            return Ok((tally, point));
        }
        point += 1;
    }
}

fn at(point: u64, violation: Violation) -> Violation {
    Violation { what: format!("crash point {point}: {}", violation.what), ..violation }
}

fn violation(stop: Stop) -> Violation {
    Violation { what: format!("{stop:?}"), trace: Vec::new() }
}

fn primary(seed: u64, point: u64, tally: &mut Tally) -> Result<bool, Violation> {
    let mut rng = Rng::new(seed);
    let mut primary = full_primary(&mut rng).map_err(violation)?;
    primary.node.disk.power_off_after(point);
    let crashed = match fill(&mut primary, &mut rng) {
        Ok(()) => false,
        Err(Stop::Down) => true,
        Err(stop) => return Err(at(point, primary.violation(stop))),
    };
    for future in 0..FUTURES * u64::from(crashed) {
        let mut twin = primary.twin(point * FUTURES + future);
        let outcome = twin.live_on(&mut rng.clone());
        outcome.map_err(|stop| at(point, twin.violation(stop)))?;
    }
    *tally += primary.node.tallied();
    Ok(crashed)
}

fn full_primary(rng: &mut Rng) -> Step<Primary> {
    let mut primary = Primary::new(rng)?;
    primary.source = Source::coarse(rng, smallest().max_payload());
    primary.interrupts_runs = false;
    primary.node.try_open()?;
    Ok(primary)
}

/// Three segments of records, runs and marks, each sealed, and a clean close.
fn fill(primary: &mut Primary, rng: &mut Rng) -> Step {
    while primary.node.boundaries() < 3 {
        primary.append(rng)?;
        if rng.one_in(4) {
            primary.run(rng)?;
        }
        if rng.one_in(2) {
            primary.node.sync()?;
            primary.node.read()?;
        }
        primary.node.prepare()?;
        primary.node.seal()?;
    }
    while primary.node.seal()? {}
    primary.node.close()
}

impl Primary {
    /// The same primary with another future.
    fn twin(&self, seed: u64) -> Primary {
        Primary { interrupts_runs: false, ..Primary::of(self.node.twin(seed), self.source.clone()) }
    }

    /// After a power cut: open, append, crash again, open again.
    fn live_on(&mut self, rng: &mut Rng) -> Step {
        for _ in 0..2 {
            self.node.disk.power_cut();
            self.node.try_open()?;
            self.append(rng)?;
            self.node.sync()?;
            self.append(rng)?;
            self.node.read()?;
        }
        Ok(())
    }
}

fn follower(seed: u64, point: u64, tally: &mut Tally) -> Result<bool, Violation> {
    let mut rng = Rng::new(seed);
    let mut follower = full_follower(&mut rng).map_err(violation)?;
    follower.node.disk.power_off_after(point);
    let crashed = match fetch(&mut follower, &mut rng) {
        Ok(()) => false,
        Err(Stop::Down) => true,
        Err(stop) => return Err(at(point, follower.violation(stop))),
    };
    for future in 0..FUTURES * u64::from(crashed) {
        let mut node = follower.node.twin(point * FUTURES + future);
        for _ in 0..2 {
            node.disk.power_cut();
            let outcome = node.try_open();
            outcome.map_err(|stop| at(point, Violation { trace: node.trace.clone(), ..violation(stop) }))?;
        }
    }
    *tally += follower.node.tallied();
    Ok(crashed)
}

/// An upstream with three full segments, and a follower that has nothing of them yet, open.
fn full_follower(rng: &mut Rng) -> Step<Follower> {
    let mut follower = Follower::new(rng)?;
    let primary = &mut follower.primary;
    primary.source = Source::coarse(rng, smallest().max_payload());
    while primary.node.boundaries() < 3 {
        primary.append(rng)?;
        primary.node.sync()?;
        primary.node.read()?;
    }
    follower.node.try_open()?;
    Ok(follower)
}

fn fetch(follower: &mut Follower, rng: &mut Rng) -> Step {
    // The first half as one that is far behind, the second as one that keeps up.
    let (near, size) = (follower.primary.node.ledger.end(), follower.node.size.get());
    follower.node.wal().set_upstream_end(Lsn::new(near.get() + 10 * size));
    while follower.ship(rng)? {
        if follower.node.boundaries() > 1 {
            follower.node.wal().set_upstream_end(near);
        }
        if rng.one_in(2) {
            follower.node.sync()?;
            follower.node.read()?;
        }
        follower.node.prepare()?;
        follower.node.seal()?;
    }
    while follower.node.seal()? {}
    follower.node.close()
}

fn recovery(seed: u64, point: u64, tally: &mut Tally) -> Result<bool, Violation> {
    let mut rng = Rng::new(seed);
    let mut primary = full_primary(&mut rng).map_err(violation)?;
    let mut run = || -> Step<bool> {
        // A second segment begun, not all of it synced: the tail to recover may be torn in either.
        while primary.node.boundaries() < 1 || rng.one_in(2) {
            primary.append(&mut rng)?;
            if rng.one_in(3) {
                primary.node.sync()?;
                primary.node.read()?;
            }
        }
        primary.append(&mut rng)?;
        primary.append(&mut rng)?;
        primary.node.disk.power_cut();
        primary.node.disk.power_off_after(point);
        let crashed = match primary.node.try_open() {
            Ok(()) => {
                primary.node.disk.keep_power();
                false
            }
            Err(Stop::Down) => true,
            Err(stop) => return Err(stop),
        };
        primary.live_on(&mut rng)?;
        Ok(crashed)
    };
    match run() {
        Ok(crashed) => {
            *tally += primary.node.tallied();
            Ok(crashed)
        }
        Err(stop) => Err(at(point, primary.violation(stop))),
    }
}

fn truncation(seed: u64, point: u64, tally: &mut Tally) -> Result<bool, Violation> {
    let mut rng = Rng::new(seed);
    let mut primary = full_primary(&mut rng).map_err(violation)?;
    let mut run = || {
        while primary.node.boundaries() < 2 {
            primary.append(&mut rng)?;
            primary.node.sync()?;
            primary.node.read()?;
        }
        let crashed = primary.truncate(&mut rng, point)?;
        primary.live_on(&mut rng)?;
        Ok(crashed)
    };
    match run() {
        Ok(crashed) => {
            *tally += primary.node.tallied();
            Ok(crashed)
        }
        Err(stop) => Err(at(point, primary.violation(stop))),
    }
}

fn creation(seed: u64, point: u64) -> Step<bool> {
    let environment = SimEnvironment::new(seed);
    let disk = SimDisk::new(seed ^ point, environment.clone());
    let root = disk.root();
    let io = |error: std::io::Error| Stop::Broken(error.to_string());
    let dir = root.subdir(LOG).map_err(io)?;
    root.sync().map_err(io)?;
    let spec = CreateSpec { segment_size: smallest(), ..CreateSpec::default() };
    disk.power_off_after(point);
    let created = Wal::create(dir, &environment, &spec);
    let crashed = disk.is_off();
    if created.is_ok() == crashed {
        return broken(format!("power off: {crashed}, but creation says {created:?}"));
    }
    disk.power_cut();
    let mut node = Node::on(disk, environment, "creation", smallest());
    let dir = node.directory()?;
    match node.try_open() {
        Ok(()) => {}
        Err(_) if crashed => {
            // What a crash left of a creation is no log yet, and is in nobody's way.
            Wal::create(dir, &node.environment, &spec).map_err(|error| Stop::Broken(format!("again: {error}")))?;
            node.try_open()?;
        }
        Err(stop) => return Err(stop),
    }
    Ok(crashed)
}
