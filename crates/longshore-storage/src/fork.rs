//! Finding out, without a system call, that this is a forked child (F-079).

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Remembers the process that made it.
///
/// A child of `fork` shares the parent's maps and locks and must not write to a log. The guard is a page that the kernel
/// wipes in the child (`MADV_WIPEONFORK`, Linux 4.14), so asking costs one load; where the kernel refuses, it compares
/// process ids instead.
#[derive(Debug)]
pub struct ForkGuard {
    owner: Owner,
}

#[derive(Debug)]
enum Owner {
    /// Invariant: points to a private page of our own, mapped until the drop.
    Page(NonNull<AtomicU32>),
    Pid(u32),
}

const PAGE: usize = 4096;
const ALIVE: u32 = 1;

// SAFETY: the page is only read and written as one atomic.
unsafe impl Send for ForkGuard {}
// SAFETY: as for `Send`.
unsafe impl Sync for ForkGuard {}

impl ForkGuard {
    /// Remembers this process.
    pub fn new() -> ForkGuard {
        let owner = if cfg!(miri) { None } else { wiped_on_fork().ok() };
        ForkGuard { owner: owner.map_or_else(|| Owner::Pid(std::process::id()), Owner::Page) }
    }

    /// Whether this is still the process that made the guard.
    #[inline]
    pub fn same_process(&self) -> bool {
        match &self.owner {
            // SAFETY: the page is mapped as long as `self` lives, and is aligned for anything.
            Owner::Page(page) => unsafe { page.as_ref() }.load(Ordering::Relaxed) == ALIVE,
            Owner::Pid(pid) => *pid == std::process::id(),
        }
    }
}

impl Default for ForkGuard {
    fn default() -> ForkGuard {
        ForkGuard::new()
    }
}

impl Drop for ForkGuard {
    fn drop(&mut self) {
        if let Owner::Page(page) = self.owner {
            // SAFETY: our own page, and no reference to it outlives `self`. A failure would leak one page.
            let _leaked = unsafe { munmap(page.as_ptr().cast(), PAGE) };
        }
    }
}

fn wiped_on_fork() -> io::Result<NonNull<AtomicU32>> {
    // SAFETY: a fresh anonymous private mapping touches nothing that exists.
    let page =
        unsafe { mmap_anonymous(std::ptr::null_mut(), PAGE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)? };
    // SAFETY: our own page; the advice changes it in a forked child only.
    if let Err(refused) = unsafe { madvise(page, PAGE, Advice::LinuxWipeOnFork) } {
        // SAFETY: our own page, and nothing refers to it.
        unsafe { munmap(page, PAGE)? };
        return Err(refused.into());
    }
    let page = NonNull::new(page.cast::<AtomicU32>()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
    // SAFETY: the page is mapped, writable, zero (a valid value) and page-aligned.
    unsafe { page.as_ref() }.store(ALIVE, Ordering::Relaxed);
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_made_a_guard_is_the_same_process() {
        let guard = ForkGuard::new();
        assert!(guard.same_process());
        assert!(ForkGuard { owner: Owner::Pid(std::process::id()) }.same_process());
        assert!(!ForkGuard { owner: Owner::Pid(1) }.same_process());
    }

    #[test]
    #[cfg(not(miri))]
    fn f_079_a_wiped_page_is_another_process() {
        // What the kernel does to the page in a child of `fork`, done here by hand: a test cannot fork safely beside
        // the other threads of its harness.
        let guard = ForkGuard::new();
        let Owner::Page(page) = &guard.owner else {
            return;
        };
        // SAFETY: the guard lives.
        unsafe { page.as_ref() }.store(0, Ordering::Relaxed);
        assert!(!guard.same_process());
    }
}
