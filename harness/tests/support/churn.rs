//! For how long records are pushed and consumed by those who are killed.

use std::time::Duration;

/// A few seconds; as many as `cargo xtask churn` says with this variable.
const SECONDS: &str = "ARENAQ_CHURN_SECONDS";

/// How long.
pub(crate) fn duration() -> Duration {
    let given = std::env::var(SECONDS).ok();
    let given = given.map(|text| text.parse().unwrap_or_else(|_| panic!("{SECONDS}={text} is no number")));
    Duration::from_secs(given.unwrap_or(4))
}
