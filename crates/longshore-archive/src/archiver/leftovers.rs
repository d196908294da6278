//! What puts have left in a store that were killed, or failed.

use std::time::Duration;

use longshore_format::Name;
use tokio::time::Instant;

use crate::store::Store;

/// What is left of a put is nobody's any more when it is so old: the longest object takes a quarter of an hour, in parts that
/// the client gives up after a minute.
const OLD: Duration = Duration::from_secs(3600);

/// When a store is looked through for what is old: when archiving begins, and an hour later, as what a kill just before that has left
/// is old then; so is what fails meanwhile. Never while all goes well: listings cost as much as puts.
pub(super) struct Leftovers {
    /// `None` if nothing is expected.
    due: Option<Instant>,
}

impl Leftovers {
    pub(super) async fn at_the_beginning(store: &Store, log: &Name) -> Leftovers {
        let mut leftovers = Leftovers { due: Some(Instant::now()) };
        leftovers.remove_due(store, log).await;
        Leftovers { due: Some(Instant::now() + OLD) }
    }

    /// A put has failed.
    pub(super) fn expect(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + OLD);
    }

    /// Removes what is old, if it is time for that. Dropped, or where the store does not answer, it is done another time.
    pub(super) async fn remove_due(&mut self, store: &Store, log: &Name) {
        if self.due.is_none_or(|due| Instant::now() < due) {
            return;
        }
        match store.killed_puts(log.as_str(), OLD, false).await {
            Ok(_) => self.due = None,
            Err(error) => {
                tracing::warn!(store = store.label(), %log, %error, "what killed puts have left stays");
                self.due = Some(Instant::now() + OLD);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::SystemTime;

    use tokio::time::advance;

    use super::*;

    /// A file that a put has left. Its age is by the machine's clock, which does not move with the test's.
    fn left(place: &tempfile::TempDir, name: &str, age: Duration) -> PathBuf {
        std::fs::create_dir_all(place.path().join("app")).unwrap();
        let path = place.path().join("app").join(name);
        std::fs::File::create(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        path
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_old_goes_at_the_beginning_an_hour_later_and_after_what_failed() {
        let (place, log) = (tempfile::tempdir().unwrap(), "app".parse().unwrap());
        let store = Store::open(&format!("file://{}", place.path().display())).unwrap();
        let (old, new) = (left(&place, "old#1", OLD), left(&place, "new#1", Duration::ZERO));
        let mut leftovers = Leftovers::at_the_beginning(&store, &log).await;
        assert!(!old.exists() && new.exists());
        // Each time: what happens before, and whether it is gone then.
        for (fails, hours, gone) in
            [(false, 0, false), (false, 1, true), (false, 1, false), (true, 0, false), (true, 1, true)]
        {
            let old = left(&place, "old#2", OLD);
            if fails {
                leftovers.expect();
            }
            advance(OLD * hours).await;
            leftovers.remove_due(&store, &log).await;
            assert_eq!(old.exists(), !gone, "{fails} {hours}");
        }
        assert!(new.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_looked_through_another_time() {
        let (place, log) = (tempfile::tempdir().unwrap(), "app".parse().unwrap());
        let store = Store::open(&format!("file://{}", place.path().display())).unwrap();
        let mut leftovers = Leftovers::at_the_beginning(&store, &log).await;
        advance(OLD).await;
        // A file where the log's directory would be cannot be looked through.
        std::fs::write(place.path().join("app"), "").unwrap();
        leftovers.remove_due(&store, &log).await;
        std::fs::remove_file(place.path().join("app")).unwrap();
        let old = left(&place, "old#1", OLD);
        advance(OLD).await;
        leftovers.remove_due(&store, &log).await;
        assert!(!old.exists());
    }
}
