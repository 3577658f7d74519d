//! What can go wrong, and what it means.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use arenaq::arena::{ArenaError, CreateError};
use arenaq::structures::Consumers;
use rustix::io::Errno;

/// Why something cannot be done. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process may not use BPF.
    #[error("no privileges for BPF: {missing} missing. {advice}")]
    Privileges {
        /// The capabilities that are missing.
        missing: String,
        /// How this process, or the next one, gets them.
        advice: String,
    },
    /// The process has privileges in its user namespace only.
    #[error(
        "no privileges for BPF: this process is in a user namespace, and its capabilities do not count outside. Run outside of \
         the namespace, as root or with CAP_BPF and CAP_PERFMON; a container must share the host's user namespace."
    )]
    UserNamespace,
    /// A file system of the kernel is not where it belongs.
    #[error(
        "{place} is not mounted, {}. Mount it, as root: `mount -t {file_system} {file_system} {place}`",
        needed_for(place)
    )]
    NotMounted {
        /// Where it belongs.
        place: &'static str,
        /// Its type.
        file_system: &'static str,
    },
    /// The kernel has no type information about itself.
    #[error(
        "the kernel has no BTF (no /sys/kernel/btf/vmlinux): arenas need it. Use a kernel with CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf,
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
        "a queue of {capacity} elements needs {needed} bytes, and an arena has at most 4294967296 (4 GiB): choose a smaller capacity"
    )]
    TooLarge {
        /// The capacity that was asked for.
        capacity: u64,
        /// What it would need.
        needed: u64,
    },
    /// The queues of an object do not fit into an arena.
    #[error(
        "the object's queues need {needed} bytes together, and an arena has at most 4294967296 (4 GiB): choose smaller capacities"
    )]
    ArenaTooLarge {
        /// How many bytes they need.
        needed: u64,
    },
    /// An object's queue cannot have a capacity.
    #[error("the queue `{queue}`: {source}")]
    Capacity {
        /// The queue.
        queue: String,
        /// Why.
        source: CreateError,
    },
    /// A file is no BPF object.
    #[error("no BPF object: {reason}. Give the file that `arenaq build` or clang has made (my.bpf.o)")]
    NoObject {
        /// Why not.
        reason: String,
    },
    /// A file has no object for this kernel and this machine.
    #[error(
        "the object {what}{}: build it again, without --instructions, for every kernel and machine",
        only(has)
    )]
    Unsuited {
        /// What is wrong with it.
        what: String,
        /// Which objects there are.
        has: String,
    },
    /// An object has no BTF.
    #[error(
        "the object has no BTF, which says what its queues carry: compile it with `-g`, and keep the section .BTF"
    )]
    NoTypes,
    /// An object has no arena.
    #[error(
        "the object has no map of the type BPF_MAP_TYPE_ARENA: define one, as the beginning of arenaq.h shows"
    )]
    NoArena,
    /// An object has an arena without queues.
    #[error("the object declares no queue: declare one with ARENAQ_MPMC, ARENAQ_MPSC or ARENAQ_RECORDS")]
    NoQueues,
    /// A variable of an object is not the queue that it seems to be.
    #[error("the object's variable `{variable}` is no queue: {reason}")]
    Declaration {
        /// The variable.
        variable: String,
        /// Why.
        reason: String,
    },
    /// An object is not that whose queues were looked for.
    #[error("the object is not the one whose queues these are: use the `Queues` of the object that you load")]
    OtherObject,
    /// An object was loaded without room for its queues.
    #[error(
        "the object was loaded without room for its queues: load it with `Queues::load`, or call `Queues::prepare` before"
    )]
    NotPrepared,
    /// The queues of an object can be made once.
    #[error("the object's queues are made already: get them with `Queues::attach`")]
    Made,
    /// The queues of an object are not made yet.
    #[error("the object's queues are not made yet: call `Queues::create` first")]
    NotMade,
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
    /// Others have the right to consume from a pinned queue.
    #[error("{}: {}", folder.display(), held(*consumers, holders))]
    Held {
        /// Where it is pinned.
        folder: PathBuf,
        /// Who may consume from it.
        consumers: Consumers,
        /// The processes that have it.
        holders: String,
    },
    /// A fork of the process that has mapped an arena: the kernel does not hand the mapping down.
    #[error(
        "this process is a fork of process {parent}, which has mapped the arena; a fork has no arena. Start the child as a program of \
         its own and attach there to the pinned arena (`Loaded::pin`, `Pinned::attach`)"
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
    /// Records are damaged.
    #[error("the records are damaged: {0}")]
    Records(#[from] arenaq::Corruption),
    /// Another one consumes a shard of records.
    #[error("the shard {shard} of the records `{records}` is taken: {source}; consume other shards")]
    ShardTaken {
        /// The records.
        records: String,
        /// The shard.
        shard: usize,
        /// Who has it.
        source: arenaq::records::ConsumerTaken,
    },
    /// The caller asks for what there is not.
    #[error("{0}")]
    Usage(String),
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
        "where the arena is found (/proc/self/maps)"
    } else {
        "where the kernel's BTF is (/sys/kernel/btf/vmlinux), which arenas need"
    }
}

fn held(consumers: Consumers, holders: &str) -> String {
    match consumers {
        Consumers::One => {
            format!(
                "{holders} consumes from it, and an MPSC queue has one consumer. Wait for its end, or end it"
            )
        }
        Consumers::OfShards => {
            format!(
                "{holders} consumes them, and pinned records have one consumer. Wait for its end, or end it"
            )
        }
        Consumers::WithSlots => {
            format!("{holders} has locked it for itself, and keeps consumers away: end that, or wait longer")
        }
    }
}

fn only(has: &str) -> String {
    if has.is_empty() { String::new() } else { format!(", only {has}") }
}

fn log_hint(log: &Option<PathBuf>) -> String {
    log.as_ref().map_or_else(String::new, |log| format!("\nThe whole log is in {}.", log.display()))
}

/// What to do about a limit that was met. libbpf's errors do not give their number away, but say it.
fn advice(error: &impl Display) -> &'static str {
    let cases = [
        (Errno::MFILE, ". Let this process open more files: `ulimit -n`."),
        (Errno::NFILE, ". The machine has no more open files to give: fs.file-max."),
        (
            Errno::NOMEM,
            ". Choose a smaller capacity, or raise the limit of memory (`ulimit -v`, the control group's).",
        ),
    ];
    let said = format!("{error:#}");
    let is_it = |number: Errno| said.contains(&format!("(os error {})", number.raw_os_error()));
    let met = cases.into_iter().find(|&(number, _)| is_it(number));
    met.map_or("", |(_, advice)| advice)
}

impl Error {
    pub(crate) fn bpf(what: impl Into<String>) -> impl FnOnce(libbpf_rs::Error) -> Error {
        let what = what.into();
        move |source| Error::Bpf { what, source }
    }

    pub(crate) fn system<E: Into<std::io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
        let what = what.into();
        move |source| Error::System { what, source: source.into() }
    }

    pub(crate) fn pinned(folder: &Path, reason: impl Into<String>) -> Error {
        Error::Pinned { folder: folder.to_owned(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use libbpf_rs::ErrorExt;
    use rustix::io::Errno;

    use super::Error;

    #[test]
    fn an_error_of_libbpf_is_told_with_its_cause_and_with_what_to_do() {
        let cause = libbpf_rs::Error::from(io::Error::from(Errno::MFILE));
        let text =
            Error::bpf("mapping the doorbell")(cause.context("failed to create a ring buffer")).to_string();
        assert!(text.starts_with("mapping the doorbell: failed to create a ring buffer: "), "{text}");
        assert!(text.contains("Too many open files") && text.ends_with("`ulimit -n`."), "{text}");
    }
}
