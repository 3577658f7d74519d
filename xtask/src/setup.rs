//! What the machine must have.

use anyhow::{Context, bail};
use arenaq_bpf_build::{PACKAGES, Toolchain};
use arenaq_vm::arch::Arch;
use arenaq_vm::archive::{Archive, codename};
use arenaq_vm::sysroot::Sysroot;
use clap::Args;
use duct::cmd;

use crate::command::{cargo, check};
use crate::cross::has_target;

/// The Debian packages that are needed beyond those that compile BPF: the benchmark counts instructions with valgrind,
/// virtual machines are QEMU's, with busybox for a userspace, and tests include the C header in C++.
const MORE_PACKAGES: &[&str] = &["valgrind", QEMU, "busybox-static", "strace", "g++"];

const QEMU: &str = "qemu-system-x86";

/// The programs of packages, to find out what is there without dpkg.
const PROGRAMS: &[(&str, &str)] = &[
    ("pkg-config", "pkg-config"),
    ("make", "make"),
    ("valgrind", "valgrind"),
    (QEMU, "qemu-system-x86_64"),
    ("busybox-static", "busybox"),
    ("strace", "strace"),
    ("g++", "g++"),
];

/// Debian bookworm's own QEMU emulates in one thread only, and slowly; its backports have a newer one.
const OLD: &str = "bookworm";
const BACKPORTS: &str = "bookworm-backports";

/// What compiling for arm64 and its guests need: the C library's headers are only a recommendation of the compiler's.
const ARM64_PACKAGES: &[&str] = &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-system-arm"];

#[derive(Args)]
pub(crate) struct SetupArgs {
    /// Brings also what `cargo xtask vm --arch arm64` needs: Rust's target, a cross-compiler, libraries and QEMU.
    #[arg(long)]
    arm64: bool,
}

pub(crate) fn run(arguments: &SetupArgs) -> anyhow::Result<()> {
    setup()?;
    if arguments.arm64 { arm64() } else { Ok(()) }
}

/// Brings what guests with arm64 need, or fails and says what to do.
fn arm64() -> anyhow::Result<()> {
    let arch = Arch::Arm64;
    if arch.is_host() {
        println!("setup: this machine is {arch}; nothing more is needed");
        return Ok(());
    }
    if !has_target(arch) {
        let target = arch.target();
        if which::which("rustup").is_err() {
            bail!(
                "Rust's target {target} is missing, and there is no rustup to fetch it. Install the target with what installed \
                 Rust here, or install rustup"
            );
        }
        check(&cmd!("rustup", "target", "add", &target)).with_context(|| {
            format!(
                "rustup cannot fetch {target} from where it is set to fetch from (RUSTUP_DIST_SERVER, else its own default): \
                 make that reachable, and run this again"
            )
        })?;
    }
    let missing = not_installed(ARM64_PACKAGES)?;
    if !missing.is_empty() {
        install(&missing)?;
    }
    let sysroot = Sysroot::fetch(arch)?;
    println!("setup: {arch} is there; its libraries are in {}", sysroot.folder().display());
    Ok(())
}

/// Brings everything that is missing, or fails and says what to do.
pub(crate) fn setup() -> anyhow::Result<()> {
    rust_components()?;
    let missing =
        if which::which("dpkg-query").is_ok() { missing_packages()? } else { missing_without_dpkg() };
    if missing.is_empty() {
        let tools = Toolchain::find()?;
        println!("setup: everything is there; BPF is compiled with LLVM {}", tools.llvm);
        return Ok(());
    }
    if which::which("apt-get").is_err() {
        bail!(
            "missing: {}\nThese are the names of Debian's packages, and there is no apt-get here. Install the same with this system's \
             package manager; the LLVM project has packages of its tools for other systems, too",
            missing.join(", ")
        );
    }
    install(&missing)?;
    let tools = Toolchain::find().context("the packages are installed, and still")?;
    println!("setup: installed {}; BPF is compiled with LLVM {}", missing.join(", "), tools.llvm);
    Ok(())
}

/// rustup's minimal profile has neither of the two.
fn rust_components() -> anyhow::Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let version = cargo([subcommand, "--version"]).stdout_null().stderr_null();
        if version.run().is_err() {
            if which::which("rustup").is_err() {
                bail!("`cargo {subcommand}` is missing, and there is no rustup to install it");
            }
            check(&cmd!("rustup", "component", "add", component))?;
        }
    }
    Ok(())
}

/// Whether a package brings the LLVM tools, which may come in a newer version from elsewhere.
fn is_llvm(package: &str) -> bool {
    package.starts_with("clang-") || package.starts_with("llvm-")
}

fn wanted() -> Vec<&'static str> {
    let llvm_is_there = Toolchain::find().is_ok();
    let all = PACKAGES.iter().chain(MORE_PACKAGES).copied();
    all.filter(|package| !(llvm_is_there && is_llvm(package))).collect()
}

fn missing_packages() -> anyhow::Result<Vec<&'static str>> {
    not_installed(&wanted())
}

fn not_installed(wanted: &[&'static str]) -> anyhow::Result<Vec<&'static str>> {
    let format = ["-W", "-f=${Package} ${db:Status-Status}\\n"];
    // It fails if it knows nothing of a package, and still lists the others.
    let listing = cmd("dpkg-query", format.iter().chain(wanted)).stderr_null().unchecked().read()?;
    let is_installed = |package: &str| listing.lines().any(|line| line == format!("{package} installed"));
    Ok(wanted.iter().copied().filter(|package| !is_installed(package)).collect())
}

/// By the programs and libraries themselves.
fn missing_without_dpkg() -> Vec<&'static str> {
    let has_library = |name: &str| cmd!("pkg-config", "--exists", name).stderr_null().run().is_ok();
    wanted()
        .into_iter()
        .filter(|package| match *package {
            "libelf-dev" => !has_library("libelf"),
            "zlib1g-dev" => !has_library("zlib"),
            other => PROGRAMS
                .iter()
                .find(|(name, _)| *name == other)
                .is_none_or(|(_, program)| which::which(program).is_err()),
        })
        .collect()
}

fn install(missing: &[&str]) -> anyhow::Result<()> {
    let arguments = ["install", "-y", "--no-install-recommends"];
    let command = format!("apt-get {} {}", arguments.join(" "), missing.join(" "));
    if as_root().is_none() {
        bail!(
            "missing: {}. Neither root nor a sudo that asks for no password is here to install them; run\n\n    sudo {command}\n",
            missing.join(", ")
        );
    }
    let emulators: Vec<_> = missing.iter().copied().filter(|package| package.starts_with("qemu-")).collect();
    if !emulators.is_empty() && has_old_qemu() {
        install_newer(&emulators)?;
    }
    let install: Vec<&str> = arguments.iter().chain(missing).copied().collect();
    println!("setup: {command}");
    // The lists of a new machine are empty or old; those of another need no update.
    if apt(&install).is_err() {
        apt(&["update"])?;
        apt(&install).with_context(|| format!("{command} failed; run it by hand to see more"))?;
    }
    Ok(())
}

/// apt-get, as root.
fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    let prefix = as_root().context("neither root nor a sudo that asks for no password is here")?;
    let (program, before) = prefix.split_first().unwrap_or((&"apt-get", &[]));
    check(&cmd(*program, before.iter().copied().chain(arguments.iter().copied()))).map(drop)
}

/// Whether the QEMU of this system's own packages is one that emulates in one thread.
fn has_old_qemu() -> bool {
    std::fs::read_to_string("/etc/os-release").is_ok_and(|system| codename(&system) == Some(OLD))
}

/// From bookworm's backports, of which the machine's own sources need not know. Without them bookworm's own QEMU does,
/// so a failure is only told.
fn install_newer(emulators: &[&str]) -> anyhow::Result<()> {
    let names = emulators.join(" ");
    let folder = tempfile::tempdir()?;
    let place = folder.path().display();
    std::fs::create_dir_all(folder.path().join("lists/partial"))?;
    let settings = [
        format!("Dir::State::lists={place}/lists"),
        "Dir::Etc::sourcelist=/dev/null".to_owned(),
        format!("Dir::Etc::sourceparts={place}/sources"),
        "APT::Sandbox::User=root".to_owned(),
    ];
    let settings: Vec<_> = settings.iter().flat_map(|setting| ["-o", setting]).collect();
    let with = |arguments: &[&str]| apt(&[&settings, arguments].concat());
    println!("setup: {names} from {BACKPORTS}");
    let install = [&["install", "-y", "--no-install-recommends", "-t", BACKPORTS], emulators].concat();
    let installed = Archive::all().and_then(|archives| {
        let mut installed = Ok(());
        for archive in archives {
            archive.write_sources(&folder.path().join("sources"), &[OLD, BACKPORTS])?;
            installed = with(&["update", "--error-on=any"]).and_then(|()| with(&install));
            if installed.is_ok() {
                break;
            }
        }
        installed
    });
    if let Err(error) = installed {
        println!("setup: {OLD}'s own {names} is taken: {error:#}");
    }
    Ok(())
}

/// What to write before apt-get's arguments; `None` if this process can do nothing as root.
fn as_root() -> Option<&'static [&'static str]> {
    if is_root() {
        Some(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
    } else if has_sudo() {
        Some(&["sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
    } else {
        None
    }
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    cmd!("id", "-u").read().is_ok_and(|id| id == "0")
}

/// Whether sudo works and asks for no password.
pub(crate) fn has_sudo() -> bool {
    which::which("sudo").is_ok() && cmd!("sudo", "-n", "true").stdin_null().stderr_null().run().is_ok()
}
