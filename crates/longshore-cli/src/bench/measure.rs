//! Medians, percentiles, and what the kernel says of a process.

use std::fs;
use std::time::Duration;

/// The middle one; of an even number the lower middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    percentile(&mut values, 50.0)
}

/// The value that `percent` of the values do not exceed.
pub(crate) fn percentile(values: &mut [f64], percent: f64) -> f64 {
    assert!(!values.is_empty(), "a measurement has at least one run");
    values.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

/// The median of times, in microseconds.
pub(crate) fn p50_micros(times: &[Duration]) -> f64 {
    percentile(&mut micros(times), 50.0)
}

/// The 99th percentile of times, in microseconds.
pub(crate) fn p99_micros(times: &[Duration]) -> f64 {
    percentile(&mut micros(times), 99.0)
}

fn micros(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e6).collect()
}

/// Processor seconds, user and system, that a living process has used. The kernel counts in
/// hundredths.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold blanks; fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

/// Resident memory of a process that is not pages of mapped files, in bytes.
pub(crate) fn anonymous_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![5.0]), 5.0);
        let mut values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&mut values, 99.0), 99.0);
    }

    #[test]
    fn the_kernel_tells_of_this_process() {
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
        assert!(anonymous_memory(std::process::id()).unwrap() > 1 << 16);
    }
}
