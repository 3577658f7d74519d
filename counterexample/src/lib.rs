//! Shows the execution in which a model failed.
//!
//! A model checker says *that* an execution is wrong. This crate says what happened in it: every access with
//! the write that it read from, what happens before what, the two accesses that race, and the edge between
//! them that is missing. [`Counterexample`] prints as a table with a column for each thread;
//! [`Counterexample::diagram`] is the same as a picture.

mod analysis;
mod diagram;
mod names;
mod table;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use arenaq::trace::Trace;

pub use analysis::{Analysis, Race, Source, Step};

/// One failed execution, trimmed to what matters.
#[derive(Debug)]
pub struct Counterexample {
    /// What failed: the model's name.
    pub title: String,
    analysis: Analysis,
    /// The steps that are shown: indices into those of the analysis.
    shown: Vec<usize>,
}

impl Counterexample {
    /// Analyses a trace.
    pub fn new(title: impl Into<String>, trace: Trace) -> Counterexample {
        let analysis = Analysis::new(trace);
        let shown = analysis.what_matters();
        Counterexample { title: title.into(), analysis, shown }
    }

    /// The analysis of the whole execution.
    pub fn analysis(&self) -> &Analysis {
        &self.analysis
    }

    /// What went wrong, in words: the pair that races and the edge that is missing. `None` if nothing races:
    /// then the result is wrong for another reason.
    pub fn explanation(&self) -> Option<String> {
        let race = self.analysis.race()?;
        Some(names::Names::of(&self.analysis, &self.shown).explain(&self.analysis, &race))
    }

    /// A sequence diagram: a standalone SVG.
    pub fn diagram(&self) -> String {
        diagram::draw(&self.title, &self.analysis, &self.shown)
    }

    /// Writes the diagram to a folder, under a name made of the title.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or the file cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let name: String =
            self.title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let path = folder.join(format!("{}.svg", name.trim_matches('-')));
        fs::write(&path, self.diagram())?;
        Ok(path)
    }

    /// Where diagrams go: `ARENAQ_COUNTEREXAMPLES`, or a folder of that name among the build's.
    pub fn default_folder() -> PathBuf {
        env::var_os("ARENAQ_COUNTEREXAMPLES")
            .map_or_else(|| PathBuf::from("target/counterexamples"), PathBuf::from)
    }
}
