//! Shows the execution in which a model failed: in the terminal, and as a page and a picture in a folder.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use weaken::picture::{self, Orderings};
use weaken::record::Execution;

/// What to print, and where the page is.
pub(crate) fn show(title: &str, why: &str, execution: &Execution, orderings: Orderings) -> String {
    let page = match save(&folder(), title, why, execution, orderings) {
        Ok(page) => format!("As a page: {}", page.display()),
        Err(error) => format!("No page: {error}"),
    };
    format!("{why}\n\n{title}: the execution that fails\n{}\n{page}", picture::text(execution, orderings))
}

/// Writes the page, and the picture alone beside it, under names made of the title.
fn save(
    folder: &Path,
    title: &str,
    why: &str,
    execution: &Execution,
    orderings: Orderings,
) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let name: String = title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let path = |extension: &str| folder.join(format!("{}.{extension}", name.trim_matches('-')));
    fs::write(path("svg"), picture::svg(execution))?;
    fs::write(path("html"), picture::page(title, why, execution, orderings))?;
    Ok(path("html"))
}

/// `ARENAQ_COUNTEREXAMPLES`, or a folder of that name among the build's.
fn folder() -> PathBuf {
    env::var_os("ARENAQ_COUNTEREXAMPLES")
        .map_or_else(|| PathBuf::from("target/counterexamples"), PathBuf::from)
}
