//! The list of kernels that are tried, and with which tests.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// What a list such as `crates/vm/kernels.toml` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The test programs that guests run, by name.
    pub tests: Vec<String>,
    /// The tests in them that are left out.
    #[serde(rename = "skip")]
    pub skips: Vec<Skip>,
    /// The kernels, the newest last.
    #[serde(rename = "kernel")]
    pub kernels: Vec<Entry>,
}

/// A kernel of the list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// A version such as 6.18, or the path of an image.
    pub version: String,
    /// What it is there for.
    pub why: String,
}

/// A test that no guest runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// The test function.
    pub test: String,
    /// What keeps it from guests.
    pub why: String,
}

impl List {
    /// Reads a list.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no such list, or names no kernel.
    pub fn read(file: &Path) -> anyhow::Result<List> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let list: List = toml::from_str(&text).with_context(|| file.display().to_string())?;
        anyhow::ensure!(!list.kernels.is_empty(), "{} has no kernel: add one", file.display());
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::List;

    #[test]
    fn the_list_can_be_read_and_is_sorted() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels.toml");
        let list = List::read(&file).expect("it can be read");
        assert!(list.kernels.len() >= 3);
        let numbers = |version: &str| -> Vec<u32> {
            version.split('.').map(|number| number.parse().expect("a number")).collect()
        };
        assert!(list.kernels.is_sorted_by_key(|entry| numbers(&entry.version)), "the newest is the last");
    }

    #[test]
    fn a_list_in_which_something_is_missing_is_refused() {
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join("kernels.toml");
        for (text, reason) in [
            ("tests = []\nskip = []\nkernel = []\n", "has no kernel"),
            ("tests = []\nskip = []\nkernel = [{ version = \"7.2\" }]\n", "missing field `why`"),
        ] {
            std::fs::write(&file, text).expect("a file");
            let error = List::read(&file).expect_err(reason);
            assert!(format!("{error:#}").contains(reason), "{error:#}");
        }
    }
}
