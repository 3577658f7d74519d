//! What must be there before anything is loaded.

use std::path::Path;

use rustix::fs::{FsWord, PROC_SUPER_MAGIC, statfs};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities, no_new_privs};

use crate::error::Error;

/// Where the kernel's type information about itself is.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// `libc::SYSFS_MAGIC`.
const SYSFS_MAGIC: FsWord = 0x6265_6572;

/// Everything without which no program can be loaded and attached, in the order in which one depends on another.
///
/// # Errors
///
/// The first that is missing.
pub fn bpf() -> Result<(), Error> {
    privileges()?;
    proc_mounted()?;
    btf()
}

/// What the kernel wants of a process that uses BPF. `CAP_SYS_ADMIN` takes the place of both.
///
/// # Errors
///
/// [`Error::Privileges`] and [`Error::UserNamespace`].
pub fn privileges() -> Result<(), Error> {
    const NEEDED: [(&str, CapabilitySet); 2] =
        [("CAP_PERFMON", CapabilitySet::PERFMON), ("CAP_BPF", CapabilitySet::BPF)];
    if in_user_namespace() {
        return Err(Error::UserNamespace);
    }
    let held = effective()?;
    if held.contains(CapabilitySet::SYS_ADMIN) {
        return Ok(());
    }
    let missing = NEEDED.into_iter().filter(|(_, capability)| !held.contains(*capability));
    let missing: Vec<&str> = missing.map(|(name, _)| name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Privileges { missing: missing.join(" and "), advice: how_to_get_them() })
}

fn how_to_get_them() -> String {
    if geteuid().is_root() {
        return "This process is root, so somebody has taken them from it: a container, for example, must be started with \
                --cap-add BPF --cap-add PERFMON."
            .to_owned();
    }
    if no_new_privs().unwrap_or(false) {
        return "Run as root. This process has no_new_privs, as in a sandbox or a service with NoNewPrivileges=yes: it gets \
                no capabilities from the binary, whatever that has."
            .to_owned();
    }
    let binary =
        std::env::current_exe().map_or_else(|_| "BINARY".to_owned(), |path| path.display().to_string());
    format!(
        "Run as root, or give the binary the capabilities, and only a group the binary, for whoever runs it can trace \
         everybody's processes:\n    \
         sudo chown root:GROUP {binary}\n    \
         sudo chmod 750 {binary}\n    \
         sudo setcap cap_bpf,cap_perfmon+ep {binary}\n\
         That has no effect on a file system that is mounted nosuid. The hooks uprobe and uprobe-sleepable want root, or \
         CAP_SYS_ADMIN too."
    )
}

/// Whether this process has the capability that uprobes want besides.
pub fn is_administrator() -> bool {
    effective().is_ok_and(|held| held.contains(CapabilitySet::SYS_ADMIN))
}

/// Asked of the kernel, not read from `/proc`: that may not be mounted, and has the program's name beside it,
/// which need not be UTF-8.
fn effective() -> Result<CapabilitySet, Error> {
    capabilities(None).map(|sets| sets.effective).map_err(Error::system("asking for the capabilities"))
}

/// Whether this process is in a user namespace other than the first, whose number is fixed: BPF asks for
/// capabilities in that one.
fn in_user_namespace() -> bool {
    const FIRST: &str = "user:[4026531837]";
    std::fs::read_link("/proc/self/ns/user").is_ok_and(|namespace| namespace != Path::new(FIRST))
}

/// The arena is found in `/proc/self/maps`.
///
/// # Errors
///
/// [`Error::NotMounted`], and [`Error::System`] if that cannot be found out.
pub fn proc_mounted() -> Result<(), Error> {
    mounted("/proc", "proc", PROC_SUPER_MAGIC)
}

/// Arenas need the kernel's BTF, which libbpf reads from `/sys`.
///
/// # Errors
///
/// [`Error::NotMounted`] and [`Error::NoBtf`], and [`Error::System`] if that cannot be found out.
pub fn btf() -> Result<(), Error> {
    match Path::new(VMLINUX).try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => mounted("/sys", "sysfs", SYSFS_MAGIC).and(Err(Error::NoBtf)),
        Err(error) => Err(Error::system(format!("looking for {VMLINUX}"))(error)),
    }
}

fn mounted(place: &'static str, file_system: &'static str, magic: FsWord) -> Result<(), Error> {
    match retry_on_intr(|| statfs(place)) {
        Ok(found) if found.f_type == magic => Ok(()),
        Ok(_) | Err(Errno::NOENT) => Err(Error::NotMounted { place, file_system }),
        Err(error) => Err(Error::system(format!("looking at {place}"))(error)),
    }
}

/// How far the kernel is locked down: `none`, `integrity` or `confidentiality`; `None` if it does not say.
pub fn lockdown() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(level, _)| level.to_owned())
}
