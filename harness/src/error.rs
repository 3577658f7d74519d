//! What can go wrong, what it means, and with which code the command ends.

use std::fmt::Display;
use std::path::PathBuf;

use arenaq::arena::{ArenaError, CreateError};

/// Why the harness cannot do what it was asked for. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library says why, and the command what its options can do about it.
    #[error("{}", in_the_commands_words(.0))]
    Library(#[source] arenaq_libbpf::Error),
    /// The built-in workload has no place for its files.
    #[error(
        "no folder can be made in {}: {source}. Choose another place for the workload's files with --folder, or with TMPDIR.",
        folder.display()
    )]
    Folder {
        /// Where it was tried.
        folder: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A run needs more memory than the process's control group has left.
    #[error(
        "the queue and its producers need {needed} bytes, and the memory limit of this process's control group leaves {left}: \
         the kernel would kill the process. Choose a smaller --capacity or fewer --processes, or raise the limit."
    )]
    Memory {
        /// What the queue and those who use it need.
        needed: u64,
        /// What the limit leaves.
        left: u64,
    },
    /// A run needs more addresses than the process may still map.
    #[error(
        "the queue and its threads need {needed} bytes of address space, and `ulimit -v` leaves {left}. Choose a smaller --capacity or \
         fewer --processes, or raise the limit."
    )]
    AddressSpace {
        /// What the queue and the stacks of its threads need.
        needed: u64,
        /// What the limit leaves.
        left: u64,
    },
    /// The system has no memory for the queue.
    #[error(
        "the queue needs {needed} bytes, and this machine does not give them. Choose a smaller --capacity, or raise the limit that \
         was met: `ulimit -d`, or the machine's (vm.overcommit_memory)."
    )]
    NoMemory {
        /// What the queue needs.
        needed: u64,
    },
    /// A hook cannot be attached.
    #[error(
        "hook {hook} cannot be used: {reason}\n`arenaq doctor` says which hooks this kernel allows; `arenaq run --hook drive` needs none."
    )]
    Hook {
        /// The hook.
        hook: &'static str,
        /// What the kernel, or libbpf, said.
        reason: String,
    },
    /// No hook works here.
    #[error(
        "this kernel allows none of the hooks that see files ({tried}). Name another one with --hook: `arenaq doctor` says which work. \
         `arenaq run --hook drive` needs none, and `arenaq run --backend threads` no BPF."
    )]
    NoHook {
        /// What was tried, and what the kernel said.
        tried: String,
    },
    /// A BPF operation failed.
    #[error("{what}: {source:#}{}", advice(source))]
    Bpf {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: libbpf_rs::Error,
    },
    /// A program in C does not become an object.
    #[error(transparent)]
    Build(#[from] arenaq_bpf_build::Error),
    /// The options contradict each other.
    #[error("{0}")]
    Usage(String),
    /// The command to trace cannot be started.
    #[error("cannot run `{command}`: {reason}")]
    Command {
        /// The command.
        command: String,
        /// Why.
        reason: String,
    },
    /// The system gives no further thread.
    #[error("starting {member}, when {running} of them ran: {source}{}", advice(source))]
    Thread {
        /// What the thread was to be.
        member: &'static str,
        /// How many of its kind there were.
        running: usize,
        /// Why there is no more.
        source: std::io::Error,
    },
    /// A system call failed.
    #[error("{what}: {source}{}", advice(source))]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// What the library says, with what the options of the command can do about it.
fn in_the_commands_words(error: &arenaq_libbpf::Error) -> String {
    use arenaq_libbpf::Error::{Held, NoBtf, NotMounted, Privileges, TooLarge, UserNamespace};
    const INSTEAD: &str = "`arenaq run --backend threads` shows the same queues with threads as producers.";
    match error {
        Privileges { .. } => format!("{error}\nWithout them, {INSTEAD}"),
        UserNamespace => format!("{error}\nWithout that, {INSTEAD}"),
        NotMounted { place: place @ "/proc", file_system } => format!(
            "{place} is not mounted, where arenaq finds its arena (/proc/self/maps) and what it starts (/proc/self/exe). Mount \
             it, as root: `mount -t {file_system} {file_system} {place}`; `arenaq run --backend threads` works without."
        ),
        NotMounted { .. } => format!("{error}; `arenaq run --backend threads` works without."),
        NoBtf => format!("{error}, or `arenaq run --backend threads`."),
        TooLarge { capacity, needed } => format!(
            "a queue of {capacity} elements needs {needed} bytes, and an arena has at most 4294967296 (4 GiB): choose a \
             smaller --capacity"
        ),
        Held { .. } => format!("{error} (`--wait 1h`)"),
        _ => error.to_string(),
    }
}

/// What to do about a limit that was met. libbpf's errors do not give their number away, but say it.
fn advice(error: &impl Display) -> &'static str {
    let cases = [
        (
            libc::EMFILE,
            ". Take fewer --consumers or --processes, or let this process open more files: `ulimit -n`.",
        ),
        (libc::ENFILE, ". The machine has no more open files to give: fs.file-max."),
        (
            libc::EAGAIN,
            ". Take fewer --processes or --consumers, or raise the limit that was met: of processes (`ulimit -u`, \
             pids.max of the control group) or of address space (`ulimit -v`).",
        ),
        (
            libc::ENOMEM,
            ". Choose a smaller --capacity, or fewer --consumers or --processes, or raise the limit of memory \
             (`ulimit -v`, the control group's).",
        ),
    ];
    let said = format!("{error:#}");
    let met = cases.into_iter().find(|(number, _)| said.contains(&format!("(os error {number})")));
    met.map_or("", |(_, advice)| advice)
}

impl From<arenaq_libbpf::Error> for Error {
    fn from(error: arenaq_libbpf::Error) -> Error {
        match error {
            // What meets a limit is the same here and there, and so is what helps.
            arenaq_libbpf::Error::Bpf { what, source } => Error::Bpf { what, source },
            arenaq_libbpf::Error::System { what, source } => Error::System { what, source },
            arenaq_libbpf::Error::Usage(text) => Error::Usage(text),
            other => Error::Library(other),
        }
    }
}

impl From<ArenaError> for Error {
    fn from(error: ArenaError) -> Error {
        Error::Library(error.into())
    }
}

impl From<CreateError> for Error {
    fn from(error: CreateError) -> Error {
        Error::Library(error.into())
    }
}

impl Error {
    /// The exit code of the command: 1 for a program that does not compile, 2 for what the user can put right in the command line, 3 for what this
    /// machine refuses, 4 for a command that cannot be started.
    pub fn exit_code(&self) -> u8 {
        use arenaq_libbpf::Error::{
            ArenaTooLarge, Capacity, Create, Declaration, NoArena, NoObject, NoQueues, NoTypes, TooLarge,
        };
        match self {
            Error::Usage(_)
            | Error::Library(
                TooLarge { .. }
                | ArenaTooLarge { .. }
                | Capacity { .. }
                | NoObject { .. }
                | NoTypes
                | NoArena
                | NoQueues
                | Declaration { .. }
                | arenaq_libbpf::Error::Arena(ArenaError::Absent { .. })
                | Create(
                    CreateError::Capacity(_)
                    | CreateError::Records(_)
                    | CreateError::Arena(ArenaError::Nodes(_)),
                ),
            ) => 2,
            Error::Command { .. } => 4,
            Error::Build(
                arenaq_bpf_build::Error::Program { .. } | arenaq_bpf_build::Error::Unresolved { .. },
            ) => 1,
            _ => 3,
        }
    }

    pub(crate) fn bpf(what: impl Into<String>) -> impl FnOnce(libbpf_rs::Error) -> Error {
        let what = what.into();
        move |source| Error::Bpf { what, source }
    }

    pub(crate) fn system<E: Into<std::io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
        let what = what.into();
        move |source| Error::System { what, source: source.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use arenaq::structures::Consumers;
    use arenaq_libbpf::Error as Library;
    use libbpf_rs::ErrorExt;

    use super::Error;

    #[test]
    fn an_error_of_libbpf_is_told_with_its_cause() {
        let cause = libbpf_rs::Error::from(io::Error::from_raw_os_error(libc::EMFILE));
        let text =
            Error::bpf("mapping the doorbell")(cause.context("failed to create a ring buffer")).to_string();
        assert!(text.starts_with("mapping the doorbell: failed to create a ring buffer: "), "{text}");
        assert!(text.contains("Too many open files"), "{text}");
    }

    #[test]
    fn what_the_library_says_comes_with_what_the_command_can_do() {
        let held = |consumers| Library::Held {
            folder: "/sys/fs/bpf/queue".into(),
            consumers,
            holders: "process 7 (cat)".to_owned(),
        };
        let threads = "`arenaq run --backend threads`";
        for (error, said, does, code) in [
            (
                Library::Privileges { missing: "CAP_BPF".to_owned(), advice: "Run as root.".to_owned() },
                "CAP_BPF missing. Run as root.\nWithout them, ",
                threads,
                3,
            ),
            (Library::UserNamespace, "user namespace.\nWithout that, ", threads, 3),
            (
                Library::NotMounted { place: "/proc", file_system: "proc" },
                "what it starts (/proc/self/exe). Mount it, as root: `mount -t proc proc /proc`; ",
                threads,
                3,
            ),
            (
                Library::NotMounted { place: "/sys", file_system: "sysfs" },
                "which arenas need. Mount it, as root: `mount -t sysfs sysfs /sys`; ",
                threads,
                3,
            ),
            (Library::NoBtf, "with CONFIG_DEBUG_INFO_BTF=y, or ", threads, 3),
            (Library::TooLarge { capacity: 5, needed: 6 }, "needs 6 bytes", "choose a smaller --capacity", 2),
            (
                held(Consumers::One),
                "/sys/fs/bpf/queue: process 7 (cat) consumes from it",
                "Wait for its end, or end it (`--wait 1h`)",
                3,
            ),
            (
                held(Consumers::WithSlots),
                "/sys/fs/bpf/queue: process 7 (cat) has locked it",
                "or wait longer (`--wait 1h`)",
                3,
            ),
            (Library::Usage("no map".to_owned()), "no map", "", 2),
            (
                Library::System {
                    what: "opening a clock".to_owned(),
                    source: io::Error::from_raw_os_error(libc::EMFILE),
                },
                "opening a clock: Too many open files",
                "Take fewer --consumers",
                3,
            ),
        ] {
            let error = Error::from(error);
            let text = error.to_string();
            assert!(text.contains(said) && text.contains(does), "{text}");
            assert_eq!(error.exit_code(), code, "{text}");
        }
    }
}
