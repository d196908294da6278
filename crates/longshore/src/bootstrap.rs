//! Logs that a node does not hold yet, begun with what an archive holds of them.

use std::sync::Arc;

use longshore_archive::keys::KeyProvider;
use longshore_archive::{Archive, Store, Until};
use longshore_format::{ErrorKind, Name};

use crate::error::{Error, Result};
use crate::node::Node;

impl Node {
    /// Fetches every log that the stores hold and this node does not, and opens it: what was written since comes from the
    /// upstream, which sends nothing that is here. Interrupted, it goes on where it was when it is called again.
    ///
    /// # Errors
    /// `Invalid` on a primary, whose logs are its own; as [`Archive::fetch`].
    pub async fn fetch_logs(&self, stores: &[Store], keys: Option<Arc<dyn KeyProvider>>) -> Result<Vec<Name>> {
        let mut wanted = Vec::new();
        for store in stores {
            wanted.extend(longshore_archive::list(store, keys.as_deref()).await?.into_iter().map(|log| log.name));
        }
        wanted.sort();
        wanted.dedup();
        let present = self.present()?;
        wanted.retain(|name| !present.contains(name));
        for name in &wanted {
            self.fetch_log(stores, name, keys.clone()).await?;
        }
        Ok(wanted)
    }

    async fn fetch_log(&self, stores: &[Store], name: &Name, keys: Option<Arc<dyn KeyProvider>>) -> Result<()> {
        if self.must_write(name).is_ok() {
            return Err(Error::Refused {
                kind: ErrorKind::Invalid,
                reason: format!("log {name} would be begun from an archive by a primary, whose logs are its own"),
                at: None,
            });
        }
        let archive = Archive::open(stores, name, keys).await?;
        let plan = archive.plan(Until::End)?;
        // A name that no log can have, until all of it is here.
        let (place, partial) = (self.data_dir().join(name.as_str()), self.data_dir().join(format!("{name}.fetching")));
        tracing::info!(log = %name, store = plan.store, end = %plan.end, bytes = plan.bytes, "fetching a log from the archive");
        archive.fetch(&plan, &partial, |_| {}).await?;
        let failed = |error| Error::io("put a fetched log in its place", &place, error);
        std::fs::rename(&partial, &place).map_err(failed)?;
        self.directory().sync().map_err(failed)?;
        self.open(name.as_str()).map(|_| ())
    }
}
