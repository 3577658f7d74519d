//! Compiling for another architecture: Rust's target, Debian's cross-compiler, and libraries in a folder of the cache.

use anyhow::{Context, bail};
use arenaq_vm::arch::Arch;
use arenaq_vm::sysroot::Sysroot;
use clap::ValueEnum;
use duct::{Expression, cmd};

/// An architecture, as a user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// x86-64.
    #[value(name = "x86_64", alias = "x86-64")]
    X86_64,
    /// 64-bit Arm, whose memory order is weak.
    Arm64,
}

impl From<Name> for Arch {
    fn from(name: Name) -> Arch {
        match name {
            Name::X86_64 => Arch::X86_64,
            Name::Arm64 => Arch::Arm64,
        }
    }
}

/// The architecture that is asked for, else this machine's.
pub(crate) fn chosen(name: Option<Name>) -> anyhow::Result<Arch> {
    match name {
        Some(name) => Ok(name.into()),
        None => {
            Arch::host().context("guests cannot have this machine's architecture: choose one with --arch")
        }
    }
}

/// The command of cargo, compiling for the architecture; as it is for this machine's own.
pub(crate) fn compiling(cargo: Expression, arch: Arch) -> anyhow::Result<Expression> {
    compiling_with(cargo, arch, "")
}

/// [`compiling`], with more options for rustc where the architecture is another one: what is compiled so is kept beside the rest.
pub(crate) fn compiling_with(cargo: Expression, arch: Arch, more: &str) -> anyhow::Result<Expression> {
    if arch.is_host() {
        return Ok(cargo);
    }
    if !has_target(arch) {
        bail!("Rust's target {} is missing: run `cargo xtask setup --{arch}`", arch.target());
    }
    let sysroot = Sysroot::find(arch)?;
    let gcc = compiler(arch);
    which::which(&gcc).with_context(|| format!("{gcc} is missing: run `cargo xtask setup --{arch}`"))?;

    let libraries = sysroot.libraries().display().to_string();
    let include = sysroot.folder().join("usr/include").display().to_string();
    let target = arch.target();
    let name = target.replace('-', "_");
    let upper = name.to_uppercase();
    Ok([
        (format!("CARGO_TARGET_{upper}_LINKER"), gcc.clone()),
        (
            format!("CARGO_TARGET_{upper}_RUSTFLAGS"),
            // The second is for the libraries that these libraries need.
            format!("-L native={libraries} -C link-arg=-Wl,-rpath-link={libraries} {more}")
                .trim_end()
                .to_owned(),
        ),
        (format!("CC_{name}"), gcc),
        (format!("AR_{name}"), format!("{}-ar", arch.multiarch())),
        (format!("CFLAGS_{name}"), format!("-I{include}")),
        ("PKG_CONFIG_ALLOW_CROSS".to_owned(), "1".to_owned()),
        ("PKG_CONFIG_SYSROOT_DIR".to_owned(), sysroot.folder().display().to_string()),
        ("PKG_CONFIG_LIBDIR".to_owned(), format!("{libraries}/pkgconfig")),
        ("PKG_CONFIG_PATH".to_owned(), String::new()),
        ("CARGO_BUILD_TARGET".to_owned(), target),
    ]
    .into_iter()
    .fold(cargo, |cargo, (variable, value)| cargo.env(variable, value)))
}

/// The name of Debian's cross-compiler for it.
pub(crate) fn compiler(arch: Arch) -> String {
    format!("{}-gcc", arch.multiarch())
}

/// Whether Rust can compile for it.
pub(crate) fn has_target(arch: Arch) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let folder = cmd!(rustc, "--print", "target-libdir", "--target", arch.target()).stderr_null().read();
    folder.is_ok_and(|folder| std::path::Path::new(folder.trim()).is_dir())
}
