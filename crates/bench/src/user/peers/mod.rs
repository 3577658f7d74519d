//! One file for each library.

pub(super) mod arenaq;
pub(super) mod concurrent_queue;
pub(super) mod cordyceps;
pub(super) mod crossbeam;
pub(super) mod flume;
pub(super) mod heapless;
pub(super) mod kanal;
pub(super) mod nexus;
pub(super) mod owned;
pub(super) mod records;
pub(super) mod rtrb;
pub(super) mod spsc;
pub(super) mod std_mpsc;
pub(super) mod thingbuf;
