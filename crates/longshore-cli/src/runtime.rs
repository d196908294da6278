//! The runtimes: one thread for a command, all processors for an agent.

use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;

/// For commands that make a few calls.
pub(crate) fn for_commands() -> Result<Runtime, Failure> {
    built(&mut Builder::new_current_thread())
}

/// For agents.
pub(crate) fn for_agents() -> Result<Runtime, Failure> {
    keep_freed_memory();
    built(&mut Builder::new_multi_thread())
}

fn built(builder: &mut Builder) -> Result<Runtime, Failure> {
    builder.enable_all().build().map_err(|error| Failure::internal(format!("cannot start the runtime: {error}")))
}

/// Lets the allocator keep what is freed, up to some tens of MiB, instead of giving each message's half megabyte back to the
/// kernel and having it zeroed again for the next one: that was a tenth of a replica's processor time while it caught up.
///
/// glibc raises both of its thresholds when a large block is freed (mallopt(3), M_MMAP_THRESHOLD). Other allocators do not
/// mind: the block is never touched.
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST_KEPT)));
}

/// Blocks up to this size are used again, and up to twice as much stays with the process.
const LARGEST_KEPT: usize = 16 << 20;
