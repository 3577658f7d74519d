//! What docs/orderings.md says of each variant: a check has to see that it is so, and need not search again for a model
//! that notices.

use std::collections::HashMap;

/// The failure and the model of each row, by the row's variant.
#[derive(Debug, Default)]
pub(crate) struct Recorded(HashMap<String, (String, String)>);

impl Recorded {
    /// Reads the tables of weaker orderings and of mutants. What it does not understand is not recorded, and is measured
    /// as if it were new.
    pub(crate) fn read(document: &str) -> Recorded {
        let rows = document.lines().filter_map(|line| {
            let cells: Vec<_> =
                line.strip_prefix('|')?.strip_suffix('|')?.split(" | ").map(str::trim).collect();
            let [name, _, tried, failure, model] = cells.as_slice() else {
                return None;
            };
            let (name, model) = (unquoted(name)?, unquoted(model)?);
            // Only the sites have names with dots, and only the models have colons.
            let variant = if name.contains('.') { format!("{name}={tried}") } else { name.to_owned() };
            model.contains("::").then(|| (variant, ((*failure).to_owned(), model.to_owned())))
        });
        Recorded(rows.collect())
    }

    /// How the models notice the variant, and which of them.
    pub(crate) fn of(&self, variant: &str) -> Option<(&str, &str)> {
        self.0.get(variant).map(|(failure, model)| (failure.as_str(), model.as_str()))
    }
}

fn unquoted(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

#[cfg(test)]
mod tests {
    use super::Recorded;

    #[test]
    fn rows_of_both_tables_are_found_and_no_others() {
        let recorded = Recorded::read(
            "| site | is | tried | result | model |\n|---|---|---|---|---|\n\
             | `mpmc.push.publish_cell` | Release | Relaxed | race | `mpmc::a` |\n\
             | `mpsc.push.swap_head` | AcqRel | Acquire/Relaxed | **all pass** |  |\n\
             | `m` | src/mpmc.rs | what \\| it does | wrong result | `mpmc::b` |\n\
             | insert | a claim | holds | because | `cargo test a::b` |\n",
        );
        assert_eq!(recorded.of("mpmc.push.publish_cell=Relaxed"), Some(("race", "mpmc::a")));
        assert_eq!(recorded.of("mpsc.push.swap_head=Acquire/Relaxed"), None);
        assert_eq!(recorded.of("m"), Some(("wrong result", "mpmc::b")));
        assert_eq!(recorded.0.len(), 2);
    }
}
