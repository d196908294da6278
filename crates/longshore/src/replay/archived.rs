//! A replay whose log is fetched from an archive first.

use std::path::Path;

use longshore_archive::{Archive, FetchPlan, Fetched};

use super::Replay;
use crate::error::Result;

impl Replay {
    /// Fetches what was planned into a directory of its own under `scratch`, and opens that. Interrupted, it goes on where it
    /// was when it is run again with the same directory; who removes it is the caller.
    ///
    /// # Errors
    /// As [`Archive::fetch`]; as [`Replay::open`].
    pub async fn fetch(
        archive: &Archive,
        plan: &FetchPlan,
        scratch: &Path,
        watch: impl FnMut(Fetched),
    ) -> Result<Replay> {
        archive.fetch(plan, &scratch.join(archive.name().as_str()), watch).await?;
        Replay::open(scratch, archive.name().as_str())
    }
}
