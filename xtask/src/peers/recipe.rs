//! What is done to a crate, and what was learnt of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::command::root;

/// A file NAME.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) version: String,
    /// SHA-256 of the package, as the registry and Cargo.lock have it.
    pub(crate) checksum: String,
    /// What it is, and what its models are.
    pub(crate) about: String,
    /// For `cargo weaken`.
    pub(crate) arguments: Vec<String>,
    pub(crate) edit: Vec<Edit>,
    #[serde(default)]
    pub(crate) survivor: Vec<Survivor>,
}

/// Lines that become others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    file: PathBuf,
    /// Stands in the file once. Without it `to` goes to the end of the file, which may be new.
    from: Option<String>,
    pub(crate) to: String,
}

/// What survivors mean, by who looked at them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Survivor {
    /// How the changes begin: `src/lib.rs:44`.
    pub(crate) of: Vec<String>,
    pub(crate) meaning: String,
}

pub(crate) fn folder() -> PathBuf {
    root().join("crates/cargo-weaken/peers")
}

/// The crates that have a recipe.
pub(crate) fn names() -> anyhow::Result<Vec<String>> {
    let folder = folder();
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    names.sort_unstable();
    Ok(names)
}

impl Recipe {
    pub(crate) fn read(name: &str) -> anyhow::Result<Recipe> {
        let file = folder().join(format!("{name}.toml"));
        let Ok(text) = fs::read_to_string(&file) else {
            bail!("{name} has no recipe; those that have: {}", names()?.join(", "));
        };
        let recipe: Recipe = toml::from_str(&text).with_context(|| file.display().to_string())?;
        Ok(Recipe { name: name.to_owned(), ..recipe })
    }

    pub(crate) fn apply(&self, folder: &Path) -> anyhow::Result<()> {
        self.edit.iter().try_for_each(|edit| edit.apply(folder))
    }

    /// How many lines of the crate are new.
    pub(crate) fn lines(&self) -> usize {
        self.edit.iter().map(Edit::lines).sum()
    }

    /// What it means that this change survives.
    pub(crate) fn meaning(&self, change: &str) -> Option<&Survivor> {
        self.survivor.iter().find(|survivor| survivor.of.iter().any(|of| change.starts_with(of)))
    }
}

impl Edit {
    /// How many lines were not there before.
    fn lines(&self) -> usize {
        let from: Vec<_> = self.from.iter().flat_map(|from| from.lines()).collect();
        self.to.lines().filter(|line| !line.is_empty() && !from.contains(line)).count()
    }

    fn apply(&self, folder: &Path) -> anyhow::Result<()> {
        let file = folder.join(&self.file);
        let text = match &self.from {
            None => fs::read_to_string(&file).unwrap_or_default() + &self.to,
            Some(from) => {
                let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                let count = text.matches(from).count();
                if count != 1 {
                    bail!(
                        "{} has {count} times, instead of once, what the recipe replaces:\n{from}",
                        file.display()
                    );
                }
                text.replacen(from, &self.to, 1)
            }
        };
        fs::write(&file, text).with_context(|| file.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Edit, Recipe, names};

    #[test]
    fn no_recipe_changes_more_than_ten_lines() -> anyhow::Result<()> {
        for name in names()? {
            let lines = Recipe::read(&name)?.lines();
            assert!((1..=10).contains(&lines), "{name}: {lines}");
        }
        Ok(())
    }

    #[test]
    fn an_edit_replaces_what_stands_there_once_and_nothing_else() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("a.rs");
        fs::write(&file, "one two two")?;
        let edit = |from: &str| Edit { file: "a.rs".into(), from: Some(from.into()), to: "three".into() };
        for (from, count) in [("two", "2 times"), ("four", "0 times")] {
            let error = edit(from).apply(folder.path()).unwrap_err().to_string();
            assert!(error.contains(count), "{error}");
        }
        edit("one").apply(folder.path())?;
        assert_eq!(fs::read_to_string(&file)?, "three two two");
        Ok(())
    }

    #[test]
    fn an_edit_of_nothing_goes_to_the_end() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let edit = Edit { file: "new.rs".into(), from: None, to: "line\n".into() };
        edit.apply(folder.path())?;
        edit.apply(folder.path())?;
        assert_eq!(fs::read_to_string(folder.path().join("new.rs"))?, "line\nline\n");
        Ok(())
    }
}
