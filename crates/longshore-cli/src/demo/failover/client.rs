//! A client: it appends one order after the other, and writes down which of them it was told are safe.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use longshore_format::{ErrorKind, Kind, Lsn};
use longshore_transport::{Append, Draft};
use tokio::runtime::Runtime;

use super::stage::{LOG, NEW, OLD, POLICY, Stage};
use crate::cli::Tls;
use crate::connect::connect;
use crate::demo::site::Site;
use crate::failure::Failure;

/// How long it waits for a confirmation.
const WAIT: Duration = Duration::from_millis(300);
/// How long it waits before it asks the next node.
const PAUSE: Duration = Duration::from_millis(30);

/// An order that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acknowledged {
    pub(super) order: u64,
    /// Where its record ends.
    pub(super) position: Lsn,
    /// When the client heard of it.
    pub(super) heard: Instant,
}

/// What the client knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) acknowledged: Vec<Acknowledged>,
    /// Orders that may be in a log or not: nobody said.
    pub(super) unconfirmed: Vec<u64>,
}

impl Told {
    pub(super) fn last_position(&self) -> Lsn {
        self.acknowledged.last().map_or(Lsn::ZERO, |record| record.position)
    }
}

/// The client, running.
pub(super) struct Client {
    told: Arc<Mutex<Told>>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Client {
    /// Begins at the primary. What is acknowledged also goes, line by line, into the file `acknowledged`.
    pub(super) fn start(site: &Site, stage: &Stage) -> Result<Self, Failure> {
        let (told, ends) = <(Arc<Mutex<Told>>, Arc<AtomicBool>)>::default();
        let path = site.dir.join("acknowledged");
        let mut writer = Writer {
            file: File::create(&path).map_err(|error| Failure::file("journal", &path, &error))?,
            tls: Tls::in_directory(&site.dir.join("tls"), "client"),
            servers: [stage.server(OLD), stage.server(NEW)],
            runtime: crate::runtime::for_commands()?,
            told: Arc::clone(&told),
            next: 1,
        };
        let stop = Arc::clone(&ends);
        let thread = std::thread::spawn(move || writer.write_until(&stop));
        Ok(Self { told, ends, thread })
    }

    /// What it knows by now.
    pub(super) fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many orders were acknowledged.
    pub(super) fn await_acknowledged(&self, count: usize, patience: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        while self.told().acknowledged.len() < count {
            if patience < begun.elapsed() || self.thread.is_finished() {
                return Err(Failure::internal("the client did not find the new primary"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends it between two orders.
    pub(super) fn stop(self) -> Result<Told, Failure> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure::internal("the client panicked"))??;
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(told)
    }
}

struct Writer {
    file: File,
    tls: Tls,
    /// Where the primary may be.
    servers: [String; 2],
    runtime: Runtime,
    told: Arc<Mutex<Told>>,
    next: u64,
}

impl Writer {
    fn write_until(&mut self, ends: &AtomicBool) -> Result<(), Failure> {
        let mut place = 0;
        while !ends.load(Ordering::Relaxed) {
            // Whoever does not take it, for whatever reason: another may.
            if !self.write_at(place, ends)? {
                place = (place + 1) % self.servers.len();
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Appends at one node until that does not confirm, or until it is to end.
    fn write_at(&mut self, place: usize, ends: &AtomicBool) -> Result<bool, Failure> {
        let Ok(client) = self.runtime.block_on(connect(&self.tls, &self.servers[place])) else { return Ok(false) };
        while !ends.load(Ordering::Relaxed) {
            let append = self.order()?;
            let appended = self.runtime.block_on(client.append(append));
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            match appended {
                Ok(appended) => {
                    let (order, position, heard) = (self.next, appended.end, Instant::now());
                    let line = format!("{order} {position} {}\n", self.servers[place]);
                    let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
                    written.map_err(|error| Failure::internal(format!("journal: {error}")))?;
                    told.acknowledged.push(Acknowledged { order, position, heard });
                    self.next += 1;
                }
                // A replica says that it is none to append at: nothing was written.
                Err(error) if error.kind() == ErrorKind::Invalid => return Ok(false),
                // It may have been written, so its number is not used again.
                Err(_) => {
                    told.unconfirmed.push(self.next);
                    self.next += 1;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn order(&self) -> Result<Append, Failure> {
        let payload = format!("order {}", self.next).into();
        let log = crate::connect::name("log", LOG)?;
        let records = vec![Draft { kind: Kind::USER, payload }];
        let wait = Some(POLICY.parse().expect("the policy is spelled right"));
        Ok(Append { log, records, expect: None, wait, timeout: WAIT })
    }
}
