//! Many seeds of a simulator on all cores, up to the first that fails.

use std::any::Any;
use std::fmt;
use std::ops::{AddAssign, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A promise that was broken, or an error that nothing explains.
#[derive(Debug)]
pub struct Violation {
    /// Which, and where.
    pub what: String,
    /// What was done before, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped = self.trace.len().saturating_sub(120);
        for line in &self.trace[skipped..] {
            writeln!(f, "    {line}")?;
        }
        write!(f, "  {}", self.what)
    }
}

/// A simulator: what one seed does, and how to run that seed again.
#[derive(Debug)]
pub struct Simulator<T> {
    /// Runs one seed.
    pub run: fn(u64) -> Result<T, Violation>,
    /// What is to follow `cargo test` to run one.
    pub test: &'static str,
}

/// A seed whose history broke a promise, or panicked.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// How many seeds were run by then.
    pub after: u64,
    /// What happened.
    pub violation: Violation,
    /// What is to follow `cargo test` to run it again.
    pub test: &'static str,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, after, violation, test } = self;
        writeln!(f, "seed {seed} failed, after {after} seeds\n{violation}")?;
        write!(f, "run it again: LONGSHORE_SEED={seed} cargo test {test}")
    }
}

impl<T: AddAssign + Default + Send> Simulator<T> {
    /// Runs the seeds of a range on `threads` threads and adds up what they did.
    pub fn run_all(&self, seeds: Range<u64>, threads: usize) -> Result<T, Failure> {
        let next = AtomicU64::new(seeds.start);
        let sum = Mutex::new(T::default());
        let failed = Mutex::new(None::<Failure>);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end || failed.lock().expect("no panic inside").is_some() {
                            return;
                        }
                        match self.run_guarded(seed) {
                            Ok(tally) => *sum.lock().expect("no panic inside") += tally,
                            Err(violation) => {
                                let mut failed = failed.lock().expect("no panic inside");
                                let after = seed - seeds.start + 1;
                                if failed.as_ref().is_none_or(|first| seed < first.seed) {
                                    *failed = Some(Failure { seed, after, violation, test: self.test });
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

    /// A panic is a violation like any other: nothing that comes from a disk or a peer panics.
    fn run_guarded(&self, seed: u64) -> Result<T, Violation> {
        catch_unwind(AssertUnwindSafe(|| (self.run)(seed))).unwrap_or_else(|panic| {
            Err(Violation { what: format!("panicked: {}", panic_text(&*panic)), trace: Vec::new() })
        })
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
