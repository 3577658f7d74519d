//! The function of this binary to which the uprobe hooks attach by default.

use std::hint::black_box;
use std::path::PathBuf;

use arenaq_libbpf::program::UprobeTarget;

/// The function that the built-in workload calls.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_uprobe_target(number: u64) -> u64 {
    black_box(number).wrapping_add(1)
}

/// That function, as something to attach to.
pub fn own_function() -> UprobeTarget {
    // Named here, it is in whatever binary can ask for it, whether or not that has the workload.
    black_box(arenaq_uprobe_target as extern "C" fn(u64) -> u64);
    UprobeTarget { binary: PathBuf::from("/proc/self/exe"), function: "arenaq_uprobe_target".to_owned() }
}
