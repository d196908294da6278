//! What `sqlite:PATH` means for a log: which of the two ways it is applied.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_apply::{DatabaseImage, Failure, Held, LogFacts, RunEnd, Sink, SinkError};
use longshore_format::{Content, Lsn, Record};
use longshore_wal::Wal;

use crate::log_database::LogDatabase;
use crate::page_sink::PageSink;
use crate::sink::SqlSink;

/// A SQLite database that a log of content `sql` or `sqlite-pages` is applied to: a [`SqlSink`] or a [`PageSink`], as the log
/// is when it is opened.
///
/// ```
/// use longshore_apply::{LogFacts, Sink};
/// use longshore_format::{Content, LogId};
/// use longshore_sqlite::SqliteSink;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("orders.db");
/// let mut sink = SqliteSink::new(path);
/// assert_eq!(sink.open(&LogFacts { id: LogId::from_bytes([1; 16]), content: Content::SqlitePages })?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SqliteSink {
    path: PathBuf,
    database: Option<Arc<LogDatabase>>,
    log: Option<Wal>,
    chosen: Option<Box<dyn Sink>>,
}

impl SqliteSink {
    /// A sink for the database at `path`, made with mode 0600 if it is not there.
    pub fn new(path: impl AsRef<Path>) -> SqliteSink {
        SqliteSink { path: path.as_ref().to_owned(), database: None, log: None, chosen: None }
    }

    /// A sink for a database that is captured while this node writes the log, if that is one of pages.
    pub fn of(database: Arc<LogDatabase>) -> SqliteSink {
        SqliteSink { path: database.path().to_owned(), database: Some(database), log: None, chosen: None }
    }

    /// The log that is applied to it, which says whether somebody wrote the database where that is not as it was left.
    pub fn held_against(self, log: Wal) -> SqliteSink {
        SqliteSink { log: Some(log), ..self }
    }

    fn chosen(&mut self) -> &mut dyn Sink {
        self.chosen.as_mut().expect("a sink is opened before anything else")
    }
}

impl Sink for SqliteSink {
    fn name(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    fn open(&mut self, log: &LogFacts) -> Result<Option<Held>, SinkError> {
        check_content(&self.name(), log.content)?;
        let mut chosen: Box<dyn Sink> = match log.content {
            Content::SqlitePages => match &self.database {
                Some(database) => Box::new(PageSink::of(Arc::clone(database)).held_against(self.log.clone())),
                None => Box::new(PageSink::new(&self.path)),
            },
            _ => Box::new(SqlSink::new(&self.path)),
        };
        let held = chosen.open(log)?;
        self.chosen = Some(chosen);
        Ok(held)
    }

    fn takes_image(&self, content: Content) -> bool {
        content == Content::SqlitePages
    }

    fn begin(&mut self) -> Result<(), SinkError> {
        self.chosen().begin()
    }

    fn begin_image(&mut self) -> Result<(), SinkError> {
        self.chosen().begin_image()
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        self.chosen().record(record)
    }

    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        self.chosen().commit(run)
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        self.chosen().sync()
    }

    fn durable(&self) -> Option<Lsn> {
        self.chosen.as_ref().and_then(|chosen| chosen.durable())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.chosen().finish()
    }

    fn is_astray(&self) -> bool {
        self.chosen.as_ref().is_some_and(|chosen| chosen.is_astray())
    }

    fn withhold(&mut self) -> Result<(), SinkError> {
        self.chosen().withhold()
    }

    fn held_image(&mut self) -> Result<Option<Box<dyn DatabaseImage>>, SinkError> {
        self.chosen().held_image()
    }

    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        self.chosen.as_ref().and_then(|chosen| chosen.interrupter())
    }
}

/// Refuses what no database can be made of, and names what takes it.
pub(crate) fn check_content(name: &str, content: Content) -> Result<(), SinkError> {
    match content {
        Content::Sql | Content::SqlitePages => Ok(()),
        _ => {
            let message = format!(
                "{name} takes logs of content sql and sqlite-pages, this one holds {content}; apply it with jsonl:PATH or \
                 exec:CMD"
            );
            Err(SinkError::new(Failure::Content, message))
        }
    }
}
