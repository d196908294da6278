//! The logs of a node: made, opened once each, found, closed and removed.

use std::sync::Arc;

use longshore_format::{Content, ErrorKind, Name, SegmentSize};
use longshore_storage::{Directory, Environment};
use longshore_wal::{Consumer, CreateSpec, FollowerSpec, Recovery, Role, Settings as WalSettings, Wal};

use super::{Node, parse_name};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::log::Log;

impl Node {
    pub(crate) fn create(&self, name: &str, content: Content, segment_size: Option<SegmentSize>) -> Result<Arc<Log>> {
        let name = parse_name("log", name)?;
        self.must_write(&name)?;
        let segment_size = match segment_size {
            Some(size) => size,
            None => SegmentSize::new(self.inner.settings.log.segment_size.0).expect("checked with the settings"),
        };
        if self.present()?.contains(&name) {
            return Err(Error::LogExists { log: name, dir: self.inner.data_dir.clone() });
        }
        let spec = CreateSpec { log: None, content, segment_size };
        Wal::create(self.directory_of(&name)?, &*self.inner.environment, &spec)?;
        self.open(name.as_str())
    }

    /// Makes a follower's log and opens it.
    pub(crate) fn create_follower(&self, name: &Name, spec: &FollowerSpec) -> Result<Arc<Log>> {
        Wal::create_follower(self.directory_of(name)?, spec)?;
        self.open(name.as_str())
    }

    /// Opens a log; the same one if it is open already.
    pub(crate) fn open(&self, name: &str) -> Result<Arc<Log>> {
        // A node that can rejoin opens a log in the role it has there; one that cannot says what is wrong.
        let rejoins = self.inner.role == Role::Follower || !self.inner.settings.replica.upstreams.is_empty();
        self.open_by(name, if rejoins { Wal::open_in_role } else { Wal::open })
    }

    /// Opens a log by `open`, unless it is open already.
    pub(crate) fn open_by(
        &self,
        name: &str,
        open: impl FnOnce(Arc<dyn Directory>, Arc<dyn Environment>, WalSettings) -> longshore_wal::Result<(Wal, Recovery)>,
    ) -> Result<Arc<Log>> {
        let name = parse_name("log", name)?;
        // Held throughout, so that two callers cannot open one log twice.
        let mut logs = self.inner.logs_mut();
        if let Some(log) = logs.get(&name) {
            return Ok(Arc::clone(log));
        }
        if !self.present()?.contains(&name) {
            return Err(self.no_log(&name));
        }
        let inner = &self.inner;
        let directory = self.directory_of(&name)?;
        let (wal, recovery) = open(directory, Arc::clone(&inner.environment), self.wal_settings())?;
        if inner.archive.get().is_some() {
            // Until the stores have said what they have, they have nothing.
            wal.hold(Consumer::Archive, Some(wal.first()));
        }
        inner.events.raise(Event::Opened { log: name.clone(), end: recovery.end, cut: recovery.cut_bytes });
        let log = Log::start(
            name.clone(),
            wal,
            &inner.settings,
            inner.events.clone(),
            Arc::clone(&inner.environment),
            inner.data_dir.clone(),
            Arc::clone(&inner.sources),
        );
        if self.access().is_some() {
            // Before the node listens nobody knows who may replicate; then it is done for all logs.
            self.declare_policy(&log)?;
        }
        self.start_archiving(&log);
        logs.insert(name, Arc::clone(&log));
        Ok(log)
    }

    /// Closes one log and no longer holds it.
    pub(crate) fn close_log(&self, name: &Name) -> Result<()> {
        let log = self.inner.logs_mut().remove(name);
        log.map_or(Ok(()), |log| log.end())
    }

    /// Removes a closed log, durably.
    pub(crate) fn discard_log(&self, name: &Name) -> Result<()> {
        let place = self.inner.data_dir.join(name.as_str());
        // A name that no log can have: what a crash leaves is no log.
        let discarded = place.with_extension("discarded");
        let failed = |error| Error::io("remove the log", &place, error);
        match std::fs::remove_dir_all(&discarded) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        std::fs::rename(&place, &discarded).map_err(failed)?;
        self.inner.directory.sync().map_err(failed)?;
        std::fs::remove_dir_all(&discarded).map_err(failed)
    }

    /// The logs whose directories are there, open or not.
    pub(crate) fn present(&self) -> Result<Vec<Name>> {
        let entries = self.inner.directory.list();
        let entries = entries.map_err(|error| Error::io("list the data directory", &self.inner.data_dir, error))?;
        let names = entries.iter().filter(|entry| entry.directory).filter_map(|entry| Name::new(&entry.name).ok());
        let held = |name: &Name| {
            let directory = self.inner.directory.open_subdir(name.as_str()).ok()?;
            let has_files = directory.list().ok()?.iter().any(|entry| entry.regular);
            Some(has_files && !Wal::is_unfinished(&directory).ok()?)
        };
        // An empty directory is none: it is what a mount point looks like when nothing is mounted. Nor is what a creation left that
        // was killed: the next one goes over it.
        Ok(names.filter(|name| held(name).unwrap_or(true)).collect())
    }

    pub(crate) fn get(&self, name: &Name) -> Option<Arc<Log>> {
        self.inner.logs().get(name).cloned()
    }

    /// The open log of that name, or why there is none.
    pub(crate) fn require(&self, name: &Name) -> Result<Arc<Log>> {
        self.get(name).ok_or_else(|| self.not_open(name))
    }

    pub(crate) fn logs(&self) -> Vec<Arc<Log>> {
        self.inner.open_logs()
    }

    /// Refuses what only the log's writer may do. Of a log that is not open, the node's own role says who that is.
    pub(crate) fn must_write(&self, log: &Name) -> Result<()> {
        let here = self.get(log);
        match here.as_ref().map_or(self.inner.role, |log| log.wal.role()) {
            Role::Writer => Ok(()),
            Role::Follower => {
                let writer = here.and_then(|log| log.upstream.path().pop());
                Err(Error::NotPrimary { log: log.clone(), writer })
            }
        }
    }

    pub(crate) fn directory_of(&self, name: &Name) -> Result<Arc<dyn Directory>> {
        let place = self.inner.data_dir.join(name.as_str());
        self.inner.directory.subdir(name.as_str()).map_err(|error| Error::io("use the log directory", &place, error))
    }

    /// A log that is here and not open is about to be: it changes hands, or a copy is put in its place.
    fn not_open(&self, name: &Name) -> Error {
        if !self.present().is_ok_and(|names| names.contains(name)) {
            return self.no_log(name);
        }
        let reason = format!("log {name} is closed for a moment, while its role or its copy here changes; try again");
        Error::Refused { kind: ErrorKind::Unavailable, reason, at: None }
    }

    fn no_log(&self, name: &Name) -> Error {
        Error::NoLog { log: name.clone(), dir: self.inner.data_dir.clone() }
    }
}
