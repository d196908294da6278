//! A SQLite database held against its log, page by page.

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use longshore_format::{Content, ErrorKind, Name};
use longshore_sqlite::{PagesProgress, PagesVerdict, check_pages};
use longshore_wal::ReadLog;
use serde::Serialize;

use crate::failure::Failure;
use crate::logs;

/// `--sqlite [LOG=]PATH`
#[derive(Debug, Clone)]
pub(super) struct DatabaseSpec {
    log: Option<Name>,
    path: PathBuf,
}

/// How a database is, at a position of its log.
#[derive(Debug, Serialize)]
pub(super) struct Pages {
    database: String,
    /// `primary`, whose database is captured, or `replica`.
    side: &'static str,
    position: u64,
    pages: u32,
    /// Of all pages: equal at one position of one log, on a primary and on its replicas.
    digest: String,
    differing: u64,
    first_differing: Vec<u32>,
}

impl DatabaseSpec {
    /// The log that it is to be compared with: the one that is named, else the only one of its content.
    pub(super) fn log(&self, data_dir: &Path, log: Option<&str>) -> Result<String, Failure> {
        if let Some(named) = &self.log {
            return match log {
                Some(log) if log != named.as_str() => {
                    Err(Failure::invalid(format!("--log names {log} and --sqlite names {named}; name one log")))
                }
                _ => Ok(named.to_string()),
            };
        }
        if let Some(log) = log {
            return Ok(log.to_owned());
        }
        let mut candidates = Vec::new();
        for (name, dir) in logs::directories(data_dir, None)? {
            if ReadLog::open(dir)?.content() == Content::SqlitePages {
                candidates.push(name.to_string());
            }
        }
        match &candidates[..] {
            [log] => Ok(log.clone()),
            [] => {
                let what = format!("no log under {} is of content sqlite-pages", data_dir.display());
                Err(Failure::new(ErrorKind::NotFound, what)
                    .next("name the data directory of the agent that captures or applies it"))
            }
            several => Err(Failure::invalid(format!(
                "several logs could be meant ({}); name one: --sqlite LOG=PATH",
                several.join(", ")
            ))),
        }
    }

    /// Compares; a bar shows how far it is where stderr is a terminal.
    pub(super) fn compare(&self, log: &ReadLog) -> Result<Pages, Failure> {
        let bar = ProgressBar::new(0);
        let style = "{msg:>10} {bar:40} {percent}%, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is right"));
        let compared = check_pages(&self.path, log, |progress| match progress {
            PagesProgress::Gathering { position, end } => show(&bar, "reading", position.get(), end.get()),
            PagesProgress::Comparing { done, pages } => show(&bar, "comparing", done.into(), pages.into()),
            _ => {}
        });
        bar.finish_and_clear();
        compared.map(|verdict| Pages::of(&self.path, &verdict)).map_err(|error| {
            let is_ahead = matches!(error, longshore_sqlite::Error::AheadOfLog { .. });
            let failure = Failure::from(error);
            if is_ahead {
                failure.next("`longshore primary --sqlite` ships what the log lacks; then verify again")
            } else {
                failure
            }
        })
    }
}

fn show(bar: &ProgressBar, what: &'static str, done: u64, of: u64) {
    bar.set_message(what);
    bar.set_length(of);
    bar.set_position(done);
}

impl std::str::FromStr for DatabaseSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What stands before a `=` and cannot be a log's name is a part of the path: `./a=b.db`.
        let named = text.split_once('=').and_then(|(log, path)| Some((Name::new(log).ok()?, path)));
        let (log, path) = named.map_or((None, text), |(log, path)| (Some(log), path));
        match path {
            "" => Err("a database is [LOG=]PATH".to_owned()),
            path => Ok(Self { log, path: path.into() }),
        }
    }
}

impl Pages {
    fn of(database: &Path, verdict: &PagesVerdict) -> Self {
        Self {
            database: database.display().to_string(),
            side: if verdict.is_replica { "replica" } else { "primary" },
            position: verdict.position.get(),
            pages: verdict.pages,
            digest: format!("{:016x}", verdict.digest),
            differing: verdict.differing,
            first_differing: verdict.first_differing.clone(),
        }
    }

    pub(super) fn told(&self) -> String {
        let Self { database, pages, position, digest, differing, .. } = self;
        match differing {
            0 => format!("{database}: {pages} pages are what the log says, at {position} (digest {digest})"),
            _ => format!(
                "{database}: {differing} of {pages} pages DIFFER from what the log says, at {position}: {}",
                self.named()
            ),
        }
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        let Self { database, differing, position, side, .. } = self;
        if *differing == 0 {
            return None;
        }
        let next = match *side {
            "replica" => format!(
                "stop the replica's agent, delete {database} with its -wal, -shm and -longshore files, and start it again: \
                 it is restored from the log"
            ),
            _ => format!(
                "check it with PRAGMA integrity_check. If it is right and the log is not: stop the agent, run `PRAGMA \
                 wal_checkpoint(TRUNCATE)` on {database}, and start the agent, which then compares every page and ships \
                 the difference. If it is damaged: `longshore replay` makes it anew"
            ),
        };
        let what = format!("{database} is not what the log says at {position}: page {}", self.named());
        Some(Failure::new(ErrorKind::CheckFailed, what).next(next))
    }

    /// The first pages that differ.
    fn named(&self) -> String {
        let pages: Vec<_> = self.first_differing.iter().map(u32::to_string).collect();
        let more = if (pages.len() as u64) < self.differing { ", …" } else { "" };
        format!("{}{more}", pages.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_may_name_its_log() {
        for (text, log, path) in
            [("a.db", None, "a.db"), ("app=x/a=b.db", Some("app"), "x/a=b.db"), ("./a=b.db", None, "./a=b.db")]
        {
            let spec: DatabaseSpec = text.parse().unwrap();
            assert_eq!((spec.log.as_ref().map(Name::as_str), spec.path.to_str().unwrap()), (log, path), "{text}");
        }
        for text in ["", "app="] {
            assert!(text.parse::<DatabaseSpec>().is_err(), "{text}");
        }
    }
}
