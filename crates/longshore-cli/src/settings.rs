//! Where a setting's value comes from: flag, else environment, else file, else default.
//!
//! Clap knows every flag, its type and its default, so it is also the one parser of the other
//! layers: the environment variable of a flag is `LONGSHORE_` and its name, and what the file says
//! takes the place of the flag's default. A value is thus checked alike wherever it stands.

mod file;
mod layers;

pub(crate) use layers::load;
pub(crate) use layers::{Origin, Shown, resolve};

use crate::failure::Failure;

/// Why the settings could not be had.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The command line, or a value in any layer, is not understood; also help and version texts.
    Usage(clap::Error),
    /// The settings file cannot be read or holds what no flag is called.
    File(Failure),
}
