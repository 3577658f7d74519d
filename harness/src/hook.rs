//! Where events come from.

use std::fmt;
use std::path::Path;

use arenaq_libbpf::program::{UprobeTarget, attach};
use arenaq_libbpf::require;

use crate::error::Error;
use crate::probe::load_probe;
use crate::uprobe;

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
        let attached = attach(&object, self.probe(), &uprobe::own_function());
        attached.map(drop).map_err(|refusal| refusal.to_string())
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
