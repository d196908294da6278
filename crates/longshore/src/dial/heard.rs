//! Which logs were told of an epoch since a line has looked last.

use std::collections::BTreeMap;

use longshore_format::Name;

/// How often each log was told of an epoch, as far as a line has looked.
pub(super) struct Heard(BTreeMap<Name, u64>);

impl Heard {
    /// Everything until now is known.
    pub(super) fn new(counts: &BTreeMap<Name, u64>) -> Self {
        Self(counts.clone())
    }

    /// The logs that were told since the last look.
    pub(super) fn news(&mut self, counts: &BTreeMap<Name, u64>) -> Vec<Name> {
        let is_new = |(log, count): &(&Name, &u64)| self.0.get(*log) != Some(*count);
        let news = counts.iter().filter(is_new).map(|(log, _)| log.clone()).collect();
        self.0.clone_from(counts);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs() -> [Name; 2] {
        ["a", "b"].map(|name| name.parse().unwrap())
    }

    #[test]
    fn only_logs_that_were_told_since_are_news() {
        let [a, b] = logs();
        let mut counts = BTreeMap::from([(a.clone(), 3)]);
        let mut heard = Heard::new(&counts);
        assert!(heard.news(&counts).is_empty());
        counts.insert(b.clone(), 1);
        assert_eq!(heard.news(&counts), std::slice::from_ref(&b));
        counts.insert(a.clone(), 5);
        assert_eq!(heard.news(&counts), [a]);
        assert!(heard.news(&counts).is_empty());
    }
}
