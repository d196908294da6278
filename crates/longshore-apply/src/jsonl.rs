//! JSON lines: to a file that resumes where it ends, or to any stream.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use longshore_format::{Lsn, Record};

use crate::json;
use crate::sink::{Failure, Held, LogFacts, RunEnd, Sink, SinkError};
use crate::tail::{self, Tail, WINDOW};

/// One line per record ([`json`]), appended to a file.
///
/// The file alone says what it holds: the last line that ends a run. On opening, whatever follows that
/// line (a torn line, a run without its end, the holes of a power cut) is cut off. A file that is not
/// JSON lines of records is refused and left alone. Created with mode 0600; locked while open.
#[derive(Debug)]
pub struct JsonLinesFile {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Where the buffer goes.
    len: u64,
    buffer: String,
    /// Written since the last sync.
    unsynced: u64,
    committed: Option<Lsn>,
    durable: Option<Lsn>,
}

impl JsonLinesFile {
    /// A sink for the file at `path`, which is created when it is opened.
    pub fn new(path: impl AsRef<Path>) -> Self {
        JsonLinesFile { path: path.as_ref().to_owned(), open: None }
    }

    /// What the file holds, without changing it.
    pub(crate) fn held(&self) -> Result<Option<Held>, SinkError> {
        match File::open(&self.path) {
            Ok(file) => self.tail(&file).map(|tail| tail.held),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SinkError::io(self.name(), error)),
        }
    }

    fn tail(&self, file: &File) -> Result<Tail, SinkError> {
        tail::find(file).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => SinkError::new(
                Failure::Corrupt,
                format!("{}: {error}; name another file, or move this one away", self.name()),
            ),
            _ => SinkError::io(self.name(), error),
        })
    }

    fn lock(&self) -> Result<File, SinkError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(&self.path).map_err(|error| SinkError::io(self.name(), error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(SinkError::new(
                Failure::Busy,
                format!("{}: another process writes to it; stop that one first", self.name()),
            )),
            Err(TryLockError::Error(error)) => Err(SinkError::io(self.name(), error)),
        }
    }

    fn with_open<T>(&mut self, work: impl FnOnce(&mut Open) -> io::Result<T>) -> Result<T, SinkError> {
        let open = self.open.as_mut().expect("a sink is opened before anything else");
        work(open).map_err(|error| SinkError::io(format!("jsonl:{}", self.path.display()), error))
    }
}

impl Open {
    fn write(&mut self) -> io::Result<()> {
        self.file.write_all_at(self.buffer.as_bytes(), self.len)?;
        self.len += self.buffer.len() as u64;
        self.unsynced += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.write()?;
        if self.unsynced > 0 {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        self.durable = self.committed;
        Ok(())
    }
}

impl Sink for JsonLinesFile {
    fn name(&self) -> String {
        format!("jsonl:{}", self.path.display())
    }

    fn open(&mut self, _log: &LogFacts) -> Result<Option<Held>, SinkError> {
        let file = self.lock()?;
        let tail = self.tail(&file)?;
        // The cut is durable before anything follows it, and so is the file's name.
        file.set_len(tail.len)
            .and_then(|()| file.sync_all())
            .and_then(|()| crate::fresh::sync_parent(&self.path))
            .map_err(|error| SinkError::io(self.name(), error))?;
        let lsn = tail.held.map(|held| held.lsn);
        let buffer = String::with_capacity(2 * BUFFER);
        let (len, unsynced) = (tail.len, 0);
        self.open = Some(Open { file, len, buffer, unsynced, committed: lsn, durable: lsn });
        Ok(tail.held)
    }

    fn begin(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        self.with_open(|open| {
            json::write_line(&mut open.buffer, record);
            if open.buffer.len() >= BUFFER {
                open.write()?;
            }
            if open.unsynced >= WINDOW {
                // Durable, but not yet a run: the position stays where it is.
                open.file.sync_data()?;
                open.unsynced = 0;
            }
            Ok(())
        })
    }

    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        self.with_open(|open| {
            open.committed = Some(run.lsn);
            Ok(())
        })
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        self.with_open(Open::sync)
    }

    fn durable(&self) -> Option<Lsn> {
        self.open.as_ref().and_then(|open| open.durable)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.sync()
    }
}

/// One line per record ([`json`]), to any stream: standard output, a socket.
///
/// It cannot say what it held before, so it is given the log from its beginning, and what is durable
/// is what the stream took.
pub struct JsonLinesStream<W> {
    name: String,
    stream: W,
    buffer: String,
    committed: Option<Lsn>,
    durable: Option<Lsn>,
}

impl JsonLinesStream<io::Stdout> {
    /// Lines to standard output.
    pub fn stdout() -> Self {
        JsonLinesStream::new("jsonl:-", io::stdout())
    }
}

impl<W: Write + Send> JsonLinesStream<W> {
    /// Lines to `stream`, called `name` in messages.
    pub fn new(name: impl Into<String>, stream: W) -> Self {
        let (name, buffer) = (name.into(), String::with_capacity(2 * BUFFER));
        JsonLinesStream { name, stream, buffer, committed: None, durable: None }
    }

    fn write(&mut self) -> Result<(), SinkError> {
        self.stream.write_all(self.buffer.as_bytes()).map_err(|error| SinkError::io(&self.name, error))?;
        self.buffer.clear();
        Ok(())
    }
}

impl<W: Write + Send> Sink for JsonLinesStream<W> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn open(&mut self, _log: &LogFacts) -> Result<Option<Held>, SinkError> {
        Ok(None)
    }

    fn begin(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), SinkError> {
        json::write_line(&mut self.buffer, record);
        if self.buffer.len() >= BUFFER { self.write() } else { Ok(()) }
    }

    fn commit(&mut self, run: &RunEnd) -> Result<(), SinkError> {
        self.committed = Some(run.lsn);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        self.write()?;
        self.stream.flush().map_err(|error| SinkError::io(&self.name, error))?;
        self.durable = self.committed;
        Ok(())
    }

    fn durable(&self) -> Option<Lsn> {
        self.durable
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.sync()
    }
}

/// Lines gather until there are this many bytes: one system call for hundreds of records.
const BUFFER: usize = 128 << 10;
