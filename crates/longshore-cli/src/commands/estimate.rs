//! `longshore estimate`: what a copy elsewhere takes, before there is one.

mod json;
mod text;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use longshore::settings::ByteSize;
use longshore_archive::estimate::{
    Assessment, Candidate, Every, Plan, Prices, Ratio, Recovery, RegionFault, RegionId, Rpo, Transfer, Workload,
    archive_rpo, rank, replica_rpo,
};

use crate::failure::Failure;
use crate::{output, quantity};

/// Work out transfer time, bandwidth, RPO, RTO and monthly cost, and rank regions for a copy
#[derive(Debug, Args)]
#[command(after_help = "\
It measures nothing and connects to nothing. Round trips between regions are estimated from the \
distance; `longshore status` shows the real ones, and --candidates takes them: aws:eu-west-1=25ms.

An archive gets each byte of log twice, in a tail object and in its sealed segment, unless \
--tail-every is 0s. The longest restore takes a snapshot and all log up to the next one.

Prices are list prices with their source and date; what is not known is shown as unknown. --prices \
puts your own before them, as

  [aws.eu-central-1]
  storage = { usd = 0.021, source = \"our contract\", date = \"2026-05\" }

Examples:
  longshore estimate --size 10GiB --rate 2MiB --bandwidth 100MB --rtt 80ms
  longshore estimate --size 10GiB --rate 2MiB --from aws:eu-central-1 \\
      --candidates aws:eu-west-1,gcp:europe-west1,azure:westeurope")]
pub(crate) struct Estimate {
    /// The size of the database
    #[arg(long, value_name = "SIZE")]
    size: ByteSize,

    /// Bytes of log written per second, in the mean
    #[arg(long, value_name = "SIZE")]
    rate: ByteSize,

    /// How many bytes become one by compression: 1 is none, 4 a quarter of the size
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    ratio: f64,

    /// How many objects the database moves as (default: as many as it fills segments)
    #[arg(long, value_name = "N")]
    objects: Option<NonZero<u64>>,

    /// Bytes per second between the two ends
    #[arg(long, value_name = "SIZE", default_value = "100MB")]
    bandwidth: ByteSize,

    /// The round trip between the two ends; candidates have their own
    #[arg(long, value_name = "DURATION", default_value = "80ms", value_parser = quantity::duration)]
    rtt: Duration,

    /// Requests under way at once
    #[arg(long, value_name = "N", default_value = "8")]
    parallel: NonZero<u32>,

    /// The size of a sealed segment, and of an object of a snapshot
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    segment_size: ByteSize,

    /// How often the unsealed end of the log goes to the archive; 0s for never
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = quantity::duration)]
    tail_every: Duration,

    /// How often a snapshot goes to the archive
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = quantity::duration)]
    snapshot_every: Duration,

    /// How far back the archive reaches
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = quantity::duration)]
    retain: Duration,

    /// How often the primary syncs its log
    #[arg(long, value_name = "DURATION", default_value = "10ms", value_parser = quantity::duration)]
    sync_every: Duration,

    /// Bytes that wait to be sent to a replica
    #[arg(long, value_name = "SIZE", default_value = "0")]
    backlog: ByteSize,

    /// How long until somebody knows that the primary is lost, and decides
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = quantity::duration)]
    detect: Duration,

    /// Bytes of log that a database takes per second in a restore
    #[arg(long, value_name = "SIZE", default_value = "50MB")]
    apply_rate: ByteSize,

    /// Where the primary is: aws:, gcp: or azure: and the provider's name of the region
    #[arg(long, value_name = "REGION")]
    from: Option<RegionId>,

    /// Regions for the copy, with =RTT where it has been measured
    #[arg(long, value_name = "REGION[=RTT],…", value_delimiter = ',', requires = "from", value_parser = candidate)]
    candidates: Vec<Candidate>,

    /// Your own prices, in a TOML file: they go before the built-in ones
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,

    /// One JSON document: bytes, seconds, US dollars
    #[arg(long)]
    json: bool,
}

/// Everything that is told.
struct Estimated {
    plan: Plan,
    transfer: Transfer,
    replica_rpo: Rpo,
    archive_rpo: Rpo,
    recovery: Recovery,
    from: Option<RegionId>,
    ranked: Vec<Assessment>,
}

impl Estimate {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let prices = prices(self.prices.as_deref())?;
        let plan = self.plan()?;
        for region in self.from.iter().chain(self.candidates.iter().map(|candidate| &candidate.region)) {
            if let Some(meant) = region.meant() {
                output::tell(&format!("note: {region} is not a region known here; did you mean {meant}?"));
            }
        }
        let estimated = self.estimated(plan, &prices);
        match self.json {
            true => output::print_json(json::Answer::from(&estimated)),
            false => output::print(&text::render(&estimated)),
        }
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let workload = Workload {
            rate: self.rate.0,
            ratio: Ratio::new(self.ratio).ok_or_else(|| {
                Failure::invalid(format!("--ratio must be 0.1 to 10000, not {}", self.ratio))
                    .next("write 1 for no compression, or as 2.5 what the log shrinks by")
            })?,
            size: self.size.0,
            segment_size: above_zero("segment-size", self.segment_size, "64MiB")?,
            tail_every: Every::new(self.tail_every),
            snapshot_every: Every::new(self.snapshot_every).ok_or_else(|| {
                Failure::invalid("--snapshot-every must be above zero").next("write it as --snapshot-every 1d")
            })?,
            retain: self.retain,
        };
        Ok(Plan {
            workload,
            bandwidth: above_zero("bandwidth", self.bandwidth, "100MB")?,
            parallel: self.parallel,
            sync_every: self.sync_every,
            backlog_bytes: self.backlog.0,
            detect: self.detect,
            apply_rate: above_zero("apply-rate", self.apply_rate, "50MB")?,
        })
    }

    fn estimated(&self, plan: Plan, prices: &Prices) -> Estimated {
        let (workload, link) = (&plan.workload, plan.link(self.rtt));
        let objects = self.objects.map_or_else(|| workload.snapshot_objects(), NonZero::get);
        let transfer = Transfer { objects, mean_bytes: workload.size.div_ceil(objects), link };
        let ranked = match &self.from {
            Some(from) => rank(from, &self.candidates, &plan, prices),
            None => Vec::new(),
        };
        Estimated {
            transfer,
            replica_rpo: replica_rpo(workload, &link, plan.sync_every, plan.backlog_bytes),
            archive_rpo: archive_rpo(workload, &link),
            recovery: Recovery::new(workload, link, plan.detect, plan.apply_rate),
            from: self.from.clone(),
            ranked,
            plan,
        }
    }
}

/// The built-in prices, and those of a file before them.
pub(super) fn prices(path: Option<&Path>) -> Result<Prices, Failure> {
    let Some(path) = path else {
        return Ok(Prices::built_in());
    };
    let text = fs::read_to_string(path).map_err(|error| Failure::file("--prices", path, &error))?;
    Prices::built_in().overridden_by(&text).map_err(|fault| {
        Failure::invalid(format!("--prices {}: {fault}", path.display()))
            .next("`longshore estimate --help` shows what such a file looks like")
    })
}

pub(super) fn above_zero(flag: &str, size: ByteSize, example: &str) -> Result<NonZero<u64>, Failure> {
    NonZero::new(size.0).ok_or_else(|| {
        Failure::invalid(format!("--{flag} must be above zero")).next(format!("write it as --{flag} {example}"))
    })
}

/// `aws:eu-west-1`, or `aws:eu-west-1=25ms` with a measured round trip.
fn candidate(text: &str) -> Result<Candidate, String> {
    let (region, rtt) = match text.split_once('=') {
        Some((region, rtt)) => (region, Some(quantity::duration(rtt)?)),
        None => (text, None),
    };
    Ok(Candidate { region: region.parse().map_err(|fault: RegionFault| fault.to_string())?, rtt })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_may_bring_its_round_trip() {
        let with = candidate("aws:eu-west-1=25ms").unwrap();
        assert_eq!((with.region.name(), with.rtt), ("eu-west-1", Some(Duration::from_millis(25))));
        assert_eq!(candidate("gcp:europe-west1").unwrap().rtt, None);
        for wrong in ["europe", "aws:eu-west-1=25", "aws:"] {
            assert!(candidate(wrong).is_err(), "{wrong}");
        }
    }
}
