//! Mutants: the algorithms, broken on purpose.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::command::root;
use crate::orderings::models::{Binary, target};

/// Where the mutants are, in the workspace.
pub(crate) const FILE: &str = "loom-tests/mutants.toml";

/// Where the models are.
const MODELS: &str = "loom-tests";

/// One change of the code.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    /// In the workspace.
    pub(crate) file: String,
    /// What the change does, in a sentence.
    pub(crate) does: String,
    /// Why the models must *not* notice.
    pub(crate) harmless: Option<String>,
    #[serde(rename = "edit")]
    edits: Vec<Edit>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    text: String,
    replacement: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutant: Vec<Mutant>,
}

pub(crate) fn read() -> anyhow::Result<Vec<Mutant>> {
    let table: Table = super::read_toml(FILE)?;
    let mut names: Vec<_> = table.mutant.iter().map(|mutant| &mutant.name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!("{FILE}: the mutant {} is there twice", twice[0]);
    }
    Ok(table.mutant)
}

impl Mutant {
    /// The structure that it breaks: `mpmc` for `src/mpmc.rs`, and `pool` for `src/pool/free_list.rs`.
    pub(crate) fn structure(&self) -> &str {
        let place = self.file.strip_prefix("src/").unwrap_or(&self.file);
        place.split(['/', '.']).next().unwrap_or_default()
    }

    fn apply(&self, code: &str) -> anyhow::Result<String> {
        let mut code = code.to_owned();
        for edit in &self.edits {
            let found = code.matches(&edit.text).count();
            ensure!(
                found == 1,
                "the mutant {} no longer fits the code: {} has this text {found} times, not once:\n{}",
                self.name,
                self.file,
                edit.text
            );
            code = code.replace(&edit.text, &edit.replacement);
        }
        Ok(code)
    }
}

/// A copy of the workspace, in which mutants are compiled one after another. One place for all
/// of them, so that only what a mutant changes is compiled again.
#[derive(Debug)]
pub(crate) struct Nursery {
    tree: PathBuf,
}

impl Nursery {
    pub(crate) fn new() -> anyhow::Result<Nursery> {
        let tree = target().join("orderings/tree");
        if tree.exists() {
            fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
        }
        copy(&root(), &tree)?;
        Ok(Nursery { tree })
    }

    /// The code as it is, in a copy that stays when somebody compiles it.
    pub(crate) fn original() -> anyhow::Result<Binary> {
        let place = target().join("orderings");
        fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
        Binary::build()?.keep(place.join("as-it-is"))
    }

    fn build(&self, mutant: &Mutant) -> anyhow::Result<Binary> {
        let place = target().join("orderings");
        // What nobody notices goes through all models to their ends.
        let optimised = mutant.harmless.is_some();
        Binary::build_copy(&self.tree, &place.join("target"), optimised)?.keep(place.join(&mutant.name))
    }

    /// Compiles one mutant and restores the copy; with all models, or with those of a module.
    pub(crate) fn compile(&self, mutant: &Mutant, module: Option<&str>) -> anyhow::Result<Binary> {
        let broken = self.edited(&mutant.file, |code| mutant.apply(code))?;
        let fewer = module.map(|module| self.only(module)).transpose()?;
        let binary = self.build(mutant).with_context(|| format!("the mutant {}", mutant.name))?;
        broken.restore()?;
        fewer.map_or(Ok(()), Edited::restore)?;
        Ok(binary)
    }

    /// Leaves out the modules of models that one of them does not need: most of the time that a mutant takes is that of the
    /// compiler.
    fn only(&self, module: &str) -> anyhow::Result<Edited> {
        let read = |module: &str| fs::read_to_string(self.tree.join(MODELS).join(format!("{module}.rs")));
        let needed =
            closure(module, |module| read(module).map_or_else(|_| BTreeSet::new(), |code| uses(&code)));
        self.edited(&format!("{MODELS}/main.rs"), |code| Ok(without(code, &needed)))
    }

    fn edited(
        &self,
        file: &str,
        edit: impl FnOnce(&str) -> anyhow::Result<String>,
    ) -> anyhow::Result<Edited> {
        let place = self.tree.join(file);
        let original = fs::read_to_string(&place).with_context(|| place.display().to_string())?;
        let edited = Edited { place, original };
        edited.write(&edit(&edited.original)?)?;
        Ok(edited)
    }
}

/// A file of the copy that is not as it was.
#[must_use]
struct Edited {
    place: PathBuf,
    original: String,
}

impl Edited {
    fn write(&self, code: &str) -> anyhow::Result<()> {
        fs::write(&self.place, code).with_context(|| format!("cannot write {}", self.place.display()))
    }

    fn restore(self) -> anyhow::Result<()> {
        self.write(&self.original)
    }
}

/// The modules that a module of models names, also several in braces.
fn uses(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{').and_then(|list| list.split_once('}')) {
            Some((list, _)) => list.split(',').map(word).collect::<Vec<_>>(),
            None => vec![word(rest)],
        })
        .collect()
}

/// A module, and all that it needs.
fn closure(module: &str, uses: impl Fn(&str) -> BTreeSet<String>) -> BTreeSet<String> {
    let mut needed = BTreeSet::new();
    let mut open = vec![module.to_owned()];
    while let Some(module) = open.pop() {
        if needed.insert(module.clone()) {
            open.extend(uses(&module));
        }
    }
    needed
}

/// The program's main file without the modules that are not needed.
fn without(code: &str, needed: &BTreeSet<String>) -> String {
    let is_needed = |line: &&str| {
        let module = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
        // A module with a place of its own has two lines, and is small.
        module.is_none_or(|module| needed.contains(module) || ["mortal", "counterexample"].contains(&module))
    };
    code.lines().filter(is_needed).collect::<Vec<_>>().join("\n")
}

/// Copies a source tree: neither what is hidden nor what cargo made.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (name, place) = (entry.file_name(), to.join(entry.file_name()));
        if name == "target" || name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), &place).with_context(|| format!("cannot write {}", place.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Edit, Mutant, closure, uses, without};

    fn mutant(text: &str) -> Mutant {
        Mutant {
            name: "m".to_owned(),
            file: "src/pool/free_list.rs".to_owned(),
            does: String::new(),
            harmless: None,
            edits: vec![Edit { text: text.to_owned(), replacement: "c".to_owned() }],
        }
    }

    #[test]
    fn a_mutant_fits_exactly_once() {
        assert_eq!(mutant("b").apply("a b").expect("it fits"), "a c");
        for code in ["a", "b b"] {
            let error = mutant("b").apply(code).expect_err("it does not fit").to_string();
            assert!(error.contains("no longer fits"), "{error}");
        }
        assert_eq!(mutant("b").structure(), "pool");
        assert_eq!(Mutant { file: "src/mpmc.rs".to_owned(), ..mutant("b") }.structure(), "mpmc");
    }

    #[test]
    fn a_module_is_compiled_with_what_it_needs_and_with_nothing_else() {
        let code = |module: &str| match module {
            "claim" => "use crate::{model, ring};\nuse crate::model::{Model, Turn};",
            "ring" => "use crate::model::Model;",
            _ => "use crate::paths;",
        };
        let needed = closure("claim", |module| uses(code(module)));
        assert_eq!(needed.iter().collect::<Vec<_>>(), ["claim", "model", "paths", "ring"]);
        let main =
            "//! What.\n\nmod claim;\nmod model;\n#[path = \"x.rs\"]\nmod mortal;\nmod mpsc;\nmod ring;";
        let left = "//! What.\n\nmod claim;\nmod model;\n#[path = \"x.rs\"]\nmod mortal;\nmod ring;";
        assert_eq!(without(main, &needed), left);
    }

    #[test]
    fn all_mutants_fit_the_code() {
        for mutant in super::read().expect("the table") {
            let code = std::fs::read_to_string(crate::command::root().join(&mutant.file)).expect("the file");
            assert_ne!(mutant.apply(&code).expect("it fits"), code);
        }
    }
}
