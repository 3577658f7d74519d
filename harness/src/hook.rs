//! Where events come from.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use libbpf_rs::{ErrorKind, Link, Object, ObjectBuilder, UprobeOpts};

use crate::error::Error;
use crate::log;
use crate::object::PROBE;
use crate::refusal::{self, Refusal};
use crate::require;

/// A place in the kernel, or in a program, where an event is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Hook {
    /// `lsm.s/inode_create`, the seeds' hook: before a file is created, on any file system.
    InodeCreate,
    /// BTF tracepoint `ext4_allocate_inode`: when ext4 makes an inode.
    #[value(name = "ext4-create")]
    ExtCreate,
    /// Raw tracepoint `sys_enter`, for one system call.
    SysEnter,
    /// Raw tracepoint `sched_process_exec`: when a process starts a program.
    Exec,
    /// A function of a program.
    Uprobe,
    /// A function of a program; the BPF program can sleep, and so allocate on every kernel.
    UprobeSleepable,
    /// No hook: a `syscall` program that userspace runs, with exact counts.
    Drive,
}

impl Hook {
    /// Every hook, the seeds' first: in the order in which a default is looked for.
    pub const ALL: [Hook; 7] = [
        Hook::InodeCreate,
        Hook::ExtCreate,
        Hook::SysEnter,
        Hook::Exec,
        Hook::Uprobe,
        Hook::UprobeSleepable,
        Hook::Drive,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Hook::InodeCreate => "inode-create",
            Hook::ExtCreate => "ext4-create",
            Hook::SysEnter => "sys-enter",
            Hook::Exec => "exec",
            Hook::Uprobe => "uprobe",
            Hook::UprobeSleepable => "uprobe-sleepable",
            Hook::Drive => "drive",
        }
    }

    /// The BPF program that pushes.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Hook::InodeCreate => "on_inode_create",
            Hook::ExtCreate => "on_ext4_create",
            Hook::SysEnter => "on_sys_enter",
            Hook::Exec => "on_exec",
            Hook::Uprobe => "on_uprobe",
            Hook::UprobeSleepable => "on_uprobe_sleepable",
            Hook::Drive => "drive",
        }
    }

    /// The program of the same type that does nothing.
    pub(crate) const fn probe(self) -> &'static str {
        match self {
            Hook::InodeCreate => "probe_inode_create",
            Hook::ExtCreate => "probe_ext4_create",
            Hook::SysEnter => "probe_sys_enter",
            Hook::Exec => "probe_exec",
            Hook::Uprobe => "probe_uprobe",
            Hook::UprobeSleepable => "probe_uprobe_sleepable",
            Hook::Drive => "probe_syscall",
        }
    }

    /// Whether a hook looks at the function or the system call that was chosen for it.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if it does not, or if no hook was named: which one is the default depends on the machine.
    pub fn check_target(
        hook: Option<Hook>,
        uprobe: Option<&UprobeTarget>,
        syscall: Option<i64>,
    ) -> Result<(), Error> {
        let usage = |text: &str| Err(Error::Usage(text.to_owned()));
        if uprobe.is_some() && !hook.is_some_and(Hook::is_uprobe) {
            return usage("--uprobe is for the hooks uprobe and uprobe-sleepable: choose one with --hook");
        }
        if syscall.is_some() && hook != Some(Hook::SysEnter) {
            return usage("--syscall is for the hook sys-enter: choose it with --hook sys-enter");
        }
        Ok(())
    }

    /// Whether creating a file on the file system of `folder` is an event here.
    pub fn sees_files_in(self, folder: &Path) -> bool {
        const EXT4_SUPER_MAGIC: u64 = 0xef53;
        match self {
            Hook::InodeCreate | Hook::SysEnter => true,
            Hook::ExtCreate => {
                rustix::fs::statfs(folder).is_ok_and(|fs| fs.f_type as u64 == EXT4_SUPER_MAGIC)
            }
            Hook::Exec | Hook::Uprobe | Hook::UprobeSleepable | Hook::Drive => false,
        }
    }

    /// Whether each operation of the built-in workload is one event here, and nothing else of the workers is any.
    pub const fn sees_operations_only(self) -> bool {
        match self {
            Hook::InodeCreate
            | Hook::ExtCreate
            | Hook::Exec
            | Hook::Uprobe
            | Hook::UprobeSleepable
            | Hook::Drive => true,
            // A worker may make the system call for other reasons.
            Hook::SysEnter => false,
        }
    }

    /// Whether the events are calls of a function of a program.
    pub const fn is_uprobe(self) -> bool {
        matches!(self, Hook::Uprobe | Hook::UprobeSleepable)
    }

    /// Whether the BPF program can sleep.
    pub const fn is_sleepable(self) -> bool {
        match self {
            Hook::InodeCreate | Hook::UprobeSleepable | Hook::Drive => true,
            Hook::ExtCreate | Hook::SysEnter | Hook::Exec | Hook::Uprobe => false,
        }
    }

    /// Whether this kernel lets the BPF program allocate arena pages, and so grow the pool: before Linux 7.0
    /// only one that can sleep.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn may_allocate(self) -> Result<(), String> {
        let probe = if self.is_sleepable() { "probe_allocate_sleepable" } else { "probe_allocate" };
        load_probe(probe).map(drop).map_err(|refusal| refusal.to_string())
    }

    /// Loads and attaches a program that does nothing, and takes it away again.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn allowed(self) -> Result<(), String> {
        let object = load_probe(self.probe()).map_err(|refusal| refusal.to_string())?;
        if self == Hook::Drive {
            return Ok(());
        }
        let attached = attach(&object, self.probe(), &UprobeTarget::own_function());
        attached.map(drop)
    }

    /// The first hook that this kernel allows and that sees files in `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::NoHook`] if it refuses them all; what of the machine is not fit for BPF if nothing is.
    pub fn default_for(folder: &Path) -> Result<Hook, Error> {
        require::bpf()?;
        let mut tried = Vec::new();
        for hook in Hook::ALL.into_iter().filter(|hook| hook.sees_files_in(folder)) {
            match hook.allowed() {
                Ok(()) => return Ok(hook),
                Err(reason) => tried.push(format!("{}: {reason}", hook.name())),
            }
        }
        Err(Error::NoHook { tried: tried.join("; ") })
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Loads one program of the probe object.
pub(crate) fn load_probe(program: &str) -> Result<Object, Refusal> {
    refusal::attempt(|| {
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

/// `CAP_PERFMON` was enough from Linux 5.8 on, until `perf_event_open` asked for more again.
const UPROBE_PRIVILEGES: &str = "From Linux 6.16 on, and on stable kernels since July 2025, uprobes want CAP_SYS_ADMIN \
                                 besides CAP_BPF and CAP_PERFMON: run as root";

/// Attaches a program to where its section says, or a uprobe to its target.
pub(crate) fn attach(object: &Object, program: &str, target: &UprobeTarget) -> Result<Link, String> {
    let program = object
        .progs_mut()
        .find(|p| p.name() == program)
        .ok_or_else(|| format!("the object has no program {program}"))?;
    let is_uprobe = program.section() == "uprobe" || program.section() == "uprobe.s";
    let (link, log) = log::capture(|| {
        if is_uprobe {
            let options = UprobeOpts { func_name: Some(target.function.clone()), ..UprobeOpts::default() };
            program.attach_uprobe_with_opts(-1, &target.binary, 0, options)
        } else {
            program.attach()
        }
    });
    link.map_err(|error| {
        let reason = reason(&error, &log);
        if is_uprobe && error.kind() == ErrorKind::PermissionDenied && !require::is_administrator() {
            return format!("{reason}. {UPROBE_PRIVILEGES}");
        }
        reason
    })
}

/// An error in one line: its whole chain, and what libbpf said first. What it says later is only that, therefore,
/// something larger failed too.
pub(crate) fn reason(error: &libbpf_rs::Error, log: &str) -> String {
    let chain = format!("{error:#}");
    match log.lines().find_map(|line| line.trim().strip_prefix("libbpf: ")) {
        Some(first) => format!("{chain} ({first})"),
        None => chain,
    }
}

/// A function of a program, written `BINARY:FUNCTION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UprobeTarget {
    /// The file of the program or library.
    pub binary: PathBuf,
    /// The function's symbol.
    pub function: String,
}

impl UprobeTarget {
    /// The function that the built-in workload calls.
    pub fn own_function() -> UprobeTarget {
        // Named here, it is in whatever binary can ask for it, whether or not that has the workload.
        std::hint::black_box(crate::workload::arenaq_uprobe_target as extern "C" fn(u64) -> u64);
        UprobeTarget { binary: PathBuf::from("/proc/self/exe"), function: "arenaq_uprobe_target".to_owned() }
    }
}

impl FromStr for UprobeTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once(':') {
            Some((binary, function)) if !binary.is_empty() && !function.is_empty() => {
                let is_missing = match fs::metadata(binary) {
                    Ok(found) => !found.is_file(),
                    // Of a file that cannot be looked at, the attach says why.
                    Err(error) => {
                        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
                    }
                };
                if is_missing {
                    return Err(format!("there is no file {binary}"));
                }
                Ok(UprobeTarget { binary: PathBuf::from(binary), function: function.to_owned() })
            }
            _ => Err("write it as BINARY:FUNCTION, for example /bin/bash:readline".to_owned()),
        }
    }
}
