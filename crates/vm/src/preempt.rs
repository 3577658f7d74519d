//! When a guest's kernel takes the processor from what runs in it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A model of preemption, as the kernel's parameter `preempt=` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preempt {
    /// Only where the kernel gives the processor up, or goes back to userspace.
    None,
    /// Also where the kernel offers to.
    Voluntary,
    /// Anywhere outside critical sections, at once: between any two accesses of a BPF program that may be preempted.
    Full,
    /// Anywhere, and of ordinary tasks only at the next tick.
    Lazy,
}

impl fmt::Display for Preempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Preempt::None => "none",
            Preempt::Voluntary => "voluntary",
            Preempt::Full => "full",
            Preempt::Lazy => "lazy",
        })
    }
}
