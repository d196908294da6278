//! `longshore check`: what would not work about a database, and how to mend it.

use std::path::PathBuf;

use clap::Args;
use longshore_format::ErrorKind;
use longshore_sqlite::{Finding, Severity, check};
use serde::Serialize;

use crate::failure::Failure;
use crate::output;

/// Say what would keep a database from being captured, and how to mend it
#[derive(Debug, Args)]
#[command(after_help = "\
It changes nothing. Exit 8 if the database cannot be captured as it is.

Example:
  longshore check --sqlite app.db")]
pub(crate) struct Check {
    /// The application's database
    #[arg(long, value_name = "PATH")]
    sqlite: PathBuf,

    /// The findings as one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Findings {
    database: String,
    ready: bool,
    findings: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    severity: &'static str,
    what: String,
    mend: String,
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let findings = check(&self.sqlite);
        let refused = findings.iter().any(|finding| finding.severity == Severity::Refuse);
        let database = self.sqlite.display().to_string();
        if self.json {
            let findings = findings.into_iter().map(Row::from).collect();
            output::print_json(Findings { database: database.clone(), ready: !refused, findings })?;
        } else {
            let verdict = if refused { "cannot be captured as it is" } else { "can be captured" };
            let rows = findings.into_iter().map(Row::from);
            let text: String =
                rows.map(|row| format!("  {}: {}\n      {}\n", row.severity, row.what, row.mend)).collect();
            output::print(&format!("{database} {verdict}\n{text}"))?;
        }
        match refused {
            true => Err(Failure::new(ErrorKind::Preflight, format!("{database} cannot be captured as it is"))
                .next("mend what is refused above, then check again")),
            false => Ok(()),
        }
    }
}

impl From<Finding> for Row {
    fn from(finding: Finding) -> Row {
        let severity = match finding.severity {
            Severity::Refuse => "refused",
            Severity::Warn => "warning",
            _ => "note",
        };
        Row { severity, what: finding.what, mend: finding.mend }
    }
}
