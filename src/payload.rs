//! What the queues carry.

use bytemuck::{Pod, Zeroable};

/// What a queue can carry: plain old data. Both ends of the queue are different programs, so every bit
/// pattern must be a value and no byte may be padding, which is what [`Pod`] means; and the kernel copies it
/// word by word.
///
/// # Layout
///
/// A whole number of 64-bit words, aligned to at most 8 bytes. A queue of anything else does not compile:
///
/// ```compile_fail
/// use arenaq::{mpmc, count::Counted, platform::Native};
/// let _ = mpmc::Head::<Native, [u8; 3], Counted>::empty();
/// ```
pub trait Payload: Pod {
    /// Evaluated wherever a queue of this payload is made.
    const IS_WORDS: () = assert!(
        size_of::<Self>().is_multiple_of(8) && align_of::<Self>() <= 8,
        "a payload is a whole number of 64-bit words, aligned to at most 8 bytes"
    );
}

impl<T: Pod> Payload for T {}

/// The seeds' payload, `struct ds_kv`.
///
/// Layout: `key` at 0, `value` at 8; 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct KeyValue {
    /// Who: the seeds' hook stores a process id.
    pub key: u64,
    /// What: the seeds' hook stores a time in nanoseconds.
    pub value: u64,
}
