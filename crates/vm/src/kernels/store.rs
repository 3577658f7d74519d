//! What is kept of each examination: a file for each kernel, so that one can be examined again without the others.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::arch::Arch;
use crate::kernels::examine::{Examined, Subject};
use crate::version::Version;

/// A folder with a file for each examination: `arm64-6.18.json`, `x86_64-7.3-many-processors.json`.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The one in this folder, which need not be there.
    pub fn new(folder: PathBuf) -> Store {
        Store { folder }
    }

    /// Keeps an examination, in the place of an earlier one of the same series under the same circumstances.
    ///
    /// # Errors
    ///
    /// The kernel has no version, or the file cannot be written.
    pub fn keep(&self, examined: &Examined) -> anyhow::Result<PathBuf> {
        let subject = &examined.subject;
        let series = series(subject).with_context(|| {
            format!("{} is no kernel of Debian's: nothing is kept of it", subject.release)
        })?;
        let circumstance = subject.circumstance.iter().map(|name| format!("-{name}")).collect::<String>();
        let file = self.folder.join(format!("{}-{series}{circumstance}.json", subject.arch.option()));
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let text = serde_json::to_string_pretty(examined).context("an examination is not JSON")?;
        std::fs::write(&file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// Forgets the ordinary examinations of an architecture's kernels that are not of these series: the rule has chosen others.
    ///
    /// # Errors
    ///
    /// A file cannot be read or removed.
    pub fn keep_only(&self, arch: Arch, series: &[Version]) -> anyhow::Result<()> {
        for (file, examined) in self.files()? {
            let subject = &examined.subject;
            let is_chosen = self::series(subject).is_some_and(|it| series.contains(&it));
            if subject.arch == arch && subject.circumstance.is_none() && !is_chosen {
                std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
            }
        }
        Ok(())
    }

    /// Everything that is kept: by architecture, then by version, then by circumstance.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or is no examination.
    pub fn all(&self) -> anyhow::Result<Vec<Examined>> {
        let mut all: Vec<_> = self.files()?.into_iter().map(|(_, examined)| examined).collect();
        all.sort_by_key(|examined| {
            let subject = &examined.subject;
            (subject.arch, subject.circumstance.clone(), version(subject))
        });
        Ok(all)
    }

    fn files(&self) -> anyhow::Result<Vec<(PathBuf, Examined)>> {
        let mut files = Vec::new();
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Ok(files) };
        for entry in entries {
            let file = entry.with_context(|| format!("cannot read {}", self.folder.display()))?.path();
            if file.extension().is_some_and(|extension| extension == "json") {
                let examined = read(&file).with_context(|| file.display().to_string())?;
                files.push((file, examined));
            }
        }
        Ok(files)
    }
}

fn read(file: &Path) -> anyhow::Result<Examined> {
    Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?)
}

fn version(subject: &Subject) -> Option<Version> {
    Version::of_any_release(&subject.release)
}

fn series(subject: &Subject) -> Option<Version> {
    version(subject).map(|version| version.series())
}

#[cfg(test)]
mod tests {
    use super::Store;
    use crate::arch::Arch;
    use crate::kernels::examine::Examined;
    use crate::kernels::examine::tests::subject;
    use crate::version::Version;

    fn releases(store: &Store) -> Vec<String> {
        store.all().expect("all are read").into_iter().map(|examined| examined.subject.release).collect()
    }

    #[test]
    fn a_newer_examination_takes_the_place_of_one_of_its_series_and_circumstance() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path().join("kernels"));
        assert!(releases(&store).is_empty(), "no folder is an empty one");
        for release in ["7.10.1+deb13-cloud-amd64", "7.3.4+deb13-cloud-amd64", "7.3.5+deb13-cloud-amd64"] {
            store.keep(&Examined::new(subject(release))).expect("it is kept");
        }
        let mut special = subject("7.3.4+deb13-cloud-amd64");
        special.circumstance = Some("preempted".to_owned());
        let file = store.keep(&Examined::new(special)).expect("it is kept");
        assert!(file.ends_with("x86_64-7.3-preempted.json"), "{file:?}");
        assert_eq!(
            releases(&store),
            ["7.3.5+deb13-cloud-amd64", "7.10.1+deb13-cloud-amd64", "7.3.4+deb13-cloud-amd64"]
        );

        let mut arm = subject("7.3.4+deb13-cloud-arm64");
        arm.arch = Arch::Arm64;
        store.keep(&Examined::new(arm)).expect("it is kept");
        store.keep_only(Arch::X86_64, &[Version::parse("7.10").expect("a version")]).expect("they go");
        assert_eq!(
            releases(&store),
            ["7.10.1+deb13-cloud-amd64", "7.3.4+deb13-cloud-amd64", "7.3.4+deb13-cloud-arm64"]
        );
    }

    #[test]
    fn a_file_that_is_no_examination_is_named_and_so_is_a_kernel_without_a_version() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path().to_owned());
        let error = store.keep(&Examined::new(subject("/boot/mine"))).expect_err("no version").to_string();
        assert!(error.contains("/boot/mine is no kernel of Debian's"), "{error}");
        std::fs::write(folder.path().join("arm64-7.3.json"), "{}").expect("it is written");
        let error = format!("{:#}", store.all().expect_err("not one"));
        assert!(error.contains("arm64-7.3.json"), "{error}");
    }
}
