//! How far something is, on stderr: a bar for a person at a terminal, lines for a log, objects for a program.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::output::Document;
use crate::quantity::{show_bytes, show_duration};

/// How progress is told.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ProgressFlag {
    /// How progress is told on stderr: auto is a bar on a terminal and nothing elsewhere, plain a line a second, json an
    /// object a line with phase, done, total, rate and seconds_left
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Form::Auto, hide_possible_values = true)]
    progress: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Auto,
    Plain,
    Json,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    Bytes,
    Objects,
}

/// Tells how far something is, phase by phase.
pub(crate) struct Progress {
    form: Form,
    bar: ProgressBar,
    phase: Option<Phase>,
    /// When something was told last.
    told: Option<Instant>,
}

/// Something that goes from nothing to all.
struct Phase {
    name: &'static str,
    unit: Unit,
    total: u64,
    done: u64,
    /// What was done when it began is none of its speed.
    begun_with: u64,
    begun: Instant,
    /// Whether `done` was told.
    told: bool,
}

#[derive(Serialize)]
struct Told {
    phase: &'static str,
    unit: Unit,
    done: u64,
    total: u64,
    /// Per second.
    rate: Option<f64>,
    seconds_left: Option<f64>,
}

impl ProgressFlag {
    pub(crate) fn start(self) -> Progress {
        let bar = if self.progress == Form::Auto { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let bar = bar.with_style(style(Unit::Bytes));
        Progress { form: self.progress, bar, phase: None, told: None }
    }
}

impl Progress {
    /// What is done now, and how much there is of it. The same phase goes on.
    pub(crate) fn at(&mut self, name: &'static str, unit: Unit, done: u64, total: u64) {
        self.at_time(Instant::now(), name, unit, done, total);
    }

    /// Talk between two lines; where a program reads stderr, nothing.
    pub(crate) fn talk(&self, text: &impl std::fmt::Display) {
        if self.form != Form::Json {
            self.bar.suspend(|| eprint!("{text}"));
        }
    }

    /// Nothing more comes; the last of it is told.
    pub(crate) fn finish(&mut self) {
        self.end_phase(Instant::now());
        self.bar.finish_and_clear();
    }

    fn at_time(&mut self, now: Instant, name: &'static str, unit: Unit, done: u64, total: u64) {
        if self.phase.as_ref().is_none_or(|phase| phase.name != name) {
            self.end_phase(now);
            self.phase = Some(Phase { name, unit, total, done, begun_with: done, begun: now, told: false });
            self.begin_bar(name, unit, done, total);
            if self.form == Form::Json {
                self.tell(now);
            }
        }
        let Some(phase) = &mut self.phase else { return };
        phase.told &= (phase.done, phase.total) == (done, total);
        (phase.done, phase.total) = (done, total);
        self.bar.set_length(total);
        self.bar.set_position(done);
        if self.told.is_none_or(|told| EVERY <= now.saturating_duration_since(told)) {
            self.tell(now);
        }
    }

    /// The end of a phase is told to programs alone: a person sees the next one begin.
    fn end_phase(&mut self, now: Instant) {
        if self.form == Form::Json && self.phase.as_ref().is_some_and(|phase| !phase.told) {
            self.tell(now);
        }
        self.phase = None;
    }

    fn tell(&mut self, now: Instant) {
        let Some(phase) = &mut self.phase else { return };
        self.told = Some(now);
        phase.told = true;
        let line = match self.form {
            Form::Auto => return,
            Form::Plain => phase.line(now),
            Form::Json => phase.json(now),
        };
        // Nobody listens any more: that is no reason to stop.
        let _deaf = writeln!(std::io::stderr(), "{line}");
    }

    fn begin_bar(&self, name: &'static str, unit: Unit, done: u64, total: u64) {
        self.bar.set_style(style(unit));
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(name);
        self.bar.reset_eta();
    }
}

fn style(unit: Unit) -> ProgressStyle {
    let style = match unit {
        Unit::Bytes => "{msg:>10} {bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        Unit::Objects => "{msg:>10} {bar:40} {pos} of {len} objects, {per_sec}, {eta} left",
    };
    ProgressStyle::with_template(style).expect("the template is right")
}

impl Phase {
    /// Per second, once there is something to go by.
    fn rate(&self, now: Instant) -> Option<f64> {
        let seconds = now.saturating_duration_since(self.begun).as_secs_f64();
        let done = self.done.saturating_sub(self.begun_with);
        (0.0 < seconds && 0 < done).then(|| done as f64 / seconds)
    }

    fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.total.saturating_sub(self.done) as f64 / self.rate(now)?;
        Duration::try_from_secs_f64(left).ok()
    }

    fn line(&self, now: Instant) -> String {
        let show = |amount: u64| match self.unit {
            Unit::Bytes => show_bytes(amount),
            Unit::Objects => amount.to_string(),
        };
        let unit = if self.unit == Unit::Objects { " objects" } else { "" };
        let mut line = format!("{}: {} of {}{unit}", self.name, show(self.done), show(self.total));
        if let (Some(rate), Some(left)) = (self.rate(now), self.left(now)) {
            line += &format!(", {}/s, {} left", show(rate as u64), show_duration(left));
        }
        line
    }

    fn json(&self, now: Instant) -> String {
        let told = Told {
            phase: self.name,
            unit: self.unit,
            done: self.done,
            total: self.total,
            rate: self.rate(now),
            seconds_left: self.left(now).map(|left| left.as_secs_f64()),
        };
        serde_json::to_string(&Document::new(told)).expect("strings and numbers are always JSON")
    }
}

/// A line at most so often.
const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_are_those_of_the_phase() {
        let begun = Instant::now();
        let mib = 1 << 20;
        let (unit, total) = (Unit::Bytes, 100 * mib);
        let mut phase =
            Phase { name: "fetching", unit, total, done: 20 * mib, begun_with: 20 * mib, begun, told: false };
        assert_eq!(phase.line(begun), "fetching: 20.0 MiB of 100.0 MiB", "nothing is known yet");
        phase.done = 60 * mib;
        let now = begun + Duration::from_secs(4);
        assert_eq!(phase.line(now), "fetching: 60.0 MiB of 100.0 MiB, 10.0 MiB/s, 4s left");
        let json: serde_json::Value = serde_json::from_str(&phase.json(now)).unwrap();
        assert_eq!((&json["schema"], &json["phase"]), (&1.into(), &"fetching".into()));
        assert_eq!((json["rate"].as_f64(), json["seconds_left"].as_f64()), (Some(10.0 * 1024.0 * 1024.0), Some(4.0)));
    }

    #[test]
    fn a_line_comes_once_a_second_and_a_program_is_told_where_each_phase_ends() {
        let begun = Instant::now();
        for (form, expected) in [(Form::Plain, [true, false, true, false]), (Form::Json, [true, false, true, true])] {
            let mut progress = ProgressFlag { progress: form }.start();
            let mut told = Vec::new();
            for (millis, name) in [(0, "a"), (900, "a"), (1000, "a"), (1100, "b")] {
                progress.at_time(begun + Duration::from_millis(millis), name, Unit::Objects, millis, 2000);
                told.push(progress.phase.as_ref().unwrap().told);
            }
            assert_eq!(told, expected, "{form:?}");
        }
    }
}
