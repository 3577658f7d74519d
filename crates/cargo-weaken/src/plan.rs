//! What is tried: the accesses that the models make, and the orderings that each could have instead.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use serde::Serialize;
use weaken::change::{Change, Where};
use weaken::operation::{Operation, Orders};
use weaken::record::{Place, Site};

use crate::arguments::Arguments;
use crate::error::{Error, Status};
use crate::report;
use crate::suite::Suite;

/// An access, and who makes it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Access {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) operation: Operation,
    #[serde(serialize_with = "report::as_text")]
    pub(crate) ordering: Orders,
    /// How often, in all executions of all models.
    pub(crate) count: u64,
    /// How often it failed.
    pub(crate) failed: u64,
    /// The tests that reach it, the quickest first.
    pub(crate) tests: Vec<String>,
    /// The same, as numbers in the suite.
    #[serde(skip)]
    pub(crate) numbers: Vec<usize>,
}

/// An access with another ordering.
#[derive(Clone, Debug)]
pub(crate) struct Mutation {
    /// The number of the access.
    pub(crate) site: usize,
    pub(crate) to: Orders,
    /// For the process that tries it.
    pub(crate) change: String,
    /// Whether a model uses the ordering that changes. The ordering of a failure is used only by a
    /// compare-exchange that fails.
    pub(crate) is_reached: bool,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) sites: Vec<Access>,
    pub(crate) mutations: Vec<Mutation>,
}

impl Plan {
    pub(crate) fn new(arguments: &Arguments, suite: &Suite) -> Result<Plan, Error> {
        let sites = accesses(suite);
        let mutations = match &arguments.site {
            Some(text) => chosen(&sites, text)?,
            None => {
                let all = sites.iter().enumerate();
                all.flat_map(|(number, site)| {
                    let weaker = site.operation.weaker(site.ordering);
                    weaker.into_iter().map(move |to| Mutation::new(number, site, to))
                })
                .collect()
            }
        };
        Ok(Plan { sites, mutations })
    }

    /// Says what there is, and that is all.
    pub(crate) fn list(&self, json: bool) -> Result<Status, Error> {
        if json {
            let accesses: Vec<_> = self
                .sites
                .iter()
                .enumerate()
                .map(|(number, site)| Listed { site, weaker: self.weaker(number) })
                .collect();
            report::print(&serde_json::json!({ "version": report::VERSION, "accesses": accesses }))?;
            return Ok(Status::Fine);
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(["access", "operation", "ordering", "weaker", "made", "failed", "tests"]);
        for (number, site) in self.sites.iter().enumerate() {
            table.add_row([
                site.place.to_string(),
                site.operation.to_string(),
                site.ordering.to_string(),
                self.weaker(number).join(", "),
                site.count.to_string(),
                if site.operation.can_fail() { site.failed.to_string() } else { String::new() },
                site.tests.join(", "),
            ]);
        }
        println!("{}", table.trim_fmt());
        println!("{} accesses, {} weaker orderings", self.sites.len(), self.mutations.len());
        Ok(Status::Fine)
    }

    fn weaker(&self, site: usize) -> Vec<String> {
        let mine = self.mutations.iter().filter(|mutation| mutation.site == site);
        mine.map(|mutation| mutation.to.to_string()).collect()
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    site: &'a Access,
    weaker: Vec<String>,
}

impl Mutation {
    fn new(number: usize, site: &Access, to: Orders) -> Mutation {
        let change = Change {
            place: Some(Where::from(&site.place)),
            operation: Some(site.operation),
            from: Some(site.ordering),
            success: Some(to.success),
            failure: to.failure,
        };
        let is_reached = to.success != site.ordering.success || site.failed > 0;
        Mutation { site: number, to, change: change.to_string(), is_reached }
    }
}

/// The accesses of all tests, in the order of the source.
fn accesses(suite: &Suite) -> Vec<Access> {
    let mut all: BTreeMap<(Place, Operation, Orders), Access> = BTreeMap::new();
    for (number, test) in suite.tests.iter().enumerate() {
        for Site { place, operation, orders, count, failed, .. } in
            test.models.iter().flat_map(|model| &model.sites)
        {
            let access = all.entry((place.clone(), *operation, *orders)).or_insert_with(|| Access {
                place: place.clone(),
                operation: *operation,
                ordering: *orders,
                count: 0,
                failed: 0,
                tests: Vec::new(),
                numbers: Vec::new(),
            });
            access.count += count;
            access.failed += failed;
            if access.numbers.last() != Some(&number) {
                access.numbers.push(number);
                access.tests.push(test.name.clone());
            }
        }
    }
    all.into_values().collect()
}

/// The changes that `--site` means.
fn chosen(sites: &[Access], text: &str) -> Result<Vec<Mutation>, Error> {
    let change: Change = text.parse().map_err(|reason| Error::Usage(format!("--site {reason}")))?;
    let mut mutations = Vec::new();
    let mut refused = None;
    let mut unchanged = None;
    for (number, site) in sites.iter().enumerate() {
        match change.apply(&site.place, site.operation, site.ordering) {
            Ok(Some(to)) if to == site.ordering => unchanged = Some(site),
            Ok(Some(to)) => mutations.push(Mutation::new(number, site, to)),
            Ok(None) => {}
            Err(reason) => refused = Some(reason),
        }
    }
    if !mutations.is_empty() {
        return Ok(mutations);
    }
    let reason = match (refused, unchanged) {
        (Some(reason), _) => reason,
        (None, Some(site)) => format!("{} is {} already", site.place, site.ordering),
        (None, None) => format!("no model makes such an access; they make\n{}", nearest(sites, &change)),
    };
    Err(Error::Usage(format!("--site {text}: {reason}")))
}

/// The accesses of the file that was meant, or all.
fn nearest(sites: &[Access], change: &Change) -> String {
    let is_near = |site: &&Access| {
        let Some(place) = &change.place else { return true };
        Where { line: site.place.line, column: None, ..place.clone() }.is(&site.place)
    };
    let near: Vec<_> = sites.iter().filter(is_near).collect();
    let near = if near.is_empty() { sites.iter().collect() } else { near };
    let lines = near.iter().map(|site| format!("  {}#{}={}", site.place, site.operation, site.ordering));
    lines.collect::<Vec<_>>().join("\n")
}
