//! The whole database at a position of its log, while the application goes on writing.

use std::time::{Duration, Instant};

use longshore_apply::{DatabaseImage, SnapshotError};
use longshore_format::Lsn;

use super::Capture;
use super::attach::connect;
use super::copy::max_payload;
use super::view::{View, published};
use crate::error::Error;
use crate::pages::{Commit, ImageRun};
use crate::shm::WalFile;

/// A snapshot of SQLite's own, and the position of the log that it is. As long as it lives the `-wal` cannot begin anew.
#[derive(Debug)]
pub(super) struct PagesImage {
    /// Holds the read mark.
    reader: WalFile,
    view: View,
    position: Lsn,
    run: ImageRun,
}

/// How long an application may be at a transaction of its own before the snapshot is given up.
const PATIENCE: Duration = Duration::from_secs(10);

impl Capture {
    /// Begins a snapshot: writers are held up for the little that is not in the log yet.
    pub(super) fn snapshot(&mut self) -> Result<PagesImage, Error> {
        let reader = connect(&self.path)?;
        let mut reader = Some(reader);
        let until = Instant::now() + PATIENCE;
        let image = loop {
            let begun = self.held(|capture, _| {
                capture.copy(Duration::ZERO)?;
                capture.begin_image(reader.take().ok_or(Error::NotCaptured)?)
            })?;
            match begun {
                Some(image) => break image,
                None if until <= Instant::now() => return Err(Error::NotCaptured),
                None => {}
            }
        };
        self.log.wait_blocking(image.position, None).map_err(Error::Log)?;
        Ok(image)
    }

    fn begin_image(&self, reader: WalFile) -> Result<PagesImage, Error> {
        reader.connection().execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")?;
        let (index, backfill) = published(&self.guard, self.size)?;
        let mut view = self.view.of_its_own()?;
        if index.max_frame <= backfill {
            // All is in the database file, and the next writer may begin the -wal anew: this snapshot does not look at it.
            view.frames.clear();
        }
        let commit = Commit { pages: self.shipped.pages(), place: self.shipped.place };
        let run = ImageRun::new(self.size, max_payload(&self.log), commit);
        Ok(PagesImage { reader, view, position: self.shipped.lsn, run })
    }
}

impl DatabaseImage for PagesImage {
    fn position(&self) -> Lsn {
        self.position
    }

    fn next_payload(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        let PagesImage { reader, view, run, .. } = self;
        Ok(run.next(|page, bytes| view.page(reader, page, bytes).map(drop))?)
    }
}
