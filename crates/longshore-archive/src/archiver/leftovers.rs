//! What puts have left in a store that were killed.

use std::time::Duration;

use longshore_format::Name;
use tokio::time::Instant;

use crate::store::Store;

/// So long nobody has written to what is left of a put that was killed: one segment takes minutes at most.
pub(super) const KILLED: Duration = Duration::from_secs(3600);

/// When it is removed: when archiving begins, and once more when what a kill just before that has left is old enough.
pub(super) struct Leftovers {
    again: Option<Instant>,
}

impl Leftovers {
    /// Removes what is old now.
    pub(super) async fn remove(store: &Store, log: &Name) -> Leftovers {
        sweep(store, log).await;
        Leftovers { again: Some(Instant::now() + KILLED) }
    }

    /// Removes what is old now, if it is time for that.
    pub(super) async fn remove_again(&mut self, store: &Store, log: &Name) {
        if self.again.take_if(|again| *again <= Instant::now()).is_some() {
            sweep(store, log).await;
        }
    }
}

async fn sweep(store: &Store, log: &Name) {
    if let Err(error) = store.killed_puts(log.as_str(), KILLED, false).await {
        tracing::warn!(store = store.label(), %log, %error, "what killed puts have left stays");
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_kill_has_left_just_before_archiving_begins_goes_when_it_is_old() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}", place.path().display())).unwrap();
        let log: Name = "app".parse().unwrap();
        std::fs::create_dir(place.path().join("app")).unwrap();
        // A file's age is by the machine's clock, which does not move with the test's.
        let left = |name: &str, age: Duration| {
            let path = place.path().join("app").join(name);
            std::fs::File::create(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
            path
        };
        let (old, new) = (left("old#1", KILLED), left("new#1", Duration::ZERO));
        let mut leftovers = Leftovers::remove(&store, &log).await;
        assert!(!old.exists() && new.exists());
        let old = left("old#2", KILLED);
        leftovers.remove_again(&store, &log).await;
        assert!(old.exists(), "nobody looks all the time");
        tokio::time::advance(KILLED).await;
        leftovers.remove_again(&store, &log).await;
        assert!(!old.exists() && new.exists());
        let old = left("old#3", KILLED);
        tokio::time::advance(KILLED).await;
        leftovers.remove_again(&store, &log).await;
        assert!(old.exists(), "that was once");
    }
}
