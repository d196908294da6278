//! The policies that hold where an archive ends. Their records may lie in segments that a copy does not begin with, so the
//! manifest says them, too: a node that took its log from an archive and is to be promoted must know whom to fence.

use longshore_format::{Control, Lsn, Policy};
use serde::{Deserialize, Serialize};

use super::{Manifest, hex, unhex};

/// A policy of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PolicyEntry {
    /// Where its record ends.
    end: u64,
    /// The record's payload, as hexadecimal digits.
    record: String,
}

/// As the manifest has them. One that cannot be a record is none of the log.
pub(super) fn entries(policies: &[(Lsn, Policy)]) -> Vec<PolicyEntry> {
    let entry =
        |(end, policy): &(Lsn, Policy)| Some(PolicyEntry { end: end.get(), record: hex(&policy.encode().ok()?) });
    policies.iter().filter_map(entry).collect()
}

impl Manifest {
    /// The policies, oldest first, each with where its record ends; `None` if they cannot be a log's.
    pub(super) fn policies(&self) -> Option<Vec<(Lsn, Policy)>> {
        let in_order = self.policies.windows(2).all(|pair| pair[0].end < pair[1].end);
        let policy = |entry: &PolicyEntry| Some((Lsn::new(entry.end), Policy::decode(&unhex(&entry.record)?)?));
        let few = self.policies.len() <= Control::POLICIES_LIMIT;
        (few && in_order).then(|| self.policies.iter().map(policy).collect())?
    }

    /// Takes over what the log knows up to where it is archived. A log that began without knowing of any adds to what is there;
    /// one that has forgotten what held there leaves nothing that it may be mistaken for.
    pub(crate) fn know_policies(&mut self, known: Option<Vec<(Lsn, Policy)>>) {
        let Some(known) = known else { return self.policies.clear() };
        if let Some((first, _)) = known.first() {
            self.policies.retain(|entry| entry.end < first.get());
            self.policies.extend(entries(&known));
        }
        let over = self.policies.len().saturating_sub(Control::POLICIES_LIMIT);
        self.policies.drain(..over);
    }

    /// Forgets the policies of what lies beyond a position.
    pub(super) fn cut_policies(&mut self, at: Lsn) {
        let left = self.policies().and_then(|policies| Control::policies_at(&policies, at).map(entries));
        self.policies = left.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use longshore_format::{Name, Shortfall};

    use super::super::tests::manifest;
    use super::*;

    fn policy(durability: &str) -> Policy {
        let writer = Name::new("eu").unwrap();
        Policy {
            writer,
            durability: durability.to_owned(),
            shortfall: Shortfall::Block,
            degraded: false,
            voters: Vec::new(),
        }
    }

    fn at(ends: &[u64]) -> Vec<(Lsn, Policy)> {
        ends.iter().map(|end| (Lsn::new(*end), policy(&format!("replicas:{end}")))).collect()
    }

    fn ends(manifest: &Manifest) -> Vec<u64> {
        manifest.policies().unwrap().iter().map(|(end, _)| end.get()).collect()
    }

    #[test]
    fn what_is_known_is_added_and_the_newest_are_kept() {
        for (there, known, left) in [
            (&[][..], Some(&[][..]), &[][..]),
            (&[], Some(&[10, 20]), &[10, 20]),
            // Whoever began later knows nothing of those before.
            (&[10, 20], Some(&[]), &[10, 20]),
            (&[10, 20], Some(&[30]), &[10, 20, 30]),
            (&[10, 20], Some(&[20, 30]), &[10, 20, 30]),
            (&[10, 20, 30], Some(&[40, 50]), &[20, 30, 40, 50]),
            // Of another branch, and then of this one.
            (&[10, 25], Some(&[20, 30]), &[10, 20, 30]),
            (&[10, 20], None, &[]),
        ] {
            let mut manifest = manifest();
            manifest.know_policies(Some(at(there)));
            manifest.know_policies(known.map(at));
            assert_eq!(ends(&manifest), left, "{there:?} and {known:?}");
        }
    }

    #[test]
    fn a_cut_forgets_what_lies_beyond_and_what_it_can_no_longer_tell() {
        for (there, cut, left) in [
            (&[10, 20][..], 20, &[10, 20][..]),
            (&[10, 20], 19, &[10]),
            (&[10, 20], 9, &[]),
            (&[10, 20, 30, 40], 29, &[10, 20]),
            (&[10, 20, 30, 40], 19, &[]),
        ] {
            let mut manifest = manifest();
            manifest.know_policies(Some(at(there)));
            manifest.cut_policies(Lsn::new(cut));
            assert_eq!(ends(&manifest), left, "{there:?} cut at {cut}");
        }
    }

    #[test]
    fn a_manifest_from_before_there_were_any_has_none_and_no_damage_to_them_panics() {
        let mut whole = manifest();
        let before = serde_json::to_string(&whole).unwrap();
        assert!(!before.contains("policies"), "{before}");
        assert_eq!(serde_json::from_str::<Manifest>(&before).unwrap().facts().unwrap().policies, []);

        whole.know_policies(Some(at(&[10, 20])));
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap().facts().unwrap().policies, at(&[10, 20]));
        let begins = text.find("policies").unwrap();
        let (mut refused, mut other) = (0, 0);
        for index in begins..text.len() {
            for byte in *b"0f\"}],-" {
                let mut bytes = text.clone().into_bytes();
                bytes[index] = byte;
                let read = serde_json::from_slice::<Manifest>(&bytes);
                match read.map(|manifest| manifest.facts()) {
                    Ok(Ok(facts)) => other += u32::from(facts.policies != at(&[10, 20])),
                    Ok(Err(_)) | Err(_) => refused += 1,
                }
            }
        }
        assert!(0 < refused && 0 < other, "{refused} refused, {other} read as another policy");
    }

    #[test]
    fn more_policies_than_a_log_keeps_or_others_than_in_order_are_refused() {
        for ends in [&[10, 20, 30, 40, 50][..], &[20, 10], &[10, 10]] {
            let manifest = Manifest { policies: entries(&at(ends)), ..manifest() };
            assert!(manifest.facts().is_err(), "{ends:?}");
        }
    }
}
