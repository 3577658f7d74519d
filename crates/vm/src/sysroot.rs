//! The libraries and the shell of a guest whose architecture is not this machine's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use duct::cmd;

use crate::apt::Apt;
use crate::arch::Arch;
use crate::archive::codename;
use crate::image::cache;

/// What `arenaq` is linked with, in the version of this machine's cross-compiler, and what a guest has for a userspace.
const PACKAGES: &[&str] =
    &["busybox-static", "libc6", "libelf-dev", "libelf1", "libgcc-s1", "libzstd1", "zlib1g", "zlib1g-dev"];

/// Debian's packages of another architecture, unpacked into a folder of the cache. Nothing is installed.
#[derive(Clone, Debug)]
pub struct Sysroot {
    arch: Arch,
    folder: PathBuf,
}

impl Sysroot {
    /// The one that was fetched before.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn find(arch: Arch) -> anyhow::Result<Sysroot> {
        let sysroot = Sysroot { arch, folder: place(arch)? };
        if !sysroot.folder.is_dir() {
            bail!(
                "the libraries for {arch} are missing: `cargo xtask setup --{arch}` fetches them to {}",
                sysroot.folder.display()
            );
        }
        Ok(sysroot)
    }

    /// Fetches it, unless it is there.
    ///
    /// # Errors
    ///
    /// This system is not Debian, or its package sources do not have the packages.
    pub fn fetch(arch: Arch) -> anyhow::Result<Sysroot> {
        if let Ok(sysroot) = Sysroot::find(arch) {
            return Ok(sysroot);
        }
        let suite = suite()?;
        let folder = place(arch)?;
        let parent = folder.parent().context("a cache without a folder")?;
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let apt = Apt::update(parent.join(format!("apt-{}", arch.debian())), arch, &[&suite])?;
        let unpacked = tempfile::tempdir_in(parent)?;
        for package in PACKAGES {
            apt.unpack(package, unpacked.path())?;
        }
        // Renamed as a whole: a folder in the cache is complete.
        std::fs::rename(unpacked.path(), &folder)
            .with_context(|| format!("cannot put the libraries into {}", folder.display()))?;
        Ok(Sysroot { arch, folder })
    }

    /// The root of the tree.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the linker finds libraries.
    pub fn libraries(&self) -> PathBuf {
        self.folder.join("usr/lib").join(self.arch.multiarch())
    }

    /// busybox for the guest.
    pub(crate) fn busybox(&self) -> PathBuf {
        self.folder.join("bin/busybox")
    }

    /// The libraries that a program needs, and the loader: where the guest has them, and the files.
    pub(crate) fn needed(&self, program: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let mut found = BTreeSet::new();
        let mut todo = vec![program.to_owned()];
        while let Some(file) = todo.pop() {
            let headers = cmd!(
                format!("{}-readelf", self.arch.multiarch()),
                "--wide",
                "--program-headers",
                "--dynamic",
                &file
            )
            .stderr_null()
            .read()
            .with_context(|| {
                format!(
                    "cannot read {}: `cargo xtask setup --{}` installs the cross-compiler",
                    file.display(),
                    self.arch
                )
            })?;
            for library in parse_needed(&headers) {
                let (place, path) = self.library(&library).with_context(|| {
                    format!("{} needs {library}, which is not in {}", file.display(), self.folder.display())
                })?;
                if found.insert((place, path.clone())) {
                    todo.push(path);
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    fn library(&self, name: &str) -> Option<(String, PathBuf)> {
        // The loader has a path.
        let places = if name.starts_with('/') {
            vec![name.to_owned()]
        } else {
            ["lib", "usr/lib"].map(|folder| format!("/{folder}/{}/{name}", self.arch.multiarch())).to_vec()
        };
        places.into_iter().find_map(|place| {
            let path = self.folder.join(place.trim_start_matches('/'));
            path.is_file().then_some((place, path))
        })
    }
}

fn place(arch: Arch) -> anyhow::Result<PathBuf> {
    Ok(cache()?.with_file_name(format!("sysroot-{}-{}", arch.debian(), suite()?)))
}

/// The suite with the libraries that the packaged cross-compiler links with: this system's own.
fn suite() -> anyhow::Result<String> {
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    codename(&system).map(str::to_owned).context(
        "programs for another architecture are linked with the packages of Debian, and this system is not Debian: \
         run this in a container with Debian",
    )
}

/// The libraries and the loader from what readelf writes of program headers and the dynamic section.
fn parse_needed(text: &str) -> Vec<String> {
    let between = |line: &str, before: &str| {
        let (_, rest) = line.split_once(before)?;
        Some(rest.split_once(']')?.0.trim().to_owned())
    };
    text.lines()
        .filter_map(|line| {
            if line.contains("(NEEDED)") {
                between(line, "[")
            } else {
                between(line, "program interpreter: ")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse_needed;

    #[test]
    fn the_libraries_and_the_loader_are_read_from_what_readelf_says() {
        let text = "  INTERP         0x000270 0x0000000000000270 0x00001b R   0x1\n      \
                    [Requesting program interpreter: /lib/ld-linux-aarch64.so.1]\n \
                    0x0000000000000001 (NEEDED)             Shared library: [libelf.so.1]\n \
                    0x000000000000001d (RUNPATH)            Library runpath: [/lib]\n";
        assert_eq!(parse_needed(text), ["/lib/ld-linux-aarch64.so.1", "libelf.so.1"]);
        assert!(parse_needed("There is no dynamic section in this file.\n").is_empty());
    }
}
