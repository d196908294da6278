//! The proofs: one history, every acknowledged order once on every node, and the tail kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::client::Told;
use super::stage::{LOG, NEW, NODES, OLD, Stage};
use crate::demo::report::Proof;
use crate::demo::site::Site;
use crate::failure::Failure;
use crate::quantity::show_duration;

/// Nobody stood in the way for longer: the primary was cut off for two seconds before anybody did anything.
const LONGEST: Duration = Duration::from_secs(10);

/// One node writes, and all others follow it, some by way of another.
pub(super) fn one_writer(stage: &Stage<'_>) -> Proof {
    let outcome = || {
        let mut told = Vec::new();
        for node in NODES {
            let log = stage.status(node)?;
            let path: Vec<&str> = log.reign.path.iter().map(|node| node.as_str()).collect();
            let writes = log.writer && !log.reign.fenced;
            if writes != (node == NEW) || (!writes && path.last() != Some(&NEW)) || log.epoch.number != 2 {
                let what = format!("{node} is in epoch {}, writes: {writes}, follows {path:?}", log.epoch);
                return Err(Failure::internal(what));
            }
            told.push(if writes { format!("{node} writes") } else { format!("{node} through {}", path.join(", ")) });
        }
        Ok(format!("epoch 2: {}", told.join("; ")))
    };
    Proof::of("one node writes, and the others follow it", outcome())
}

/// A node's log is intact, and equal to the new primary's.
pub(super) fn log_equal(stage: &Stage<'_>, node: &str) -> Proof {
    let (data_dir, server) = (stage.data_dir(node), stage.server(NEW));
    let outcome = stage.command(&["verify", "--data-dir", &data_dir, "--log", LOG, "--deep", "--against", &server]);
    let last_line = |told: String| told.trim_end().lines().next_back().unwrap_or_default().trim().to_owned();
    Proof::of(format!("the log in {node} is intact and equal to the one in {NEW}"), outcome.map(last_line))
}

/// What the client was told is safe is there, once, everywhere.
pub(super) fn nothing_lost(site: &Site, told: &Told) -> Proof {
    let outcome = || {
        for node in NODES {
            let mut found: BTreeMap<u64, usize> = BTreeMap::new();
            for order in orders(site, &site.data_dir(node), LOG, None)? {
                *found.entry(order).or_default() += 1;
            }
            let missing = told.acknowledged.iter().filter(|record| found.get(&record.order) != Some(&1));
            let missing: Vec<u64> = missing.map(|record| record.order).collect();
            if let [first, ..] = missing[..] {
                let what = format!("{node} lacks {} acknowledged orders, the first is {first}", missing.len());
                return Err(Failure::internal(what));
            }
        }
        Ok(format!("{} orders, looked for one by one on {}", told.acknowledged.len(), NODES.join(", ")))
    };
    Proof::of("every acknowledged order is there exactly once, on every node", outcome())
}

/// The client wrote on at the new primary.
pub(super) fn went_on(before: &Told, told: &Told, promotion: Duration) -> Proof {
    let outcome = || {
        let (last, first) = (before.acknowledged.last(), told.acknowledged.get(before.acknowledged.len()));
        let (Some(last), Some(first)) = (last, first) else {
            return Err(Failure::internal("nothing was acknowledged on one side of the promotion"));
        };
        let gap = first.heard - last.heard;
        if LONGEST < gap {
            return Err(Failure::internal(format!("nothing was acknowledged for {}", show_duration(gap))));
        }
        Ok(format!(
            "{} orders at {OLD}, {} at {NEW}; longshore promote took {}, and {} passed between two acknowledgements",
            before.acknowledged.len(),
            told.acknowledged.len() - before.acknowledged.len(),
            show_duration(promotion),
            show_duration(gap)
        ))
    };
    Proof::of("the client went on at the new primary", outcome())
}

/// What the old primary wrote while it was cut off is kept, readable, and nothing of it was ever acknowledged.
pub(super) fn tail_kept(site: &Site, told: &Told) -> Proof {
    let outcome = || {
        let aside = site.data_dir(OLD).join(LOG).join("diverged");
        let failed = |error| Failure::file("tails", &aside, &error);
        let names =
            std::fs::read_dir(&aside).map_err(failed)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let names: Vec<String> = names.collect();
        let [name] = &names[..] else {
            return Err(Failure::internal(format!("there are {} tails, not one", names.len())));
        };
        let fork = name.split('-').next().unwrap_or_default();
        let tail = orders(site, &aside, name, Some(fork))?;
        let acknowledged: BTreeSet<u64> = told.acknowledged.iter().map(|record| record.order).collect();
        match tail.iter().find(|order| acknowledged.contains(order)) {
            Some(order) => Err(Failure::internal(format!("order {order} was acknowledged and is in the tail"))),
            None if tail.is_empty() => Err(Failure::internal("the tail is empty")),
            None => Ok(format!("{} orders from {fork} on, in {OLD}/log/{LOG}/diverged/{name}", tail.len())),
        }
    };
    Proof::of(format!("what only {OLD} had is set aside there, and nothing of it was acknowledged"), outcome())
}

/// The numbers of the orders in a log of a directory.
fn orders(site: &Site, data_dir: &Path, log: &str, start: Option<&str>) -> Result<Vec<u64>, Failure> {
    let data_dir = data_dir.display().to_string();
    let mut args = vec!["read", "--data-dir", &data_dir, "--log", log];
    args.extend(start.into_iter().flat_map(|start| ["--start", start]));
    let wrong = |line: &str| Failure::internal(format!("{line:?} is not an order"));
    let order = |line: &str| line.strip_prefix("order ").and_then(|id| id.parse().ok()).ok_or_else(|| wrong(line));
    site.command(&args)?.lines().map(order).collect()
}
