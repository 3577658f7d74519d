//! Kernel images: a file, or one of Debian's packages by version.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::apt::Apt;
use crate::arch::Arch;
use crate::version::Version;

/// Where kernels are. Debian keeps several versions of the kernel in its backports.
const SUITES: &[&str] = &["trixie", "trixie-backports"];
/// The packages that can hold the image, the first before the second: where both are there, the second is empty.
const PREFIXES: [&str; 2] = ["linux-binary-", "linux-image-"];
const IMAGE: &str = "vmlinuz";
/// What a kernel of Debian's was built for. What a guest without a disk needs is built into each of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// Virtual machines.
    #[default]
    Cloud,
    /// What must be done in time: interrupts and spin locks can be preempted too.
    RealTime,
}

impl Flavour {
    /// What its releases and packages end with.
    fn suffix(self, arch: Arch) -> String {
        let name = match self {
            Flavour::Cloud => "cloud",
            Flavour::RealTime => "rt",
        };
        format!("-{name}-{}", arch.debian())
    }

    /// As in `Debian has no kernel for ...`.
    fn purpose(self) -> &'static str {
        match self {
            Flavour::Cloud => "virtual machines",
            Flavour::RealTime => "real time",
        }
    }
}

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Image {
    /// As `uname -r` shows it; for a file that the user gave, its path.
    pub release: String,
    /// The file that QEMU is given.
    pub path: PathBuf,
    /// What processors it is for.
    pub arch: Arch,
}

impl Image {
    /// The image at a path; or the newest of a version such as 6.18, from the cache, else from Debian.
    ///
    /// # Errors
    ///
    /// It is neither a file nor a version; there is no place for a cache; or Debian's packages cannot be fetched, or have
    /// no such version.
    pub fn find(kernel: &str, arch: Arch, flavour: Flavour) -> anyhow::Result<Image> {
        let path = Path::new(kernel);
        if path.is_file() {
            return Ok(Image { release: kernel.to_owned(), path: path.to_owned(), arch });
        }
        let version = Version::parse(kernel).with_context(|| {
            format!("{kernel} is neither a kernel image nor a version such as 6.18 or 6.18.15")
        })?;
        let cache = cache()?;
        match cached(&cache, &version, arch, flavour)? {
            Some(image) => Ok(image),
            None => fetch(&cache, &version, arch, flavour),
        }
    }

    /// The newest kernel that [`find`](Self::find) finds, by its series, such as 7.3: among Debian's packages; where their
    /// lists cannot be fetched, among the images that were fetched before, and says so.
    ///
    /// # Errors
    ///
    /// There is no place for a cache; or the lists cannot be fetched, and the cache is empty.
    pub fn newest(arch: Arch, flavour: Flavour) -> anyhow::Result<Version> {
        let cache = cache()?;
        let suffix = &*flavour.suffix(arch);
        let packages = lists(&cache, arch).and_then(|apt| apt.names(&pattern(suffix)));
        let packages =
            packages.map(|names| newest(names.iter().filter_map(|name| release(name, suffix)), suffix));
        let in_cache = newest(cached_releases(&cache)?.iter().map(String::as_str), suffix);
        match (packages, in_cache) {
            (Ok(Some(version)), _) => Ok(version.series()),
            (Ok(None), _) => bail!("Debian has no kernel for {} of {arch}: name one", flavour.purpose()),
            (Err(error), Some(version)) => {
                eprintln!(
                    "vm: Linux {} is the newest in the cache, and there may be newer ones: {error:#}",
                    version.point()
                );
                Ok(version.series())
            }
            (Err(error), None) => Err(error),
        }
    }
}

/// Where images are kept.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("ARENAQ_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME"))
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .context("no place for kernel images: set ARENAQ_CACHE to a folder")?;
    Ok(std::path::absolute(base)?.join("arenaq/kernels"))
}

/// The newest image of a version that was fetched before.
fn cached(cache: &Path, version: &Version, arch: Arch, flavour: Flavour) -> anyhow::Result<Option<Image>> {
    let releases = cached_releases(cache)?;
    let newest = newest_of(releases.iter().map(String::as_str), version, &flavour.suffix(arch));
    Ok(newest.map(|release| image(cache, release, arch)))
}

/// The kernels that were fetched before.
fn cached_releases(cache: &Path) -> anyhow::Result<Vec<String>> {
    let Ok(entries) = std::fs::read_dir(cache) else {
        return Ok(Vec::new());
    };
    let mut releases = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", cache.display()))?;
        if entry.path().join(IMAGE).is_file() {
            releases.extend(entry.file_name().into_string());
        }
    }
    Ok(releases)
}

fn image(cache: &Path, release: &str, arch: Arch) -> Image {
    Image { release: release.to_owned(), path: cache.join(release).join(IMAGE), arch }
}

/// Debian's lists of the packages that hold kernels.
fn lists(cache: &Path, arch: Arch) -> anyhow::Result<Apt> {
    let folder = match arch {
        Arch::X86_64 => "apt".to_owned(),
        Arch::Arm64 => format!("apt-{}", arch.debian()),
    };
    Apt::update(cache.join(folder), arch, SUITES)
}

/// The names of these packages.
fn pattern(suffix: &str) -> String {
    format!("^linux-(image|binary)-[0-9].*{suffix}$")
}

fn fetch(cache: &Path, version: &Version, arch: Arch, flavour: Flavour) -> anyhow::Result<Image> {
    let suffix = &*flavour.suffix(arch);
    eprintln!("vm: looking for Linux {version} for {arch} in Debian's packages");
    let apt = lists(cache, arch)?;
    let packages = apt.names(&pattern(suffix))?;
    let Some((package, release)) = choose(&packages, version, suffix) else {
        bail!(
            "Debian has no kernel {version} for {} of {arch}; it has\n  {}",
            flavour.purpose(),
            offered(&packages, suffix)
        );
    };
    eprintln!("vm: fetching {package}");
    let place = tempfile::tempdir_in(cache)?;
    let content = place.path().join("content");
    apt.unpack(package, &content)?;
    let unpacked = find_image(&content, release)
        .with_context(|| format!("the package {package} has no kernel image where one is expected"))?;
    // Renamed as a whole: a folder in the cache is complete.
    let folder = place.path().join(release);
    std::fs::create_dir(&folder)?;
    std::fs::rename(unpacked, folder.join(IMAGE))?;
    std::fs::rename(&folder, cache.join(release))
        .with_context(|| format!("cannot put the image into {}", cache.display()))?;
    Ok(image(cache, release, arch))
}

fn find_image(content: &Path, release: &str) -> Option<PathBuf> {
    [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")]
        .into_iter()
        .map(|place| content.join(place))
        .find(|path| path.is_file())
}

/// The package with the newest kernel of a version, and the kernel's release.
fn choose<'a>(packages: &'a [String], version: &Version, suffix: &str) -> Option<(&'a str, &'a str)> {
    let release = newest_of(packages.iter().filter_map(|package| release(package, suffix)), version, suffix)?;
    let package = PREFIXES
        .iter()
        .map(|prefix| format!("{prefix}{release}"))
        .find_map(|name| packages.iter().find(|package| **package == name))?;
    Some((package, release))
}

/// The kernel's release, from the name of its package.
fn release<'a>(package: &'a str, suffix: &str) -> Option<&'a str> {
    let release = PREFIXES.iter().find_map(|prefix| package.strip_prefix(prefix))?;
    // Not linux-image-unsigned-..., and not ...-dbg.
    (release.starts_with(|c: char| c.is_ascii_digit()) && release.ends_with(suffix)).then_some(release)
}

fn newest<'a>(releases: impl Iterator<Item = &'a str>, suffix: &str) -> Option<Version> {
    releases.filter_map(|release| Version::of_release(release, suffix)).max()
}

fn newest_of<'a>(
    releases: impl Iterator<Item = &'a str>,
    version: &Version,
    suffix: &str,
) -> Option<&'a str> {
    releases
        .filter_map(|release| Some((Version::of_release(release, suffix)?, release)))
        .filter(|(candidate, _)| candidate.is_of(version))
        .max_by(|(a, _), (b, _)| a.cmp(b))
        .map(|(_, release)| release)
}

/// The versions that there are, each once, for a message.
fn offered(packages: &[String], suffix: &str) -> String {
    let mut versions: Vec<_> = packages
        .iter()
        .filter_map(|package| Version::of_release(release(package, suffix)?, suffix))
        .map(|version| version.point())
        .collect();
    versions.sort();
    versions.dedup();
    versions.iter().map(Version::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Flavour, Image, Version, cached, choose, offered};
    use crate::arch::Arch;

    const CLOUD: &str = "-cloud-amd64";

    fn packages() -> Vec<String> {
        [
            "linux-image-6.12.9+deb13-cloud-amd64",
            "linux-image-6.12.90+deb12-cloud-amd64",
            "linux-image-6.12.90+deb12.1-cloud-amd64",
            "linux-image-6.18.15+deb13-cloud-amd64",
            "linux-image-6.18.15+deb13-cloud-amd64-dbg",
            "linux-image-7.2.12+deb13-cloud-amd64",
            "linux-binary-7.2.12+deb13-cloud-amd64",
            "linux-image-6.18.16+deb13-cloud-arm64",
            "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn chosen(version: &str) -> Option<String> {
        let version = Version::parse(version).expect("a version");
        choose(&packages(), &version, CLOUD).map(|(package, _)| package.to_owned())
    }

    #[test]
    fn the_newest_package_of_a_version_is_chosen() {
        for (version, package) in [
            ("6.12", "linux-image-6.12.90+deb12.1-cloud-amd64"),
            ("6.12.9", "linux-image-6.12.9+deb13-cloud-amd64"),
            ("6.18", "linux-image-6.18.15+deb13-cloud-amd64"),
            ("7", "linux-binary-7.2.12+deb13-cloud-amd64"),
        ] {
            assert_eq!(chosen(version).as_deref(), Some(package), "{version}");
        }
    }

    #[test]
    fn no_package_is_taken_for_another_version() {
        for version in ["6.1", "6.12.91", "7.3", "8"] {
            assert_eq!(chosen(version), None, "{version}");
        }
        let version = Version::parse("6.18").expect("a version");
        let arm64 = choose(&packages(), &version, "-cloud-arm64").map(|(_, release)| release.to_owned());
        assert_eq!(arm64.as_deref(), Some("6.18.16+deb13-cloud-arm64"));
        assert_eq!(offered(&packages(), CLOUD), "6.12.9 6.12.90 6.18.15 7.2.12");
    }

    #[test]
    fn what_is_neither_a_file_nor_a_version_is_refused() {
        for kernel in ["", "6.x", "/no/such/vmlinuz", "newest", "6..1"] {
            let error = Image::find(kernel, Arch::X86_64, Flavour::Cloud).expect_err(kernel).to_string();
            assert!(error.contains("neither a kernel image nor a version"), "{error}");
        }
    }

    #[test]
    fn only_complete_folders_of_the_cache_count() {
        let cache = tempfile::tempdir().expect("a folder");
        let version = Version::parse("6.18").expect("a version");
        let folder = |release: &str| {
            let folder = cache.path().join(release);
            std::fs::create_dir(&folder).expect("a folder");
            folder
        };
        folder("6.18.16+deb13-cloud-amd64");
        assert!(
            cached(cache.path(), &version, Arch::X86_64, Flavour::Cloud).expect("it can be read").is_none()
        );
        std::fs::write(folder("6.18.15+deb13-cloud-amd64").join("vmlinuz"), "").expect("a file");
        let find = |arch| cached(cache.path(), &version, arch, Flavour::Cloud).expect("it can be read");
        assert_eq!(find(Arch::X86_64).expect("an image").release, "6.18.15+deb13-cloud-amd64");
        assert!(find(Arch::Arm64).is_none(), "it is of another architecture");
    }
}
