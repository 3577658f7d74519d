//! Ways from a BPF program to userspace, and back.
//!
//! But for [`opens`], nothing is attached to the kernel: the programs are `syscall` programs that userspace runs. What is loaded
//! belongs to file descriptors of this process, so nothing outlives it, however it ends.

pub mod back;
pub mod channel;
pub mod deliver;
pub mod object;
pub mod opens;
pub mod push;
mod seen;
mod size;
mod typed;

pub use channel::{Channel, Via, Waiting};
pub use size::Size;
