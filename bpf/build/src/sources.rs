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
    /// Both packages are dependencies of this one, so that cargo has put their sources somewhere: a checkout, a registry's
    /// folder, a vendored one. They say where.
    pub(crate) fn find() -> Result<Sources, Error> {
        Sources::at(Path::new(arenaq::SOURCE), Path::new(arenaq_bpf::SOURCE))
    }

    fn at(core: &Path, bpf: &Path) -> Result<Sources, Error> {
        for (package, folder, file) in [("arenaq", core, "src/lib.rs"), ("arenaq-bpf", bpf, SHIM)] {
            if !folder.join(file).is_file() {
                return Err(Error::NoSources { package, folder: folder.to_owned() });
            }
        }
        Ok(Sources { core: core.to_owned(), bpf: bpf.to_owned() })
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
/// [`Error::NoSources`] if they are not there any more.
pub fn source_dir() -> Result<PathBuf, Error> {
    Sources::find().map(|sources| sources.bpf)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Sources;
    use crate::Error;

    #[test]
    fn sources_that_are_not_there_any_more_are_named() {
        let found = Sources::find().expect("cargo has them");
        let nowhere = Path::new("/nowhere");
        let error = Sources::at(nowhere, &found.bpf).expect_err("nothing is there");
        assert!(matches!(error, Error::NoSources { package: "arenaq", .. }), "{error}");
        let error = Sources::at(&found.core, nowhere).expect_err("nothing is there");
        assert!(matches!(error, Error::NoSources { package: "arenaq-bpf", .. }), "{error}");
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }
}
