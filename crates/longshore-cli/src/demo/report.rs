//! What the tour ends with.

use longshore_format::ErrorKind;
use serde::Serialize;

use crate::failure::Failure;
use crate::output;
use crate::quantity::show_bytes;

/// Every proof, and whether it holds.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(super) orders: u64,
    pub(super) log_bytes: u64,
    pub(super) seconds: f64,
    pub(super) proofs: Vec<Proof>,
    /// Where everything is, if it was to be kept.
    pub(super) directory: Option<String>,
}

/// One thing that must hold.
#[derive(Debug, Serialize)]
pub(crate) struct Proof {
    pub(super) what: String,
    pub(super) holds: bool,
    pub(super) detail: String,
}

impl Proof {
    /// A proof that holds with what it found, or fails with what went wrong.
    pub(super) fn of(what: impl Into<String>, outcome: Result<String, Failure>) -> Self {
        let (holds, detail) = match outcome {
            Ok(detail) => (true, detail),
            Err(failure) => (false, failure.to_string()),
        };
        Self { what: what.into(), holds, detail }
    }
}

impl Report {
    pub(crate) fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            return output::print_json(self);
        }
        let mut text =
            format!("\n{} orders, {} of log, {:.1} s\n\n", self.orders, show_bytes(self.log_bytes), self.seconds);
        for Proof { what, holds, detail } in &self.proofs {
            let mark = if *holds { "✓" } else { "✗" };
            text += &format!("  {mark} {what}\n      {detail}\n");
        }
        if let Some(directory) = &self.directory {
            text += &format!("\nkept in {directory}\n");
        }
        output::print(&text)
    }

    /// The exit code's part: every proof must hold.
    pub(crate) fn outcome(&self) -> Result<(), Failure> {
        let failed = self.proofs.iter().filter(|proof| !proof.holds).count();
        match failed {
            0 => Ok(()),
            _ => {
                let message = format!("{failed} of {} proofs failed", self.proofs.len());
                Err(Failure::new(ErrorKind::CheckFailed, message)
                    .next("run it again with --keep and look into its directory"))
            }
        }
    }
}
