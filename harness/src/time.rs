//! The kernel's clock, as `bpf_ktime_get_ns` gives it to programs.
//!
//! It is the monotonic clock of the machine. In a time namespace (containers have one that were restored from a
//! checkpoint, for instance) the process's own differs from it by an offset.

use std::fs;
use std::sync::OnceLock;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

const SECOND: i64 = 1_000_000_000;

/// The time now, in nanoseconds. If [`is_known`] is false, only differences to other times of this process mean
/// anything.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let here = time.tv_sec * SECOND + time.tv_nsec;
    here.saturating_sub(offset().unwrap_or(0)).max(0).unsigned_abs()
}

/// The seconds from one moment to another, in tenths.
pub(crate) fn tenths(since: Instant, until: Instant) -> f64 {
    (until.saturating_duration_since(since).as_secs_f64() * 10.0).round() / 10.0
}

/// Whether [`now`] is the kernel's time.
pub(crate) fn is_known() -> bool {
    offset().is_some()
}

/// By how much this process's clock is ahead of the kernel's.
fn offset() -> Option<i64> {
    static OFFSET: OnceLock<Option<i64>> = OnceLock::new();
    *OFFSET.get_or_init(|| {
        let namespace = |name: &str| fs::read_link(format!("/proc/self/ns/{name}"));
        match (namespace("time"), namespace("time_for_children")) {
            // The file has the offsets of the children's.
            (Ok(ours), Ok(children)) if ours == children => {
                parse(&fs::read_to_string("/proc/self/timens_offsets").ok()?)
            }
            (Ok(_), _) => None,
            // Either the kernel has no time namespaces, or there is no /proc.
            (Err(_), _) => fs::exists("/proc/self/ns/mnt").ok()?.then_some(0),
        }
    })
}

/// Takes the line of the monotonic clock: its name, seconds, nanoseconds.
fn parse(offsets: &str) -> Option<i64> {
    let line = offsets.lines().find_map(|line| line.strip_prefix("monotonic"))?;
    let mut numbers = line.split_whitespace().map(str::parse::<i64>);
    let (seconds, nanoseconds) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    seconds.checked_mul(SECOND)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::{is_known, now, parse};

    #[test]
    fn the_offset_of_the_monotonic_clock_is_in_seconds_and_nanoseconds() {
        assert_eq!(parse("monotonic           0         0\nboottime            0         0\n"), Some(0));
        assert_eq!(
            parse("monotonic        3600 500000000\nboottime            7         0\n"),
            Some(3_600_500_000_000)
        );
        // The kernel gives the nanoseconds as they are added: from 0 on.
        assert_eq!(parse("monotonic          -2 900000000\n"), Some(-1_100_000_000));
        assert_eq!(parse("boottime            7         0\n"), None);
        assert_eq!(parse("monotonic much\n"), None);
    }

    #[test]
    fn the_clock_goes_on() {
        assert!(is_known());
        let before = now();
        assert!(before > 0 && now() >= before);
    }
}
