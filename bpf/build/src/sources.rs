//! Where arenaq's sources lie.

use std::path::{Path, PathBuf};

use crate::Error;

/// What is in the package `arenaq-bpf` and in no other.
const SHIM: &str = "shim.bpf.c";

/// The sources of the two packages that are compiled for BPF.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// `arenaq`.
    pub(crate) core: PathBuf,
    /// `arenaq-bpf`.
    pub(crate) bpf: PathBuf,
}

impl Sources {
    pub(crate) fn find() -> Result<Sources, Error> {
        Sources::beside(Path::new(env!("CARGO_MANIFEST_DIR")))
    }

    /// In a checkout the packages lie in one another. `cargo vendor` and registries put them side by side, with or
    /// without the version behind the name.
    fn beside(here: &Path) -> Result<Sources, Error> {
        let parent = here.parent().unwrap_or(here);
        if parent.join(SHIM).is_file() {
            let core = parent.parent().unwrap_or(parent);
            return Ok(Sources { core: core.to_owned(), bpf: parent.to_owned() });
        }
        let sibling = |package: &'static str, file: &str| {
            let version = concat!("-", env!("CARGO_PKG_VERSION"));
            [String::new(), version.to_owned()]
                .iter()
                .map(|suffix| parent.join(format!("{package}{suffix}")))
                .find(|folder| folder.join(file).is_file())
                .ok_or_else(|| Error::NoSources { package, folder: parent.to_owned() })
        };
        Ok(Sources { core: sibling("arenaq", "src/lib.rs")?, bpf: sibling("arenaq-bpf", SHIM)? })
    }

    /// The folder with `arenaq.h` and `kernel.h`.
    pub(crate) fn include(&self) -> PathBuf {
        self.bpf.join("include")
    }

    pub(crate) fn shim(&self) -> PathBuf {
        self.bpf.join(SHIM)
    }

    /// What an object is made of beside the program: when one of these changes, it is out of date.
    pub(crate) fn inputs(&self) -> Vec<PathBuf> {
        let bpf = ["src", "include", SHIM, "Cargo.toml"].map(|input| self.bpf.join(input));
        let core = ["src", "Cargo.toml"].map(|input| self.core.join(input));
        bpf.into_iter().chain(core).collect()
    }
}

/// Where the kernel side's sources lie: the shim, the header in `include`, the Rust crate.
///
/// # Errors
///
/// [`Error::NoSources`] if the package was torn from those that it belongs to.
pub fn source_dir() -> Result<PathBuf, Error> {
    Sources::find().map(|sources| sources.bpf)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{SHIM, Sources};
    use crate::Error;

    fn write(path: &Path) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(path, "").expect("it can be written");
    }

    #[test]
    fn the_sources_are_found_in_a_checkout_and_where_cargo_vendors_them() {
        let version = env!("CARGO_PKG_VERSION");
        let (versioned_core, versioned_bpf) = (format!("arenaq-{version}"), format!("arenaq-bpf-{version}"));
        for (build, bpf, core) in [
            ("arenaq/bpf/build", "arenaq/bpf", "arenaq"),
            ("vendor/arenaq-bpf-build", "vendor/arenaq-bpf", "vendor/arenaq"),
            (
                "vendor/arenaq-bpf-build-x",
                &*format!("vendor/{versioned_bpf}"),
                &*format!("vendor/{versioned_core}"),
            ),
        ] {
            let root = tempfile::tempdir().expect("a folder");
            write(&root.path().join(bpf).join(SHIM));
            write(&root.path().join(core).join("src/lib.rs"));
            let sources = Sources::beside(&root.path().join(build)).expect("they are there");
            assert_eq!((sources.bpf, sources.core), (root.path().join(bpf), root.path().join(core)));
        }
    }

    #[test]
    fn sources_that_are_not_there_are_named() {
        let root = tempfile::tempdir().expect("a folder");
        let error = Sources::beside(&root.path().join("arenaq-bpf-build")).expect_err("nothing is there");
        assert!(matches!(error, Error::NoSources { package: "arenaq", .. }), "{error}");
    }
}
