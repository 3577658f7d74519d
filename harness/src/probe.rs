//! Programs that do nothing, loaded to see what the kernel allows.

use arenaq_libbpf::{Refusal, try_load};
use libbpf_rs::{Object, ObjectBuilder};

use crate::object::PROBE;

/// Loads one program of the probe object.
pub(crate) fn load_probe(program: &str) -> Result<Object, Refusal> {
    try_load(|| {
        let mut open = ObjectBuilder::default().name("arenaq_probe")?.open_memory(PROBE)?;
        for mut candidate in open.progs_mut() {
            let wanted = candidate.name() == program;
            candidate.set_autoload(wanted);
        }
        for mut map in open.maps_mut() {
            // The other programs are about other things than whether an arena can be made.
            map.set_autocreate(program.starts_with("probe_allocate"))?;
        }
        Ok(open)
    })
}
