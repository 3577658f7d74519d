//! What is tried: the accesses that the models make, and the orderings that each could have instead.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use serde::Serialize;
use weaken::change::{Change, Where};
use weaken::operation::{Operation, Orders};
use weaken::record::{Place, Site};

use crate::access::Access;
use crate::arguments::Arguments;
use crate::error::{Error, Status};
use crate::json;
use crate::only::Only;
use crate::question::Question;
use crate::suite::Suite;

/// The number of an access, and the ordering that it has instead.
pub(crate) type Part = (usize, Orders);

/// Accesses with other orderings: most often one.
#[derive(Clone, Debug)]
pub(crate) struct Mutation {
    pub(crate) part: Part,
    /// Those that change with it.
    pub(crate) with: Vec<Part>,
    /// For the process that tries it.
    pub(crate) change: String,
    /// Whether a model uses the ordering that changes. The ordering of a failure is used only by a
    /// compare-exchange that fails.
    pub(crate) is_reached: bool,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) question: Question,
    pub(crate) sites: Vec<Access>,
    pub(crate) mutations: Vec<Mutation>,
}

impl Plan {
    pub(crate) fn new(arguments: &Arguments, only: &Only, suite: &Suite) -> Result<Plan, Error> {
        let mut sites = accesses(suite);
        let question = Question::of(arguments);
        let mut mutations = Vec::new();
        if question == Question::Site {
            for text in &arguments.site {
                mutations.extend(chosen(&sites, text)?);
            }
        } else {
            only.check(&sites)?;
            sites.retain(|site| only.means(site));
            for (number, site) in sites.iter().enumerate() {
                let tried = question.tries(site.operation, site.ordering);
                mutations.extend(tried.into_iter().map(|to| Mutation::new(&sites, (number, to))));
            }
        }
        Ok(Plan { question, sites, mutations })
    }

    /// Says what there is, and that is all.
    pub(crate) fn list(&self, json: bool) -> Result<Status, Error> {
        if json {
            let accesses: Vec<_> = self
                .sites
                .iter()
                .enumerate()
                .map(|(number, site)| Listed {
                    site,
                    others: [(self.question.kind(), self.tried(number))].into(),
                })
                .collect();
            json::print(&serde_json::json!({ "version": json::VERSION, "accesses": accesses }))?;
            return Ok(Status::Fine);
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let kind = self.question.kind();
        table.set_header(["access", "operation", "ordering", kind, "made", "failed", "memory", "tests"]);
        for (number, site) in self.sites.iter().enumerate() {
            table.add_row([
                site.place.to_string(),
                site.operation.to_string(),
                site.ordering.to_string(),
                self.tried(number).join(", "),
                site.count.to_string(),
                if site.operation.can_fail() { site.failed.to_string() } else { String::new() },
                site.names.join(", "),
                site.tests.join(", "),
            ]);
        }
        println!("{}", table.trim_fmt());
        println!("{} accesses, {} {kind} orderings", self.sites.len(), self.mutations.len());
        Ok(Status::Fine)
    }

    fn tried(&self, site: usize) -> Vec<String> {
        let mine = self.mutations.iter().map(|mutation| mutation.part).filter(|(number, _)| *number == site);
        mine.map(|(_, to)| to.to_string()).collect()
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    site: &'a Access,
    /// `weaker` or `stronger`.
    #[serde(flatten)]
    others: BTreeMap<&'static str, Vec<String>>,
}

impl Mutation {
    fn new(sites: &[Access], part: Part) -> Mutation {
        let (number, to) = part;
        let site = &sites[number];
        let change = Change {
            place: Some(Where::from(&site.place)),
            operation: Some(site.operation),
            from: Some(site.ordering),
            success: Some(to.success),
            failure: to.failure,
        };
        let is_reached = to.success != site.ordering.success || site.failed > 0;
        Mutation { part, with: Vec::new(), change: change.to_string(), is_reached }
    }

    /// Both at once.
    fn and(mut self, other: Mutation) -> Mutation {
        self.with.push(other.part);
        self.with.extend(other.with);
        let is_reached = self.is_reached || other.is_reached;
        Mutation { change: format!("{},{}", self.change, other.change), is_reached, ..self }
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        [self.part].into_iter().chain(self.with.iter().copied())
    }
}

/// The accesses of all tests, in the order of the source.
fn accesses(suite: &Suite) -> Vec<Access> {
    let mut all: BTreeMap<(Place, Operation, Orders), Access> = BTreeMap::new();
    for (number, test) in suite.tests.iter().enumerate() {
        for Site { place, operation, orders, count, failed, names, .. } in
            test.models.iter().flat_map(|model| &model.sites)
        {
            let access = all.entry((place.clone(), *operation, *orders)).or_insert_with(|| Access {
                place: place.clone(),
                operation: *operation,
                ordering: *orders,
                count: 0,
                failed: 0,
                names: Vec::new(),
                tests: Vec::new(),
                numbers: Vec::new(),
            });
            access.count += count;
            access.failed += failed;
            access.names.extend(names.iter().cloned());
            if access.numbers.last() != Some(&number) {
                access.numbers.push(number);
                access.tests.push(test.name.clone());
            }
        }
    }
    let mut all: Vec<_> = all.into_values().collect();
    for access in &mut all {
        access.names.sort();
        access.names.dedup();
    }
    all
}

/// What one `--site` means: every access in a run of its own; with several changes, all in one.
fn chosen(sites: &[Access], text: &str) -> Result<Vec<Mutation>, Error> {
    let changes = Change::parse_list(text).map_err(|reason| Error::Usage(format!("--site {reason}")))?;
    let is_one = changes.len() == 1;
    let mut mutations = Vec::new();
    for change in &changes {
        mutations.extend(matching(sites, change)?);
    }
    if is_one {
        return Ok(mutations);
    }
    let mut numbers: Vec<_> = mutations.iter().map(|mutation| mutation.part.0).collect();
    numbers.sort_unstable();
    if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::Usage(format!("--site {text}: two of these change the same access")));
    }
    Ok(mutations.into_iter().reduce(Mutation::and).into_iter().collect())
}

/// The accesses that a change means.
fn matching(sites: &[Access], change: &Change) -> Result<Vec<Mutation>, Error> {
    let mut mutations = Vec::new();
    let mut refused = None;
    let mut unchanged = None;
    for (number, site) in sites.iter().enumerate() {
        match change.apply(&site.place, site.operation, site.ordering) {
            Ok(Some(to)) if to == site.ordering => unchanged = Some(site),
            Ok(Some(to)) => mutations.push(Mutation::new(sites, (number, to))),
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
        (None, None) => format!("no model makes such an access; they make\n{}", nearest(sites, change)),
    };
    Err(Error::Usage(format!("--site {change}: {reason}")))
}

/// The accesses of the file that was meant, or all.
fn nearest(sites: &[Access], change: &Change) -> String {
    let is_near = |site: &&Access| change.place.as_ref().is_none_or(|place| place.is_in(&site.place));
    let near: Vec<_> = sites.iter().filter(is_near).collect();
    let near = if near.is_empty() { sites.iter().collect() } else { near };
    let lines = near.iter().map(|site| format!("  {}", site.label()));
    lines.collect::<Vec<_>>().join("\n")
}
