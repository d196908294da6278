//! Sizes, durations and times as people write and read them.

use std::time::Duration;

use jiff::Timestamp;

/// `64MiB`, `1GiB`, `65536`: a number of bytes. Decimal units (`MB`) mean powers of ten.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| format!("`{text}` is not a size: write a number of bytes or one with a unit, as 64MiB"))
}

/// `30s`, `5m`, `7d`, `1h 30m`: a duration.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is not a duration: write a number and a unit, as 30s, 5m or 7d"))
}

/// Bytes for a person: `1.5 GiB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// A duration for a person: two units at most, none below a millisecond unless it is all there is.
pub(crate) fn show_duration(duration: Duration) -> String {
    let rounded = match duration {
        d if d >= Duration::from_secs(3600) => Duration::from_secs(d.as_secs() / 60 * 60),
        d if d >= Duration::from_secs(10) => Duration::from_secs(d.as_secs()),
        d if d >= Duration::from_millis(10) => Duration::from_millis(d.as_millis() as u64),
        d => Duration::from_micros(d.as_micros() as u64),
    };
    humantime::format_duration(rounded).to_string()
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
    fn sizes_are_bytes_with_or_without_a_unit() {
        for (text, expected) in [
            ("65536", Some(65536)),
            ("64KiB", Some(64 << 10)),
            ("64MiB", Some(64 << 20)),
            ("64 MiB", Some(64 << 20)),
            ("1GiB", Some(1 << 30)),
            ("1MB", Some(1_000_000)),
            ("0", Some(0)),
            ("-1", None),
            ("many", None),
            ("", None),
            ("10 parsecs", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, expected) in [
            ("30s", Some(Duration::from_secs(30))),
            ("7d", Some(Duration::from_secs(7 * 86_400))),
            ("1h 30m", Some(Duration::from_secs(5400))),
            ("250ms", Some(Duration::from_millis(250))),
            ("30", None),
            ("-1s", None),
            ("soon", None),
        ] {
            assert_eq!(duration(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn what_a_person_reads_is_short() {
        assert_eq!(show_bytes(64 << 20), "64.0 MiB");
        assert_eq!(show_duration(Duration::from_millis(90_061_007)), "1day 1h 1m");
        assert_eq!(show_duration(Duration::from_micros(61_000_123)), "1m 1s");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_500_000), "1970-01-01T00:00:01.5Z");
    }
}
