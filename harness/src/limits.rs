//! Whether a run fits into what this process may still have.

use arenaq_libbpf::memory;

use crate::error::Error;

/// What a load takes besides the arena: programs, maps, and what libbpf reads of the kernel's BTF. Measured:
/// 3 MB.
pub(crate) const BESIDES_ARENA: u64 = 4 << 20;

/// Whether an arena of so many bytes, or what else a run needs, fits into what the memory limit of this process's
/// control group leaves.
///
/// # Errors
///
/// [`Error::Memory`].
pub(crate) fn require_memory(bytes: u64) -> Result<(), Error> {
    let needed = bytes.saturating_add(BESIDES_ARENA);
    match memory::left() {
        Some(left) if left < needed => Err(Error::Memory { needed, left }),
        _ => Ok(()),
    }
}

/// Whether so many bytes may still be mapped. Who maps one large piece may simply try; this is for what is made of
/// many small ones, each of which ends the process if it is refused.
///
/// # Errors
///
/// [`Error::AddressSpace`].
pub(crate) fn require_address_space(needed: u64) -> Result<(), Error> {
    match memory::address_space_left() {
        Some(left) if left < needed => Err(Error::AddressSpace { needed, left }),
        _ => Ok(()),
    }
}
