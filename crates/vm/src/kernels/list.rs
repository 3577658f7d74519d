//! Which kernels are tried, and with which tests.

use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::boot::Boot;
use crate::preempt::Preempt;
use crate::version::Version;

/// What a list such as `crates/vm/kernels.toml` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The series with long-term support that are supported here, the newest last.
    #[serde(rename = "long-term")]
    pub long_term: Vec<String>,
    /// The test programs that guests run, by name.
    pub tests: Vec<String>,
    /// The tests in them that are left out.
    #[serde(rename = "skip")]
    pub skips: Vec<Skip>,
    /// How guests are booted otherwise than usual, on the newest kernel.
    #[serde(rename = "circumstance", default)]
    pub circumstances: Vec<Circumstance>,
}

/// What some tests are run under, beside an ordinary guest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Circumstance {
    /// Its name.
    pub name: String,
    /// What it is, for a reader.
    pub what: String,
    /// The test programs that are run under it.
    pub tests: Vec<String>,
    /// The guest's processors, if they are not as many as usual.
    pub cpus: Option<u32>,
    /// So many of them come online late.
    #[serde(default)]
    pub late_cpus: u32,
    /// When the kernel takes the processor away, if not as it was built.
    pub preempt: Option<Preempt>,
    /// The kernel is Debian's real-time one.
    #[serde(default)]
    pub real_time: bool,
    /// More words of the kernel's command line.
    #[serde(default)]
    pub parameters: Vec<String>,
    /// Lines of the shell that prepare the guest.
    #[serde(default)]
    pub prepare: Vec<String>,
    /// How long a test program may take, boot included, if not as long as usual.
    pub minutes: Option<u64>,
}

impl Circumstance {
    /// What the guest is asked for.
    pub fn boot(&self) -> Boot {
        Boot {
            preempt: self.preempt,
            late_cpus: self.late_cpus,
            parameters: self.parameters.clone(),
            prepare: self.prepare.clone(),
            name: Some(self.name.clone()),
        }
    }
}

/// A kernel that is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        let versions: Option<Vec<_>> = list.long_term.iter().map(|series| Version::parse(series)).collect();
        let is_sorted = versions.is_some_and(|versions| !versions.is_empty() && versions.is_sorted());
        ensure!(
            is_sorted,
            "{}: long-term is not a list of versions such as [\"6.12\", \"6.18\"], the newest last",
            file.display()
        );
        Ok(list)
    }

    /// The circumstance of a name.
    ///
    /// # Errors
    ///
    /// There is none, with those that there are.
    pub fn circumstance(&self, name: &str) -> anyhow::Result<&Circumstance> {
        self.circumstances.iter().find(|circumstance| circumstance.name == name).with_context(|| {
            let names: Vec<_> = self.circumstances.iter().map(|it| it.name.as_str()).collect();
            format!("no circumstance {name} in the list: {}", names.join(", "))
        })
    }

    /// The kernels that are tried if this is the newest one: the oldest and the newest with long-term support, and that one.
    /// The newest is the last, and none is there twice.
    pub fn kernels(&self, newest: &Version) -> Vec<Entry> {
        let newest = newest.to_string();
        let rule = [
            (self.long_term.first(), "the oldest with long-term support on which arenaq runs"),
            (self.long_term.last(), "the newest with long-term support"),
            (Some(&newest), "the newest of Debian's packages"),
        ];
        let mut kernels: Vec<Entry> = Vec::new();
        for (version, why) in rule {
            let Some(version) = version else { continue };
            match kernels.iter_mut().find(|entry| entry.version == *version) {
                Some(entry) => entry.why = format!("{}; {why}", entry.why),
                None => kernels.push(Entry { version: version.clone(), why: why.to_owned() }),
            }
        }
        kernels
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::List;
    use crate::version::Version;

    fn chosen(list: &List, newest: &str) -> Vec<(String, String)> {
        let kernels = list.kernels(&Version::parse(newest).expect("a version"));
        kernels.into_iter().map(|entry| (entry.version, entry.why)).collect()
    }

    #[test]
    fn the_kernels_are_the_oldest_and_the_newest_with_long_term_support_and_the_newest_of_all() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels.toml");
        let mut list = List::read(&file).expect("it can be read");
        list.long_term = ["6.12", "6.18", "7.4"].map(str::to_owned).to_vec();
        let versions =
            |newest| chosen(&list, newest).into_iter().map(|(version, _)| version).collect::<Vec<_>>();
        assert_eq!(versions("7.10"), ["6.12", "7.4", "7.10"]);
        let same = chosen(&list, "7.4");
        assert_eq!(same.len(), 2, "{same:?}");
        assert_eq!(same[1].1, "the newest with long-term support; the newest of Debian's packages");
        list.long_term.truncate(1);
        assert_eq!(chosen(&list, "7.4").len(), 2);
    }

    #[test]
    fn a_list_from_which_no_kernels_follow_is_refused() {
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join("kernels.toml");
        for (text, reason) in [
            ("tests = []\nskip = []\nlong-term = []\n", "long-term is not a list of versions"),
            ("tests = []\nskip = []\nlong-term = [\"6.18\", \"6.12\"]\n", "the newest last"),
            ("tests = []\nskip = []\nlong-term = [\"6.x\"]\n", "long-term is not a list of versions"),
            ("tests = []\nskip = []\n", "missing field `long-term`"),
            ("tests = []\nlong-term = [\"6.12\"]\nskip = [{ test = \"a\" }]\n", "missing field `why`"),
        ] {
            std::fs::write(&file, text).expect("a file");
            let error = List::read(&file).expect_err(reason);
            assert!(format!("{error:#}").contains(reason), "{error:#}");
        }
    }
}
