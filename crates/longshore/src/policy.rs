//! What a log promises while this node writes it: from its settings into the log, and from the log to the acks that count.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longshore_format::{ErrorKind, Lsn};
use longshore_protocol::{AckPolicy, NodeId, Policy, Quorum, Region, Shortfall, records_of};
use longshore_wal::{Role, Wal};

use crate::error::{Error, Result};
use crate::event::Event;
use crate::log::Log;
use crate::node::{Node, parse_name};
use crate::settings::AckSettings;

/// A writer that cannot have its policy.
#[derive(Debug, Default)]
pub(crate) struct Lack {
    /// Since when.
    since: Option<Duration>,
    /// Whether it goes on without.
    pub(crate) degraded: bool,
}

/// Where the first record of the epoch that is written now can end at the earliest. An ack from there on is of this epoch;
/// zero for an epoch that began with the log.
pub(crate) fn floor(wal: &Wal) -> Lsn {
    let history = wal.history();
    let current = history.current().epoch;
    let begins = history.entries().iter().find(|life| life.epoch == current).expect("the current one is among them");
    if current.number == 1 { Lsn::ZERO } else { begins.start.just_after() }
}

/// The policies that hold in a log, the newest last, and where their records end: two while a change is under way.
pub(crate) fn in_force(wal: &Wal) -> Result<Vec<(Lsn, Policy)>> {
    let read = |(end, record)| Ok::<_, longshore_protocol::Error>((end, Policy::of_record(&record)?));
    let records = wal.policies().into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(longshore_protocol::in_force(&records).to_vec())
}

/// The policies that hold in a log, the newest last.
fn holding(wal: &Wal) -> Result<Vec<Policy>> {
    Ok(in_force(wal)?.into_iter().map(|(_, policy)| policy).collect())
}

/// The newest policy of a log.
pub(crate) fn newest(wal: &Wal) -> Result<Option<Policy>> {
    Ok(in_force(wal)?.pop().map(|(_, policy)| policy))
}

impl Log {
    /// Counts as the log's policies say.
    pub(crate) fn take_policies(&self) -> Result<()> {
        if self.wal.role() != Role::Writer {
            return Ok(());
        }
        let policies = holding(&self.wal)?;
        if let Some(newest) = policies.last() {
            let (durability, shortfall) = (newest.durability.clone(), newest.shortfall);
            self.set_policy(AckPolicy { durability, shortfall, timeout: self.policy().timeout });
        }
        self.standing.set_policies(policies, floor(&self.wal));
        Ok(())
    }

    /// Ends a change of the policy whose record is confirmed under both: the new one is written once more, and from there on
    /// holds alone. A run that is open, or a full log, puts it off.
    pub(crate) fn settle_policies(&self) {
        let settled = self.confirmed_change().and_then(|confirmed| {
            let Some(policy) = confirmed else { return Ok(()) };
            self.wal.set_policies(&[policy.to_record()])?;
            self.take_policies()?;
            self.events.raise(Event::PolicyHolds { log: self.name.clone(), durability: policy.durability.to_string() });
            Ok(())
        });
        if let Err(error) = settled {
            tracing::debug!(log = %self.name, %error, "the new policy does not hold alone yet");
        }
    }

    /// The new policy of a change whose record is confirmed under both.
    fn confirmed_change(&self) -> Result<Option<Policy>> {
        if self.standing.policies().len() < 2 || self.wal.is_fenced() {
            return Ok(None);
        }
        let reached = self.standing.policies_reached().min(self.wal.durable().get());
        Ok(in_force(&self.wal)?.pop().filter(|(end, _)| *end <= reached).map(|(_, policy)| policy))
    }

    /// Whether the policy can be had, and what follows when it cannot: goes on without it, or no longer does.
    pub(crate) fn watch_policy(&self, now: Duration) {
        let policy = self.policy();
        let Shortfall::Degrade { after } = policy.shortfall else { return };
        if self.wal.role() != Role::Writer || self.wal.is_fenced() {
            return;
        }
        let within = self.standing.within_reach(&policy.durability);
        let mut lack = crate::lock(&self.lack);
        let since = if within { None } else { Some(lack.since.unwrap_or(now)) };
        lack.since = since;
        let degraded = since.is_some_and(|since| after <= now.saturating_sub(since));
        // Told once it is in the log; a run that is open holds that up for as long as it lasts.
        if degraded != lack.degraded && self.record_degraded(degraded).is_ok() {
            lack.degraded = degraded;
            self.events.raise(Event::Degraded {
                log: self.name.clone(),
                degraded,
                durability: policy.durability.to_string(),
            });
            self.standing.wake();
        }
    }

    fn record_degraded(&self, degraded: bool) -> Result<()> {
        let holding = holding(&self.wal)?;
        if let Some(policy) = holding.last() {
            self.say(&holding, Policy { degraded, ..policy.clone() })?;
        }
        Ok(())
    }

    /// Writes a policy into the log where `holding` hold, so that a change that is under way stays so. False where that is
    /// another change.
    fn say(&self, holding: &[Policy], policy: Policy) -> Result<bool> {
        let Some(records) = records_of(holding, policy) else { return Ok(false) };
        // Before anybody can ack what comes behind them.
        let both = holding.iter().chain(&records).cloned().collect();
        self.standing.set_policies(both, floor(&self.wal));
        let said = self.wal.set_policies(&records.iter().map(Policy::to_record).collect::<Vec<_>>());
        self.take_policies()?;
        said?;
        Ok(true)
    }

    /// Whether a wait at the policy is answered by what is durable here.
    pub(crate) fn is_degraded(&self) -> bool {
        crate::lock(&self.lack).degraded
    }
}

impl Node {
    /// Writes the policy that the settings ask for into a log that this node writes, if it is not what holds already. A log
    /// that has one keeps it where the settings ask for nothing.
    pub(crate) fn declare_policy(&self, log: &Log) -> Result<()> {
        if log.wal.role() != Role::Writer {
            return Ok(());
        }
        let holding = holding(&log.wal)?;
        let Some(wanted) = self.wanted_policy(log, holding.last())? else { return Ok(()) };
        if holding.last() != Some(&wanted) && !log.say(&holding, wanted.clone())? {
            let message = format!("log {}: another change of its policy is under way; restart when it holds", log.name);
            log.events.raise(Event::Warning { message });
        }
        warn_of(log, &wanted, &self.providers(log));
        for doubt in doubts(&self.settings().ack.voters, self.id(), |node| self.granted(node, &log.name).is_some()) {
            log.events.raise(Event::Warning { message: format!("log {}: of --ack-voters: {doubt}", log.name) });
        }
        log.take_policies()
    }

    fn wanted_policy(&self, log: &Log, found: Option<&Policy>) -> Result<Option<Policy>> {
        let ack = &self.settings().ack;
        let asks = ack.durability.quorum != Quorum::Local || !ack.voters.is_empty();
        if !asks {
            let own = |found: &Policy| Policy { writer: self.id().clone(), degraded: false, ..found.clone() };
            return Ok(found.map(own));
        }
        let policy = ack.policy();
        let voters = self.voters(log)?;
        let (durability, shortfall) = (policy.durability, policy.shortfall);
        Ok(Some(Policy { writer: self.id().clone(), durability, shortfall, degraded: false, voters }))
    }

    /// The nodes that count: those that the settings name, else those that the grants let replicate the log, and this one.
    fn voters(&self, log: &Log) -> Result<BTreeMap<NodeId, Option<Region>>> {
        let named = &self.settings().ack.voters;
        let granted = self.access().and_then(|access| access.grants());
        let mut nodes: Vec<NodeId> = Vec::new();
        for name in named {
            nodes.push(parse_name("ack.voters", name)?.into());
        }
        if nodes.is_empty() {
            let Some(grants) = &granted else { return Ok(BTreeMap::new()) };
            nodes.extend(grants.replicas_of(&log.name).map(NodeId::from));
            if !nodes.is_empty() {
                nodes.push(self.id().clone());
            }
        }
        let region = |node: &NodeId| granted.as_ref()?.of(node.as_name())?.region.clone();
        Ok(nodes.into_iter().map(|node| (node.clone(), region(&node))).collect())
    }

    /// Who runs the machines of a log's voters, as the grants say.
    fn providers(&self, log: &Log) -> Vec<Option<String>> {
        let Some(grants) = self.access().and_then(|access| access.grants()) else { return Vec::new() };
        let voters = newest(&log.wal).ok().flatten().map(|policy| policy.voters).unwrap_or_default();
        voters.keys().map(|node| grants.of(node.as_name()).and_then(|grant| grant.provider.clone())).collect()
    }
}

/// Refuses a policy that the voters that were named can never make up, whoever else may replicate the log.
///
/// # Errors
/// `Invalid`, with what to change.
pub(crate) fn must_be_had(ack: &AckSettings, writer: &NodeId) -> Result<()> {
    let wanted = match &ack.durability.quorum {
        Quorum::Replicas(count) | Quorum::Regions { count, .. } => count.get() as usize,
        Quorum::Local | Quorum::Archived(_) => return Ok(()),
    };
    let others: BTreeSet<&String> = ack.voters.iter().filter(|name| *name != writer.as_str()).collect();
    if ack.voters.is_empty() || wanted <= others.len() {
        return Ok(());
    }
    let reason = format!(
        "{} can never be had: beside {writer}, which writes, {} of the voters that were named can hold a copy; name more with \
         ack.voters (--ack-voters), or ask for less with ack.durability (--ack-durability)",
        ack.durability,
        others.len()
    );
    Err(Error::Refused { kind: ErrorKind::Invalid, reason, at: None })
}

/// What is wrong with the names of voters, as far as that is known: grants may yet change.
fn doubts(named: &[String], own: &NodeId, is_granted: impl Fn(&NodeId) -> bool) -> Vec<String> {
    let mut doubts = Vec::new();
    if named.is_empty() {
        return doubts;
    }
    let nodes = named.iter().filter_map(|name| NodeId::new(name).ok());
    let unknown: Vec<String> =
        nodes.filter(|node| node != own && !is_granted(node)).map(|node| node.to_string()).collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        doubts.push(format!("no grant lets {unknown} replicate it, and so no ack of theirs comes: is the name right?"));
    }
    if !named.iter().any(|name| name == own.as_str()) {
        doubts.push(format!("{own}, which writes it, has no vote, and cannot take the role back once it gave it up"));
    }
    doubts
}

/// Says what is wrong with a policy that can be seen before it is needed.
fn warn_of(log: &Log, policy: &Policy, providers: &[Option<String>]) {
    let warn = |message: String| log.events.raise(Event::Warning { message });
    let others = policy.voters.iter().filter(|(node, _)| **node != policy.writer);
    let name = &log.name;
    let by_voters = matches!(policy.durability.quorum, Quorum::Replicas(_) | Quorum::Regions { .. });
    if by_voters && policy.voters.is_empty() {
        warn(format!(
            "log {name}: {} has no voters, so no promotion can prove that nothing is lost; name them with --ack-voters",
            policy.durability
        ));
    }
    let regions = |others: &mut dyn Iterator<Item = (&NodeId, &Option<Region>)>| {
        others.filter_map(|(_, region)| region.clone()).collect::<BTreeSet<_>>().len()
    };
    let enough = match &policy.durability.quorum {
        Quorum::Replicas(count) => count.get() as usize <= others.clone().count(),
        Quorum::Regions { count, .. } => count.get() as usize <= regions(&mut others.clone()),
        Quorum::Local | Quorum::Archived(_) => true,
    };
    if !policy.voters.is_empty() && !enough {
        warn(format!("log {name}: {} can never be had from its voters; add more, or ask for less", policy.durability));
    }
    if let Some(Some(provider)) = providers.first()
        && 1 < providers.len()
        && providers.iter().all(|other| other.as_ref() == Some(provider))
    {
        let count = providers.len();
        warn(format!(
            "log {name}: all {count} copies are in one provider, {provider}; what stops it stops all of them"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    #[test]
    fn a_policy_that_the_named_voters_can_never_make_up_is_refused() {
        for (durability, voters, possible) in [
            ("replicas:1", "p,a", true),
            ("replicas:2", "p,a,b", true),
            ("replicas:3", "p,a,b", false),
            ("replicas:3", "a,b,c", true),
            ("replicas:2", "p,a,a", false),
            ("regions:2", "p,a", false),
            ("replicas:1", "p", false),
            // Whoever the grants let replicate counts, and may be more tomorrow.
            ("replicas:3", "", true),
            ("local", "p", true),
        ] {
            let voters = voters.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            let ack = AckSettings { durability: durability.parse().unwrap(), voters, ..AckSettings::default() };
            let had = must_be_had(&ack, &node("p"));
            assert_eq!(had.is_ok(), possible, "{durability} of {:?}", ack.voters);
            if let Err(error) = had {
                assert!(error.to_string().contains("--ack-voters"), "{error}");
            }
        }
    }

    #[test]
    fn names_that_cannot_be_right_are_doubted() {
        let granted = |name: &NodeId| ["a", "b"].contains(&name.as_str());
        for (named, told) in [
            (&["p", "a", "b"][..], &[][..]),
            (&[], &[]),
            (&["p", "a", "bb"], &["no grant lets bb"]),
            (&["a", "b"], &["p, which writes it, has no vote"]),
            (&["aa", "bb"], &["no grant lets aa, bb", "p, which"]),
        ] {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            let doubts = doubts(&named, &node("p"), granted);
            assert_eq!(doubts.len(), told.len(), "{named:?}: {doubts:?}");
            assert!(doubts.iter().zip(told).all(|(doubt, told)| doubt.contains(told)), "{doubts:?}");
        }
    }
}
