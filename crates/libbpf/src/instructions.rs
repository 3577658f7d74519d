//! Which of the objects this machine gets.

use std::env::consts::ARCH;

pub use arenaq_bpf_build::Instructions;

use crate::error::Error;
use crate::probe;
use crate::refusal::Refusal;

/// Which of the objects that [`Pipeline::objects`](arenaq_bpf_build::Pipeline::objects) makes is to be loaded here: the
/// one that is wanted, or the best that this kernel takes.
///
/// To find out, it loads a BPF program that does nothing. The answer does not change while the kernel runs.
///
/// ```no_run
/// use arenaq_libbpf::{Instructions, choose};
///
/// let object: &[u8] = match choose(None)? {
///     Instructions::AcquireRelease => b"the contents of my.acquire-release.bpf.o",
///     Instructions::Tso => b"my.tso.bpf.o",
///     Instructions::FullBarrier => b"my.full-barrier.bpf.o",
/// };
/// # Ok::<(), arenaq_libbpf::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Usage`] if `wanted` orders too little on this architecture; and what the kernel said if it loads no BPF program
/// at all, such as [`Error::Privileges`].
pub fn choose(wanted: Option<Instructions>) -> Result<Instructions, Error> {
    match wanted {
        Some(wanted) if wanted.is_right_on(ARCH) => Ok(wanted),
        Some(wanted) => Err(Error::Usage(format!(
            "the object {} orders too little on {ARCH}: choose {}, which is right on every machine",
            wanted.name(),
            Instructions::FullBarrier.name()
        ))),
        None => best(),
    }
}

/// Whether this kernel has `load_acquire` and `store_release`, seen by loading a BPF program with both.
///
/// # Errors
///
/// What the kernel said: Linux has them from 6.15 on.
pub fn acquire_release() -> Result<(), Refusal> {
    probe::acquire_release()
}

/// The object with `load_acquire` and `store_release` if the kernel has them, else the one that is right on
/// this architecture without.
fn best() -> Result<Instructions, Error> {
    if acquire_release().is_ok() {
        return Ok(Instructions::AcquireRelease);
    }
    // If nothing at all can be loaded, the instructions are not to blame.
    probe::nothing().map_err(|refusal| refusal.explain("loading a BPF program that does nothing"))?;
    Ok(Instructions::before_acquire_release(ARCH))
}
