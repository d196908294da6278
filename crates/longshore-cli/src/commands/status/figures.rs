//! What the measured figures stand beside: what `longshore estimate` predicts at the rate that is measured, and what each copy
//! has cost up to now.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use longshore::settings::ByteSize;
use longshore_archive::Ledger;
use longshore_archive::estimate::{
    Every, Link, Prices, Ratio, RegionId, Rpo, Spent, Workload, archive_rpo, link, replica_rpo,
};
use longshore_transport::{LogStatus, ReplicaStatus, StoreStatus};

use crate::commands::estimate::{above_zero, prices};
use crate::failure::Failure;
use crate::quantity;

/// What the agent does not know of its surroundings.
#[derive(Debug, Args)]
#[command(next_help_heading = "Predicted figures and cost")]
pub(super) struct FigureArgs {
    /// Where the agent is, as aws:eu-central-1: what leaves it costs by where it goes
    #[arg(long, value_name = "REGION")]
    region: Option<RegionId>,

    /// Your own prices, in a TOML file as for `longshore estimate`
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,

    /// Bytes per second from the agent to each copy, as `longshore estimate` takes it
    #[arg(long, value_name = "SIZE", default_value = "100MB")]
    bandwidth: ByteSize,

    /// The round trip to each copy
    #[arg(long, value_name = "DURATION", default_value = "80ms", value_parser = quantity::duration)]
    rtt: Duration,

    /// How many bytes of log become one by compression
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    ratio: f64,
}

/// What figures are predicted by, and what is paid.
pub(super) struct Figures {
    prices: Prices,
    region: Option<RegionId>,
    link: Link,
    ratio: Ratio,
}

/// One copy: what it should do at this rate of appends, and what it has cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figure {
    /// Bytes per second to it.
    pub(super) rate: f64,
    /// How far it may be behind.
    pub(super) rpo: Rpo,
    /// US dollars since the agent started; `None` where a price is not known.
    pub(super) usd: Option<f64>,
}

impl FigureArgs {
    pub(super) fn figures(self) -> Result<Figures, Failure> {
        let ratio = Ratio::new(self.ratio).ok_or_else(|| {
            Failure::invalid(format!("--ratio must be 0.1 to 10000, not {}", self.ratio))
                .next("write 1 for no compression, or as 2.5 what the log shrinks by")
        })?;
        let bandwidth = above_zero("bandwidth", self.bandwidth, "100MB")?;
        let link = Link { bandwidth, rtt: self.rtt, parallel: NonZero::<u32>::MIN };
        Ok(Figures { prices: prices(self.prices.as_deref())?, region: self.region, link, ratio })
    }
}

impl Figures {
    pub(super) fn of_store(&self, log: &LogStatus, store: &StoreStatus) -> Figure {
        let workload = self.workload(log, Every::new(store.tail_every));
        let ledger = Ledger {
            puts: store.put_requests,
            gets: store.get_requests,
            sent: store.sent_bytes,
            received: store.received_bytes,
        };
        let region: Option<RegionId> = store.region.as_deref().and_then(|region| region.parse().ok());
        let usd = match store.store.starts_with("file://") {
            // Nobody bills what is put into a directory.
            true => Some(0.0),
            false => Spent::new(&ledger, &self.prices, self.region.as_ref(), region.as_ref()).usd(),
        };
        Figure { rate: workload.archive_rate(), rpo: archive_rpo(&workload, &self.link), usd }
    }

    pub(super) fn of_replica(&self, log: &LogStatus, replica: &ReplicaStatus) -> Figure {
        let workload = self.workload(log, None);
        let place = replica.provider.as_ref().zip(replica.region.as_ref());
        let region: Option<RegionId> = place.and_then(|(provider, region)| format!("{provider}:{region}").parse().ok());
        Figure {
            rate: workload.link_rate(),
            rpo: replica_rpo(&workload, &self.link, SYNC_EVERY, 0),
            usd: link(replica.sent_bytes, &self.prices, self.region.as_ref(), region.as_ref()).usd(),
        }
    }

    /// What is appended now, and nothing of a database: there are no snapshots in what is compared here.
    fn workload(&self, log: &LogStatus, tail_every: Option<Every>) -> Workload {
        Workload {
            rate: log.append_rate as u64,
            ratio: self.ratio,
            size: 0,
            segment_size: NonZero::new(log.segment_size.get()).expect("a segment has a size"),
            tail_every,
            snapshot_every: Every::new(Duration::from_secs(86_400)).expect("a day is not nothing"),
            retain: Duration::ZERO,
        }
    }
}

/// What `longshore estimate` takes for it.
const SYNC_EVERY: Duration = Duration::from_millis(10);

#[cfg(test)]
pub(super) mod tests {
    use longshore_format::Lsn;
    use longshore_transport::Lag;

    use super::super::tests::{log, replica};
    use super::*;

    pub(in super::super) fn figures(region: Option<&str>) -> Figures {
        let region = region.map(|region| region.parse().unwrap());
        let link = Link {
            bandwidth: NonZero::new(100_000_000).unwrap(),
            rtt: Duration::from_millis(80),
            parallel: NonZero::<u32>::MIN,
        };
        Figures { prices: Prices::built_in(), region, link, ratio: Ratio::NONE }
    }

    pub(in super::super) fn store(store: &str, region: Option<&str>) -> StoreStatus {
        StoreStatus {
            store: store.to_owned(),
            region: region.map(str::to_owned),
            archived: Some(Lsn::new(8192)),
            lag: Lag { bytes: 1 << 20, seconds: 1.25 },
            longest_lag: Duration::from_millis(2500),
            objects: 12,
            bytes: 3 << 20,
            trouble: None,
            ended: false,
            rate: 1.5e6,
            tail_every: Duration::from_secs(1),
            put_requests: 2_000,
            get_requests: 1_000,
            sent_bytes: 1 << 30,
            received_bytes: 0,
        }
    }

    #[test]
    fn what_is_predicted_is_what_estimate_says_at_the_measured_rate() {
        let log = log();
        let told = figures(None).of_store(&log, &store("s3://b", None));
        // Each byte goes up twice; an interval of 1 s, 80 ms, and 1 MB / 100 MB/s.
        assert_eq!(told.rate, 2e6);
        assert_eq!(told.rpo, Rpo::Within(Duration::from_millis(1090)));
        let told = figures(None).of_replica(&log, &replica());
        assert_eq!((told.rate, told.rpo), (1e6, Rpo::Within(Duration::from_millis(90))));
    }

    #[test]
    fn a_cost_is_told_where_both_ends_are_known() {
        let (log, here) = (log(), Some("aws:eu-central-1"));
        let usd = |from: Option<&str>, to: StoreStatus| figures(from).of_store(&log, &to).usd;
        // 2 × 0.005 + 1 × 0.0004 + 1 GB × 0.02.
        let there = usd(here, store("s3://b", Some("aws:us-east-1"))).unwrap();
        assert!((there - 0.0304).abs() < 1e-9, "{there}");
        assert_eq!(usd(None, store("s3://b", Some("aws:us-east-1"))), None);
        assert_eq!(usd(here, store("gs://b", None)), None);
        assert_eq!(usd(None, store("file:///mnt/archive", None)), Some(0.0), "nobody bills a directory");
        let mut away = replica();
        assert_eq!(figures(here).of_replica(&log, &away).usd, None);
        away.provider = Some("aws".to_owned());
        away.region = Some("us-east-1".parse().unwrap());
        away.sent_bytes = 5 << 30;
        let linked = figures(here).of_replica(&log, &away).usd.unwrap();
        assert!((linked - 0.1).abs() < 1e-9, "{linked}");
    }
}
