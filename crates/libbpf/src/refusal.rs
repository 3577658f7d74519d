//! What a refusal of the kernel means, and what to do about it.

use std::{fmt, io};

use libbpf_rs::{ErrorKind, MapType, Object, OpenObject};

use crate::error::Error;
use crate::log;
use crate::memory;
use crate::require;

/// How much of a verifier's log is shown: its last lines name the instruction, the registers and the reason.
const SHOWN_LINES: usize = 12;

/// What libbpf writes behind the verifier's log. After it there is only that, therefore, the object failed
/// too.
const LOG_END: &str = "-- END PROG LOAD LOG --";

/// Why something is refused, as far as the answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The verifier takes the program for wrong.
    Rejected,
    /// A policy forbids it: the privileges are there.
    Forbidden,
    /// The kernel has no function of a name that the program calls.
    NoFunction,
    /// The kernel has not the place to which the program attaches.
    NoTarget,
    /// The kernel has no type information about itself.
    NoBtf,
    /// The kernel does not compile BPF programs.
    NoJit,
    /// The kernel has no arenas.
    NoArena,
    /// The arena has fewer pages than the program's variables need.
    SmallArena,
    /// The arena is not for userspace.
    UnmappableArena,
    /// The program has variables in an arena, and no arena.
    UndeclaredArena,
    /// The program calls functions of arenaq that are not in the object.
    Unlinked,
    /// The program uses what a call returned, which may be NULL.
    Unchecked,
    /// The program calls functions that are for programs under the GPL.
    License,
    /// No memory, or a limit of it.
    NoMemory,
    /// Something else.
    Other,
}

impl Cause {
    /// libbpf's messages say more than an error code: `EACCES` is what a policy says, and the verifier as
    /// well.
    fn of(kind: ErrorKind, messages: &str) -> Cause {
        let cases = [
            (&["JIT is required"][..], Cause::NoJit),
            (&["(func ksym)", "not found"], Cause::NoFunction),
            (&["kfunc", "is referenced but wasn't resolved"], Cause::NoFunction),
            (&["failed to find kernel BTF type ID"], Cause::NoTarget),
            (&["kernel BTF is missing"], Cause::NoBtf),
            (&["Error loading vmlinux BTF"], Cause::NoBtf),
            (&[SMALL_ARENA], Cause::SmallArena),
            (&[UNMAPPABLE_ARENA], Cause::UnmappableArena),
            (&["the ARENA map should be explicitly declared"], Cause::UndeclaredArena),
            (&["failed to find BTF for extern 'arenaq_"], Cause::Unlinked),
            (&["cannot call GPL-restricted function"], Cause::License),
            (&["invalid mem access 'map_value_or_null'"], Cause::Unchecked),
            (&["map 'arena': failed to create: -EINVAL"], Cause::NoArena),
            (&["map 'arena': failed to create: -EOPNOTSUPP"], Cause::NoArena),
            (&["-- BEGIN PROG LOAD LOG --"], Cause::Rejected),
        ];
        let told = cases.into_iter().find(|(texts, _)| texts.iter().all(|text| messages.contains(text)));
        match (kind, told) {
            (ErrorKind::OutOfMemory, _) => Cause::NoMemory,
            (_, Some((_, cause))) => cause,
            (ErrorKind::PermissionDenied, None) => Cause::Forbidden,
            _ => Cause::Other,
        }
    }

    /// What to do.
    pub fn advice(self) -> String {
        let advice = match self {
            Cause::Rejected => {
                "The verifier rejects the program. If it is one of arenaq's, try another object (`Instructions`), \
                 and report it with the whole log."
            }
            Cause::Forbidden => return forbidden(),
            Cause::NoFunction => {
                "The program needs a function that this kernel does not have: bpf_arena_alloc_pages is there \
                 from Linux 6.9 on. A program that only uses queues which userspace has made defines \
                 ARENAQ_NO_ALLOC."
            }
            Cause::NoTarget => {
                "This kernel has nothing of that name to attach to. If it belongs to a module, load that first \
                 (`modprobe ext4`); else choose another hook: `arenaq doctor` says which ones work."
            }
            Cause::NoBtf => {
                return require::btf().map_or_else(|missing| missing.to_string(), |()| NO_BTF.to_owned());
            }
            Cause::NoJit => {
                "Arenas need the JIT: `sysctl net.core.bpf_jit_enable=1`, on a kernel with CONFIG_BPF_JIT=y."
            }
            Cause::NoArena => {
                "This kernel has no arenas: Linux 6.9 brought them, for architectures whose JIT supports them."
            }
            Cause::SmallArena => {
                "Give the map `arena` more pages (max_entries): the variables of the program do not fit."
            }
            Cause::UnmappableArena => {
                "Give the map `arena` the flag BPF_F_MMAPABLE, as the beginning of arenaq.h shows: userspace consumes there."
            }
            Cause::UndeclaredArena => {
                "The program has queues or records, and no arena for them: declare the map `arena`, as the beginning of \
                 arenaq.h shows."
            }
            Cause::Unlinked => {
                "arenaq's functions are not in the object: make it with `arenaq build`, or with arenaq-bpf-build, which \
                 link them."
            }
            Cause::Unchecked => {
                "The program uses what a call has returned, and does not ask whether that is NULL: `arenaq_begin` returns NULL \
                 if the processor's lanes are taken, and the line that is shown may be arenaq.h's."
            }
            Cause::License => {
                "The program calls a function that is for programs under the GPL: say so in the section `license`, as in \
                 `char LICENSE[] SEC(\"license\") = \"GPL\";`."
            }
            Cause::NoMemory => return no_memory(),
            Cause::Other => "`arenaq doctor` says what this kernel allows.",
        };
        advice.to_owned()
    }
}

const NO_BTF: &str = "Use a kernel with CONFIG_DEBUG_INFO_BTF=y.";

fn forbidden() -> String {
    if let Err(missing) = require::privileges() {
        return missing.to_string();
    }
    let lockdown = match require::lockdown().as_deref() {
        None | Some("none") => String::new(),
        Some(level) => format!(" The kernel is locked down ({level}), which may be the policy."),
    };
    format!(
        "The privileges are there, so a policy forbids it: a security module, a seccomp filter, or the host of \
         this machine.{lockdown} `arenaq doctor` says which kinds of programs are allowed."
    )
}

fn no_memory() -> String {
    let left = match memory::left() {
        Some(left) => format!(", which leaves {left} bytes"),
        None => String::new(),
    };
    format!(
        "Choose a smaller capacity, or raise the limit: of the process's address space (`ulimit -v`), or of \
         its control group's memory{left}."
    )
}

/// Opens and loads a BPF object, and explains a refusal: the error says what was tried, what the kernel said,
/// and what to do. Of a program that the verifier rejects it shows the end of the log, and the whole log
/// stays in a file. `what` is what is tried, as in "loading my programs".
///
/// # Errors
///
/// [`Error::Load`].
pub fn load_object(
    what: &str,
    open: impl FnOnce() -> libbpf_rs::Result<OpenObject>,
) -> Result<Object, Error> {
    try_load(open).map_err(|refusal| refusal.explain(what))
}

/// Opens and loads a BPF object. An arena that is too small for its variables is refused before anything is written.
///
/// # Errors
///
/// What the kernel, or libbpf, said.
pub fn try_load(open: impl FnOnce() -> libbpf_rs::Result<OpenObject>) -> Result<Object, Refusal> {
    let (loaded, messages) = log::capture(|| {
        let open = open()?;
        check_arena(&open)?;
        open.load()
    });
    loaded.map_err(|error| Refusal::new(&error, messages))
}

/// What libbpf says of an arena that is declared too small. Of one that is made too small later it says nothing,
/// and writes the variables behind the arena's end.
const SMALL_ARENA: &str = "too small to hold global __arena variables";

/// The kernel says of it what it says of an arena if it knows of none: `EINVAL`.
const UNMAPPABLE_ARENA: &str = "without BPF_F_MMAPABLE";

fn check_arena(open: &OpenObject) -> libbpf_rs::Result<()> {
    for map in open.maps().filter(|map| map.map_type() == MapType::Arena) {
        if map.map_flags() & libbpf_sys::BPF_F_MMAPABLE == 0 {
            let text = format!("an arena {UNMAPPABLE_ARENA}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text).into());
        }
        let variables = map.initial_value().map_or(0, <[u8]>::len) as u64;
        let pages = map.max_entries();
        if u64::from(pages) * procfs::page_size() < variables {
            let text = format!("an arena of {pages} pages is {SMALL_ARENA} of size {variables}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text).into());
        }
    }
    Ok(())
}

/// An error in one line: its whole chain, and what libbpf said first. What it says later is only that, therefore,
/// something larger failed too.
fn reason(error: &libbpf_rs::Error, log: &str) -> String {
    let chain = format!("{error:#}");
    match log.lines().find_map(|line| line.trim().strip_prefix("libbpf: ")) {
        Some(first) => format!("{chain} ({first})"),
        None => chain,
    }
}

/// What the kernel, or libbpf on its behalf, did not do. As text it is what they said, in one line.
#[derive(Debug)]
pub struct Refusal {
    cause: Cause,
    /// The error and what libbpf said first, in one line.
    said: String,
    /// Everything that libbpf said, the verifier's log included.
    messages: String,
}

impl Refusal {
    /// An error, and what libbpf said meanwhile ([`log::capture`]).
    pub fn new(error: &libbpf_rs::Error, messages: String) -> Refusal {
        let said = reason(error, &messages);
        let cause = Cause::of(error.kind(), &format!("{said}\n{messages}"));
        Refusal { cause, said, messages }
    }

    /// With what is known besides of its reason.
    #[must_use]
    pub(crate) fn because(mut self, reason: &str) -> Refusal {
        self.said = format!("{}. {reason}", self.said);
        self
    }

    /// Why, as far as the answer tells.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// An error that says what was tried, what was said, and what to do. If there is a log of the verifier, it
    /// goes to a file, and its last lines into the error.
    pub fn explain(self, what: impl Into<String>) -> Error {
        let advice = self.cause.advice();
        self.explain_with(what, advice)
    }

    /// As [`explain`](Self::explain), with advice of one's own.
    pub fn explain_with(self, what: impl Into<String>, advice: impl Into<String>) -> Error {
        let (reason, log) = match self.messages.split_once(LOG_END) {
            Some((verifier, _)) => {
                let shown = log::tail(verifier, SHOWN_LINES);
                (format!("{}\n{shown}", self.said), log::save(&self.messages))
            }
            None => (self.said, None),
        };
        Error::Load { what: what.into(), reason, advice: advice.into(), log }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::{Cause, LOG_END, Refusal};

    fn refusal(code: Errno, messages: &str) -> Refusal {
        Refusal::new(&io::Error::from(code).into(), messages.to_owned())
    }

    #[test]
    fn the_messages_tell_causes_apart_that_have_the_same_code() {
        let cases = [
            (
                Errno::ACCESS,
                "libbpf: prog 'p': BPF program load failed: -EACCES\n\
                 libbpf: prog 'p': -- BEGIN PROG LOAD LOG --\nR1 !read_ok\n-- END PROG LOAD LOG --\n",
                Cause::Rejected,
            ),
            (Errno::PERM, "libbpf: prog 'p': BPF program load failed: -EPERM\n", Cause::Forbidden),
            (
                Errno::OPNOTSUPP,
                "libbpf: prog 'p': -- BEGIN PROG LOAD LOG --\nJIT is required to use arena\n",
                Cause::NoJit,
            ),
            (Errno::INVAL, "libbpf: map 'arena': failed to create: -EINVAL\n", Cause::NoArena),
            (
                Errno::NOENT,
                "libbpf: elf: sec '.addr_space.1': to use global __arena variables the ARENA map should be explicitly \
                 declared in SEC(\".maps\")\n",
                Cause::UndeclaredArena,
            ),
            (
                Errno::NOENT,
                "libbpf: failed to find BTF for extern 'arenaq_records_reserve': -2\n",
                Cause::Unlinked,
            ),
            (
                Errno::ACCESS,
                "libbpf: prog 'p': -- BEGIN PROG LOAD LOG --\nR0 invalid mem access 'map_value_or_null'\n-- END PROG LOAD LOG --\n",
                Cause::Unchecked,
            ),
            (
                Errno::INVAL,
                "libbpf: prog 'p': -- BEGIN PROG LOAD LOG --\ncannot call GPL-restricted function from non-GPL compatible \
                 program\n-- END PROG LOAD LOG --\n",
                Cause::License,
            ),
            (Errno::INVAL, "libbpf: map 'counters': failed to create: -EINVAL\n", Cause::Other),
            (Errno::NOMEM, "libbpf: map 'arena': failed to create: -ENOMEM\n", Cause::NoMemory),
            (
                Errno::SRCH,
                "libbpf: extern (func ksym) 'bpf_arena_alloc_pages': not found in kernel or module BTFs\n",
                Cause::NoFunction,
            ),
            (
                Errno::SRCH,
                "libbpf: prog 'p': failed to find kernel BTF type ID of 'ext4_allocate_inode': -ESRCH\n",
                Cause::NoTarget,
            ),
        ];
        for (code, messages, cause) in cases {
            let refusal = refusal(code, messages);
            assert_eq!(refusal.cause, cause, "{refusal:?}");
            let error = refusal.explain("loading").to_string();
            assert!(error.starts_with("loading: ") && error.contains(&cause.advice()), "{error}");
        }
    }

    #[test]
    fn of_a_verifier_log_the_error_has_the_end_and_a_file_has_all() {
        let code: String = (0..1000).map(|line| format!("instruction {line}\n")).collect();
        let messages = format!("libbpf: prog 'p': -- BEGIN PROG LOAD LOG --\n{code}R1 !read_ok\n{LOG_END}\n");
        let error = refusal(Errno::ACCESS, &messages).explain("loading");
        let crate::Error::Load { reason, log: Some(log), .. } = &error else { panic!("{error:?}") };
        assert!(
            reason.contains("instruction 999\nR1 !read_ok") && !reason.contains("instruction 900"),
            "{reason}"
        );
        assert_eq!(std::fs::read_to_string(log).expect("it stays"), messages);
        std::fs::remove_file(log).expect("it is ours");
    }
}
