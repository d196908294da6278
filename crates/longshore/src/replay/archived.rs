//! A replay whose log is fetched from an archive first.

use std::path::Path;

use longshore_archive::{Archive, FetchPlan};

use super::Replay;
use super::seed::Seed;
use crate::error::Result;

impl Replay {
    /// Fetches what was planned into a directory of its own under `scratch`, and opens that; `watch` is told how many bytes of
    /// it, as they are stored, are here. Interrupted, it goes on where it was when it is run again with the same directory; who
    /// removes it is the caller.
    ///
    /// # Errors
    /// As [`Archive::fetch`]; as [`Replay::open`].
    pub async fn fetch(
        archive: &Archive,
        plan: &FetchPlan,
        scratch: &Path,
        mut watch: impl FnMut(u64),
    ) -> Result<Replay> {
        let name = archive.name().as_str();
        std::fs::create_dir_all(scratch).map_err(|error| crate::Error::io("make", scratch, error))?;
        let (mut seed, mut before) = (None, 0);
        if let Some(entry) = &plan.snapshot {
            let path = scratch.join(format!("{name}.snapshot"));
            let stored =
                |bytes: u64| (u128::from(entry.bytes) * u128::from(bytes) / u128::from(entry.len.max(1))) as u64;
            archive.fetch_snapshot(entry, &path, |fetched| watch(stored(fetched.bytes))).await?;
            seed = Some(Seed::open(path, archive.facts().log)?);
            before = entry.bytes;
        }
        archive.fetch(plan, &scratch.join(name), |fetched| watch(before + fetched.bytes)).await?;
        Ok(Replay { seed, ..Replay::open(scratch, name)? })
    }
}
