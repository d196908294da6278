//! Where to stop: one grammar for every command, and the one rule that decides.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use longshore_format::{Lsn, Name};
use thiserror::Error;

use crate::runs::Run;

/// A point in a log at which applying or reading stops: what is kept is a prefix of whole runs.
///
/// | written | keeps |
/// |---|---|
/// | `latest` | everything that is durable in the log |
/// | `lsn:N` or `N` | every run that ends at or before the boundary `N` |
/// | `time:T` | every run committed at or before `T`, RFC 3339 with an offset |
/// | `mark:NAME` | every run that ends before the mark of this name |
///
/// [`Edge::Before`] also leaves out the run that ends at exactly this point. A point inside a run
/// stops before the run's FIRST record, whatever the edge.
///
/// ```
/// use longshore_apply::{Edge, Point, Target};
///
/// let target: Target = "time:2026-11-22T09:30:00+01:00".parse().unwrap();
/// assert_eq!(target.point, Point::Time(1_795_336_200_000_000));
/// assert_eq!(target.to_string(), "time:2026-11-22T08:30:00Z");
/// assert_eq!("8192".parse::<Target>().unwrap(), "lsn:8192".parse().unwrap());
/// assert_eq!(target.before().edge, Edge::Before);
/// assert!("yesterday".parse::<Target>().unwrap_err().to_string().contains("mark:before-upgrade"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The point itself.
    pub point: Point,
    /// Whether the run that ends at exactly this point is kept.
    pub edge: Edge,
}

/// A point in a log, as people name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Point {
    /// The log's durable end, wherever it is when it is reached.
    Latest,
    /// A boundary.
    Lsn(Lsn),
    /// Microseconds UTC.
    Time(u64),
    /// The position of the mark of this name.
    Mark(Name),
}

/// On which side of the point to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Edge {
    /// The run that ends at the point is kept. The default.
    #[default]
    After,
    /// The run that ends at the point is left out.
    Before,
}

impl Target {
    /// Everything that is durable in the log.
    pub const LATEST: Target = Target { point: Point::Latest, edge: Edge::After };

    /// Everything up to a boundary.
    pub fn lsn(lsn: Lsn) -> Self {
        Target { point: Point::Lsn(lsn), edge: Edge::After }
    }

    /// The same point, without the run that ends at exactly it.
    pub fn before(self) -> Self {
        Target { edge: Edge::Before, ..self }
    }

    /// The one rule: whether this run is kept. Once it says no, it says no to every later run.
    pub(crate) fn keeps(&self, run: &Run) -> bool {
        match &self.point {
            Point::Mark(name) => run.mark.as_ref() != Some(name),
            _ => self.keeps_until(run.end.lsn, run.end.time),
        }
    }

    /// Whether a run is kept that ends at `end` and was committed at `time`, as far as these two say it: before which mark it
    /// stands they do not.
    pub fn keeps_until(&self, end: Lsn, time: u64) -> bool {
        match (&self.point, self.edge) {
            (Point::Latest | Point::Mark(_), _) => true,
            (Point::Lsn(lsn), Edge::After) => end <= *lsn,
            (Point::Lsn(lsn), Edge::Before) => end < *lsn,
            (Point::Time(limit), Edge::After) => time <= *limit,
            (Point::Time(limit), Edge::Before) => time < *limit,
        }
    }

    /// Whether nothing after `position` can be kept any more, without looking at it.
    pub(crate) fn is_reached(&self, position: Lsn) -> bool {
        matches!(self.point, Point::Lsn(lsn) if lsn <= position)
    }
}

impl Default for Target {
    fn default() -> Self {
        Target::LATEST
    }
}

/// Everything up to a boundary.
impl From<Lsn> for Target {
    fn from(lsn: Lsn) -> Self {
        Target::lsn(lsn)
    }
}

impl From<Point> for Target {
    fn from(point: Point) -> Self {
        Target { point, edge: Edge::After }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.point {
            Point::Latest => f.write_str("latest")?,
            Point::Lsn(lsn) => write!(f, "lsn:{lsn}")?,
            Point::Time(micros) => write!(f, "time:{}", rfc3339(*micros))?,
            Point::Mark(name) => write!(f, "mark:{name}")?,
        }
        match self.edge {
            Edge::After => Ok(()),
            Edge::Before => f.write_str(" (exclusive)"),
        }
    }
}

/// A target that is not one. The message shows what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "not a target: {text:?} ({reason}); try latest, lsn:8192, time:2026-11-22T09:30:00+01:00 or \
     mark:before-upgrade"
)]
pub struct ParseTargetError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason: String| ParseTargetError { text: text.to_owned(), reason };
        let point = match text.split_once(':') {
            None if text == "latest" => Point::Latest,
            None => Point::Lsn(parse_lsn(text).map_err(refuse)?),
            Some(("lsn", lsn)) => Point::Lsn(parse_lsn(lsn).map_err(refuse)?),
            Some(("time", time)) => Point::Time(parse_time(time).map_err(refuse)?),
            Some(("mark", name)) => Point::Mark(name.parse().map_err(|_| refuse(NO_NAME.into()))?),
            Some(_) if parse_time(text).is_ok() => return Err(refuse(format!("a time is written time:{text}"))),
            Some((other, _)) => return Err(refuse(format!("nothing is called {other:?}"))),
        };
        Ok(point.into())
    }
}

const NO_NAME: &str = "a mark's name has a-z, 0-9, _ and - only, at most 63 of them";

fn parse_lsn(text: &str) -> Result<Lsn, String> {
    text.parse().map_err(|_| "a position is a decimal number".into())
}

/// An offset is demanded: a time without one means another moment on another machine.
fn parse_time(text: &str) -> Result<u64, String> {
    let time: Timestamp = text.parse().map_err(|_| "a time is RFC 3339 and has an offset, Z or +01:00".to_owned())?;
    u64::try_from(time.as_microsecond()).map_err(|_| "before 1970".into())
}

/// Microseconds UTC as RFC 3339; a time outside the calendar, which only damage can produce, as the
/// bare number.
pub(crate) fn rfc3339(micros: u64) -> String {
    i64::try_from(micros)
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .map_or_else(|| format!("{micros} µs"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunEnd;

    #[test]
    fn every_form_prints_the_way_it_is_read() {
        for text in ["latest", "lsn:0", "lsn:18446744073709551615", "mark:a-b", "time:1970-01-01T00:00:00Z"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        let target: Target = "time:2026-01-01T00:00:00.000001-05:30".parse().unwrap();
        assert_eq!(target.to_string(), "time:2026-01-01T05:30:00.000001Z");
    }

    /// F-126: a target that is not one is refused, never guessed.
    #[test]
    fn what_is_not_a_target_is_refused_with_examples() {
        for text in [
            "",
            "LATEST",
            "now",
            "-1",
            "1.5",
            "lsn:",
            "lsn:x",
            "lsn:18446744073709551616",
            "mark:",
            "mark:A B",
            "time:",
            "time:2026-01-01",
            "time:2026-01-01T00:00:00",
            "time:12:00Z",
            "time:1969-12-31T23:59:59Z",
            "epoch:3",
            " 8192",
            "lsn:8192,latest",
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.to_string().contains("time:2026-11-22T09:30:00+01:00"), "{text}");
        }
    }

    #[test]
    fn a_time_that_is_not_called_one_is_recognised() {
        let error = "2026-11-22T09:30:00Z".parse::<Target>().unwrap_err();
        assert!(error.to_string().contains("a time is written time:2026-11-22T09:30:00Z"), "{error}");
    }

    #[test]
    fn the_edge_decides_about_the_run_at_the_point_alone() {
        let keeps = |target: &Target, lsn, time, mark: Option<&str>| {
            let (start, lsn) = (Lsn::ZERO, Lsn::new(lsn));
            let end = RunEnd { start, lsn, time, crc: 0, records: 1 };
            target.keeps(&Run { end, last: end.start, bytes: 0, mark: mark.map(|name| name.parse().unwrap()) })
        };
        let at = Target::lsn(Lsn::new(100));
        assert!(keeps(&at, 100, 0, None) && !keeps(&at, 108, 0, None));
        let before = at.before();
        assert!(keeps(&before, 92, 0, None) && !keeps(&before, 100, 0, None));
        let time = Target::from(Point::Time(7));
        assert!(keeps(&time, 0, 7, None) && !keeps(&time, 0, 8, None));
        assert!(!keeps(&time.before(), 0, 7, None));
        let mark = Target::from(Point::Mark("a".parse().unwrap()));
        assert!(keeps(&mark, 0, 0, Some("b")) && !keeps(&mark, 0, 0, Some("a")));
    }
}
