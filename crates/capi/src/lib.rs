//! arenaq's queues for C and C++ in userspace. What each function promises stands in `bpf/include/arenaq_user.h`.
//!
//! A panic ends the process: it cannot leave an `extern "C"` function. Nothing that a caller may pass or that may stand in
//! shared memory causes one.

pub mod arena;
pub mod declared;
pub mod ends;
pub mod error;
mod memory;
