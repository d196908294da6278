//! How a command fails: a kind, what happened, what to try next.
//!
//! The exit code follows from the kind ([`ErrorKind::exit_code`]) and from nothing else.

use std::process::ExitCode;
use std::{fmt, io};

use longshore_format::ErrorKind;
use serde::Serialize;

use crate::output::{Document, tell};
use crate::settings::Refusal;

/// A failed command, ready to be told to a person or a program.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: ErrorKind,
    message: String,
    next: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), next: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// What to do about it.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Adds what had been done before it failed, or what else is known of it.
    pub(crate) fn after(mut self, done: String) -> Self {
        self.message = format!("{}; {done}", self.message);
        self
    }

    /// Says at which of several steps it failed.
    pub(crate) fn at(mut self, step: &str) -> Self {
        self.message = format!("{step}: {}", self.message);
        self
    }

    /// What to try next, where the command knows better than the kind does.
    pub(crate) fn next(mut self, hint: impl Into<String>) -> Self {
        self.next = Some(hint.into());
        self
    }

    /// What to try next, where neither the command nor the error has said anything yet.
    pub(crate) fn or_next(mut self, hint: &str) -> Self {
        self.next.get_or_insert_with(|| hint.to_owned());
        self
    }

    /// A library's error: its kind, and everything it says down to the first cause.
    pub(crate) fn library(kind: ErrorKind, error: &dyn std::error::Error) -> Self {
        Self::new(kind, told(error))
    }

    pub(crate) fn output(error: &io::Error) -> Self {
        Self::new(ErrorKind::Preflight, format!("cannot write to stdout: {error}"))
    }

    /// A file named by the caller that cannot be used.
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => ErrorKind::Busy,
            _ => ErrorKind::Preflight,
        };
        let failure = Self::new(kind, format!("{what} {}: {error}", path.display()));
        if kind == ErrorKind::NotFound { failure.next("check the path") } else { failure }
    }

    /// Tells it on stderr and returns the exit code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        let next = self.next.as_deref().unwrap_or_else(|| hint(self.kind));
        if json {
            let error = Report { kind: self.kind.as_str(), message: &self.message, next, exit: self.kind.exit_code() };
            let text = serde_json::to_string(&Document::new(ErrorDocument { error }))
                .expect("strings and numbers are always JSON");
            tell(&text);
        } else {
            tell(&format!("error: {}\nnext: {next}", self.message));
        }
        ExitCode::from(self.kind.exit_code())
    }
}

macro_rules! from_library {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::library(error.kind(), &error)
            }
        }
    )*};
}

from_library!(longshore_wal::Error, longshore_apply::Error);

impl From<longshore_sqlite::Error> for Failure {
    fn from(error: longshore_sqlite::Error) -> Self {
        use longshore_sqlite::Error;
        let failure = Self::library(error.kind(), &error);
        match error {
            Error::OtherFile { .. } | Error::Replaced { .. } => {
                failure.next("decide which of the two is to be the database: the error says how to go on with either")
            }
            _ => failure,
        }
    }
}

impl From<longshore::Error> for Failure {
    fn from(error: longshore::Error) -> Self {
        match error {
            longshore::Error::Archive(error) => error.into(),
            longshore::Error::Apply(error @ longshore_apply::Error::SinkTooOld { held: None, .. }) => {
                Self::library(error.kind(), &error).next(
                    "restore from an archive, `longshore replay --from URL`, or bring back what is missing at its beginning with `longshore repair`",
                )
            }
            error => Self::library(error.kind(), &error),
        }
    }
}

impl From<longshore::archive::Error> for Failure {
    fn from(error: longshore::archive::Error) -> Self {
        use longshore::archive::Error;
        let failure = Self::library(error.kind(), &error);
        match error.kind() {
            ErrorKind::Denied => failure.next("put right what the message names, and run it again"),
            ErrorKind::NotFound => failure.next("check the address and the log's name; `longshore archive ls` lists what is there"),
            ErrorKind::Invalid => match error {
                Error::NotABoundary { .. } => failure.next("name one that is there, or a time"),
                Error::Feature { .. } => failure.next("build it anew, or name a store of another kind"),
                Error::Keys(_) => failure.next("correct --archive-keys, or the file that it names"),
                _ => failure.next("correct the address"),
            },
            ErrorKind::Unreachable if matches!(error, Error::NotSealed { .. }) => {
                failure.next("name the base of a sealed segment, as `longshore verify` does, or another copy of the log")
            }
            ErrorKind::TooOld | ErrorKind::Unreachable => failure.next("ask for the nearest, or for latest"),
            ErrorKind::Gap | ErrorKind::Corrupt => {
                failure.next("name another store that has it with a second --from, copy it from there with `longshore archive copy`, or choose a target that does not need it: `longshore archive verify` tells which there are")
            }
            _ => failure,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        longshore_sqlite::Error::from(error).into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<longshore_transport::Error> for Failure {
    fn from(error: longshore_transport::Error) -> Self {
        let failure = Self::new(error.kind(), error.message());
        match error.next_step() {
            "" => failure,
            next => failure.next(next),
        }
    }
}

/// An error and its causes, each said once.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Usage(error) => {
                let text = error.to_string();
                let told = text.split("\n\n").next().unwrap_or(&text);
                let message = told.split_whitespace().collect::<Vec<_>>().join(" ");
                Self::invalid(message.trim_start_matches("error: "))
                    .next("see `longshore help` for the command's flags")
            }
            Refusal::File(failure) => failure,
        }
    }
}

/// Tells what is wrong with a command line as clap tells it, and what to try next.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let told = text.trim_end().trim_end_matches("For more information, try '--help'.").trim_end();
    let command = std::env::args().nth(1).filter(|word| word.starts_with(|first: char| first.is_ascii_lowercase()));
    match command.filter(|_| error.kind() != clap::error::ErrorKind::InvalidSubcommand) {
        Some(command) => tell(&format!("{told}\nnext: `longshore help {command}` shows its flags")),
        None => tell(&format!("{told}\nnext: `longshore help` lists the commands")),
    }
    ExitCode::from(ErrorKind::Invalid.exit_code())
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: Report<'a>,
}

#[derive(Serialize)]
struct Report<'a> {
    kind: &'static str,
    message: &'a str,
    next: &'a str,
    exit: u8,
}

/// What to try next when the command knows nothing better.
fn hint(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => {
            "change the request or the settings (tls.dir is --tls-dir); `longshore help COMMAND` shows both"
        }
        ErrorKind::NotFound => "check the name and the directory; `longshore dump` lists what a directory holds",
        ErrorKind::TooOld | ErrorKind::Unreachable => {
            "ask for a position that is still there; `longshore dump` shows the first and the last"
        }
        ErrorKind::Gap => "fetch the missing range from another copy of the log, or stop before it with --to",
        ErrorKind::Corrupt => {
            "nothing was changed; take these bytes from another copy: `longshore repair --from ADDR|DIR|URL`"
        }
        ErrorKind::Busy => "end the process that holds it, move away what is there, or name another",
        ErrorKind::Preflight => "nothing was changed; put right what the message names and run it again",
        ErrorKind::Fenced | ErrorKind::Diverged => {
            "nothing was changed; compare both ends with `longshore dump`, or beside a stopped replica with `longshore rejoin --plan`, and decide which history wins"
        }
        ErrorKind::CheckFailed => {
            "look whether the original says the same; if not, verify what it was restored from, `longshore verify --deep` or `longshore archive verify`"
        }
        ErrorKind::Unavailable => "try again later; `longshore status` shows who is away",
        ErrorKind::Full => "free space or raise the limit; `longshore status` shows who holds the log back",
        ErrorKind::Unconfirmed => {
            "nothing is lost and nothing is to be repeated; `longshore status` shows which replicas have it by now"
        }
        ErrorKind::Denied => "get the role granted in grants.toml at the other end",
        ErrorKind::Interrupted => "run it again: it resumes",
        _ => "restart the process; if it comes back, report it as a bug with this message",
    }
}

#[cfg(test)]
impl Failure {
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn hint(&self) -> &str {
        self.next.as_deref().unwrap_or_else(|| hint(self.kind))
    }
}
