//! Who goes first where an application and its capture share a processor.

use std::cell::Cell;

use rustix::io::Result;
use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::gettid;

/// Little: where all processors are busy, a capture that gets no turn would hold writers up for longer.
const NICENESS: i32 = 5;

thread_local! {
    /// The priority of a thread that yields before it did.
    static BEFORE: Cell<Option<i32>> = const { Cell::new(None) };
}

/// From now on this thread lets the application go first: what it commits meanwhile is captured together. A thread has its own
/// priority on Linux. Without it, it only takes a little more of what the application could use.
pub(crate) fn yield_to_the_application() {
    let yielded = getpriority_process(Some(gettid())).and_then(|before| set(before + NICENESS).map(|()| before));
    BEFORE.set(yielded.ok());
}

/// Does something that the application waits for, no less urgently than the application. To take its priority back a thread
/// needs `CAP_SYS_NICE` or a limit that allows it; without, it goes on as it was.
pub(crate) fn no_longer_yielding<T>(work: impl FnOnce() -> T) -> T {
    let Some(before) = BEFORE.get() else { return work() };
    let is_back = set(before).is_ok();
    let done = work();
    if is_back {
        let _always_allowed = set(before + NICENESS);
    }
    done
}

fn set(niceness: i32) -> Result<()> {
    setpriority_process(Some(gettid()), niceness)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        getpriority_process(Some(gettid())).unwrap()
    }

    #[test]
    fn a_thread_yields_but_for_what_the_application_waits_for() {
        let before = niceness();
        // The nicest that there is.
        let yielding = (before + NICENESS).min(19);
        assert_eq!(no_longer_yielding(niceness), before, "it does not yield");
        yield_to_the_application();
        assert_eq!(niceness(), yielding);
        let may_go_back = set(before).is_ok();
        set(yielding).unwrap();
        let meanwhile = no_longer_yielding(niceness);
        assert_eq!(meanwhile, if may_go_back { before } else { yielding });
        assert_eq!(niceness(), yielding);
    }
}
