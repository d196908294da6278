//! Many seeds on all cores, up to the first that fails.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Tally, Violation, run_seed};

/// A seed whose history broke a promise, or panicked.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// How many seeds were run by then.
    pub after: u64,
    /// What happened.
    pub violation: Violation,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} failed, after {} seeds\n{}", self.seed, self.after, self.violation)?;
        let seed = self.seed;
        write!(f, "run it again: LONGSHORE_SEED={seed} cargo test -p longshore-testkit --test crash_sim seeds")
    }
}

/// Runs the seeds of a range on `threads` threads and adds up what they did.
pub fn run_seeds(seeds: Range<u64>, threads: usize) -> Result<Tally, Failure> {
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new(Tally::default());
    let failed = Mutex::new(None::<Failure>);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().expect("no panic inside").is_some() {
                        return;
                    }
                    match run_guarded(seed) {
                        Ok(tally) => *sum.lock().expect("no panic inside") += tally,
                        Err(violation) => {
                            let mut failed = failed.lock().expect("no panic inside");
                            let after = seed - seeds.start + 1;
                            if failed.as_ref().is_none_or(|first| seed < first.seed) {
                                *failed = Some(Failure { seed, after, violation });
                            }
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner().expect("no panic inside") {
        Some(failure) => Err(failure),
        None => Ok(sum.into_inner().expect("no panic inside")),
    }
}

/// A panic is a violation like any other: bytes from a disk never panic.
fn run_guarded(seed: u64) -> Result<Tally, Violation> {
    catch_unwind(AssertUnwindSafe(|| run_seed(seed))).unwrap_or_else(|panic| {
        Err(Violation { what: format!("panicked: {}", panic_text(&*panic)), trace: Vec::new() })
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
