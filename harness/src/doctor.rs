//! What this machine allows, found out by trying it.

use std::fmt;
use std::path::Path;

use arenaq_bpf_build::{PACKAGES, Toolchain};
use libbpf_rs::btf::types::Func;
use libbpf_rs::{Btf, MapHandle, MapType};
use serde::Serialize;

use crate::error::Error;
use crate::hook::{Hook, load_probe};
use crate::log;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Not there, and something else takes its place.
    Limited,
    /// Not there, and `run` cannot do without it.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What follows from it.
    pub consequence: String,
}

/// All checks.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether `run` can work with at least one hook.
    pub can_run: bool,
    /// The hook that `run` takes by default for files in the folder for temporary files.
    pub default_hook: Option<&'static str>,
    /// The checks, in the order in which they depend on each other.
    pub checks: Vec<Check>,
}

/// Looks at everything.
pub fn examine() -> Report {
    let mut checks = vec![
        kernel_version(),
        privileges(),
        btf(),
        jit(),
        arena(),
        arena_functions(),
        acquire_release(),
        lsm(),
    ];
    let mut works = !checks.iter().any(|check| check.verdict == Verdict::Bad);
    let mut hooks = Vec::new();
    for hook in Hook::ALL {
        let allowed = tried(|| hook.allowed());
        if allowed.is_ok() {
            hooks.push(hook);
        }
        checks.push(hook_check(hook, allowed));
    }
    let follow = tried(|| load_probe("probe_fork"));
    checks.push(match follow {
        Ok(_) => {
            good("follow children", "sched_process_fork loads", "what a traced process starts is traced too")
        }
        Err(reason) => Check {
            name: "follow children",
            verdict: Verdict::Limited,
            found: reason,
            consequence: "no hook but drive works: traced processes cannot be told from others".to_owned(),
        },
    });
    works &= !hooks.is_empty();
    checks.push(toolchain());
    let folder = std::env::temp_dir();
    let default_hook = hooks.iter().find(|hook| hook.sees_files_in(&folder)).map(|hook| hook.name());
    Report { can_run: works, default_hook, checks }
}

/// A probe, unless its failure would only repeat that the privileges are missing.
fn tried<T>(probe: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    if missing_capabilities().is_empty() { probe() } else { Err("not tried without privileges".to_owned()) }
}

fn good(name: &'static str, found: impl Into<String>, consequence: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Good, found: found.into(), consequence: consequence.into() }
}

fn kernel_version() -> Check {
    let name = "kernel";
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {release} on {}", uname.machine().to_string_lossy());
    if version < (6, 9) {
        let consequence = "BPF arenas are there from Linux 6.9 on: only `--backend threads` works".to_owned();
        Check { name, verdict: Verdict::Bad, found, consequence }
    } else if version < (6, 15) {
        good(
            name,
            found,
            "arenas (6.9); load_acquire and store_release come with 6.15: the fallback object is used",
        )
    } else {
        good(name, found, "new enough for arenas (6.9) and for load_acquire and store_release (6.15)")
    }
}

/// The capabilities that the harness needs and does not have.
fn missing_capabilities() -> Vec<&'static str> {
    const CAP_SYS_ADMIN: u32 = 21;
    const NEEDED: [(&str, u32); 2] = [("CAP_PERFMON", 38), ("CAP_BPF", 39)];
    let effective = procfs::process::Process::myself()
        .and_then(|me| me.status())
        .map(|status| status.capeff)
        .unwrap_or_default();
    if effective >> CAP_SYS_ADMIN & 1 == 1 {
        return Vec::new();
    }
    NEEDED.into_iter().filter(|(_, bit)| effective >> bit & 1 == 0).map(|(name, _)| name).collect()
}

fn privileges() -> Check {
    let missing = missing_capabilities();
    if missing.is_empty() {
        return good("privileges", "CAP_BPF and CAP_PERFMON", "programs can be loaded and attached");
    }
    Check {
        name: "privileges",
        verdict: Verdict::Bad,
        found: format!("{} missing", missing.join(" and ")),
        consequence: "run as root, or `sudo setcap cap_bpf,cap_perfmon+ep` on the binary; `--backend threads` needs none"
            .to_owned(),
    }
}

/// Fails with advice if the process may not use BPF.
pub(crate) fn require_privileges() -> Result<(), Error> {
    let missing = missing_capabilities();
    if missing.is_empty() {
        return Ok(());
    }
    let binary =
        std::env::current_exe().map_or_else(|_| "arenaq".to_owned(), |path| path.display().to_string());
    Err(Error::Privileges { missing: missing.join(" and "), binary })
}

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Fails with advice if the kernel has no BTF.
pub(crate) fn require_btf() -> Result<(), Error> {
    if Path::new(VMLINUX).exists() { Ok(()) } else { Err(Error::NoBtf) }
}

fn btf() -> Check {
    if Path::new(VMLINUX).exists() {
        return good("BTF", VMLINUX, "arenas and BTF tracepoints can work");
    }
    Check {
        name: "BTF",
        verdict: Verdict::Bad,
        found: format!("no {VMLINUX}"),
        consequence: "arenas need a kernel with CONFIG_DEBUG_INFO_BTF=y; `--backend threads` does not"
            .to_owned(),
    }
}

fn jit() -> Check {
    let name = "JIT";
    match std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable") {
        Ok(value) if value.trim() == "0" => Check {
            name,
            verdict: Verdict::Bad,
            found: "net.core.bpf_jit_enable = 0".to_owned(),
            consequence: "arenas need the JIT: sysctl net.core.bpf_jit_enable=1".to_owned(),
        },
        Ok(value) => good(name, format!("net.core.bpf_jit_enable = {}", value.trim()), "arenas can work"),
        Err(error) => good(name, format!("not readable: {error}"), "seen by the next check"),
    }
}

fn arena() -> Check {
    const BPF_F_MMAPABLE: u32 = 1 << 10;
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
        map_flags: BPF_F_MMAPABLE,
        ..Default::default()
    };
    let (created, _) =
        log::capture(|| MapHandle::create(MapType::Arena, Some("arenaq_probe"), 0, 0, 1, &options));
    match created {
        Ok(_) => good("arena", "a map of type ARENA was made", "queues can be shared with the kernel"),
        Err(error) => Check {
            name: "arena",
            verdict: Verdict::Bad,
            found: format!("the kernel refuses the map: {error:#}"),
            consequence: "only `--backend threads` works".to_owned(),
        },
    }
}

fn arena_functions() -> Check {
    const FUNCTION: &str = "bpf_arena_alloc_pages";
    let name = "arena kfuncs";
    let (btf, _) = log::capture(Btf::from_vmlinux);
    match btf {
        Ok(btf) if btf.type_by_name::<Func<'_>>(FUNCTION).is_some() => good(
            name,
            format!("{FUNCTION} is there"),
            "programs can allocate pages; ds_vyukhov_init and ds_mpsc_init work",
        ),
        other => Check {
            name,
            verdict: Verdict::Limited,
            found: other.map_or_else(|error| format!("{error:#}"), |_| format!("no {FUNCTION}")),
            consequence: "programs cannot allocate pages; `run` makes its queues from userspace and works"
                .to_owned(),
        },
    }
}

fn acquire_release() -> Check {
    let name = "acquire/release";
    match tried(|| load_probe("probe_acquire_release")) {
        Ok(_) => good(name, "load_acquire and store_release load", "the object acquire-release is used"),
        Err(reason) => Check {
            name,
            verdict: if cfg!(target_arch = "x86_64") { Verdict::Limited } else { Verdict::Bad },
            found: reason,
            consequence: "the object fallback is used: ordinary loads and stores, right on x86 only"
                .to_owned(),
        },
    }
}

fn lsm() -> Check {
    let name = "LSM";
    match std::fs::read_to_string("/sys/kernel/security/lsm") {
        Ok(list) if list.trim().split(',').any(|module| module == "bpf") => {
            good(name, list.trim(), "bpf is among the LSMs: whether a program can attach is tried below")
        }
        Ok(list) => Check {
            name,
            verdict: Verdict::Limited,
            found: list.trim().to_owned(),
            consequence: "boot with lsm=...,bpf for the hook inode-create".to_owned(),
        },
        Err(error) => Check {
            name,
            verdict: Verdict::Limited,
            found: format!("/sys/kernel/security/lsm: {error}"),
            consequence: "securityfs is not mounted: whether an LSM program can attach is tried below"
                .to_owned(),
        },
    }
}

fn hook_check(hook: Hook, allowed: Result<(), String>) -> Check {
    let name = match hook {
        Hook::InodeCreate => "hook inode-create",
        Hook::ExtCreate => "hook ext4-create",
        Hook::SysEnter => "hook sys-enter",
        Hook::Exec => "hook exec",
        Hook::Uprobe => "hook uprobe",
        Hook::Drive => "hook drive",
    };
    match allowed {
        Ok(()) => good(name, "loads and attaches", format!("`run --hook {hook}` works")),
        Err(reason) => Check {
            name,
            verdict: if hook == Hook::Drive { Verdict::Bad } else { Verdict::Limited },
            found: reason,
            consequence: format!("`run --hook {hook}` does not work here"),
        },
    }
}

fn toolchain() -> Check {
    match Toolchain::find() {
        Ok(tools) => good(
            "toolchain",
            format!("LLVM {} (rustc has {})", tools.llvm, tools.rustc_llvm),
            "the BPF programs can be compiled; `run` needs no compiler",
        ),
        Err(error) => Check {
            name: "toolchain",
            verdict: Verdict::Limited,
            found: error.to_string().lines().next().unwrap_or_default().to_owned(),
            consequence: format!("needed only to compile: apt-get install {}", PACKAGES.join(" ")),
        },
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let mark = match check.verdict {
                Verdict::Good => "ok",
                Verdict::Limited => "--",
                Verdict::Bad => "NO",
            };
            writeln!(f, "{mark:>2}  {:<17} {}", check.name, check.found)?;
            writeln!(f, "    {:<17} -> {}", "", check.consequence)?;
        }
        writeln!(f)?;
        match (self.can_run, self.default_hook) {
            (true, Some(hook)) => write!(f, "`arenaq run` works here, with hook {hook} by default."),
            (true, None) => write!(
                f,
                "`arenaq run` works here with a hook that you name; none sees files in the temporary folder."
            ),
            (false, _) => write!(
                f,
                "`arenaq run` cannot work here: see the lines marked NO. `arenaq run --backend threads` can."
            ),
        }
    }
}
