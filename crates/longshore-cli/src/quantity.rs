//! Sizes, durations and times for people. What is read back has the library's one spelling.

use std::time::Duration;

use jiff::Timestamp;
use longshore::settings::{format_duration, parse_duration};

/// `30s`, `5m`, `7d`, `1h30m`: a duration.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Bytes for a person: `1.5 GiB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// Bytes per second for a person: `1.5 MiB/s`.
pub(crate) fn show_rate(bytes_per_second: f64) -> String {
    match bytes_per_second {
        // A smoothed rate of what rests comes near to nothing, and never to it.
        ..0.01 => "0 B/s".to_owned(),
        ..1.0 => "< 1 B/s".to_owned(),
        // A float that does not fit becomes the greatest integer.
        rate => format!("{}/s", show_bytes(rate as u64)),
    }
}

/// A duration for a person: rounded, the more the longer it is.
pub(crate) fn show_duration(duration: Duration) -> String {
    let step = match duration {
        d if d >= Duration::from_secs(86_400) => Duration::from_secs(3600),
        d if d >= Duration::from_secs(3600) => Duration::from_secs(60),
        d if d >= Duration::from_secs(10) => Duration::from_secs(1),
        d if d >= Duration::from_secs(1) => Duration::from_millis(100),
        _ => Duration::from_millis(1),
    };
    let steps = duration.as_nanos() / step.as_nanos();
    format_duration(step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX)))
}

/// Microseconds since 1970.
pub(crate) fn now() -> u64 {
    u64::try_from(Timestamp::now().as_microsecond()).unwrap_or_default()
}

/// Microseconds since 1970 as RFC 3339 UTC.
pub(crate) fn rfc3339(micros: u64) -> String {
    i64::try_from(micros)
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .map_or_else(|| format!("{micros} µs since 1970"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("30").is_err());
    }

    #[test]
    fn what_a_person_reads_is_short() {
        assert_eq!(show_bytes(64 << 20), "64.0 MiB");
        let rates = [0.0, 0.001, 0.2, 0.999, 1.9, 2e6].map(show_rate);
        assert_eq!(rates, ["0 B/s", "0 B/s", "< 1 B/s", "< 1 B/s", "1 B/s", "1.9 MiB/s"]);
        assert_eq!(show_duration(Duration::from_millis(90_061_007)), "1d1h");
        assert_eq!(show_duration(Duration::from_micros(61_000_123)), "1m1s");
        assert_eq!(show_duration(Duration::from_micros(1_234_567)), "1s200ms");
        assert_eq!(show_duration(Duration::from_micros(12_345)), "12ms");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_500_000), "1970-01-01T00:00:01.5Z");
    }
}
