//! The architectures of guests.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An architecture that a guest can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Arch {
    /// x86-64.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm, whose memory order is weak.
    #[serde(rename = "arm64")]
    Arm64,
}

impl Arch {
    /// Every one.
    pub const ALL: [Arch; 2] = [Arch::X86_64, Arch::Arm64];

    /// That of the machine that this program runs on, if guests can have it.
    pub fn host() -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| arch.name() == std::env::consts::ARCH)
    }

    /// Whether a program for it runs on this machine.
    pub fn is_host(self) -> bool {
        Arch::host() == Some(self)
    }

    /// As [`std::env::consts::ARCH`] and cargo have it.
    pub fn rust(self) -> &'static str {
        self.name()
    }

    /// As the compilers and QEMU have it.
    fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "aarch64",
        }
    }

    /// As the commands of `cargo xtask` have it.
    pub fn option(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "arm64",
        }
    }

    /// As Debian has it.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }

    /// Rust's name of it with Linux and the GNU C library.
    pub fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }

    /// What the names of a cross-compiler's programs, and the folders of libraries, have: `aarch64-linux-gnu`.
    pub fn multiarch(self) -> String {
        format!("{}-linux-gnu", self.name())
    }

    /// The command of QEMU.
    pub fn qemu(self) -> String {
        format!("qemu-system-{}", self.name())
    }

    /// The package that has it.
    pub fn qemu_package(self) -> &'static str {
        match self {
            Arch::X86_64 => "qemu-system-x86",
            Arch::Arm64 => "qemu-system-arm",
        }
    }

    /// QEMU's options for the machine and its processors.
    pub(crate) fn machine(self) -> &'static [&'static str] {
        match self {
            Arch::X86_64 => &["-cpu", "max"],
            // Eight processors are the limit of the older interrupt controller. A server's processor that is widely used, with the
            // atomic instructions of 8.1 and without the cipher for pointers of 8.3: an emulated kernel is a quarter faster on it than on
            // `max`, which has everything.
            Arch::Arm64 => &["-machine", "virt,gic-version=3", "-cpu", "neoverse-n1"],
        }
    }

    /// The kernel's name of the serial port.
    pub(crate) fn console(self) -> &'static str {
        match self {
            Arch::X86_64 => "ttyS0",
            Arch::Arm64 => "ttyAMA0",
        }
    }

    /// More words of the command line, each behind a space.
    pub(crate) fn parameters(self) -> &'static str {
        match self {
            // The check waits for ticks of the timer by counting instructions, and panics if none comes: an emulator that has to
            // share its processors may be that slow.
            Arch::X86_64 => " no_timer_check",
            Arch::Arm64 => "",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arch::X86_64 => "x86-64",
            Arch::Arm64 => "arm64",
        })
    }
}
