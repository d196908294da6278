//! What would keep a database from being captured.

use std::path::Path;

use longshore_format::ErrorKind;
use longshore_sqlite::{Finding, Severity, check};
use serde::Serialize;

use crate::failure::Failure;
use crate::output;

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

pub(super) fn run(path: &Path, json: bool) -> Result<(), Failure> {
    let findings = check(path);
    let refused = findings.iter().any(|finding| finding.severity == Severity::Refuse);
    let database = path.display().to_string();
    if json {
        let findings = findings.into_iter().map(Row::from).collect();
        output::print_json(Findings { database: database.clone(), ready: !refused, findings })?;
    } else {
        let verdict = if refused { "cannot be captured as it is" } else { "can be captured" };
        let rows = findings.into_iter().map(Row::from);
        let text: String = rows.map(|row| format!("  {}: {}\n      {}\n", row.severity, row.what, row.mend)).collect();
        output::print(&format!("{database} {verdict}\n{text}"))?;
    }
    match refused {
        true => Err(Failure::new(ErrorKind::Preflight, format!("{database} cannot be captured as it is"))
            .next("mend what is refused above, then check again")),
        false => Ok(()),
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
