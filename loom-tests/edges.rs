//! What synchronises in an execution is what the sites say: each edge that is seen is one of the table's. Whether each of the table's
//! is seen in some execution, `cargo xtask test --only loom` says when all models have ended.

use std::collections::{BTreeSet, HashMap};
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::OnceLock;

use arenaq::ordering::SiteInfo;
use arenaq::structures::sites;
use weaken::trace::Trace;

/// A file to which each model appends what it has seen: two names in a line.
const FILE: &str = "ARENAQ_EDGES";

/// Edges that are there and that nobody needs: sites that release, sites that acquire, and why that is of no use.
const UNUSED: &[(&[&str], &[&str], &str)] = &[
    (PUBLISH, FOR_FREE, "the cell is taken: the queue is full, or another producer was faster"),
    (FREE, FOR_PUBLISHED, "the cell is free: the queue is empty, or another consumer was faster"),
];

/// A cell has an element.
const PUBLISH: &[&str] = &["mpmc.push.publish_cell", "mpmc.push_many.publish_cell"];
/// A cell has none.
const FREE: &[&str] = &[
    "mpmc.pop.free_cell",
    "mpmc.drain.free_cell",
    "mpmc.take.free_cell",
    "mpmc.reclaim.free_cell",
    "slots.take_over.free_cell",
];
/// Who wants a cell without an element.
const FOR_FREE: &[&str] = &["mpmc.push.load_sequence", "mpmc.push_many.load_sequence"];
/// Who wants a cell with one.
const FOR_PUBLISHED: &[&str] = &[
    "mpmc.pop.load_sequence",
    "mpmc.drain.load_sequence",
    "mpmc.take.load_sequence",
    "mpmc.search.load_sequence",
];

/// The edges that one model has seen.
#[derive(Debug, Default)]
pub(crate) struct Edges(BTreeSet<(&'static str, &'static str)>);

/// The sites of the table, by their names.
fn table() -> &'static HashMap<&'static str, &'static SiteInfo> {
    static TABLE: OnceLock<HashMap<&'static str, &'static SiteInfo>> = OnceLock::new();
    TABLE.get_or_init(|| sites().map(|site| (site.name, site)).collect())
}

impl Edges {
    /// Adds those of an execution. Returns what is wrong with the first of which the table knows nothing.
    pub(crate) fn add(&mut self, trace: &Trace) -> Option<String> {
        let mut wrong = None;
        for (from, to) in trace.edges() {
            let (from, to) = (from.named().name, to.named().name);
            if self.0.insert((from, to)) && is_of_the_table(from, to) == Some(false) {
                wrong.get_or_insert_with(|| {
                    format!("{to} has acquired what {from} released, and does not pair with it")
                });
            }
        }
        wrong
    }

    /// Tells the file of them, if there is one.
    pub(crate) fn tell(&self) -> std::io::Result<()> {
        let Some(file) = std::env::var_os(FILE) else { return Ok(()) };
        let text: String = self.0.iter().map(|(from, to)| format!("{from} {to}\n")).collect();
        OpenOptions::new().create(true).append(true).open(file)?.write_all(text.as_bytes())
    }
}

/// Whether the table has the edge. A model's own sites are no concern of it.
fn is_of_the_table(from: &str, to: &str) -> Option<bool> {
    let [from, to] = [from, to].map(|name| table().get(name));
    let (from, to) = (from?, to?);
    let is_unused = |(releasing, acquiring, _): &(&[&str], &[&str], &str)| {
        releasing.contains(&from.name) && acquiring.contains(&to.name)
    };
    Some(from.pairs_with.contains(&to.name) || UNUSED.iter().any(is_unused))
}
