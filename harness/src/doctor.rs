//! What this machine allows, found out by trying it.

use std::fmt;
use std::path::Path;

use anstyle::Style;
use arenaq::structures::Kind;
use arenaq_libbpf::require::{self, VMLINUX};
use arenaq_libbpf::{Instructions, choose, log, memory};
use libbpf_rs::{MapHandle, MapType};
use serde::Serialize;

use crate::build;
use crate::error::Error;
use crate::hook::Hook;
use crate::kernel::{Config, Kernel};
use crate::limits::BESIDES_ARENA;
use crate::probe::load_probe;
use crate::screen::{BAD, GOOD, LIMITED, Screen};

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
    let folder = std::env::temp_dir();
    let mut checks = vec![
        kernel_version(),
        privileges(),
        proc_check(),
        lockdown_check(),
        btf(),
        jit(),
        memory_check(),
        folder_check(&folder),
        arena(),
        arena_functions(),
        acquire_release(),
        queues(),
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
    checks.push(follow_check());
    works &= !hooks.is_empty();
    checks.push(toolchain());
    let default_hook = hooks.iter().find(|hook| hook.sees_files_in(&folder)).map(|hook| hook.name());
    Report { can_run: works, default_hook, checks }
}

/// Why something is not there.
enum Lack {
    /// What the kernel said.
    Refused(String),
    /// Nothing was asked, for the answer would only repeat what an earlier check has found.
    Untried,
}

/// A probe, unless it can only fail.
fn tried<T>(probe: impl FnOnce() -> Result<T, String>) -> Result<T, Lack> {
    require::bpf().map_err(|_| Lack::Untried)?;
    probe().map_err(Lack::Refused)
}

impl Lack {
    /// A check that ends with `verdict`. What follows from a refusal does not follow from nothing having been tried.
    fn check(self, name: &'static str, verdict: Verdict, consequence: impl Into<String>) -> Check {
        match self {
            Lack::Refused(found) => Check { name, verdict, found, consequence: consequence.into() },
            Lack::Untried => Check {
                name,
                verdict,
                found: "not tried".to_owned(),
                consequence: "first mend what is marked NO above".to_owned(),
            },
        }
    }
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
    if version < (6, 10) {
        let consequence = "too old for BPF arenas (6.9) and atomic accesses to them (6.10), unless they were ported \
                           back: that is tried below";
        Check { name, verdict: Verdict::Limited, found, consequence: consequence.to_owned() }
    } else if version < (6, 15) {
        good(
            name,
            found,
            "new enough for arenas (6.10); load_acquire and store_release come with 6.15: another object is used",
        )
    } else {
        good(name, found, "new enough for arenas (6.10) and for load_acquire and store_release (6.15)")
    }
}

fn privileges() -> Check {
    let name = "privileges";
    let bad = |found: String, consequence: &str| Check {
        name,
        verdict: Verdict::Bad,
        found,
        consequence: consequence.to_owned(),
    };
    match require::privileges() {
        Ok(()) => good(name, "CAP_BPF and CAP_PERFMON", "programs can be loaded and attached"),
        Err(arenaq_libbpf::Error::Privileges { missing, advice }) => bad(
            format!("{missing} missing{}", unprivileged_bpf()),
            &format!("{advice}\n`--backend threads` needs none."),
        ),
        Err(arenaq_libbpf::Error::UserNamespace) => bad(
            "in a user namespace: capabilities do not count outside of it".to_owned(),
            "run outside of the user namespace; `--backend threads` works inside",
        ),
        Err(error) => bad(error.to_string(), "whether programs can be loaded is not known"),
    }
}

fn proc_check() -> Check {
    match require::proc_mounted() {
        Ok(()) => {
            good("/proc", "mounted", "processes can be started so that they are traced from the beginning")
        }
        Err(error) => Check {
            name: "/proc",
            verdict: Verdict::Bad,
            found: "not mounted".to_owned(),
            consequence: Error::from(error).to_string(),
        },
    }
}

/// Where the built-in workload creates its files.
fn folder_check(folder: &Path) -> Check {
    let name = "temporary files";
    let found = folder.display();
    match tempfile::tempdir_in(folder) {
        Ok(_) => good(name, found.to_string(), "the built-in workload creates its files there"),
        Err(error) => Check {
            name,
            verdict: Verdict::Limited,
            found: format!("{found}: {error}"),
            consequence: "set TMPDIR, or choose a --folder for the built-in workload".to_owned(),
        },
    }
}

/// What the system lets everybody do, for those who hope that it is enough.
fn unprivileged_bpf() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled") {
        Ok(value) => {
            let value = value.trim();
            format!("; kernel.unprivileged_bpf_disabled = {value}, and arenas need CAP_BPF at any value")
        }
        Err(_) => String::new(),
    }
}

fn lockdown_check() -> Check {
    let name = "lockdown";
    match require::lockdown().as_deref() {
        None => good(name, "none that the kernel tells of", "what it allows is tried below"),
        Some("none") => good(name, "none", "forbids nothing"),
        Some("integrity") => good(
            name,
            "integrity",
            "forbids BPF to write to the memory of processes, which no program here does",
        ),
        Some(level) => Check {
            name,
            verdict: Verdict::Limited,
            found: level.to_owned(),
            consequence: "forbids BPF to read kernel memory by address (`bpf_probe_read_kernel` and its like), which no \
                          program here does, and one of your own may; what else it forbids is tried below"
                .to_owned(),
        },
    }
}

fn memory_check() -> Check {
    let name = "memory";
    let Some(left) = memory::left() else {
        return good(
            name,
            "no limit of a control group is seen",
            "as far as is known, the machine alone limits the capacity of a queue",
        );
    };
    let found = format!("the limit of the control group leaves {left} bytes");
    let for_arena = left.saturating_sub(BESIDES_ARENA);
    let consequence = format!("a queue may need {for_arena} of them: an element takes up to 32 bytes");
    let verdict = if for_arena == 0 { Verdict::Bad } else { Verdict::Good };
    Check { name, verdict, found, consequence }
}

fn btf() -> Check {
    let bad =
        |found: String, consequence: String| Check { name: "BTF", verdict: Verdict::Bad, found, consequence };
    match require::btf() {
        Ok(()) => good("BTF", VMLINUX, "arenas and BTF tracepoints can work"),
        Err(error @ arenaq_libbpf::Error::NotMounted { place, .. }) => {
            bad(format!("{place} is not mounted"), Error::from(error).to_string())
        }
        Err(_) => bad(
            format!("no {VMLINUX}"),
            "arenas need a kernel with CONFIG_DEBUG_INFO_BTF=y; `--backend threads` does not".to_owned(),
        ),
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
        Err(error) => good(name, format!("not readable: {error}"), "whether arenas work is tried below"),
    }
}

fn arena() -> Check {
    const BPF_F_MMAPABLE: u32 = 1 << 10;
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
        map_flags: BPF_F_MMAPABLE,
        ..Default::default()
    };
    let created = tried(|| {
        let (created, _) =
            log::capture(|| MapHandle::create(MapType::Arena, Some("arenaq_probe"), 0, 0, 1, &options));
        created.map_err(|error| format!("the kernel refuses the map: {error:#}"))
    });
    match created {
        Ok(_) => good("arena", "a map of type ARENA was made", "queues can be shared with the kernel"),
        Err(lack) => lack.check("arena", Verdict::Bad, "only `--backend threads` works"),
    }
}

fn arena_functions() -> Check {
    let name = "arena kfuncs";
    let allocating = |probe: &str| tried(|| load_probe(probe).map_err(|refusal| refusal.to_string()));
    match (allocating("probe_allocate_sleepable"), allocating("probe_allocate")) {
        (Ok(_), Ok(_)) => good(
            name,
            "bpf_arena_alloc_pages loads in every program",
            "ds_vyukhov_init, ds_pool_init and ds_mpsc_init work everywhere",
        ),
        (Ok(_), Err(_)) => good(
            name,
            "bpf_arena_alloc_pages loads in programs that can sleep",
            "ds_vyukhov_init, ds_pool_init and ds_mpsc_init work in these; from Linux 7.0 on in all",
        ),
        (Err(lack), _) => lack.check(
            name,
            Verdict::Limited,
            "programs cannot allocate pages; `run` makes its queues from userspace and works",
        ),
    }
}

fn acquire_release() -> Check {
    let name = "acquire/release";
    match tried(|| arenaq_libbpf::acquire_release().map_err(|refusal| refusal.to_string())) {
        Ok(_) => good(name, "load_acquire and store_release load", "the object acquire-release is used"),
        Err(lack) => {
            let other = Instructions::before_acquire_release(std::env::consts::ARCH);
            lack.check(
                name,
                Verdict::Limited,
                format!("the object {} is used, which does without", other.name()),
            )
        }
    }
}

/// Both queues and records, made and pushed to in this kernel: what `run` does, without a hook.
fn queues() -> Check {
    let name = "queues";
    match tried(|| try_queues().map_err(|error| error.to_string())) {
        Ok(instructions) => good(
            name,
            "both were made in an arena, records too, and a program has pushed to each",
            format!("the verifier accepts the object {}", instructions.name()),
        ),
        Err(lack) => lack.check(name, Verdict::Bad, "only `--backend threads` works"),
    }
}

fn try_queues() -> Result<Instructions, Error> {
    let instructions = choose(None)?;
    for queue in Kind::ALL {
        let config = Config {
            queue,
            capacity: if queue == Kind::Records { 1 << 14 } else { 2 },
            hook: Hook::Drive,
            instructions: Some(instructions),
            ..Config::default()
        };
        Kernel::load(&config)?.drive(1, 1)?;
    }
    Ok(instructions)
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

fn follow_check() -> Check {
    let name = "follow children";
    match tried(|| load_probe("probe_fork").map_err(|refusal| refusal.to_string())) {
        Ok(_) => good(name, "sched_process_fork loads", "what a traced process starts is traced too"),
        Err(lack) => lack.check(
            name,
            Verdict::Limited,
            "no hook but drive works: traced processes cannot be told from others",
        ),
    }
}

fn hook_check(hook: Hook, allowed: Result<(), Lack>) -> Check {
    let name = match hook {
        Hook::InodeCreate => "hook inode-create",
        Hook::ExtCreate => "hook ext4-create",
        Hook::SysEnter => "hook sys-enter",
        Hook::Exec => "hook exec",
        Hook::Uprobe => "hook uprobe",
        Hook::UprobeSleepable => "hook uprobe-sleepable",
        Hook::Drive => "hook drive",
    };
    match allowed {
        Ok(()) => good(name, "loads and attaches", format!("`run --hook {hook}` works")),
        Err(lack) => {
            let verdict = if hook == Hook::Drive { Verdict::Bad } else { Verdict::Limited };
            lack.check(name, verdict, format!("`run --hook {hook}` does not work here"))
        }
    }
}

fn toolchain() -> Check {
    match build::tools() {
        Ok(tools) => good(
            "toolchain",
            format!("LLVM {}", tools.llvm),
            "`build` works; everything else needs no compiler",
        ),
        Err(error) => Check {
            name: "toolchain",
            verdict: Verdict::Limited,
            found: error.to_string().lines().next().unwrap_or_default().to_owned(),
            consequence: "`build` does not work here; everything else needs no compiler".to_owned(),
        },
    }
}

impl Verdict {
    fn mark(self) -> &'static str {
        match self {
            Verdict::Good => "ok",
            Verdict::Limited => "--",
            Verdict::Bad => "NO",
        }
    }

    fn style(self) -> Style {
        match self {
            Verdict::Good => GOOD,
            Verdict::Limited => LIMITED,
            Verdict::Bad => BAD,
        }
    }
}

impl Report {
    /// The report as text: first the verdict, then what it rests on.
    pub fn on(&self, screen: Screen) -> String {
        let checks = self.checks.iter().map(|check| check.on(screen));
        let (verdict, style) = self.verdict();
        let verdict = screen.paint(style, &screen.behind(0, &verdict));
        format!("{verdict}\n\n{}", checks.collect::<Vec<_>>().join("\n"))
    }

    fn verdict(&self) -> (String, Style) {
        match (self.can_run, self.default_hook) {
            (true, Some(hook)) => (format!("`arenaq run` works here, with hook {hook} by default."), GOOD),
            (true, None) => {
                let text = "`arenaq run` works here with a hook that you name; none sees files in the temporary folder.";
                (text.to_owned(), LIMITED)
            }
            (false, _) => {
                let text = "`arenaq run` cannot work here: see what is marked NO. `arenaq run --backend threads` can.";
                (text.to_owned(), BAD)
            }
        }
    }
}

impl Check {
    fn on(&self, screen: Screen) -> String {
        const MARK: usize = "ok  ".len();
        const NAME: usize = "hook uprobe-sleepable ".len();
        let Check { name, verdict, found, consequence } = self;
        let mark = screen.paint(verdict.style(), verdict.mark());
        // Beside the names there would be too little room.
        let is_narrow = screen.is_narrower_than(60);
        let margin = if is_narrow { MARK } else { MARK + NAME };
        let (found, consequence) = (screen.behind(margin, found), screen.behind(margin + 3, consequence));
        if is_narrow {
            format!("{mark}  {name}\n    {found}\n    -> {consequence}")
        } else {
            format!("{mark}  {name:<NAME$}{found}\n{:margin$}-> {consequence}", "")
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.on(Screen::NONE))
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Verdict, good};
    use crate::screen::{Screen, longest_line};

    fn report() -> Report {
        let mut checks = vec![
            good(
                "kernel",
                "Linux 6.18 on x86_64",
                "new enough for arenas (6.10) and for load_acquire and store_release",
            ),
            good("hook uprobe-sleepable", "loads and attaches", "`run --hook uprobe-sleepable` works"),
        ];
        checks[1].verdict = Verdict::Limited;
        checks[1].found =
            "a long reason, with a path in it (/sys/fs/bpf/a/folder), of which no word is lost ".repeat(4);
        Report { can_run: true, default_hook: Some("ext4-create"), checks }
    }

    #[test]
    fn the_verdict_comes_first_and_every_word_fits_the_terminal() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let plain = report().to_string();
        assert!(
            plain.starts_with("`arenaq run` works here, with hook ext4-create by default.\n\nok  kernel"),
            "{plain}"
        );
        assert_eq!(plain.lines().count(), 2 + 2 * 2, "no terminal: a line for each thing: {plain}");
        for columns in [40, 60, 80, 200] {
            let text = report().on(Screen::terminal(columns, false));
            assert!(longest_line(&text) <= columns, "{columns}:\n{text}");
            assert_eq!(words(&text), words(&plain), "{columns}:\n{text}");
        }
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let plain = report().on(Screen::terminal(80, false));
        let coloured = report().on(Screen::terminal(80, true));
        assert!(coloured.contains("\u{1b}["), "{coloured}");
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
    }
}
