//! The runtimes: one thread for a command, all processors for an agent.

use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;

/// For commands that make a few calls.
pub(crate) fn for_commands() -> Result<Runtime, Failure> {
    built(&mut Builder::new_current_thread())
}

/// For agents.
pub(crate) fn for_agents() -> Result<Runtime, Failure> {
    built(&mut Builder::new_multi_thread())
}

fn built(builder: &mut Builder) -> Result<Runtime, Failure> {
    builder.enable_all().build().map_err(|error| Failure::internal(format!("cannot start the runtime: {error}")))
}
