//! What the shim, `shim.bpf.c`, gives: accesses to arena memory, and what only BPF's C compiler can say.
//!
//! An address is a number here. The shim makes an arena pointer of it, on which the BPF backend does what it
//! must before each access.

unsafe extern "C" {
    /// A plain load of one word.
    pub(crate) safe fn arenaq_read(address: u64) -> u64;
    /// A plain store of one word.
    pub(crate) safe fn arenaq_write(address: u64, value: u64);
    /// A relaxed atomic load.
    pub(crate) safe fn arenaq_load_relaxed(address: u64) -> u64;
    /// `load_acquire`.
    pub(crate) safe fn arenaq_load_acquire(address: u64) -> u64;
    /// A relaxed atomic store.
    pub(crate) safe fn arenaq_store_relaxed(address: u64, value: u64);
    /// `store_release`.
    pub(crate) safe fn arenaq_store_release(address: u64, value: u64);
    /// `xchg_64`, which is fully ordered.
    pub(crate) safe fn arenaq_swap(address: u64, value: u64) -> u64;
    /// `cmpxchg_64`, which is fully ordered. Returns what was there.
    pub(crate) safe fn arenaq_compare_exchange(address: u64, current: u64, new: u64) -> u64;
    /// An atomic addition without a result, which orders nothing.
    pub(crate) safe fn arenaq_add(address: u64, value: u64);
    /// An atomic addition that returns what was there, which is fully ordered.
    pub(crate) safe fn arenaq_fetch_add(address: u64, value: u64) -> u64;
    /// The number of the processor.
    pub(crate) safe fn arenaq_processor() -> u64;
    /// Whether the kernel lets a loop make one more pass.
    pub(crate) safe fn arenaq_can_loop() -> bool;
    /// Zero, which the verifier cannot see either: for the counters of loops.
    pub(crate) safe fn arenaq_zero() -> u64;
    /// How often an operation tries again. The verifier cannot see the value, so it does not walk every
    /// attempt.
    pub(crate) safe fn arenaq_retry_budget() -> u64;
    /// Copies an element of `size` bytes, aligned to `align`, into the arena.
    pub(crate) fn arenaq_copy_in(to: u64, from: *const u8, size: u64, align: u64);
    /// Copies an element out of the arena.
    pub(crate) fn arenaq_copy_out(to: *mut u8, from: u64, size: u64, align: u64);
    /// Copies a record of `size` bytes, up to whole words, into the arena. Whether it did: not if that is more than `most`.
    pub(crate) fn arenaq_copy_record(to: u64, from: *const u8, size: u64, most: u64) -> bool;
    /// Defined nowhere: an access whose ordering BPF does not have fails the link.
    pub(crate) safe fn arenaq_no_such_ordering() -> u64;
}
