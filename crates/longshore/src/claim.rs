//! Who follows for a log: the dialler, or for a while somebody who needs what one node in particular has.

use tokio::sync::watch;

/// Whether the dialler is to leave a log alone.
#[derive(Debug)]
pub(crate) struct Claim(watch::Sender<bool>);

impl Default for Claim {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Claim {
    /// Has the dialler leave the log alone until what is returned is dropped; `None` if somebody claims it already.
    pub(crate) fn take(&self) -> Option<Claimed<'_>> {
        let taken = self.0.send_if_modified(|claimed| !std::mem::replace(claimed, true));
        taken.then_some(Claimed(self))
    }

    /// Whether somebody claims it.
    pub(crate) fn is_taken(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes once somebody claims it.
    pub(crate) async fn taken(&self) {
        let mut claimed = self.0.subscribe();
        // It cannot fail: the sender is borrowed.
        let _taken = claimed.wait_for(|claimed| *claimed).await;
    }
}

/// A claim that is held.
pub(crate) struct Claimed<'a>(&'a Claim);

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.0.0.send_replace(false);
    }
}
