//! How QEMU runs the guest's instructions.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Read;

use anyhow::{Context, bail};
use duct::cmd;

use crate::arch::Arch;

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
    /// QEMU cannot be started, or does not say its version; or KVM is wanted for another architecture than this machine's.
    pub fn choose(wish: Option<Wish>, arch: Arch) -> anyhow::Result<Accelerator> {
        if wish == Some(Wish::Kvm) && !arch.is_host() {
            bail!("this machine's processor runs no instructions of {arch}: leave out `--accelerator kvm`");
        }
        let qemu = arch.qemu();
        let version = cmd!(&qemu, "--version").read().with_context(|| {
            let option = if arch.is_host() { String::new() } else { format!(" --{arch}") };
            format!(
                "{qemu} cannot be started: `cargo xtask setup{option}` installs it (Debian's package {})",
                arch.qemu_package()
            )
        })?;
        let major = major(&version).with_context(|| format!("no version in `{version}`"))?;
        let kvm = match wish {
            Some(wish) => wish == Wish::Kvm,
            None => arch.is_host() && kvm_works(),
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
    use super::{Accelerator, Wish, has_virtualisation, major};
    use crate::arch::Arch;

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
    fn virtualisation_of_another_architecture_is_refused() {
        let other = Arch::ALL.into_iter().find(|arch| !arch.is_host()).expect("there are two");
        let error = Accelerator::choose(Some(Wish::Kvm), other).expect_err("refused").to_string();
        assert!(error.contains("leave out `--accelerator kvm`"), "{error}");
    }

    #[test]
    fn virtualisation_is_a_flag_of_the_processor() {
        assert!(has_virtualisation("processor\t: 0\nflags\t\t: fpu vmx sse\n"));
        assert!(has_virtualisation("flags\t\t: svm\n"));
        assert!(!has_virtualisation("flags\t\t: fpu sse\nvmx flags\t: vnmi\n"));
    }
}
