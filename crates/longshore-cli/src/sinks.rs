//! Sinks as they are written on the command line: `sqlite:PATH`, `jsonl:PATH`, `exec:CMD`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use longshore::{Content, Name, OfferSnapshots, OpenSink, Output};
use longshore_apply::{ExecSink, ExecSpec, JsonLinesFile, JsonLinesOutput, JsonLinesStream, Sink, Snapshotter};
use longshore_sqlite::{ReplicaSnapshotter, SqliteOutput, SqliteSink};

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SinkSpec {
    Sqlite(PathBuf),
    JsonLines(PathBuf),
    /// `jsonl:-`
    Stdout,
    Exec(ExecSpec, String),
}

/// A sink, and the log it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Apply {
    pub(crate) log: Option<Name>,
    pub(crate) sink: SinkSpec,
}

impl SinkSpec {
    /// A new sink, not opened yet.
    pub(crate) fn make(&self) -> Box<dyn Sink> {
        match self {
            SinkSpec::Sqlite(path) => Box::new(SqliteSink::new(path)),
            SinkSpec::JsonLines(path) => Box::new(JsonLinesFile::new(path)),
            SinkSpec::Stdout => Box::new(JsonLinesStream::stdout()),
            SinkSpec::Exec(spec, _) => Box::new(ExecSink::new(spec.clone())),
        }
    }

    /// Whether a file is there already.
    pub(crate) fn is_there(&self) -> bool {
        match self {
            SinkSpec::Sqlite(path) | SinkSpec::JsonLines(path) => path.exists(),
            SinkSpec::Stdout | SinkSpec::Exec(..) => false,
        }
    }

    /// Where a replay goes: a file appears once it is complete.
    pub(crate) fn output(&self) -> Output {
        match self {
            SinkSpec::Sqlite(path) => Output::file(SqliteOutput, path),
            SinkSpec::JsonLines(path) => Output::file(JsonLinesOutput, path),
            stream => {
                let stream = stream.clone();
                Output::stream(move || stream.make())
            }
        }
    }
}

/// What makes the sink anew whenever a passing failure of the last one may be over.
pub(crate) fn opener(spec: SinkSpec) -> OpenSink {
    Arc::new(move || Ok(spec.make()))
}

/// What makes snapshots of the database at `path`, of which a log of pages is made.
pub(crate) fn offer_of(path: &Path) -> OfferSnapshots {
    let path = path.to_owned();
    Arc::new(move |wal| {
        let of_pages = wal.content() == Content::SqlitePages;
        let snapshotter = || ReplicaSnapshotter::new(&path, wal.segment_size().max_payload());
        of_pages.then(|| Arc::new(snapshotter()) as Arc<dyn Snapshotter>)
    })
}

impl FromStr for SinkSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(SinkSpec::Sqlite(path.into())),
            Some(("jsonl", "-")) => Ok(SinkSpec::Stdout),
            Some(("jsonl", path)) if !path.is_empty() => Ok(SinkSpec::JsonLines(path.into())),
            Some(("exec", command)) => {
                let spec = command.parse().map_err(|error: longshore_apply::SinkError| error.to_string())?;
                Ok(SinkSpec::Exec(spec, command.to_owned()))
            }
            _ => Err("a sink is sqlite:PATH, jsonl:PATH, jsonl:- or exec:CMD".to_owned()),
        }
    }
}

impl fmt::Display for SinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SinkSpec::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            SinkSpec::JsonLines(path) => write!(f, "jsonl:{}", path.display()),
            SinkSpec::Stdout => f.write_str("jsonl:-"),
            // The program alone: its arguments may hold what does not belong in a status.
            SinkSpec::Exec(spec, _) => spec.fmt(f),
        }
    }
}

impl FromStr for Apply {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `exec:prog --x=y` has a `=` too: a log's name has no `:`.
        let (log, sink) = match text.split_once('=') {
            Some((log, sink)) if !log.contains(':') => (Some(log), sink),
            _ => (None, text),
        };
        let log = log.map(|log| Name::new(log).map_err(|_| format!("{log:?} is not the name of a log"))).transpose()?;
        Ok(Self { log, sink: sink.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_may_name_its_log() {
        for (text, log, sink) in [
            ("sqlite:a.db", None, "sqlite:a.db"),
            ("orders=sqlite:a=b.db", Some("orders"), "sqlite:a=b.db"),
            ("orders=jsonl:-", Some("orders"), "jsonl:-"),
            ("exec:prog --x=y", None, "exec:prog"),
            ("orders=exec:prog --x=y", Some("orders"), "exec:prog"),
        ] {
            let apply: Apply = text.parse().unwrap();
            assert_eq!((apply.log.as_ref().map(Name::as_str), apply.sink.to_string().as_str()), (log, sink), "{text}");
        }
        for text in ["", "sqlite:", "a.db", "orders=", "exec:", "exec:'x", "redis:x", "Orders=jsonl:-"] {
            assert!(text.parse::<Apply>().is_err(), "{text}");
        }
    }
}
