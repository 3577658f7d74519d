//! Ways from a BPF program to userspace, and back.
//!
//! Nothing is attached to the kernel: all programs are `syscall` programs that userspace runs. What is loaded
//! belongs to file descriptors of this process, so nothing outlives it, however it ends.

pub mod back;
pub mod channel;
pub mod deliver;
pub mod object;
pub mod push;
mod typed;

pub use channel::{Channel, Via, Waiting};
