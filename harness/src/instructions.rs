//! Which of the objects this machine gets.

use std::env::consts::ARCH;

use crate::error::Error;
use crate::hook::load_probe;
use crate::object::Instructions;

/// The object to load: the one that was asked for, or the best that this kernel takes.
pub(crate) fn choose(wanted: Option<Instructions>) -> Result<Instructions, Error> {
    match wanted {
        Some(wanted) if wanted.is_right_on(ARCH) => Ok(wanted),
        Some(wanted) => Err(Error::Usage(format!(
            "the object {} orders too little on {ARCH}: choose {}, which is right on every machine",
            wanted.name(),
            Instructions::FullBarrier.name()
        ))),
        None => probe(),
    }
}

/// The object with `load_acquire` and `store_release` if the kernel has them, else the one that is right on
/// this architecture without.
fn probe() -> Result<Instructions, Error> {
    if load_probe("probe_acquire_release").is_ok() {
        return Ok(Instructions::AcquireRelease);
    }
    // If nothing at all can be loaded, the instructions are not to blame.
    load_probe("probe_syscall").map_err(|refusal| refusal.of("loading a BPF program that does nothing"))?;
    Ok(Instructions::before_acquire_release(ARCH))
}
