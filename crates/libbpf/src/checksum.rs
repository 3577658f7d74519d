//! Sums by which two counts of the same events are compared.

/// What an element adds to a checksum, `ARENAQ_CHECKSUM` in C: two wrapping sums over the same elements are
/// equal in whatever order, and over others as good as surely not.
pub fn checksum(key: u64, value: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ value
}
