//! What can go wrong, what it means, and with which code the command ends.

use std::fmt::Display;
use std::path::PathBuf;

use arenaq::arena::{ArenaError, CreateError};

/// Why the harness cannot do what it was asked for. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not use BPF.
    #[error(
        "no privileges for BPF: {missing} missing. {advice}\n\
         Without them, `arenaq run --backend threads` shows the same queues with threads as producers."
    )]
    Privileges {
        /// The capabilities that are missing.
        missing: String,
        /// How this process, or the next one, gets them.
        advice: String,
    },
    /// The process has privileges in its user namespace only.
    #[error(
        "no privileges for BPF: this process is in a user namespace, and its capabilities do not count outside. Run outside of \
         the namespace, as root or with CAP_BPF and CAP_PERFMON; a container must share the host's user namespace.\n\
         Without that, `arenaq run --backend threads` shows the same queues with threads as producers."
    )]
    UserNamespace,
    /// A file system of the kernel is not where it belongs.
    #[error(
        "{place} is not mounted, {}. Mount it, as root: `mount -t {file_system} {file_system} {place}`; \
         `arenaq run --backend threads` works without.",
        needed_for(place)
    )]
    NotMounted {
        /// Where it belongs.
        place: &'static str,
        /// Its type.
        file_system: &'static str,
    },
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
    /// The kernel has no type information about itself.
    #[error(
        "the kernel has no BTF (no /sys/kernel/btf/vmlinux): arenas need it. Use a kernel with CONFIG_DEBUG_INFO_BTF=y, or \
         `arenaq run --backend threads`."
    )]
    NoBtf,
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
    /// A BPF object was not loaded.
    #[error("{what}: {reason}\n{advice}{}", log_hint(log))]
    Load {
        /// What was tried.
        what: String,
        /// What the kernel or libbpf said; of a long log the end.
        reason: String,
        /// What to do.
        advice: String,
        /// Where the whole log lies.
        log: Option<PathBuf>,
    },
    /// A BPF operation failed.
    #[error("{what}: {source:#}{}", advice(source))]
    Bpf {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: libbpf_rs::Error,
    },
    /// The queue does not fit into an arena.
    #[error(
        "a queue of {capacity} elements needs {needed} bytes, and an arena has at most 4294967296 (4 GiB): choose a smaller --capacity"
    )]
    TooLarge {
        /// The capacity that was asked for.
        capacity: u64,
        /// What it would need.
        needed: u64,
    },
    /// The queues could not be made in the arena.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The arena is not what it should be.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// A folder of pinned queues is not what it should be.
    #[error("{}: {reason}", folder.display())]
    Pinned {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A fork of the process that has mapped an arena: the kernel does not hand the mapping down.
    #[error(
        "this process is a fork of process {parent}, which has mapped the arena; a fork has no arena. Start the child as a program of \
         its own and attach there to the pinned arena (`Kernel::pin`, `Pinned::attach`)"
    )]
    Forked {
        /// Who has mapped it.
        parent: u32,
    },
    /// The queue cannot be popped from.
    #[error(
        "the queue is damaged: {0}. Make it anew, for example with `arenaq unpin` and `arenaq pin`: what is in it cannot be trusted"
    )]
    Queue(arenaq::PopError),
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

fn needed_for(place: &str) -> &'static str {
    if place == "/proc" {
        "where arenaq finds its arena (/proc/self/maps) and what it starts (/proc/self/exe)"
    } else {
        "where the kernel's BTF is (/sys/kernel/btf/vmlinux), which arenas need"
    }
}

fn log_hint(log: &Option<PathBuf>) -> String {
    log.as_ref().map_or_else(String::new, |log| format!("\nThe whole log is in {}.", log.display()))
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

impl Error {
    /// The exit code of the command: 2 for what the user can put right in the command line, 3 for what this
    /// machine refuses, 4 for a command that cannot be started.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::TooLarge { .. } | Error::Create(CreateError::Capacity(_)) => 2,
            Error::Create(CreateError::Arena(ArenaError::Nodes(_))) => 2,
            Error::Command { .. } => 4,
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
}
