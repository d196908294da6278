//! Where a replay goes: a file that appears when it is complete, or a stream.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_apply::{Check, Failure, FileOutput, Held, Partial, Plan, Sink, SinkError};
use longshore_format::{Content, ErrorKind};

use crate::error::{Error, Result};

/// Where a replay goes.
#[derive(Clone)]
pub enum Output {
    /// A file, made as `PATH.partial` and renamed once it is complete, synced and checked.
    File {
        /// What kind of file.
        format: Arc<dyn FileOutput>,
        /// Its path.
        path: PathBuf,
    },
    /// Anything else: the sink of a stream or a program, made anew for each replay.
    Stream(Arc<dyn Fn() -> Box<dyn Sink> + Send + Sync>),
}

impl Output {
    /// A file at `path`.
    pub fn file(format: impl FileOutput + 'static, path: impl AsRef<Path>) -> Output {
        Output::File { format: Arc::new(format), path: path.as_ref().to_owned() }
    }

    /// The sinks that `make` makes.
    pub fn stream(make: impl Fn() -> Box<dyn Sink> + Send + Sync + 'static) -> Output {
        Output::Stream(Arc::new(make))
    }

    /// What it calls itself in messages: `sqlite:PATH`, `exec:python3`.
    pub fn label(&self) -> String {
        match self {
            Output::File { format, path } => format!("{}:{}", format.scheme(), path.display()),
            Output::Stream(make) => make().name(),
        }
    }

    /// Refuses a file that exists, as nothing is ever overwritten; and one beside which something lies that would be taken for a
    /// part of it, as the `-wal` of a database that was moved away.
    ///
    /// # Errors
    /// `Busy`, naming the file.
    pub fn check_free(&self) -> Result<()> {
        let Output::File { path, format } = self else { return Ok(()) };
        if Partial::of(path).is_taken() {
            return Err(exists(path));
        }
        match format.parts_beside(path).into_iter().find(|part| part.exists()) {
            Some(part) => Err(left_beside(path, &part)),
            None => Ok(()),
        }
    }

    /// Refuses a content that the output cannot take; a program or stream is asked when it is opened.
    ///
    /// # Errors
    /// `Invalid`, saying what the log holds.
    pub fn check_content(&self, content: Content) -> Result<()> {
        match self {
            Output::File { format, .. } => format.check_content(content).map_err(|failure| self.failed(failure)),
            Output::Stream(_) => Ok(()),
        }
    }

    /// Whether it can begin with a snapshot of a log of this content instead of the log's first record.
    pub fn takes_snapshot(&self, content: Content) -> bool {
        match self {
            Output::File { format, .. } => format.takes_snapshot(content),
            Output::Stream(make) => make().takes_image(content),
        }
    }

    /// Whether a part of a log can be given to it alone.
    pub(super) fn takes_parts(&self) -> bool {
        match self {
            Output::File { format, .. } => format.takes_parts(),
            Output::Stream(_) => true,
        }
    }

    /// What an interrupted replay has left, without changing it.
    pub(super) fn held(&self) -> Result<Option<Held>> {
        match self {
            Output::File { format, path } => {
                let partial = Partial::of(path);
                format.held(partial.partial()).map_err(|failure| self.unusable(&partial, failure))
            }
            Output::Stream(_) => Ok(None),
        }
    }

    /// The sink that a restore writes to.
    pub(super) fn sink(&self) -> Box<dyn Sink> {
        match self {
            Output::File { format, path } => format.sink(Partial::of(path).partial()),
            Output::Stream(make) => make(),
        }
    }

    /// The sink that follows, once the restored file has its name.
    pub(super) fn live_sink(&self) -> Box<dyn Sink> {
        match self {
            Output::File { format, path } => format.sink(path),
            Output::Stream(make) => make(),
        }
    }

    pub(super) fn expected(&self, plan: &Plan) -> Option<Duration> {
        match self {
            Output::File { format, .. } => Some(format.rate().time_for(plan)),
            Output::Stream(_) => None,
        }
    }

    /// Checks the restored file and gives it its name.
    pub(super) fn complete(&self, check: Check) -> Result<()> {
        let Output::File { format, path } = self else { return Ok(()) };
        let partial = Partial::of(path);
        if let Err(failure) = format.complete(partial.partial(), check) {
            if failure.failure() == Failure::Check {
                // Kept for whoever looks into it, and out of the way of the next run.
                let mut damaged = path.clone().into_os_string();
                damaged.push(".damaged");
                std::fs::rename(partial.partial(), damaged).map_err(|error| Error::io("rename", path, error))?;
            }
            return Err(self.failed(failure));
        }
        partial.complete().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => Error::io("complete", path, error),
        })
    }

    /// The error that a target is to what an interrupted replay has left: another one may have been its target.
    pub(super) fn of_leftover(&self, error: Error) -> Error {
        let kind = error.kind();
        match self {
            Output::File { path, .. }
                if matches!(kind, ErrorKind::Unreachable | ErrorKind::TooOld | ErrorKind::Diverged) =>
            {
                let partial = Partial::of(path).partial().display().to_string();
                let reason = format!(
                    "{error}. {partial} is of an interrupted replay, which is gone on with: remove {partial}* to begin anew"
                );
                Error::Refused { kind, reason, at: None }
            }
            _ => error,
        }
    }

    pub(super) fn failed(&self, failure: SinkError) -> Error {
        longshore_apply::Error::SinkOpen { sink: self.label(), failure }.into()
    }

    fn unusable(&self, partial: &Partial, failure: SinkError) -> Error {
        let reason = format!("{failure}; to start over, remove {}", partial.partial().display());
        Error::Refused { kind: failure.kind(), reason, at: None }
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Output({})", self.label())
    }
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn exists(path: &Path) -> Error {
    let reason = format!("{} exists; name another output, or move it away", path.display());
    Error::Refused { kind: ErrorKind::Busy, reason, at: None }
}

fn left_beside(path: &Path, part: &Path) -> Error {
    let (path, part) = (path.display(), part.display());
    let reason = format!(
        "{part} is left of another file, and would be taken for a part of {path} as soon as that is opened; move it to where that \
         file is now, or name another output"
    );
    Error::Refused { kind: ErrorKind::Busy, reason, at: None }
}
