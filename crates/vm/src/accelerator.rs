//! How QEMU runs the guest's instructions.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Read;

use anyhow::Context;
use duct::cmd;

/// The command of QEMU.
pub const QEMU: &str = "qemu-system-x86_64";

/// From this version on, emulation in several threads was seen to be right; 7.2 breaks cmpxchg16b in it, which the
/// kernel's allocator of arena pages needs.
const THREADS_WORK: u32 = 10;

/// What a user can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The processor's virtualisation.
    Kvm,
    /// Emulation, which works everywhere.
    Tcg,
}

/// What is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor's virtualisation.
    Kvm,
    /// QEMU emulates the guest's instructions.
    Emulation {
        /// In a thread for each of the guest's processors, else all in one.
        threads: bool,
    },
}

impl Accelerator {
    /// KVM where it works, unless the user wants something else.
    ///
    /// # Errors
    ///
    /// QEMU cannot be started, or does not say its version.
    pub fn choose(wish: Option<Wish>) -> anyhow::Result<Accelerator> {
        let version = cmd!(QEMU, "--version").read().with_context(|| {
            format!(
                "{QEMU} cannot be started: `cargo xtask setup` installs it (Debian's package qemu-system-x86)"
            )
        })?;
        let major = major(&version).with_context(|| format!("no version in `{version}`"))?;
        let kvm = match wish {
            Some(wish) => wish == Wish::Kvm,
            None => kvm_works(),
        };
        Ok(if kvm { Accelerator::Kvm } else { Accelerator::Emulation { threads: major >= THREADS_WORK } })
    }

    /// As QEMU's option -accel.
    pub fn option(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Emulation { threads: true } => "tcg,thread=multi",
            Accelerator::Emulation { threads: false } => "tcg,thread=single",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accelerator::Kvm => "KVM",
            Accelerator::Emulation { threads: true } => "emulation",
            Accelerator::Emulation { threads: false } => "emulation in one thread: QEMU is older than 10",
        })
    }
}

/// Some clouds offer a /dev/kvm on processors without virtualisation; a stock kernel does not boot there.
fn kvm_works() -> bool {
    let opens = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    let mut processors = String::new();
    let read = File::open("/proc/cpuinfo").and_then(|mut file| file.read_to_string(&mut processors));
    opens && read.is_ok() && has_virtualisation(&processors)
}

fn has_virtualisation(processors: &str) -> bool {
    let flags = processors.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

/// From `QEMU emulator version 10.0.2 (Debian 1:10.0.2)`.
fn major(version: &str) -> Option<u32> {
    let (_, rest) = version.split_once("version ")?;
    rest.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{has_virtualisation, major};

    #[test]
    fn the_version_is_found() {
        assert_eq!(
            major("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright"),
            Some(7)
        );
        assert_eq!(major("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)"), Some(10));
        assert_eq!(major("something else"), None);
    }

    #[test]
    fn virtualisation_is_a_flag_of_the_processor() {
        assert!(has_virtualisation("processor\t: 0\nflags\t\t: fpu vmx sse\n"));
        assert!(has_virtualisation("flags\t\t: svm\n"));
        assert!(!has_virtualisation("flags\t\t: fpu sse\nvmx flags\t: vnmi\n"));
    }
}
