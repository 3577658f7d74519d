//! arenaq's queues for C and C++ in userspace. What each function promises stands in `bpf/include/arenaq_user.h`.
//!
//! A panic ends the process: it cannot leave an `extern "C"` function. Nothing that a caller may pass or that may stand in
//! shared memory causes one.

// The name under which the files that are shared with arenaq-libbpf know it.
extern crate queues as arenaq;

mod alone;
pub mod arena;
#[path = "../../libbpf/src/checksum.rs"]
#[allow(dead_code, unreachable_pub, reason = "of arenaq-libbpf, which uses and publishes all of it")]
mod checksum;
pub mod declared;
pub mod ends;
pub mod error;
mod memory;
mod pinned;
pub mod records;
#[path = "../../libbpf/src/receiver/table.rs"]
#[allow(dead_code, unreachable_pub, reason = "of arenaq-libbpf, which uses and publishes all of it")]
mod table;
