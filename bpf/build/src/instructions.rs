//! The three kinds of objects.

/// What an acquire load and a release store become. Everything else is the same in all objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// `load_acquire` and `store_release`, which Linux has from 6.15 on.
    AcquireRelease,
    /// Ordinary loads and stores, with barriers for the compiler only. For older kernels, and right only
    /// where the hardware keeps total store order.
    Tso,
    /// Read-modify-writes with a result, which BPF orders fully: an addition of zero, and an exchange. For
    /// older kernels, and right on every machine.
    FullBarrier,
}

impl Instructions {
    /// All.
    pub const ALL: [Instructions; 3] =
        [Instructions::AcquireRelease, Instructions::Tso, Instructions::FullBarrier];

    /// A short name, for files and output.
    pub const fn name(self) -> &'static str {
        match self {
            Instructions::AcquireRelease => "acquire-release",
            Instructions::Tso => "tso",
            Instructions::FullBarrier => "full-barrier",
        }
    }

    /// The name as a part of an environment variable's: `ACQUIRE_RELEASE`, `TSO`, `FULL_BARRIER`.
    pub const fn variable(self) -> &'static str {
        match self {
            Instructions::AcquireRelease => "ACQUIRE_RELEASE",
            Instructions::Tso => "TSO",
            Instructions::FullBarrier => "FULL_BARRIER",
        }
    }

    /// The section in which a file that is made for every kernel ([`Pipeline::bundle`](crate::Pipeline::bundle)) has the
    /// object with these instructions, unless it is that object itself.
    pub const fn section(self) -> &'static str {
        match self {
            Instructions::AcquireRelease => ".arenaq.acquire-release",
            Instructions::Tso => ".arenaq.tso",
            Instructions::FullBarrier => ".arenaq.full-barrier",
        }
    }

    /// The section in which an object says by [`name`](Self::name) which instructions it has.
    pub const SECTION: &'static str = ".arenaq.instructions";

    /// The instructions of a name.
    pub fn from_name(name: &str) -> Option<Instructions> {
        Instructions::ALL.into_iter().find(|instructions| instructions.name() == name)
    }

    /// Those to take on an architecture, named as in [`std::env::consts::ARCH`], whose kernel has neither
    /// `load_acquire` nor `store_release`.
    pub fn before_acquire_release(architecture: &str) -> Instructions {
        if Instructions::Tso.is_right_on(architecture) {
            Instructions::Tso
        } else {
            Instructions::FullBarrier
        }
    }

    /// Whether these instructions order what the algorithms need on an architecture, named as in
    /// [`std::env::consts::ARCH`]. Whether the kernel has them is another question.
    pub fn is_right_on(self, architecture: &str) -> bool {
        match self {
            Instructions::AcquireRelease | Instructions::FullBarrier => true,
            Instructions::Tso => matches!(architecture, "x86_64" | "s390x"),
        }
    }

    /// What the shim must be told.
    pub(crate) const fn define(self) -> Option<&'static str> {
        match self {
            Instructions::AcquireRelease => None,
            Instructions::Tso => Some("-DARENAQ_TSO"),
            Instructions::FullBarrier => Some("-DARENAQ_FULL_BARRIER"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Instructions;

    #[test]
    fn without_load_acquire_ordinary_loads_do_only_where_the_hardware_keeps_total_store_order() {
        for (architecture, expected) in [
            ("x86_64", Instructions::Tso),
            ("s390x", Instructions::Tso),
            ("aarch64", Instructions::FullBarrier),
            ("riscv64", Instructions::FullBarrier),
            ("powerpc64", Instructions::FullBarrier),
            ("one that nobody has thought of", Instructions::FullBarrier),
        ] {
            assert_eq!(Instructions::before_acquire_release(architecture), expected, "{architecture}");
            assert!(expected.is_right_on(architecture));
        }
    }

    #[test]
    fn the_variable_is_the_name_in_capitals() {
        for instructions in Instructions::ALL {
            assert_eq!(instructions.variable(), instructions.name().replace('-', "_").to_uppercase());
        }
    }
}
