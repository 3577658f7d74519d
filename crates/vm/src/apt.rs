//! Debian packages, fetched with their checksums verified and without a change to the host's own apt.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use duct::cmd;

use crate::arch::Arch;
use crate::archive::Archive;

/// The folder of its sources, in its folder.
const SOURCES: &str = "sources";

/// An apt of our own: its lists and its sources are in a folder, and it installs nothing.
pub(crate) struct Apt {
    folder: PathBuf,
    arch: Arch,
}

impl Apt {
    /// Fetches the lists of the packages of an architecture, from these suites.
    pub(crate) fn update(folder: PathBuf, arch: Arch, suites: &[&str]) -> anyhow::Result<Apt> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            which::which(program).with_context(|| {
                format!("{program} is missing: kernels by version and libraries come from Debian's packages; of a kernel you can give the path of an image instead")
            })?;
        }
        let archives = Archive::all().context(
            "kernels by version come from Debian's archive; give the path of a kernel image instead",
        )?;
        let lists = folder.join("lists/partial");
        std::fs::create_dir_all(&lists).with_context(|| format!("cannot make {}", lists.display()))?;
        let apt = Apt { folder, arch };
        // One that has not these suites may stand beside one that has.
        let mut updated = Err(anyhow!("no archive"));
        for archive in &archives {
            updated = apt.update_from(archive, suites);
            if updated.is_ok() {
                break;
            }
        }
        updated.with_context(|| {
            format!(
                "cannot fetch the lists of {}, for {arch}, from Debian's archive as this machine's package sources have it: is it \
                 reachable (`apt-get update`), and does the mirror have these suites? Else give the path of a kernel image",
                suites.join(" and ")
            )
        })?;
        Ok(apt)
    }

    fn update_from(&self, archive: &Archive, suites: &[&str]) -> anyhow::Result<()> {
        archive.write_sources(&self.folder.join(SOURCES), suites)?;
        let update = self.command("apt-get", ["update", "--quiet=2", "--error-on=any"]);
        update.stdout_to_stderr().run()?;
        Ok(())
    }

    /// The names of the packages that match a regular expression and can be fetched.
    pub(crate) fn names(&self, pattern: &str) -> anyhow::Result<Vec<String>> {
        let text = self
            .command("apt-cache", ["search", "--names-only", pattern])
            .read()
            .context("cannot search Debian's lists of packages")?;
        Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    }

    /// Fetches a package, of which apt verifies the checksum, and unpacks it.
    pub(crate) fn unpack(&self, package: &str, into: &Path) -> anyhow::Result<()> {
        let place = tempfile::tempdir_in(&self.folder)?;
        self.command("apt-get", ["download", "--quiet=2", package])
            .dir(place.path())
            .stdout_to_stderr()
            .run()
            .with_context(|| format!("cannot fetch the package {package}"))?;
        let Some(file) = std::fs::read_dir(place.path())?.find_map(Result::ok) else {
            bail!("apt-get said that it fetched {package}, and there is no file");
        };
        cmd!("dpkg-deb", "--extract", file.path(), into)
            .run()
            .with_context(|| format!("cannot unpack {package}"))?;
        Ok(())
    }

    fn command<'a>(&self, program: &str, arguments: impl IntoIterator<Item = &'a str>) -> duct::Expression {
        let folder = self.folder.display();
        let settings = [
            format!("Dir::State={folder}"),
            // What is installed on the host has no say.
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={folder}/cache"),
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={folder}/{SOURCES}"),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("APT::Architecture={}", self.arch.debian()),
            // Beside what the host has set.
            format!("APT::Architectures={}", self.arch.debian()),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ];
        let settings = settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]);
        cmd(program, settings.chain(arguments.into_iter().map(str::to_owned)))
    }
}
