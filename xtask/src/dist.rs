//! `cargo xtask dist`: an archive for those who have no Rust.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use duct::cmd;

use crate::command::{Compiled, root};

/// What to make.
#[derive(Args)]
pub(crate) struct DistArgs {
    /// Where the archive is written.
    #[arg(long, value_name = "FOLDER", default_value = "target/dist")]
    out: PathBuf,
    /// Takes what `cargo build --workspace --all-targets` has compiled: not optimised, and quick.
    #[arg(long)]
    for_tests: bool,
}

/// What is copied from the repository: where it lies, and where it goes.
const FILES: &[(&str, &str)] = &[
    ("crates/capi/dist/README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("bpf/LICENSE-BSD-2-Clause", "LICENSE-BSD-2-Clause"),
    ("bpf/LICENSE-GPL-2.0", "LICENSE-GPL-2.0"),
    ("bpf/include", "include"),
    ("bpf/shim.bpf.c", "share/arenaq/shim.bpf.c"),
    ("crates/capi/examples/c", "share/doc/arenaq/c"),
];

/// Where a shell looks for completions.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "share/bash-completion/completions/arenaq"),
    ("fish", "share/fish/vendor_completions.d/arenaq.fish"),
    ("zsh", "share/zsh/site-functions/_arenaq"),
];

/// The name by which programs that are linked with the shared library look for it; crates/capi/build.rs says why.
const SONAME: &str = "libarenaq.so.0";

pub(crate) fn run(arguments: &DistArgs) -> anyhow::Result<()> {
    let archive = make(arguments)?;
    println!("{}", archive.display());
    Ok(())
}

fn make(arguments: &DistArgs) -> anyhow::Result<PathBuf> {
    let out = root().join(&arguments.out);
    let name = format!("arenaq-{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let folder = out.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing the old {}", folder.display()))?;
    }
    let what = if arguments.for_tests {
        "--workspace --all-targets"
    } else {
        "--release --package=arenaq-harness --bin=arenaq --package=arenaq-capi --lib"
    };
    let words: Vec<String> = "build --locked --message-format=json-render-diagnostics"
        .split(' ')
        .chain(what.split(' '))
        .map(str::to_owned)
        .collect();
    let compiled = Compiled::by(&words, "the command and the libraries")?;
    let command = compiled.executable("bin", "arenaq")?;

    for (from, to) in FILES {
        copy(&root().join(from), &folder.join(to))?;
    }
    copy(&command, &folder.join("bin/arenaq"))?;
    copy(&compiled.file("arenaq-capi", ".a")?, &folder.join("lib/libarenaq.a"))?;
    copy(&compiled.file("arenaq-capi", ".so")?, &folder.join("lib").join(SONAME))?;
    symlink(SONAME, folder.join("lib/libarenaq.so")).context("libarenaq.so")?;
    copy(&compiled.variable("arenaq-harness", "ARENAQ_IR")?, &folder.join("share/arenaq/arenaq.ll"))?;
    write(&folder.join("lib/pkgconfig/arenaq.pc"), &pkg_config())?;
    let pages = folder.join("share/man/man1");
    fs::create_dir_all(&pages).with_context(|| pages.display().to_string())?;
    cmd!(&command, "man", &pages).run().context("writing the manual pages")?;
    for (shell, file) in COMPLETIONS {
        let text = cmd!(&command, "completions", shell).read().context("writing the completions")?;
        write(&folder.join(file), &(text + "\n"))?;
    }
    pack(&out, &name)
}

/// Copies a file, or a folder of files.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if from.is_dir() {
        for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
            let name = entry?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    fs::copy(from, to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let parent = file.parent().unwrap_or(file);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(file, text))
        .with_context(|| file.display().to_string())
}

/// It says where it lies itself, so that the archive may be unpacked anywhere.
fn pkg_config() -> String {
    format!(
        "prefix=${{pcfiledir}}/../..\nlibdir=${{prefix}}/lib\nincludedir=${{prefix}}/include\n\n\
         Name: arenaq\nDescription: Lock-free queues that BPF programs and userspace share\nVersion: {}\n\
         Cflags: -I${{includedir}}\nLibs: -L${{libdir}} -larenaq\nLibs.private: -lgcc_s -lpthread -ldl -lm -lc\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// The archive of a folder, and its checksum beside it: the same bytes for the same files, whoever makes it and when.
fn pack(out: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folder = out.join(name);
    let sums = cmd!(
        "sh",
        "-c",
        "LC_ALL=C; export LC_ALL; find . -type f | sort | sed 's,^\\./,,' | xargs sha256sum"
    )
    .dir(&folder)
    .read()
    .context("the checksums of the files")?;
    write(&folder.join("SHA256SUMS"), &(sums + "\n"))?;
    set_modes(&folder)?;
    let time = cmd!("git", "log", "-1", "--format=%ct").dir(root()).read().context("git has no commit")?;
    let archive = format!("{name}.tar.gz");
    cmd!(
        "tar",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        format!("--mtime=@{time}"),
        "--format=ustar",
        // Without the time at which it is packed.
        "--use-compress-program=gzip -n",
        "-cf",
        &archive,
        name
    )
    .dir(out)
    .run()
    .context("packing the archive")?;
    let sum = cmd!("sha256sum", &archive).dir(out).read().context("the checksum of the archive")?;
    write(&out.join(format!("{archive}.sha256")), &(sum + "\n"))?;
    Ok(out.join(archive))
}

/// Whoever packs may have another umask.
fn set_modes(path: &Path) -> anyhow::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let is_executable = metadata.is_dir() || path.parent().is_some_and(|parent| parent.ends_with("bin"));
    fs::set_permissions(path, fs::Permissions::from_mode(if is_executable { 0o755 } else { 0o644 }))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            set_modes(&entry?.path())?;
        }
    }
    Ok(())
}
