//! The edges of the table of orderings, and those that the models have seen.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, ensure};
use arenaq::ordering::Access;
use arenaq::structures::sites;

/// The variable that tells the models to which file they append what they have seen.
pub(crate) const FILE: &str = "ARENAQ_EDGES";

/// The sites of an edge: which releases, and which acquires.
type Edge = (String, String);

/// Fails if the table has an edge that no model has seen, by what the models have written.
pub(crate) fn check(file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).context("what the models have seen")?;
    let missing = missing(expected(), &text);
    ensure!(
        missing.is_empty(),
        "no model has seen these edges, which the sites name in `pairs_with`:\n  {}",
        missing.iter().map(|(one, other)| format!("{one} and {other}")).collect::<Vec<_>>().join("\n  ")
    );
    println!("every edge that the sites name was seen");
    Ok(())
}

/// The edges of the table but for those of fences, which are no accesses; each once, whichever end is named first.
fn expected() -> impl Iterator<Item = Edge> {
    sites().filter(|site| site.access != Access::Fence).flat_map(|site| {
        let partners = site.pairs_with.iter().filter(|partner| site.name < **partner);
        partners.map(|partner| (site.name.to_owned(), (*partner).to_owned()))
    })
}

/// Those of which no line says that they were seen.
fn missing(expected: impl Iterator<Item = Edge>, text: &str) -> Vec<Edge> {
    let seen: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(from, to)| (code_of(from), code_of(to)))
        .collect();
    let was_seen = |one: String, other: String| {
        seen.contains(&(one.clone(), other.clone())) || seen.contains(&(other, one))
    };
    expected.filter(|(one, other)| !was_seen(code_of(one), code_of(other))).collect()
}

/// A batch is pushed by the code that pushes one element, with sites of its own: what was seen of one was seen of both.
fn code_of(site: &str) -> String {
    site.replace("mpmc.push_many.", "mpmc.push.")
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn an_edge_is_missing_that_no_line_names_from_either_end() {
        let edge = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        let expected = || [edge("a", "b"), edge("c", "d"), edge("e", "f")].into_iter();
        assert_eq!(missing(expected(), "a b\nd c\n"), [edge("e", "f")]);
        assert_eq!(missing(expected(), "e f\na b\nc d\na b\n"), []);
        assert_eq!(missing(expected(), "").len(), 3);
        let batch = || [edge("mpmc.push_many.load_sequence", "mpmc.pop.free_cell")].into_iter();
        assert_eq!(missing(batch(), "mpmc.pop.free_cell mpmc.push.load_sequence\n"), []);
        assert_eq!(missing(batch(), "mpmc.pop.free_cell mpmc.pop.load_sequence\n").len(), 1);
    }
}
