//! A measurement's rows, as a table or as JSON.

use serde::Serialize;

use crate::failure::Failure;
use crate::output;

/// Everything one `longshore bench` found out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    bench: &'static str,
    runs: usize,
    scale: f64,
    machine: Machine,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Machine {
    processors: usize,
    kernel: String,
}

/// One thing measured.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    ours: f64,
    /// The same work without longshore, in the same run.
    raw: Option<f64>,
    /// Ours by raw.
    ratio: Option<f64>,
    /// What is demanded, and whether it holds.
    demand: Option<String>,
    holds: Option<bool>,
    /// The file of the raw row, or what it is compared with.
    beside: Option<&'static str>,
}

impl Row {
    /// A figure of ours; add what it is held against.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        let name = name.into();
        Self { name, unit, ours, raw: None, ratio: None, demand: None, holds: None, beside: None }
    }

    /// The raw figure of the same run, and the file it comes from.
    pub(crate) fn beside(mut self, raw: f64, file: &'static str) -> Self {
        self.raw = Some(raw);
        self.ratio = Some(self.ours / raw);
        self.beside = Some(file);
        self
    }

    /// Ours must be at least so many times the raw figure.
    pub(crate) fn ratio_at_least(self, least: f64) -> Self {
        let holds = self.ratio.is_some_and(|ratio| ratio >= least);
        self.demanded(format!("≥ {least} × raw"), holds)
    }

    /// Ours must be at most so many times the raw figure.
    pub(crate) fn ratio_at_most(self, most: f64) -> Self {
        let holds = self.ratio.is_some_and(|ratio| ratio <= most);
        self.demanded(format!("≤ {most} × raw"), holds)
    }

    /// Ours must be at most so much.
    pub(crate) fn at_most(self, most: f64) -> Self {
        let (unit, holds) = (self.unit, self.ours <= most);
        self.demanded(format!("≤ {most} {unit}"), holds)
    }

    /// Ours must be at least so much.
    pub(crate) fn at_least(self, least: f64) -> Self {
        let (unit, holds) = (self.unit, self.ours >= least);
        self.demanded(format!("≥ {least} {unit}"), holds)
    }

    fn demanded(mut self, demand: String, holds: bool) -> Self {
        self.demand = Some(demand);
        self.holds = Some(holds);
        self
    }
}

impl Report {
    pub(crate) fn new(bench: &'static str, plan: &super::Plan, rows: Vec<Row>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let machine = Machine { processors, kernel: kernel.trim().to_owned() };
        Self { bench, runs: plan.runs, scale: plan.scale, machine, rows }
    }

    pub(crate) fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            return output::print_json(self);
        }
        let mut table = output::table(&["ROW", "OURS", "RAW", "UNIT", "RATIO", "DEMANDED", "", "RAW ROW"]);
        for row in &self.rows {
            table.add_row([
                row.name.clone(),
                figure(row.ours),
                row.raw.map(figure).unwrap_or_default(),
                row.unit.to_owned(),
                row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                row.demand.clone().unwrap_or_default(),
                row.holds.map_or("", |holds| if holds { "holds" } else { "MISSED" }).to_owned(),
                row.beside.unwrap_or_default().to_owned(),
            ]);
        }
        let Machine { processors, kernel } = &self.machine;
        let scaled = if self.scale == 1.0 { String::new() } else { format!(", scale {}", self.scale) };
        output::print(&format!(
            "bench {}: median of {}{scaled}; {processors} processors, Linux {kernel}\n\n{}",
            self.bench,
            self.runs,
            output::render(&mut table)
        ))
    }
}

/// Three significant digits or so.
fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_is_held_against_the_ratio_or_the_figure() {
        let row = Row::new("append", "krec/s", 60.0).beside(100.0, "raw_append.rs");
        assert_eq!(row.ratio_at_least(0.5).holds, Some(true));
        let row = Row::new("sync", "µs", 130.0).beside(100.0, "raw_sync.rs");
        assert_eq!(row.ratio_at_most(1.2).holds, Some(false));
        assert_eq!(Row::new("open", "s", 0.05).at_most(0.1).holds, Some(true));
        assert_eq!(Row::new("times", "×", 4.0).at_least(5.0).holds, Some(false));
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(figure(10708.4), "10708");
        assert_eq!(figure(2.7499), "2.7");
        assert_eq!(figure(0.0123), "0.0123");
    }
}
