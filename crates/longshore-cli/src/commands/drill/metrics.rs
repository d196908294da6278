//! The result of a drill as a file for node_exporter's textfile collector.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use longshore_format::Name;

use super::Reached;
use crate::failure::Failure;
use crate::quantity::now;

/// Puts the result in the place of the last one, whole or not at all; `None` is a drill that failed, of which no figures
/// remain.
pub(super) fn write(path: &Path, log: &Name, reached: Option<&Reached>) -> Result<(), Failure> {
    let text = text(log, reached, now() as f64 / 1e6);
    // Its name does not end in .prom: nobody collects a half of it.
    let temporary = PathBuf::from(format!("{}.new", path.display()));
    let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| Failure::file("cannot write", path, &error))
}

fn text(log: &Name, reached: Option<&Reached>, ended: f64) -> String {
    let success = f64::from(u8::from(reached.is_some()));
    let rows = [
        ("success", "1 if the last drill brought a whole database back", Some(success)),
        ("end_time_seconds", "When the last drill ended, in seconds since 1970", Some(ended)),
        ("rto_seconds", "From the first request to the checked database", reached.map(|reached| reached.rto_seconds)),
        ("rpo_seconds", "Age of the newest transaction in it", reached.and_then(|reached| reached.rpo_seconds)),
        ("fetched_bytes", "Fetched from the archive", reached.map(|reached| reached.fetched_bytes as f64)),
    ];
    let mut text = String::new();
    for (name, help, value) in rows {
        let Some(value) = value else { continue };
        let name = format!("longshore_drill_{name}");
        let written = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{log=\"{log}\"}} {value}");
        written.expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_that_failed_leaves_no_figures_of_the_last_one() {
        let reached = Reached {
            log: "app".to_owned(),
            position: 4136,
            transactions: 1,
            fetched_bytes: 4136,
            fetch_seconds: 1.0,
            restore_seconds: 1.0,
            check_seconds: 0.5,
            rto_seconds: 2.5,
            rpo_seconds: Some(7.0),
        };
        let log = "app".parse().unwrap();
        let text = super::text(&log, Some(&reached), 1.5e9);
        for line in ["success{log=\"app\"} 1", "rto_seconds{log=\"app\"} 2.5", "rpo_seconds{log=\"app\"} 7"] {
            assert!(text.contains(&format!("\nlongshore_drill_{line}\n")), "{text}");
        }
        let text = super::text(&log, None, 1.5e9);
        assert!(text.contains("longshore_drill_success{log=\"app\"} 0\n"), "{text}");
        assert!(text.contains("longshore_drill_end_time_seconds{log=\"app\"} 1500000000\n"), "{text}");
        assert!(!text.contains("rto_seconds"), "{text}");
    }
}
