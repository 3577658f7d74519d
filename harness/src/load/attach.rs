//! Attaching programs to where their sections say, and the end of it.

use std::path::Path;

use arenaq_libbpf::{Loaded, log};

use crate::error::Error;

/// Attaches every program that was loaded.
pub(super) fn attach(loaded: &Loaded) -> Result<(), Error> {
    let mut links = loaded.links();
    for program in loaded.object().progs_mut().filter(|program| program.autoload()) {
        let (name, section) = (program.name().to_string_lossy(), program.section().to_string_lossy());
        let (link, _) = log::capture(|| program.attach());
        match link {
            Ok(link) => links.push(link),
            // libbpf's word for a section that does not say where.
            Err(error) if format!("{error:#}").contains(&format!("(os error {})", libc::EOPNOTSUPP)) => {
                return Err(Error::Usage(format!(
                    "the program {name} cannot be attached: its section `{section}` does not say where. Name the place in it, as \
                     in SEC(\"fentry/do_unlinkat\"), or leave the program out with SEC(\"?{section}\")"
                )));
            }
            Err(error) if is_tracepoint(&section) && !has_tracefs() => {
                return Err(Error::bpf(format!(
                    "attaching the program {name}: its section `{section}` needs tracefs, which is not mounted. As root, \
                     `mount -t tracefs tracefs /sys/kernel/tracing`"
                ))(error));
            }
            Err(error) => {
                return Err(Error::bpf(format!("attaching the program {name} (section {section})"))(error));
            }
        }
    }
    if links.is_empty() {
        return Err(Error::Usage("the object has no program that could be attached".to_owned()));
    }
    Ok(())
}

/// Whether libbpf attaches a program of this section through tracefs.
fn is_tracepoint(section: &str) -> bool {
    ["tracepoint/", "tp/"].iter().any(|prefix| section.starts_with(prefix))
}

/// Whether tracefs is mounted where libbpf looks: by itself, or below debugfs.
fn has_tracefs() -> bool {
    ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"]
        .iter()
        .any(|folder| Path::new(folder).is_dir())
}

/// Detaches all programs. None of them runs any more when this returns, but for those that sleep.
pub(super) fn detach(loaded: &Loaded) {
    loaded.links().clear();
    // It waits for everybody who reads under RCU, as programs do. Where the kernel does not have it, they have had the time
    // that the rest of the way takes.
    let _ = rustix::thread::membarrier(rustix::thread::MembarrierCommand::Global);
}
